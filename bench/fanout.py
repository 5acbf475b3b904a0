"""What one run for every tenant costs: to write them all, in time and in memory, and to work them off.

    python bench/fanout.py [--rounds 3] [--counts 1000 10000 100000] [--plain 10000] [--memory 1000000]
                           [--work 100000] [--ends 20] [--concurrency 100] [--processes 2] [--json]

A stock worker and a watchdog run. A run fans out to tasks of a queue that nobody reads, so that nothing but the writing
is measured: from the beginning of its attempt until all tenants are on record and may begin, as the ledger has it. In
each round plain Celery, without any rows, sends as many messages as `--plain` says, with ``apply_async`` one by one and
as a ``group``, from this process. Postgres is durable (each batch is on disk) and Redis has its append-only file.

Then a million tenants are written from a generator, and the attempt's peak memory is what the ledger has of it.

At last tenants are worked off, with a task that does nothing: the rate of the whole and of each tenth, the most memory
of the worker with its processes and of the watchdog, the same until half way, and how long after the end of the last
tenant the fan-out itself ends. That is also taken of fan-outs of 200 tenants.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil
import psycopg
from celery import Celery, group

import steadybeat
from bench.report import Report, celery, machine, spread, wait_until
from steadybeat.dev.leash import Child
from steadybeat.dev.servers import PostgresServer, RedisServer, scratch_folder
from steadybeat.ledger import Ledger
from steadybeat.settings import Settings

UNREAD, READ = "bench.unread.share", "bench.sharing.share"
SMALL_COUNT = 200

_WRITTEN = """
    SELECT extract(epoch FROM f.written_at - a.started_at), a.peak_memory_bytes, f.total_count
      FROM steadybeat.fan_outs f JOIN steadybeat.attempts a ON a.run = f.run
     WHERE f.run = %s AND f.written_at IS NOT NULL
"""
_ENDED = """
    SELECT extract(epoch FROM whole.finished_at - max(r.finished_at)),
           extract(epoch FROM max(r.finished_at) - f.written_at)
      FROM steadybeat.fan_outs f
      JOIN steadybeat.runs whole ON whole.id = f.run
      JOIN steadybeat.runs r ON r.fan_out = f.run
     WHERE f.run = %s AND whole.state = 'succeeded'
     GROUP BY f.run, whole.id
"""
_TENTHS = """
    SELECT count(*) / extract(epoch FROM max(finished_at) - min(finished_at)) AS rate
      FROM (SELECT finished_at, ntile(10) OVER (ORDER BY finished_at) AS tenth
              FROM steadybeat.runs WHERE fan_out = %s) r
     GROUP BY tenth ORDER BY tenth
"""
_EMPTY = """
    TRUNCATE steadybeat.fan_outs, steadybeat.runs, steadybeat.outbox, steadybeat.attempts, steadybeat.processed_keys
