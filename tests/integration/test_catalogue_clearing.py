"""Clean-ups in batches: bounded, safe to run twice, and going on behind the checkpoint after a kill."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from celery import Celery

import steadybeat
from tasks import app as catalogue
from tasks import billing, books, clearing, maintenance
from tests.integration.attempting import Killed, attempt
from tests.integration.marketplace import NOW, add, add_account, marketplace
from tests.integration.records import new_run

catalogue.finalize()  # while the tasks of its modules are still on offer to every app

DAY = timedelta(days=1)
OLD = books.audit_log.c.happened_at < NOW - 180 * DAY


@pytest.fixture
def market_engine(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    """A marketplace beside a ledger, for the tasks too; two rows make a batch."""
    with marketplace(ledger_url) as engine:
        for module in (billing, maintenance):
            monkeypatch.setattr(module, "engine", lambda: engine)
        monkeypatch.setattr(clearing, "BATCH_COUNT", 2)
        yield engine


@pytest.fixture
def account(market_engine: sa.Engine) -> int:
    return add_account(market_engine)


@pytest.fixture
def clear(ledger_url: str, redis_url: str, market_engine: sa.Engine) -> Iterator[Any]:
    app: Any = Celery("shop", set_as_current=False)
    app.conf.update(steadybeat_database_url=ledger_url, steadybeat_redis_url=redis_url)
    steadybeat.install(app)

    @app.task(name="shop.clear", bind=True)
    def clear(self: Any) -> dict[str, int]:
        """Clear the audit log."""
        return clearing.clear(self, market_engine, books.audit_log, OLD)

    yield app.tasks["shop.clear"]
    app.steadybeat.ledger.database.close()


def log(market_engine: sa.Engine, account: int, *ages: int) -> None:
    with market_engine.begin() as db:
        for age in ages:
            add(db, books.audit_log, account_id=account, action="signed in", happened_at=NOW - age * DAY)


def ages(market_engine: sa.Engine) -> list[int]:
    with market_engine.connect() as db:
        times = db.scalars(sa.select(books.audit_log.c.happened_at).order_by(books.audit_log.c.id))
        return [(NOW - at).days for at in times]


def kill_at_delete(market_engine: sa.Engine, number: int) -> list[Any]:
    """Kill whoever deletes for the nth time, before that is committed; return the ids that deletes were told."""
    told: list[Any] = []

    def look(connection: Any, cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if statement.startswith("DELETE"):
            told.append(sorted(value for value in values.values() if isinstance(value, int)))
            if len(told) == number:
                raise Killed

    sa.event.listen(market_engine, "after_cursor_execute", look)
    return told


def test_a_clean_up_that_was_killed_goes_on_behind_its_last_batch(
    market_engine: sa.Engine, account: int, clear: Any
) -> None:
    log(market_engine, account, *range(188, 178, -1))
    told = kill_at_delete(market_engine, 3)
    ledger = clear.app.steadybeat.ledger
    run = new_run(task="shop.clear", idempotency_key="nightly")
    ledger.runs.record(run)

    with attempt(clear, run.id):
        clear.run()
    assert len(ages(market_engine)) == 6  # two batches are gone; the third was rolled back with its process
    with attempt(clear, run.id):
        assert clear.checkpoint["deleted_count"] == 4
        assert clear.run() == {"deleted_count": 8}

    first = told[0][0]
    assert told == [[first + number, first + number + 1] for number in (0, 2, 4, 4, 6)]
    assert ages(market_engine) == [180, 179]


def test_a_clean_up_is_bounded_and_the_next_one_does_the_rest(
    market_engine: sa.Engine, account: int, clear: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(market_engine, account, *[200] * 5)
    monkeypatch.setattr(clearing, "PASS_COUNT", 2)

    assert [clear.run()["deleted_count"] for _ in range(3)] == [4, 1, 0]


def test_the_audit_log_is_kept_for_half_a_year(market_engine: sa.Engine, account: int) -> None:
    log(market_engine, account, 365, 181, 179, 0, 182)
    trim = catalogue.tasks["tasks.maintenance.trim_audit_log"]

    assert trim.run() == {"deleted_count": 3}
    assert trim.run() == {"deleted_count": 0}
    assert ages(market_engine) == [179, 0]


def test_announcements_go_a_week_after_they_have_expired(market_engine: sa.Engine, account: int) -> None:
    with market_engine.begin() as db:
        for age in (8, 6, -1):
            told = {"account_id": account, "text": f"{age}", "shown_at": NOW - 30 * DAY, "expires_at": NOW - age * DAY}
            add(db, books.announcements, **told)
    remove = catalogue.tasks["tasks.maintenance.remove_announcements"]

    assert remove.run() == {"deleted_count": 1}
    assert remove.run() == {"deleted_count": 0}
    with market_engine.connect() as db:
        assert sorted(db.scalars(sa.select(books.announcements.c.text))) == ["-1", "6"]


def invoice(db: sa.Connection, account: int, state: str, age: int) -> int:
    made_at = NOW - age * DAY
    instants = {"draft": {}, "issued": {"issued_at": made_at}, "void": {"issued_at": NOW - 365 * DAY}}[state]
    values = {"order_count": 1, "net_cents": 1, "tax_cents": 0, "voided_at": made_at if state == "void" else None}
    month = f"{age}"
    return add(db, books.invoices, account_id=account, month=month, state=state, made_at=made_at, **values, **instants)


def test_drafts_and_void_invoices_go_after_three_months_and_valid_ones_never(
    market_engine: sa.Engine, account: int
) -> None:
    with market_engine.begin() as db:
        kept = [invoice(db, account, *each) for each in (("draft", 89), ("issued", 4000), ("void", 89))]
        for each in (("draft", 91), ("void", 91), ("draft", 200)):
            invoice(db, account, *each)
    remove = catalogue.tasks["tasks.billing.remove_unfinished"]

    assert remove.run() == {"deleted_count": 3}
    assert remove.run() == {"deleted_count": 0}
    with market_engine.connect() as db:
        assert sorted(db.scalars(sa.select(books.invoices.c.id))) == kept


def test_a_draft_that_is_issued_before_its_batch_goes_stays(
    market_engine: sa.Engine, account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with market_engine.begin() as db:
        invoice(db, account, "draft", 100)
    remove = catalogue.tasks["tasks.billing.remove_unfinished"]

    def issued_meanwhile(connection: Any, clause: Any, *_: Any) -> None:
        if clause.is_delete:
            with market_engine.begin() as other:
                other.execute(sa.update(books.invoices).values(state="issued", issued_at=NOW))

    sa.event.listen(market_engine, "before_execute", issued_meanwhile)

    assert remove.run() == {"deleted_count": 0}
