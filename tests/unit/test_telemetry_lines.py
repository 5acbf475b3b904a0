"""The lines of runs are kept, by a thread that neither slows nor fails what they are about."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from uuid import uuid4

import pytest

from steadybeat import telemetry
from steadybeat.errors import LedgerUnavailable
from steadybeat.telemetry import lines
from steadybeat.telemetry.lines import CAPACITY, Line, LineKeeper
from tests.eventually import eventually

RUN = str(uuid4())


class Sink:
    """Takes lines, unless it is away."""

    def __init__(self) -> None:
        self.taken: list[Line] = []
        self.error: Exception | None = None
        self.entered = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def __call__(self, batch: Sequence[Line]) -> None:
        self.entered.set()
        self.open.wait(10)
        if self.error is not None:
            raise self.error
        self.taken += batch

    @property
    def events(self) -> list[str]:
        return [line.event for line in self.taken]


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    monkeypatch.setattr(lines, "_keepers", [])
    monkeypatch.setattr(lines, "PERIOD_SECONDS", 0.01)
    sink = Sink()
    lines.keep(sink, 100)
    telemetry.configure("INFO")
    telemetry.bind_run(task="tasks.mail.send", service="mail", run_id=RUN, attempt=2, correlation_id="c")
    yield sink
    sink.open.set()
    telemetry.clear_run()


def keeper() -> LineKeeper:
    found = lines.keeper()
    assert found is not None
    return found


def test_what_a_run_writes_is_kept_with_its_facts_and_no_secret(sink: Sink) -> None:
    logging.getLogger("mine").info("sent", extra={"count": 3, "password": "hunter2"})
    telemetry.clear_run()
    logging.getLogger("mine").warning("of no run")
    lines.flush()
    (line,) = sink.taken
    assert (line.run, line.level, line.event) == (RUN, "info", "sent")
    facts = {"task": "tasks.mail.send", "attempt": 2, "correlation_id": "c", "count": 3, "password": "***"}
    assert facts.items() <= line.fields.items()
    assert {"run_id", "timestamp", "level", "event"}.isdisjoint(line.fields)


def test_a_run_that_is_named_in_the_line_itself_is_as_good(sink: Sink) -> None:
    telemetry.clear_run()
    telemetry.log_outcome("lost", error="child 7 is gone", task="tasks.mail.send", run_id=RUN)
    telemetry.log_outcome("lost", error="child 7 is gone", task="tasks.mail.send", run_id="no id of a run")
    lines.flush()
    assert [(line.event, line.fields["error"]) for line in sink.taken] == [("run lost", "child 7 is gone")]


def test_the_end_of_an_attempt_hurries_without_waiting(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "PERIOD_SECONDS", 3600.0)
    logging.getLogger("mine").info("last words")
    lines.hurry()
    eventually(lambda: sink.events == ["last words"])


def test_a_sink_that_stands_still_holds_up_nobody_and_what_is_dropped_is_counted_and_said(
    sink: Sink, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "CAPACITY", 50)
    lines.keep(sink, 10_000)
    telemetry.configure("INFO")
    logging.getLogger().addHandler(caplog.handler)
    sink.open.clear()
    logging.getLogger("mine").info("first")
    assert sink.entered.wait(10)
    for number in range(60):
        logging.getLogger("mine").info("number %d", number)
    assert len(keeper()._waiting) == 50
    sink.open.set()
    eventually(lambda: len(sink.taken) == 51)
    eventually(
        lambda: (
            [record.__dict__["dropped_count"] for record in caplog.records if "dropped_count" in record.__dict__]
            == [10]
        )
    )


def test_while_the_ledger_is_away_lines_wait_and_come_in_their_order(sink: Sink) -> None:
    sink.error = LedgerUnavailable()
    logging.getLogger("mine").info("one")
    assert sink.entered.wait(10)
    logging.getLogger("mine").info("two")
    sink.error = None
    eventually(lambda: sink.events == ["one", "two"])


def test_a_batch_that_will_never_be_taken_is_dropped(sink: Sink) -> None:
    sink.error = ValueError("nobody can write this")
    logging.getLogger("mine").info("odd")
    lines.flush()
    sink.error = None
    logging.getLogger("mine").info("even")
    lines.flush()
    assert sink.events == ["even"]


def test_of_a_run_that_writes_too_much_the_latest_lines_are_kept(sink: Sink) -> None:
    sink.open.clear()
    logging.getLogger("mine").info("first")
    assert sink.entered.wait(10)
    for number in range(1000):
        logging.getLogger("mine").info("%d", number)
    assert len(keeper()._waiting) <= 200 < CAPACITY
    sink.open.set()
    lines.flush()
    assert sink.events[-1] == "999"
    assert len(sink.taken) >= 100


def test_a_fork_leaves_what_waits_to_the_parent(sink: Sink) -> None:
    sink.open.clear()
    logging.getLogger("mine").info("of the parent")
    keeper().forget_after_fork()
    assert keeper()._waiting == []
    sink.open.set()
    logging.getLogger("mine").info("of the child")
    lines.flush()
    assert "of the child" in sink.events


def test_no_lines_are_kept_by_default(sink: Sink) -> None:
    lines.keep(sink, 0)
    telemetry.configure("INFO")
    assert lines.keeper() is None
    assert not [each for each in logging.getLogger().handlers if isinstance(each, LineKeeper)]