"""


class Bench:
    """The servers, seen from this process.

    Args:
        redis_url: Of an empty Redis.
        database_url: Of a database that has the ledger's schema.
    """

    def __init__(self, redis_url: str, database_url: str) -> None:
        self.app: Any = Celery("bench", set_as_current=False)
        self.app.conf.update(
            steadybeat_redis_url=redis_url,
            steadybeat_database_url=database_url,
            steadybeat_services=("sharing", "unread"),
        )
        steadybeat.install(self.app)
        self.plain = Celery("bench_plain", broker=redis_url, set_as_current=False)
        self.plain.conf.task_default_queue = "plain"
        self.share = self.plain.task(_nothing, name="bench.plain.share")
        self.connection = psycopg.connect(database_url, autocommit=True)

    def fan_out(self, count: int, task: str, concurrency: int = 1) -> str:
        """Have a worker fan out, and return the id of the run."""
        return str(self.app.send_task("bench.sharing.fan_out", (count, task, concurrency)).id)

    def one(self, statement: str, run: str) -> Any:
        """Return the row that a statement finds of a run, or None."""
        return self.connection.execute(statement, (run,)).fetchone()

    def written(self, count: int) -> tuple[float, int]:
        """Write tenants; return the seconds that it took, and the most memory of the process."""
        run = self.fan_out(count, UNREAD)
        wait_until(lambda: self.one(_WRITTEN, run), f"{count} tenants", timeout_seconds=600)
        seconds, peak_bytes, total = self.one(_WRITTEN, run)
        if total != count:
            raise RuntimeError(f"{count} tenants were to be written, {total} are there")
        self.empty()
        return float(seconds), int(peak_bytes)

    def sent_one_by_one(self, count: int) -> float:
        """Return how many messages a second plain Celery sends one by one."""
        began = time.perf_counter()
        for number in range(count):
            self.share.apply_async((number,))
        return self._sent(count, began)

    def sent_as_group(self, count: int) -> float:
        """Return how many messages a second plain Celery sends as a group."""
        began = time.perf_counter()
        group(self.share.s(number) for number in range(count)).apply_async()
        return self._sent(count, began)

    def _sent(self, count: int, began: float) -> float:
        rate = count / (time.perf_counter() - began)
        with self.plain.connection_for_write() as connection:
            channel: Any = connection.default_channel
            found = channel.client.llen("plain")
            channel.client.delete("plain")
        if found != count:
            raise RuntimeError(f"{count} messages were sent, {found} lie on the queue")
        return rate

    def empty(self) -> None:
        """Forget every run."""
        wait_until(self._truncated, "empty ledger")
        self.connection.execute("CHECKPOINT")

    def _truncated(self) -> bool:
        try:
            self.connection.execute(_EMPTY)
        except psycopg.errors.DeadlockDetected:  # the watchdog asks the same tables, in another order
            return False
        return True

    def worked_off(self, count: int, concurrency: int, timeout_seconds: float) -> tuple[str, float, float]:
        """Have tenants worked off.

        Returns:
            The run, how many seconds after the last of them it has ended, and how many seconds they took.
        """
        run = self.fan_out(count, READ, concurrency)
        wait_until(lambda: self.one(_ENDED, run), f"end of {count} tenants", timeout_seconds=timeout_seconds)
        late, seconds = self.one(_ENDED, run)
        return run, float(late), float(seconds)


def _nothing(tenant: int) -> None:
    """Do nothing for a tenant."""


class Peaks:
    """The most memory that programs take with their processes, in bytes that are theirs alone.

    Args:
        children: Them, by name.
    """

    def __init__(self, **children: Child) -> None:
        self._children = children
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._seen: dict[str, list[int]] = {name: [self._now(child)] for name, child in children.items()}

    def __enter__(self) -> Peaks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(1.0):
            for name, child in self._children.items():
                self._seen[name].append(self._now(child))

    def figures(self) -> dict[str, int]:
        """Return the most of each, and the most until half of the time had passed: whether it grows."""
        found = {}
        for name, seen in self._seen.items():
            found[f"{name}_bytes_half_way"] = max(seen[: len(seen) // 2 + 1])
            found[f"{name}_bytes_at_most"] = max(seen)
        return found

    @staticmethod
    def _now(child: Child) -> int:
        found = 0
        with contextlib.suppress(psutil.Error):
            whole = psutil.Process(child.pid)
            for process in (whole, *whole.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    found += process.memory_full_info().uss
        return found


def measure(given: argparse.Namespace, report: Report) -> dict[str, Any]:
    """Return the figures.

    Args:
        given: Rounds and counts.
        report: Where each round is told.
    """
    with (
        scratch_folder() as folder,
        RedisServer(folder / "redis") as server,
        PostgresServer(folder / "postgres", durable=True) as postgres,
    ):
        env = {"STEADYBEAT_REDIS_URL": server.url, "STEADYBEAT_DATABASE_URL": postgres.url}
        ledger = Ledger(Settings(database_url=postgres.url))
        ledger.upgrade()
        ledger.database.close()
        bench = Bench(server.url, postgres.url)
        facts = machine(server.url, postgres.url)
        report.say("  ".join(f"{name} {value}" for name, value in facts.items()))
        options = ["-Q", "sharing", "-c", str(given.processes), "-l", "WARNING", "--without-gossip", "--without-mingle"]
        worker = celery("bench.sharing", ["worker", *options], folder / "worker.log", env)
        watchdog = celery("bench.sharing", ["watchdog", "-l", "WARNING"], folder / "watchdog.log", env)
        try:
            bench.written(1000)  # opens the connections
            figures = {**written(bench, given, report), **remembered(bench, given, report)}
            with Peaks(worker=worker, watchdog=watchdog) as peaks:
                figures |= worked(bench, given, report)
            figures |= peaks.figures()
        finally:
            worker.end(())
            watchdog.end(())
            bench.app.close()
    return {**figures, "rounds": given.rounds, "processes": given.processes, "machine": facts}


def written(bench: Bench, given: argparse.Namespace, report: Report) -> dict[str, Any]:
    """Return how many tenants a second are written, and how many messages a second plain Celery sends."""
    rates: dict[int, list[float]] = {count: [] for count in given.counts}
    one_by_one, as_group, peaks = list[float](), list[float](), dict[str, int]()
    for number in range(given.rounds):
        for count, of in rates.items():
            seconds, peaks[str(count)] = bench.written(count)
            of.append(count / seconds)
        one_by_one.append(bench.sent_one_by_one(given.plain))
        as_group.append(bench.sent_as_group(given.plain))
        said = "  ".join(f"{count}: {of[-1]:.0f}/s" for count, of in rates.items())
        plain = f"plain Celery {one_by_one[-1]:.0f}/s, group {as_group[-1]:.0f}/s"
        report.say(f"round {number + 1}: {said}  {plain}; at most {max(peaks.values()) / 1e6:.1f} MB")
    return {
        "written_per_second": {str(count): spread(of) for count, of in rates.items()},
        "written_peak_bytes": peaks,
        "plain_apply_async_per_second": spread(one_by_one) if one_by_one else None,
        "plain_group_per_second": spread(as_group) if as_group else None,
    }


def remembered(bench: Bench, given: argparse.Namespace, report: Report) -> dict[str, Any]:
    """Return the most memory of the process that writes very many tenants."""
    if not given.memory:
        return {}
    seconds, peak_bytes = bench.written(given.memory)
    report.say(f"{given.memory} tenants: {peak_bytes / 1e6:.1f} MB at most, {given.memory / seconds:.0f}/s")
    return {
        "many": given.memory,
        "many_peak_bytes": peak_bytes,
        "many_written_per_second": round(given.memory / seconds, 1),
    }


def worked(bench: Bench, given: argparse.Namespace, report: Report) -> dict[str, Any]:
    """Return how fast tenants are worked off, and how soon after the last their fan-out ends."""
    late = [bench.worked_off(SMALL_COUNT, given.concurrency, 60)[1] for _ in range(given.ends)]
    figures: dict[str, Any] = {"end_after_last_seconds": spread(late)} if late else {}
    if late:
        most = max(late)
        report.say(f"end of {SMALL_COUNT} tenants: {statistics.median(late):.3f} s after the last, {most:.3f} at most")
    if given.work:
        run, after, seconds = bench.worked_off(given.work, given.concurrency, 60 + given.work / 20)
        tenths = [float(rate) for (rate,) in bench.connection.execute(_TENTHS, (run,)).fetchall()]
        report.say(
            f"{given.work} tenants: {given.work / seconds:.0f}/s,"
            f" by tenths {' '.join(f'{rate:.0f}' for rate in tenths)}; its end {after:.3f} s after the last"
        )
        figures |= {
            "worked_off": given.work,
            "worked_off_per_second": round(given.work / seconds, 1),
            "worked_off_per_second_by_tenths": [round(rate, 1) for rate in tenths],
            "worked_off_end_after_last_seconds": round(after, 4),
        }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (3)")
    parser.add_argument("--counts", type=int, nargs="*", default=[1000, 10_000, 100_000], help="tenants to be written")
    parser.add_argument("--plain", type=int, default=10_000, help="messages of plain Celery in each round (10000)")
    parser.add_argument("--memory", type=int, default=1_000_000, help="tenants for peak memory; 0: none (1000000)")
    parser.add_argument("--work", type=int, default=100_000, help="tenants to be worked off; 0: none (100000)")
    parser.add_argument("--ends", type=int, default=20, help="fan-outs of 200 tenants, for their ends (20)")
    parser.add_argument("--concurrency", type=int, default=100, help="of those (100)")
    parser.add_argument("--processes", type=int, default=2, help="of the worker (2)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    given = parser.parse_args()
    report = Report(json_at_end=given.json)
    figures = measure(given, report)
    worker, watchdog = figures["worker_bytes_at_most"], figures["watchdog_bytes_at_most"]
    before = figures["worker_bytes_half_way"]
    report.say(
        f"at most: worker with its processes {worker / 1e6:.0f} MB, half way {before / 1e6:.0f} MB;"
        f" watchdog {watchdog / 1e6:.0f} MB"
    )
    report.end(figures)


if __name__ == "__main__":
    main()
