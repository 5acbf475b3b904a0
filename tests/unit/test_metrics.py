from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery import signals
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from steadybeat.address import listening
from steadybeat.errors import ConfigurationError
from steadybeat.ledger.rows import Claim
from steadybeat.settings import Settings
from steadybeat.task import measuring
from steadybeat.task.verdicts import ending
from steadybeat.telemetry import metrics
from steadybeat.telemetry.metrics import OTHERS, Facts, Sample, table
from steadybeat.telemetry.metrics.serving import Endpoint
from steadybeat.telemetry.metrics.table import METRICS, Metric
from tests.scraping import scraped

EVERY = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Callable[..., Endpoint]]:
    """Begins to serve metrics, as a process of a role, and ends that after the test."""

    def begin(role: str = "worker", *, pooled: bool = False, **settings: int) -> Endpoint:
        given = Settings(metrics_address="127.0.0.1:0", health_folder=str(tmp_path), **settings)
        endpoint = metrics.begin(given, role, pooled=pooled)
        assert endpoint is not None
        return endpoint

    yield begin
    metrics.end()


@pytest.fixture
def forked() -> Iterator[Callable[[str, Callable[[], None]], int]]:
    """Does something in a process that is forked as one of a pool; returns its exit code, or less than 0 if killed."""

    def fork(slot: str, act: Callable[[], None], endpoint: Endpoint) -> int:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                endpoint.join(slot)
                act()
                code = 0
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    yield fork


@EVERY
def test_a_name_follows_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"steadybeat_[a-z][a-z0-9_]*[a-z]", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not re.search("milli|micro|minutes|hours|_ms|_mb|_kb|_count|_sum|_bucket|_created", metric.name)
    if metric.kind == "histogram":
        assert metric.name.endswith("_seconds") and list(metric.buckets) == sorted(metric.buckets) != []


@EVERY
def test_what_is_said_in_seconds_or_bytes_is_called_so(metric: Metric) -> None:
    if re.search("how (long|far|old)", metric.says.lower()):
        assert re.search("_seconds(_total)?$", metric.name)
    if "memory that" in metric.says:
        assert metric.name.endswith("_bytes")


@EVERY
def test_no_label_names_what_there_is_no_end_of(metric: Metric) -> None:
    bounded = {"task", "service", "queue", "schedule", "role", "release", "outcome", "verdict", "cause", "kind"}
    bounded |= {"failure", "state", "reason", "fact", "rule", "severity"}
    assert set(metric.labels) <= bounded
    assert len(set(metric.labels)) == len(metric.labels) <= 3


@EVERY
def test_it_says_what_it_is_in_one_sentence(metric: Metric) -> None:
    assert metric.says.endswith(".") and "\n" not in metric.says and "  " not in metric.says
    assert {*metric.said_by.split(", ")} <= {"worker", "beat", "watchdog"}


