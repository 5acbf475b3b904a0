"""Promise: monitors hear of runs in order and in time, and whatever they do, no run has to wait or to fail for it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import socket
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pytest
import sentry_sdk

from steadybeat import telemetry
from steadybeat.monitor import Monitor
from steadybeat.telemetry import heartbeats
from steadybeat.telemetry.heartbeats import Heartbeat, Note, Sender, Setup, Watched, lanes, standing
from steadybeat.telemetry.heartbeats.sending import LIMIT_COUNT
from tests.eventually import eventually
from tests.receivers.cronitor import Cronitor
from tests.receivers.healthchecks import API_KEY, Healthchecks
from tests.receivers.plain import Plain
from tests.receivers.sentry import Sentry
from tests.receivers.server import Said

RUN = "019a1b7e-6c00-8d2f-9a3b-0c1d2e3f4a5b"
OTHER = "019a1b7e-6c00-8d2f-9a3b-0c1d2e3f4a5c"
DAILY = {"type": "cron", "expression": "0 6 * * *", "tz": "Europe/Riga"}


class Book:
    """What a ledger would say of schedules, and what it is told of monitors."""

    def __init__(self) -> None:
        self.own: dict[str, str] = {}
        self.gone: set[str] = set()
        self.asked: list[set[str]] = []
        self.notes: list[Note] = []
        self.is_away = False

    def schedules(self, names: Collection[str]) -> Mapping[str, Watched]:
        if self.is_away:
            raise ConnectionError("the ledger is away")
        self.asked.append({*names})
        return {name: Watched(schedule=name, heartbeat=self.own.get(name), spec=DAILY) for name in {*names} - self.gone}

    def note(self, notes: Sequence[Note]) -> None:
        if self.is_away:
            raise ConnectionError("the ledger is away")
        self.notes += notes


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(standing, "WRITTEN_SECONDS", 0.02)


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def hc() -> Iterator[Healthchecks]:
    with Healthchecks() as server:
        yield server


def sending(book: Book, url: str = "", **facts: Any) -> Sender:
    default = Monitor.read(url) if url else None
    return Sender(Setup(default=default, schedules=book.schedules, note=book.note, **facts))


def beat(event: str, run: str | None = RUN, schedule: str = "settle", **facts: Any) -> Heartbeat:
    return Heartbeat(event=event, schedule=schedule, run=run, **facts)


def test_a_check_hears_of_a_run_in_order_and_knows_how_long_it_took(book: Book, hc: Healthchecks) -> None:
    sender, check = sending(book, hc.of_all), hc.check("settle")
    for told in (beat("start"), beat("log", text="retry in 1 s"), beat("start"), beat("success", text="7 items")):
        sender.tell(told)
    assert sender.flush()
    assert check.actions == ["start", "log", "start", "success"]
    assert {ping.rid for ping in check.pings} == {RUN}
    assert check.pings[-1].body == "7 items"
    assert (check.status, check.last_duration is not None) == ("up", True)


def test_a_failure_takes_its_status_and_its_text_along(book: Book, hc: Healthchecks) -> None:
    hc.body_limit = 20
    sender, check = sending(book, hc.of_all), hc.check("settle")
    sender.tell(beat("start"))
    assert sender.flush()
    sender.tell(beat("fail", status=124, text="time limit exceeded " * 100))
    assert sender.flush()
    assert (check.status, check.pings[-1].exit_status) == ("down", 124)
    assert len(hc.asked[-1].body) == 20  # as the answer before has said


def test_a_schedules_own_monitor_wins_and_off_is_none(book: Book, hc: Healthchecks) -> None:
    own = hc.check("by-its-uuid")
    book.own = {"settle": f"healthchecks+{hc.url}/{own.code}", "quiet": "off", "broken": "pagerduty+https://x/y"}
    book.gone = {"retired"}
    sender, other = sending(book, hc.of_all), hc.check("other")
    for name in ("settle", "quiet", "broken", "retired", "other"):
        sender.tell(beat("success", schedule=name))
    assert sender.flush()
    assert (own.actions, other.actions) == (["success"], ["success"])
    assert len(hc.asked) == 2
    nobody = sending(book)
    nobody.tell(beat("success", schedule="other"))
    assert nobody.flush()
    assert len(hc.asked) == 2


def test_the_ledger_is_asked_once_a_minute_for_each_schedule(book: Book, hc: Healthchecks) -> None:
    hc.check("settle")
    now = [0.0]
    sender = Sender(Setup(default=Monitor.read(hc.of_all), schedules=book.schedules), clock=lambda: now[0])
    for now[0] in (0.0, 30.0, 59.0, 61.0):
        sender.tell(beat("success"))
        assert sender.flush()
    assert book.asked == [{"settle"}, {"settle"}]


def test_a_missing_check_is_made_with_its_schedule_zone_and_grace(book: Book, hc: Healthchecks) -> None:
    sender = sending(book, hc.of_all, api_key=API_KEY, grace_seconds=60)
    sender.tell(beat("start"))
    sender.tell(beat("success"))
    assert sender.flush()
    check = hc.checks["settle"]
    assert check.actions == ["start", "success"]
    made = {"schedule": "0 6 * * *", "tz": "Europe/Riga", "grace": 660, "channels": "*"}
    assert made.items() <= check.settings.items()


@pytest.mark.parametrize("worse", [Said(500), Said(503), Said(429, headers={"Retry-After": "0"})])
def test_what_is_not_taken_for_now_is_told_again_in_order(book: Book, hc: Healthchecks, worse: Said) -> None:
    sender, check = sending(book, hc.of_all), hc.check("settle")
    hc.worse = [worse]
    sender.tell(beat("start"))
    sender.tell(beat("success"))
    eventually(lambda: hc.asked)
    hc.worse = []
    eventually(lambda: check.actions == ["start", "success"])


def test_what_is_refused_is_not_told_again_and_noted(book: Book, hc: Healthchecks) -> None:
    sender = sending(book, hc.of_all)
    sender.tell(beat("start"))
    sender.tell(beat("success"))
    assert sender.flush()
    assert len(hc.asked) == 2
    assert [(note.name, note.kind, note.error) for note in book.notes] == [
        ("settle", "healthchecks", "answered 404: no such check")
    ]


@pytest.mark.parametrize("how", ["hangs", "refuses"])
def test_a_monitor_that_is_down_is_noted_once_and_once_more_when_it_is_there_again(
    book: Book, hc: Healthchecks, how: str
) -> None:
    port, check = socket.socket(), hc.check("settle")
    port.bind(("127.0.0.1", 0))  # nobody listens
    hc.hang()
    down = hc.of_all if how == "hangs" else hc.of_all.replace(hc.url, f"http://127.0.0.1:{port.getsockname()[1]}")
    sender = sending(book, down, timeout_seconds=0.2)
    for number in range(5):
        sender.tell(beat("start", run=f"{RUN[:-1]}{number}"))
        sender.tell(beat("success", run=f"{RUN[:-1]}{number}"))
    eventually(lambda: book.notes)
    assert len(book.notes) == 1
    assert book.notes[0].error in ("gave no answer within 0.2 s", "refuses connections")
    if how == "hangs":
        hc.go_on()
        eventually(lambda: len(book.notes) == 2)
        assert (book.notes[1].error, check.status) == ("", "up")
    port.close()


def test_a_monitor_that_hangs_holds_up_no_other(book: Book, hc: Healthchecks) -> None:
    with Cronitor() as cronitor:
        book.own["stuck"] = f"healthchecks+{hc.url}/{hc.check('stuck').code}"
        hc.hang()
        sender = sending(book, cronitor.of_all, timeout_seconds=0.2)
        sender.tell(beat("success", schedule="stuck"))
        sender.tell(beat("start"))
        sender.tell(beat("success", duration_seconds=0.5))
        told = eventually(lambda: len(cronitor.events.get("settle", [])) == 2 and cronitor.events["settle"])
        assert [each["state"] for each in told] == [["run"], ["complete"]]


def test_telling_returns_at_once_and_the_oldest_is_left_out_when_too_much_waits(
    book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    book.is_away = True
    sender = sending(book, "https://example.invalid/{schedule}")
    sender._start = lambda: None  # type: ignore[method-assign]  # nothing is taken out
    for number in range(LIMIT_COUNT + 10):
        sender.tell(beat("success", schedule=str(number)))
    assert sender.dropped_count == 10
    sender._take(0.0)
    assert (sender._unrouted[0].schedule, len(sender._unrouted)) == ("10", LIMIT_COUNT)
    with caplog.at_level(logging.WARNING):
        sender.work()
    assert [record.message for record in caplog.records] == ["heartbeats left out"]


def test_what_is_told_while_the_ledger_is_away_is_sent_when_it_is_there_again(book: Book, hc: Healthchecks) -> None:
    check, now = hc.check("settle"), [0.0]
    setup = Setup(default=Monitor.read(hc.of_all), schedules=book.schedules, note=book.note)
    sender = Sender(setup, clock=lambda: now[0])
    sender._start = lambda: None  # type: ignore[method-assign]
    book.is_away = True
    sender.tell(beat("success"))
    sender._take(0.0)
    sender.work()
    assert not check.pings
    book.is_away, now[0] = False, 3.0
    sender.work()
    assert check.actions == ["success"]
    assert [note.error for note in book.notes] == [""]


def test_what_is_told_in_a_forked_process_is_sent_by_its_parent(book: Book, hc: Healthchecks) -> None:
    sender, check = sending(book, hc.of_all), hc.check("settle")
    sender.share()
    sender.listen()
    sender.tell(beat("start"))
    assert sender.flush()
    child = multiprocessing.get_context("fork").Process(target=_tell_and_leave, args=(sender,))
    child.start()
    child.join()
    assert sender.flush()
    assert check.actions == ["start", "log", "success"]
    assert child.exitcode == 0


def _tell_and_leave(sender: Sender) -> None:
    before = threading.active_count()
    sender.tell(beat("log", text="x" * 100_000))
    sender.tell(beat("success"))
    os._exit(threading.active_count() - before)  # no thread began, and no exit handler runs


def test_a_forked_process_without_such_a_parent_sends_by_itself(book: Book, hc: Healthchecks) -> None:
    sender, check = sending(book, hc.of_all), hc.check("settle")
    sender.tell(beat("start"))
    assert sender.flush()
    child = multiprocessing.get_context("fork").Process(target=_tell_and_flush, args=(sender,))
    child.start()
    child.join()
    assert check.actions == ["start", "success"]


def _tell_and_flush(sender: Sender) -> None:
    sender.tell(beat("success"))
    sender.flush()
    os._exit(0)


def test_addresses_are_in_no_line_whatever_goes_wrong(
    book: Book, hc: Healthchecks, caplog: pytest.LogCaptureFixture
) -> None:
    secret = hc.check("settle").code
    book.own["settle"] = f"healthchecks+{hc.url}/{secret}"
    sender = sending(book, timeout_seconds=0.2)
    with caplog.at_level(logging.DEBUG):
        hc.worse = [Said(302, headers={"Location": f"{hc.url}/{secret}"}), Said(500), Said(200)]
        for event in ("start", "fail", "success"):
            sender.tell(beat(event, status=1))
        eventually(lambda: len(hc.asked) >= 3)
        hc.hang()
        sender.tell(beat("start"))
        eventually(lambda: any(note.error for note in book.notes))
    assert secret not in caplog.text
    assert not any(secret in note.error for note in book.notes)


def test_a_plain_address_and_sentry_are_told_too(book: Book) -> None:
    with Plain() as plain, Sentry() as sentry:
        book.own = {"settle": f"{plain.url}/{{schedule}}/{{event}}", "mint": "sentry:"}
        sender = sending(book)
        with sentry_sdk.new_scope() as scope:
            client = sentry_sdk.Client(dsn=sentry.dsn, default_integrations=False, auto_enabling_integrations=False)
            before = sentry_sdk.get_global_scope().client
            sentry_sdk.get_global_scope().set_client(client)
            scope.set_client(client)
            for event in ("start", "log", "success"):
                sender.tell(beat(event))
                sender.tell(beat(event, run=OTHER, schedule="mint"))
            assert sender.flush()
            client.flush(2)
            sentry_sdk.get_global_scope().set_client(before)
        assert [each.path for each in plain.asked] == ["/settle/start", "/settle/log", "/settle/success"]
        told = eventually(lambda: len(sentry.check_ins) == 2 and sentry.check_ins)
        assert [each["status"] for each in told] == ["in_progress", "ok"]
        assert {each["check_in_id"] for each in told} == {OTHER.replace("-", "")}
        assert told[0]["monitor_config"]["schedule"] == {"type": "crontab", "value": "0 6 * * *"}


# What runs call


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Heartbeat]:
    found: list[Heartbeat] = []
    sender = sending(Book())
    monkeypatch.setattr(sender, "tell", found.append)
    monkeypatch.setattr(heartbeats._Process, "sender", sender)
    return found


def bind(**facts: Any) -> None:
    telemetry.bind_run(task="t", service="s", run_id=RUN, schedule="settle", **facts)


def test_an_attempts_end_is_told_with_its_last_lines(told: list[Heartbeat]) -> None:
    bind()
    heartbeats.follow(schedule="settle", run=RUN)
    heartbeats.begun(2)
    logging.getLogger("tasks.royalties").warning("bank said %s", "no; password=hunter2")
    try:
        raise ValueError("no account")
    except ValueError as error:
        telemetry.log_outcome("dead", 1.5, items=7, error=error, reason="no retry is left")
    telemetry.log_outcome("dead", 1.5, error="told before")
    start, fail = told
    assert (start.event, start.run) == ("start", RUN)
    assert (fail.event, fail.status, fail.duration_seconds, fail.items_count) == ("fail", 1, 1.5, 7)
    assert "no retry is left" in fail.text
    assert "ValueError: no account" in fail.text
    assert "warning bank said no; password=***" in fail.text


@pytest.mark.parametrize(
    ("status", "facts", "event"),
    [
        ("succeeded", {}, "success"),
        ("dead", {}, "fail"),
        ("retried", {}, "log"),
        ("interrupted", {}, "log"),
        ("cancelled", {}, "log"),
        ("timed_out", {"state": "dead"}, "fail"),
        ("timed_out", {"state": "waiting"}, "log"),
    ],
)
def test_only_the_end_of_a_run_changes_how_its_schedule_stands(
    told: list[Heartbeat], status: str, facts: dict[str, Any], event: str
) -> None:
    telemetry.log_outcome(status, schedule="settle", run_id=RUN, **facts)
    assert [each.event for each in told] == [event]


@pytest.mark.parametrize("status", ["duplicate", "stale", "waiting"])
def test_what_has_no_effect_is_not_told(told: list[Heartbeat], status: str) -> None:
    telemetry.log_outcome(status, schedule="settle", run_id=RUN)
    assert not told


def test_tenants_backfills_and_runs_of_no_schedule_are_not_told(told: list[Heartbeat]) -> None:
    heartbeats.follow(schedule=None, run=RUN)
    heartbeats.follow(schedule="settle", run=RUN, tenant="acme")
    heartbeats.follow(schedule="settle", run=RUN, asked="backfill")
    heartbeats.begun(1)
    bind(tenant="acme")
    telemetry.log_outcome("succeeded")
    bind()
    telemetry.log_outcome("succeeded")
    telemetry.log_outcome("dead", schedule="settle", run_id=RUN, tenant="acme")
    assert not told


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        ("timed_out", "TimeLimitExceeded(2,)", 124),
        ("lost", "Worker exited prematurely: signal 9 (SIGKILL) Job: 3.", 137),
        ("lost", "Worker exited prematurely: exitcode 7 Job: 3.", 7),
        ("lost", "nobody knows", 137),
        ("dead", "ValueError", 1),
    ],
)
def test_a_failure_has_the_status_that_a_program_would_have(
    told: list[Heartbeat], status: str, error: str, code: int
) -> None:
    telemetry.log_outcome(status, schedule="settle", run_id=RUN, error=error, state="dead")
    assert [each.status for each in told] == [code]
