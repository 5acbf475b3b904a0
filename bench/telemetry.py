"""What telemetry costs: steadybeat with it switched on beside the same with all of it off: `overhead --telemetry`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench.overhead import ASKED, Side, check, compare
from bench.report import Report, machine, spread
from steadybeat.dev.servers import PostgresServer, RedisServer, free_port, scratch_folder
from steadybeat.ledger import Ledger
from steadybeat.settings import Settings

SINK = f"127.0.0.1:{free_port()}"
"""Where traces, crash reports and heartbeats go: to a server in this process that takes everything."""

TELEMETRY: dict[str, dict[str, str]] = {
    "metrics": {"STEADYBEAT_METRICS_ADDRESS": f"127.0.0.1:{free_port()}"},
    "lines": {"STEADYBEAT_LOG_LINES_COUNT": "200"},
    "crashes": {"STEADYBEAT_SENTRY_DSN": f"http://key@{SINK}/1"},
    "heartbeats": {"STEADYBEAT_HEARTBEAT_URL": f"http://{SINK}/{{schedule}}/{{event}}"},
    "traces": {"STEADYBEAT_OTLP_URL": f"http://{SINK}"},
}
"""What can be switched on, by its name, and the variables that do so."""


def measure_telemetry(names: list[str], rounds: int, runs: int, options: list[str], report: Report) -> dict[str, Any]:
    """Return the figures of all rounds: steadybeat with telemetry switched on beside the same with all of it off.

    Args:
        names: What is switched on, of `TELEMETRY`.
        rounds: How many.
        runs: Tasks of each side in each round.
        options: Of both workers.
        report: Where each round is told.
    """
    with (
        scratch_folder() as folder,
        RedisServer(folder / "redis") as server,
        PostgresServer(folder / "postgres", durable=True) as postgres,
        sink(),
    ):
        sides, urls = [], []
        for number, name in enumerate(("off", "on")):
            urls.append(postgres.create_database(name))
            ledger = Ledger(Settings(database_url=urls[-1]))
            ledger.upgrade()
            ledger.database.close()
            redis_url = f"{server.url.removesuffix('0')}{number}"
            env = {"STEADYBEAT_REDIS_URL": redis_url, "STEADYBEAT_DATABASE_URL": urls[-1]}
            switched = {key: value for each in names for key, value in TELEMETRY[each].items()} if name == "on" else {}
            sides.append(Side(name, redis_url, env | switched, app="steady"))
        off, on = sides
        facts = machine(server.url, postgres.url)
        report.say("  ".join(f"{name} {value}" for name, value in facts.items()))
        compare(off, on, rounds, runs, options, folder, report)
        for url in urls:
            check(url, rounds * (runs + ASKED + 10))
    ratios = spread([ours / theirs for ours, theirs in zip(on.rates, off.rates, strict=True)])
    return {
        "telemetry": names,
        "ratio": ratios["median"],
        "ratio_per_round": ratios,
        "cpu_ratio_per_round": spread([a / b for a, b in zip(on.cpu_seconds, off.cpu_seconds, strict=True)]),
        "on_cpu_microseconds_per_run": spread([1e6 * each for each in on.cpu_seconds]),
        "off_cpu_microseconds_per_run": spread([1e6 * each for each in off.cpu_seconds]),
        "on_tasks_per_second": spread(on.rates),
        "off_tasks_per_second": spread(off.rates),
        "on_sent_per_second": spread(on.sending_rates),
        "off_sent_per_second": spread(off.sending_rates),
        "on_answer_seconds": spread(on.answer_seconds),
        "off_answer_seconds": spread(off.answer_seconds),
        "scrapes": on.scrapes,
        "rounds": rounds,
        "runs_per_round": runs,
        "worker_options": options,
        "machine": facts,
    }


@contextmanager
def sink() -> Iterator[None]:
    """Run the server at `SINK`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    host, _, port = SINK.partition(":")
    server = ThreadingHTTPServer((host, int(port)), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def tell_telemetry(figures: dict[str, Any], report: Report) -> None:
    """End the report of a comparison of telemetry on and off.

    Args:
        figures: As `measure_telemetry` returns them.
        report: Where it is told.
    """
    ratio, cpu = figures["ratio_per_round"], figures["cpu_ratio_per_round"]
    answers = [1000 * figures[f"{name}_answer_seconds"]["median"] for name in ("off", "on")]
    report.say(
        f"{', '.join(figures['telemetry'])} on, over off: tasks per second {ratio['median']:.3f}"
        f" (from {ratio['min']:.3f} to {ratio['max']:.3f}), processor time of a run {cpu['median']:.3f}"
        f" (from {cpu['min']:.3f} to {cpu['max']:.3f})"
    )
    report.say(f"from delay() to the code of an idle worker: {answers[0]:.1f} ms off, {answers[1]:.1f} ms on")
    report.end(figures)
