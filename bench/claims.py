"""Claims and finishes per second: what a worker's process gets out of Postgres, beside ``pgbench``.

    python bench/claims.py [--rounds 5] [--pairs 1000] [--clients 1 2 4 8] [--json]

A pair is the two statements that every run passes: its claim and its finish. On our side each client is a process
that calls `ledger.runs.claim` and `ledger.runs.finish`, all of what a pool process does for them. On the other side
is ``pgbench``, the measuring tool that comes with Postgres, in C, with the same two statements prepared (``-M
prepared``) and as many clients in as many threads. Both claim runs that were recorded before, on the same durable
Postgres, in turns first and second; each commit is on disk before it is answered. What the finish is told is NULL
stands there as a parameter on our side, and as NULL in the text on the other, since ``pgbench`` has no NULL.

The ratio of a round is ours divided by that of ``pgbench``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from bench.report import Report, machine, spread
from steadybeat.dev.servers import PostgresServer, find_postgres, scratch_folder
from steadybeat.ledger import Ledger
from steadybeat.ledger.claim import CLAIM_AT_ONCE
from steadybeat.ledger.prepared import Prepared
from steadybeat.ledger.runs import FINISH
from steadybeat.settings import Settings

WARM_UP = 20
TIMEOUT_SECONDS = 600

_RECORD = """
    INSERT INTO steadybeat.runs (id, task, service, queue, idempotency_key, message, body)
    SELECT CAST(lpad(CAST(n AS text), 32, '0') AS uuid), 'bench.pay', 'bench', 'bench', 'sale:' || n, '{}', '[]'
      FROM generate_series(CAST(%s AS bigint), CAST(%s AS bigint)) AS n
"""
_ALIVE = """
    INSERT INTO steadybeat.instances (id, role, host, pid, release, expires_at)
    VALUES (%s, 'worker', 'here', 1, '0', clock_timestamp() + interval '1 day')
"""


class Numbers:
    """Runs that are recorded and not yet claimed, by their numbers.

    Args:
        database: A connection that commits by itself.
    """

    def __init__(self, database: psycopg.Connection[Any]) -> None:
        self._database = database
        self._next = 1

    def take(self, count: int) -> int:
        """Record so many more runs, and return the first one's number."""
        first, self._next = self._next, self._next + count
        self._database.execute(_RECORD, (first, self._next - 1))
        self._database.execute("VACUUM ANALYZE steadybeat.runs, steadybeat.processed_keys, steadybeat.attempts")
        return first


def ours(url: str, instance: str, clients: int, pairs: int, first: int) -> float:
    """Return pairs per second of so many processes.

    Args:
        url: Of Postgres.
        instance: Who claims.
        clients: How many processes.
        pairs: Of each.
        first: Number of the first run; each process takes `WARM_UP` more.
    """
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(clients + 1)
    each = pairs + WARM_UP
    processes = [
        context.Process(target=work, args=(url, instance, first + number * each, each, ready))
        for number in range(clients)
    ]
    for process in processes:
        process.start()
    ready.wait(TIMEOUT_SECONDS)
    began = time.monotonic()
    ready.wait(TIMEOUT_SECONDS)
    seconds = time.monotonic() - began
    for process in processes:
        process.join(TIMEOUT_SECONDS)
        if process.exitcode != 0:
            raise RuntimeError(f"a client ended with {process.exitcode}")
    return clients * pairs / seconds


def work(url: str, instance: str, first: int, count: int, ready: Any) -> None:
    """Claim and finish runs, in a process of its own, from when all are ready until all are done.

    Args:
        url: Of Postgres.
        instance: Who claims.
        first: Number of the first run.
        count: How many, of which the first are for warming up.
        ready: Where all meet.
    """
    runs = Ledger(Settings(database_url=url)).runs
    for number in range(first, first + count):
        if number == first + WARM_UP:
            ready.wait(TIMEOUT_SECONDS)
        run = str(uuid.UUID(f"{number:032d}"))
        claim = runs.claim(run, delivery_no=1, instance=instance, time_limit_seconds=60.0, crash_limit=3)
        if not runs.finish(run, claim.fence, result=None):
            raise RuntimeError(f"run {run}: {claim.verdict} {claim.detail}")
    ready.wait(TIMEOUT_SECONDS)


def theirs(url: str, script: Path, clients: int, pairs: int, first: int) -> float:
    """Return pairs per second of ``pgbench``.

    Args:
        url: Of Postgres.
        script: What it runs.
        clients: How many connections, each with a thread.
        pairs: Of each.
        first: Number of the first run.
    """
    argv = [str(_pgbench()), "-n", "-M", "prepared", "-c", str(clients), "-j", str(clients), "-t", str(pairs)]
    argv += ["-D", f"first={first}", "-D", f"pairs={pairs}", "-D", "done=0", "-f", str(script), url]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    found = re.search(r"tps = ([0-9.]+) \(without initial connection time\)", done.stdout)
    if done.returncode or found is None:
        raise RuntimeError(f"pgbench: {done.stderr or done.stdout}")
    return float(found.group(1))