def test_nothing_is_counted_and_nothing_imported_while_metrics_are_off() -> None:
    script = (
        "import sys; from steadybeat.settings import Settings; from steadybeat.telemetry import metrics\n"
        "assert metrics.begin(Settings(), 'worker') is None and not metrics.is_on()\n"
        "metrics.count(metrics.table.ATTEMPTS, 'a', 'b', 'c')\n"
        "metrics.observe(metrics.table.TICK_SECONDS, value=1)\n"
        "assert not [each for each in sys.modules if each.startswith('prometheus_client')]"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_what_is_counted_is_served(begun: Callable[..., Endpoint]) -> None:
    endpoint = begun("beat")
    metrics.count(table.FIRES, "settle", "dispatched", "")
    metrics.count(table.FIRES, "settle", "dispatched", "", by=2)
    metrics.observe(table.TICK_SECONDS, value=0.004)
    metrics.show(table.LEADS, value=1)
    metrics.raise_to(table.PEAK_MEMORY, "pay", value=7)
    metrics.raise_to(table.PEAK_MEMORY, "pay", value=5)
    found = scraped(endpoint.address)
    assert found.of("steadybeat_fires_total", schedule="settle", state="dispatched", cause="") == 3
    assert found.of("steadybeat_beat_tick_seconds_bucket", le="0.005") == 1
    assert found.of("steadybeat_beat_tick_seconds_bucket", le="0.0025") == 0
    assert found.of("steadybeat_beat_leads") == 1
    assert found.of("steadybeat_attempt_peak_memory_bytes", task="pay") == 7
    assert found.of("steadybeat_build_info", role="beat") == 1


def test_only_what_a_process_does_is_there_from_the_start(begun: Callable[..., Endpoint]) -> None:
    names = {name for name, _, _ in scraped(begun("watchdog").address).samples}
    assert names == {"steadybeat_build_info", "steadybeat_ledger_away"}


def test_schedules_beyond_the_number_are_counted_together(begun: Callable[..., Endpoint]) -> None:
    endpoint = begun("beat", metrics_schedules_count=2)
    for name in ("a", "b", "c", "d", "a", "c"):
        metrics.count(table.FIRES, name, "dispatched", "")
    found = scraped(endpoint.address)
    shown = {labels["schedule"]: value for name, labels, value in found.samples if name == "steadybeat_fires_total"}
    assert shown == {"a": 2, "b": 1, OTHERS: 3}


def test_a_signal_handler_that_counts_waits_for_nobody(begun: Callable[..., Endpoint]) -> None:
    endpoint = begun()
    former = signal.signal(signal.SIGALRM, lambda *_: metrics.count(table.FOREIGN))
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        for _ in range(20_000):
            metrics.count(table.LOCK_WAITS, "pay")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    found = scraped(endpoint.address)
    assert found.of("steadybeat_lock_waits_total", task="pay") == 20_000
    assert found.of("steadybeat_foreign_messages_total") > 0


def test_threads_that_count_at_once_lose_nothing(begun: Callable[..., Endpoint]) -> None:
    endpoint = begun()

    def work() -> None:
        for _ in range(2_000):
            metrics.count(table.LOCK_WAITS, "pay")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert scraped(endpoint.address).of("steadybeat_lock_waits_total", task="pay") == 8_000


def test_a_queue_that_only_a_message_knows_has_no_series(begun: Callable[..., Endpoint]) -> None:
    endpoint, app = begun(), SimpleNamespace(amqp=SimpleNamespace(queues={"orders": None}))
    for queue in ("orders", "forged-1", "forged-2", None):
        measuring.begun(app, SimpleNamespace(delivery_info={"routing_key": queue}), -0.5)
    found = scraped(endpoint.address)
    assert found.of("steadybeat_queue_wait_seconds_count", queue="orders") == 1
    assert found.of("steadybeat_queue_wait_seconds_count", queue=OTHERS) == 3
    assert found.of("steadybeat_queue_wait_seconds_sum") == 0
    assert "forged" not in found.text


def test_what_was_no_attempt_is_counted_as_none(begun: Callable[..., Endpoint]) -> None:
    endpoint, app = begun(), SimpleNamespace(steadybeat=SimpleNamespace(service=lambda task: "royalties"))
    for status in ("succeeded", "fanned out", "waiting", "skipped", "duplicate"):
        measuring.ended(app, "pay", status, 0.1)
    measuring.ended(app, "pay", "lost", None)
    found = scraped(endpoint.address)
    outcomes = {labels["outcome"] for name, labels, _ in found.samples if name == "steadybeat_attempts_total"}
    assert outcomes == {"succeeded", "fanned_out", "lost"}
    assert found.of("steadybeat_attempt_seconds_count", task="pay") == 2


def test_a_fire_whose_run_may_not_start_any_more_is_told_by_the_worker(begun: Callable[..., Endpoint]) -> None:
    endpoint = begun()
    claim = Claim(verdict="paused", schedule="settle")
    measuring.turned_away("pay", claim, ending(claim))
    measuring.turned_away("pay", Claim(verdict="running"), None)
    found = scraped(endpoint.address)
    assert found.of("steadybeat_fires_total", schedule="settle", state="skipped", cause="paused") == 1
    assert found.of("steadybeat_deliveries_turned_away_total", task="pay", verdict="running") == 1


# Processes of a pool


def test_processes_of_a_pool_count_into_one_endpoint_and_go_on_where_the_former_was(
    begun: Callable[..., Endpoint], forked: Callable[..., int], tmp_path: Path
) -> None:
    endpoint = begun(pooled=True)
    metrics.count(table.ATTEMPTS, "pay", "royalties", "lost")

    def work() -> None:
        metrics.count(table.ATTEMPTS, "pay", "royalties", "succeeded")
        metrics.observe(table.ATTEMPT_SECONDS, "pay", value=0.2)
        metrics.raise_to(table.PEAK_MEMORY, "pay", value=os.getpid())
        os.kill(os.getpid(), signal.SIGKILL)

    files, totals = [], []
    for _ in range(3):
        for slot in ("0", "1"):
            assert forked(slot, work, endpoint) == -signal.SIGKILL
        found = scraped(endpoint.address)
        totals.append(found.of("steadybeat_attempts_total", task="pay", service="royalties", outcome="succeeded"))
        files.append(sorted(each.name for each in tmp_path.glob("metrics-*/*")))
    assert totals == [2, 4, 6]
    assert files[0] == files[2] and len(files[0]) == 8
    assert found.of("steadybeat_attempts_total", task="pay", service="royalties", outcome="lost") == 1
    assert found.of("steadybeat_attempt_seconds_count", task="pay") == 6
    assert found.of("steadybeat_attempt_seconds_bucket", task="pay", le="0.5") == 6
    assert not {label for _, labels, _ in found.samples for label in labels} & {"pid", "host", "instance"}
    assert len({(name, *sorted(labels.items())) for name, labels, _ in found.samples}) == len(found.samples)


def test_a_process_that_is_forked_and_of_no_pool_counts_nothing(begun: Callable[..., Endpoint], tmp_path: Path) -> None:
    endpoint = begun(pooled=True)
    metrics.count(table.FOREIGN)
    pid = os.fork()
    if pid == 0:
        metrics.count(table.FOREIGN)
        os._exit(metrics.is_on())
    assert os.waitpid(pid, 0)[1] == 0
    assert scraped(endpoint.address).of("steadybeat_foreign_messages_total") == 1


def test_the_beat_within_a_worker_counts_into_the_endpoint_of_that(begun: Callable[..., Endpoint]) -> None:
    endpoint = begun(pooled=True)
    pid = os.fork()
    if pid == 0:
        begun("beat")
        metrics.count(table.TERMS)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert scraped(endpoint.address).of("steadybeat_beat_terms_total") == 1


def test_metrics_of_the_application_stay_its_own(begun: Callable[..., Endpoint]) -> None:
    endpoint = begun(pooled=True)
    own = CollectorRegistry()
    Counter("sales_total", "Sales.", registry=own).inc()
    assert own.get_sample_value("sales_total") == 1
    assert "sales" not in scraped(endpoint.address).text


def test_files_go_with_their_worker_and_those_of_a_killed_one_with_the_next(
    begun: Callable[..., Endpoint], tmp_path: Path
) -> None:
    left = tmp_path / "metrics-999999-12"
    left.mkdir()
    (left / "counter_0.db").touch()
    begun(pooled=True)
    assert [each.name for each in tmp_path.iterdir()] != [left.name]
    assert not left.exists()
    metrics.end()
    assert [*tmp_path.iterdir()] == []


def test_handlers_of_celery_are_left_as_they_were(begun: Callable[..., Endpoint]) -> None:
    before = len(signals.worker_process_init.receivers or ())
    begun(pooled=True)
    metrics.end()
    assert len(signals.worker_process_init.receivers or ()) == before


# Facts


def test_facts_are_served_as_they_were_read_last_and_say_how_old_they_are(begun: Callable[..., Endpoint]) -> None:
    now = [100.0]
    facts = Facts(table.FACTS_AGE, 1, clock=lambda: now[0])
    endpoint = begun("watchdog")
    endpoint.add(facts)
    facts.put(
        {
            "dead": [Sample(table.DEAD_LETTERS, ("pay",), 2.0)],
            "missed": [Sample(table.FIRES_MISSED, (name,), 1.0) for name in ("a", "b", "c")],
            "leading": [Sample(table.LEADER_CHANGES, (), 3.0)],
        },
        complete=True,
    )
    now[0] += 5
    found = scraped(endpoint.address)
    assert found.of("steadybeat_dead_letters", task="pay") == 2
    assert found.of("steadybeat_fires_missed_last_day", schedule=OTHERS) == 2
    assert found.of("steadybeat_leader_changes_total") == 3
    assert found.of("steadybeat_ledger_facts_age_seconds") == 5
    facts.put({}, complete=False)
    assert "steadybeat_dead_letters{" not in scraped(endpoint.address).text
    assert scraped(endpoint.address).of("steadybeat_ledger_facts_age_seconds") == 5


# Serving


def test_a_port_that_is_taken_is_said_in_one_line_with_the_way_out(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        settings = Settings(metrics_address=address, health_folder=str(tmp_path))
        with pytest.raises(ConfigurationError) as raised:
            metrics.begin(settings, "beat")
    assert str(raised.value).startswith(f"steadybeat_metrics_address='{address}': cannot be listened on: Address")
    assert "port 0" in str(raised.value) and "\n" not in str(raised.value)
    assert not metrics.is_on()


def test_a_client_that_says_nothing_keeps_nobody_else_waiting(begun: Callable[..., Endpoint]) -> None:
    endpoint = begun()
    host, _, port = endpoint.address.rpartition(":")
    with socket.create_connection((host, int(port))):
        assert scraped(endpoint.address).of("steadybeat_ledger_away") == 0


def test_what_goes_wrong_in_an_answer_is_a_line_of_the_log(
    begun: Callable[..., Endpoint], caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = begun("watchdog")

    class Broken(Facts):
        def samples(self) -> list[Sample]:
            raise ValueError("broken")

    endpoint.add(Broken(table.FACTS_AGE, 1))
    with pytest.raises(urllib.error.HTTPError, match="500"):
        scraped(endpoint.address)
    assert "metrics not served" in caplog.text


@pytest.mark.parametrize("address", ["9464", "localhost:9464", ":9464", "0.0.0.0:http", "0.0.0.0:65536", "::1:9464"])
def test_an_address_that_is_none_is_refused_by_its_name(address: str) -> None:
    with pytest.raises(ConfigurationError, match="steadybeat_metrics_address"):
        Settings(metrics_address=address)


def test_an_address_may_be_of_either_protocol() -> None:
    assert listening("0.0.0.0:9464", "x") == ("0.0.0.0", 9464)
    assert listening("[::]:0", "x") == ("::", 0)


def test_what_is_served_is_what_prometheus_reads(begun: Callable[..., Endpoint]) -> None:
    endpoint = begun("beat")
    metrics.count(table.FIRES, 'odd "name"\\\n', "dispatched", "")
    families = list(text_string_to_metric_families(scraped(endpoint.address).text))
    assert {family.name for family in families} >= {"steadybeat_fires", "steadybeat_beat_tick_seconds"}
    assert all(family.documentation and family.type != "unknown" for family in families)
    assert not [family.name for family in families if family.name.endswith("_created")]
