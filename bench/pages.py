"""How long each page takes over a big ledger, beside a page of Flower's own.

    python bench/pages.py [--schedules 10000] [--runs 10000000] [--rounds 40] [--only NAME] [--json]

A ledger is filled (`bench/filling.py`) with schedules and with the runs, fires and alerts of four weeks. A stock
`celery -A tasks flower` shows it, and each page is asked for by one client, one after the other, by HTTP: from the
question to the last byte. Between two rounds of one page come all the others, so that none has the caches for itself.
``/workers`` is Flower's own page, from its memory: what a page of this server costs at the least.

Beside the pages as one opens them there are those that are dear: searches that nothing answers, the oldest runs, the
densest schedule, the last page of a list.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import urllib3

from bench.filling import Filled, fill
from bench.report import Report, celery, machine, wait_until
from steadybeat.dev.servers import PostgresServer, RedisServer, free_port, scratch_folder
from steadybeat.ledger import Ledger
from steadybeat.settings import Settings

HEADERS = urllib3.make_headers(basic_auth="bench:bench")


def pages(filled: Filled) -> dict[str, str]:
    """Return the addresses that are asked for, by name."""
    old = datetime.now(UTC) - timedelta(days=27)
    return {
        "Flower's own /workers": "/workers",
        "overview": "/overview",
        "schedules": "/schedules",
        "schedules: searched": _at("/schedules", q="payouts"),
        "schedules: nothing found": _at("/schedules", q="no-such-schedule"),
        "schedule, once a day": f"/schedule/{quote(filled.sparse, safe='')}",
        "schedule, each minute": f"/schedule/{quote(filled.dense, safe='')}",
        "runs": "/runs",
        "runs: dead": _at("/runs", state="dead"),
        "runs: of a task": _at("/runs", task="tasks.emails.remind"),
        "runs: of a tenant": _at("/runs", tenant="tenant-17"),
        "runs: of a key": _at("/runs", key="sale:17"),
        "runs: text of the error": _at("/runs", error="iban"),
        "runs: four weeks ago": _at("/runs", until=old.isoformat()),
        "runs: nothing found": _at("/runs", task="tasks.emails.remind", tenant="nobody"),
        "run": f"/run/{filled.succeeded}",
        "run, dead": f"/run/{filled.dead}",
        "dead letters": "/dead-letters",
        "fan-outs": "/fan-outs",
        "fan-out": f"/fan-out/{filled.fan_out}",
        "alerts": "/alerts",
        "alert": f"/alert/{filled.alert}",
        "operations": "/operations",
    }


def _at(path: str, **values: str) -> str:
    return f"{path}?{urlencode(values)}"


def measure(given: argparse.Namespace, report: Report) -> dict[str, Any]:
    """Return the figures of every page.

    Args:
        given: What was asked for.
        report: Where each page is told.
    """
    with (
        scratch_folder() as folder,
        RedisServer(folder / "redis", append_only=False) as redis,
        PostgresServer(folder / "postgres", durable=False) as postgres,
    ):
        ledger = Ledger(Settings(database_url=postgres.url))
        ledger.upgrade()
        ledger.database.close()
        began = time.monotonic()
        filled = fill(postgres.url, schedules=given.schedules, runs=given.runs)
        report.say(
            f"{given.schedules:,} schedules and about {given.runs:,} runs, filled in {time.monotonic() - began:.0f} s"
        )
        port = free_port()
        env = {
            "STEADYBEAT_REDIS_URL": redis.url,
            "STEADYBEAT_DATABASE_URL": postgres.url,
            "FLOWER_BASIC_AUTH": "bench:bench",
        }
        flower = celery("tasks", ["flower", "--address=127.0.0.1", f"--port={port}"], folder / "flower.log", env)
        try:
            asked = Asking(f"http://127.0.0.1:{port}")
            wait_until(asked.answers, "Flower answers", flower)
            wanted = {name: path for name, path in pages(filled).items() if (given.only or name) in name}
            figures = asked.rounds(wanted, given.rounds)
        finally:
            flower.end(((signal.SIGTERM, 5.0),))
        for name, took in figures.items():
            report.say(
                f"  {name:28} p50 {1000 * took['p50']:6.0f} ms   p95 {1000 * took['p95']:6.0f} ms"
                f"   most {1000 * took['max']:6.0f} ms   {took['bytes']:,} bytes"
            )
        return {"machine": machine(redis.url, postgres.url), "runs": given.runs, "pages": figures}


class Asking:
    """Asks for pages, one after the other.

    Args:
        url: Where Flower is.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = urllib3.PoolManager(retries=False, timeout=60)

    def answers(self) -> bool:
        """Return whether Flower is there."""
        try:
            return self._pool.request("GET", f"{self._url}/healthcheck").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def rounds(self, wanted: dict[str, str], count: int) -> dict[str, Any]:
        """Return the seconds that each page took: ``p50``, ``p95``, ``max``; and its ``bytes``."""
        took: dict[str, list[float]] = {name: [] for name in wanted}
        size = dict.fromkeys(wanted, 0)
        for number in range(count + 1):
            for name, path in wanted.items():
                began = time.perf_counter()
                answer = self._pool.request("GET", self._url + path, headers=HEADERS)
                seconds = time.perf_counter() - began
                if answer.status != 200:
                    raise RuntimeError(f"{path}: {answer.status}: {answer.data[:500]!r}")
                if number:  # the first makes connections and compiles templates
                    took[name].append(seconds)
                size[name] = len(answer.data)
        return {
            name: {
                "p50": statistics.median(each),
                "p95": statistics.quantiles(each, n=20)[-1] if len(each) > 1 else each[0],
                "max": max(each),
                "bytes": size[name],
            }
            for name, each in took.items()
        }


def main() -> None:
    """Read the command line, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--only", help="only pages with this in their name")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON at the end")
    given = parser.parse_args()
    report = Report(json_at_end=given.json)
    report.end(measure(given, report))


if __name__ == "__main__":
    main()
