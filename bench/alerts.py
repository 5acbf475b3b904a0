"""How long until somebody is told that no Beat leads any more, with no scheduler alive: from the kill to the message.

    python bench/alerts.py [--rounds 5] [--json]

Two Beats, a watchdog and an HTTP server that takes the alerts, all at default settings, one schedule every second. A
round waits until a Beat leads, and a random part of a few seconds more, so that signs of life are met at any phase. It
kills both Beats with SIGKILL, in every second round stops Redis as well, and takes the time until the server has the
message. Then everything is started again, and the next round begins when the server has been told that it is over.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.report import Report, celery, machine, spread, wait_until
from steadybeat.dev.leash import Child
from steadybeat.dev.servers import PostgresServer, RedisServer, scratch_folder
from steadybeat.ledger import Ledger
from steadybeat.settings import Settings

STOP = ((signal.SIGTERM, 10.0),)
LONGEST_SECONDS = 120.0
_DEFINE = ["schedules", "apply"]


class Telephone:
    """What somebody has been told.

    Attributes:
        titles: Of the messages, the oldest first, each with the second at which it came, by the monotonic clock.
    """

    def __init__(self) -> None:
        self.titles: list[tuple[float, str]] = []

    def rang(self, words: str, since: float) -> float | None:
        """Return when a message came with these words in its title, after an instant; None: none has."""
        return next((at for at, title in self.titles if at > since and words in title), None)


@contextmanager
def telephone() -> Iterator[tuple[Telephone, str]]:
    """Yield a server that takes alerts, and its URL as a channel has it."""
    rung = Telephone()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            rung.titles.append((time.monotonic(), json.loads(body)["title"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield rung, f"json://127.0.0.1:{server.server_address[1]}/alerts"
    finally:
        server.shutdown()
        server.server_close()


def measure(rounds: int, report: Report) -> dict[str, Any]:
    """Return the figures of all rounds.

    Args:
        rounds: How many of each kind.
        report: Where each round is told.
    """
    seconds: dict[str, list[float]] = {"beats": [], "beats_and_redis": []}
    with (
        scratch_folder() as folder,
        RedisServer(folder / "redis") as redis,
        PostgresServer(folder / "postgres", durable=True) as postgres,
        telephone() as (rung, url),
    ):
        ledger = Ledger(Settings(database_url=postgres.url))
        ledger.upgrade()
        env = {
            "STEADYBEAT_REDIS_URL": redis.url,
            "STEADYBEAT_DATABASE_URL": postgres.url,
            "STEADYBEAT_HEALTH_FOLDER": str(folder / "health"),
            "STEADYBEAT_ALERT_CHANNELS": json.dumps({"telephone": url}),
            "STEADYBEAT_ALERT_FLAP_SECONDS": "0",
        }
        facts = machine(redis.url, postgres.url)
        report.say("  ".join(f"{name} {value}" for name, value in facts.items()))
        applied = celery("bench.steady", _DEFINE, folder / "apply.log", env)
        wait_until(lambda: not applied.alive, "the schedules")
        dog = celery("bench.steady", ["watchdog", "-l", "INFO"], folder / "watchdog.log", env)
        beats: list[Child] = []
        try:
            for number in range(2 * rounds):
                kind = "beats_and_redis" if number % 2 else "beats"
                began = time.monotonic()
                beats = [
                    celery("bench.steady", ["beat", "-l", "INFO"], folder / f"beat-{number}-{place}.log", env)
                    for place in range(2)
                ]
                wait_until(lambda: _leads(ledger), "a Beat that leads", *beats, dog)
                if number:
                    wait_until(lambda: rung.rang("no leader", began), "its recovery", dog, timeout_seconds=60)  # noqa: B023
                threading.Event().wait(random.uniform(2.0, 5.0))
                killed_at = time.monotonic()
                for beat in beats:
                    beat.send(signal.SIGKILL)
                if kind == "beats_and_redis":
                    redis.stop()
                wait_until(
                    lambda: rung.rang("no leader", killed_at),  # noqa: B023
                    "the message",
                    dog,
                    timeout_seconds=LONGEST_SECONDS,
                )
                at = rung.rang("no leader", killed_at)
                assert at is not None
                seconds[kind].append(at - killed_at)
                report.say(f"round {number + 1}, {kind.replace('_', ' ')} killed: told after {at - killed_at:.1f} s")
                for beat in beats:
                    beat.end(())
                if kind == "beats_and_redis":
                    redis.start()
        finally:
            for child in (*beats, dog):
                child.end(STOP)
            ledger.database.close()
    return {"seconds": {kind: spread(each) for kind, each in seconds.items()}, "machine": facts}


def _leads(ledger: Ledger) -> bool:
    latest = ledger.leaderships.latest()
    live = {each.id for each in ledger.live_instances()}
    return bool(latest) and latest[0].ended_at is None and latest[0].instance in live


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (5)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    given = parser.parse_args()
    report = Report(json_at_end=given.json)
    figures = measure(given.rounds, report)
    for kind, each in figures["seconds"].items():
        report.say(
            f"{kind.replace('_', ' ')} killed: told after {each['median']:.1f} s at the median"
            f" (from {each['min']:.1f} to {each['max']:.1f})"
        )
    report.end(figures)


if __name__ == "__main__":
    main()