def script(instance: str) -> str:
    """Return the same two statements for ``pgbench``.

    Args:
        instance: Who claims.
    """
    run = "CAST(lpad(CAST(:number AS text), 32, '0') AS uuid)"
    claim = {"run": run, "instance": f"'{instance}'", "claim_id": f"CAST(lpad('{uuid.uuid4().hex}', 32, '0') AS uuid)"}
    claim |= {"delivery_no": "1", "lease_seconds": "65.0", "crash_limit": "3"}
    finish = {"run": run, "fence": ":fence", "state": "'succeeded'", "outcome": "'succeeded'"}
    lines = [
        r"\set number :first + :client_id * :pairs + :done",
        r"\set done :done + 1",
        f"{_with(CLAIM_AT_ONCE, claim)} \\gset",
        f"{_with(FINISH, finish)};",
    ]
    return "\n".join(lines) + "\n"


def _with(statement: Prepared, values: dict[str, str]) -> str:
    """Return a statement with what stands for its values; NULL for those that have none."""
    named = statement.names
    return re.sub(r"\$(\d+)", lambda found: values.get(named[int(found.group(1)) - 1], "NULL"), statement.text)


def _pgbench() -> Path:
    """Return the program that comes with the embedded Postgres.

    Raises:
        RuntimeError: It does not.
    """
    program = find_postgres() / "bin" / "pgbench"
    if not program.exists():
        raise RuntimeError(f"there is no {program}")
    return program


def measure(given: argparse.Namespace, report: Report) -> dict[str, Any]:
    """Return the figures of all rounds, by the number of clients."""
    with scratch_folder() as folder, PostgresServer(folder / "postgres", durable=True) as postgres:
        ledger = Ledger(Settings(database_url=postgres.url))
        ledger.upgrade()
        ledger.database.close()
        facts = machine(database_url=postgres.url)
        report.say("  ".join(f"{name} {value}" for name, value in facts.items()))
        figures: dict[str, Any] = {"machine": facts, "pairs_per_client": given.pairs, "clients": {}}
        instance = str(uuid.uuid4())
        file = folder / "pairs.sql"
        file.write_text(script(instance))
        with psycopg.connect(postgres.url, autocommit=True) as database:
            database.execute(_ALIVE, (instance,))
            numbers = Numbers(database)
            for clients in given.clients:
                figures["clients"][str(clients)] = _rounds(given, postgres.url, instance, file, clients, numbers)
                report.say(_told(clients, figures["clients"][str(clients)]))
            _check(database)
    return figures


def _rounds(
    given: argparse.Namespace, url: str, instance: str, file: Path, clients: int, numbers: Numbers
) -> dict[str, Any]:
    rates: dict[str, list[float]] = {"steadybeat": [], "pgbench": []}
    for number in range(given.rounds):
        for side in sorted(rates, reverse=number % 2 == 0):
            if side == "steadybeat":
                first = numbers.take(clients * (given.pairs + WARM_UP))
                rates[side].append(ours(url, instance, clients, given.pairs, first))
            else:
                first = numbers.take(clients * given.pairs)
                rates[side].append(theirs(url, file, clients, given.pairs, first))
    ratios = [mine / other for mine, other in zip(rates["steadybeat"], rates["pgbench"], strict=True)]
    return {name: spread(values) for name, values in (*rates.items(), ("ratio", ratios))}


def _check(database: psycopg.Connection[Any]) -> None:
    """Make sure that what was fast was also right: every run was claimed once and has succeeded.

    Raises:
        RuntimeError: It was not.
    """
    row = database.execute(
        "SELECT count(*) FILTER (WHERE state <> 'succeeded' OR attempt_count <> 1) FROM steadybeat.runs"
    ).fetchone()
    if row != (0,):
        raise RuntimeError(f"runs that did not succeed in one attempt: {row}")


def _told(clients: int, figures: dict[str, Any]) -> str:
    mine, other, ratio = figures["steadybeat"], figures["pgbench"], figures["ratio"]
    return (
        f"{clients} clients: steadybeat {mine['median']:.0f} pairs/s ({mine['min']:.0f} to {mine['max']:.0f}),"
        f" pgbench {other['median']:.0f} ({other['min']:.0f} to {other['max']:.0f}),"
        f" ratio {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often both sides are measured (5)")
    parser.add_argument("--pairs", type=int, default=1000, help="claims and finishes of each client in a round (1000)")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4, 8], help="clients at a time (1 2 4 8)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    given = parser.parse_args()
    report = Report(json_at_end=given.json)
    report.end(measure(given, report))


if __name__ == "__main__":
    main()
