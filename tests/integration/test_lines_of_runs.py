"""What a run has logged stands beside it in the ledger, and what a line says of a run comes from there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from steadybeat.ledger import Ledger
from steadybeat.settings import Settings
from steadybeat.telemetry.lines import Line
from tests.integration.records import alive, new_run

AT = datetime(2026, 7, 1, 6, tzinfo=UTC)


@pytest.fixture
def book(ledger_url: str) -> Any:
    book = Ledger(Settings(database_url=ledger_url, log_lines_count=3))
    yield book
    book.database.close()


def line(run: str, number: int, **fields: Any) -> Line:
    return Line(run, AT + timedelta(seconds=number), "info", f"number {number}", fields)


def test_lines_come_back_in_the_order_in_which_they_were_written(book: Ledger) -> None:
    run, other = str(uuid4()), str(uuid4())
    book.lines.keep([line(run, 2, count=7), line(other, 5)])
    book.lines.keep([line(run, 1, said="Köln\0 \\u0000 \ud800")])
    assert [(each["event"], each["at"]) for each in book.lines.of(run, 10)] == [
        ("number 1", AT + timedelta(seconds=1)),
        ("number 2", AT + timedelta(seconds=2)),
    ]
    assert [each["fields"] for each in book.lines.of(run, 10)] == [{"said": "Köln\ufffd \\u0000 ?"}, {"count": 7}]
    assert [each["event"] for each in book.lines.of(run, 1)] == ["number 2"]


def test_no_more_lines_of_a_run_stay_than_the_setting_says(book: Ledger) -> None:
    run, other = str(uuid4()), str(uuid4())
    book.lines.keep([line(run, number) for number in range(10)] + [line(other, 1)])
    assert [each["event"] for each in book.lines.of(run, 10)] == ["number 7", "number 8", "number 9"]
    assert len(book.lines.of(other, 10)) == 1


def test_lines_are_forgotten_after_the_retention(book: Ledger) -> None:
    old, young = str(uuid4()), str(uuid4())
    book.lines.keep([line(old, 1)])
    book.lines.keep([Line(young, datetime.now(UTC), "info", "now", {})])
    now = {"now": datetime.now(UTC) - timedelta(seconds=book.settings.retention_seconds + 60)}
    book.database.execute(sa.text("UPDATE steadybeat.run_lines SET at = :now WHERE event = 'number 1'"), now)
    assert book.prune()["run_lines"] == 1
    assert book.lines.of(old, 10) == []
    assert len(book.lines.of(young, 10)) == 1


def test_a_process_that_does_not_work_on_a_run_can_say_whose_it_is(book: Ledger) -> None:
    run = new_run(schedule="s", scheduled_for=AT, correlation_id="c", tenant="acme")
    book.runs.record(run)
    assert "attempt" not in book.lines.facts_of([run.id])[run.id]
    book.runs.claim(run.id, delivery_no=1, instance=alive(book), time_limit_seconds=60, crash_limit=3)
    facts = book.lines.facts_of([run.id, str(uuid4())])[run.id]
    wanted = {"run_id": run.id, "task": run.task, "schedule": "s", "scheduled_for": AT, "attempt": 1, "tenant": "acme"}
    assert wanted.items() <= facts.items()
    assert facts["correlation_id"] == "c"
    assert facts["started_at"].tzinfo is not None
    assert facts["duration_seconds"] >= 0
