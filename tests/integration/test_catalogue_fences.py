"""An attempt that has lost its run: what it still tries to do in the marketplace is refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from celery import Celery

import steadybeat
from steadybeat.errors import StaleAttempt
from tasks import accounts, books, digest, maintenance, market, notifications, orders, search
from tasks import app as catalogue
from tests.integration.attempting import attempt
from tests.integration.mailserver import mail_server
from tests.integration.marketplace import NOW, add, add_account, add_free_seat, add_order, marketplace
from tests.integration.records import alive, claim, new_run

catalogue.finalize()  # while the tasks of its modules are still on offer to every app

OLD = NOW - timedelta(days=400)


@pytest.fixture
def db_engine(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    """A marketplace beside a ledger, with something to do for each task."""
    with marketplace(ledger_url) as engine:
        for module in (accounts, maintenance, notifications, orders, search):
            monkeypatch.setattr(module, "engine", lambda: engine)
        account = add_account(engine)
        add_order(engine, account, state="unpaid", age=timedelta(days=3))
        add_free_seat(engine, account, "Night Ferry")
        with engine.begin() as db:
            add(db, market.sessions, id=uuid4(), account_id=account, started_at=OLD, last_seen_at=OLD)
            add(db, books.audit_log, account_id=account, action="signed in", happened_at=OLD)
            ended = {"account_id": account, "started_at": OLD, "ends_at": OLD + timedelta(days=30)}
            db.execute(sa.insert(market.trials).values(ended))
        yield engine


@pytest.fixture
def app(ledger_url: str, redis_url: str) -> Iterator[Any]:
    app: Any = Celery("shop", set_as_current=False)
    app.conf.update(steadybeat_database_url=ledger_url, steadybeat_redis_url=redis_url)
    steadybeat.install(app)
    yield app
    app.steadybeat.ledger.database.close()


def copied(app: Any, name: str) -> Any:
    """Return a task of the catalogue as one of an app that has a ledger of this test."""
    code = type(catalogue.tasks[name]).run
    return app.task(name=name, bind=True, shared=False)(code)


def everything(db_engine: sa.Engine) -> dict[str, list[Any]]:
    """Return every row that these tasks could change."""
    tables = (
        market.orders,
        market.tickets,
        market.sessions,
        market.trials,
        market.search_documents,
        market.notifications,
        books.audit_log,
    )
    with db_engine.connect() as db:
        return {table.name: sorted(map(repr, db.execute(sa.select(table)))) for table in tables}


def lose(task: Any, run: Any) -> None:
    """Let another attempt take a run over, whose worker lives."""
    ledger = task.app.steadybeat.ledger
    assert claim(ledger, run, alive(ledger)).verdict == "claimed"


@pytest.mark.parametrize(
    "name",
    [
        "tasks.accounts.end_trials",
        "tasks.maintenance.clear_sessions",
        "tasks.maintenance.trim_audit_log",
        "tasks.orders.expire",
        "tasks.search.index",
    ],
)
def test_it_changes_no_row_and_the_attempt_that_has_the_run_changes_it(
    db_engine: sa.Engine, app: Any, name: str
) -> None:
    task, before = copied(app, name), everything(db_engine)
    lost, kept = new_run(task=name, idempotency_key="lost"), new_run(task=name, idempotency_key="kept")
    for run in (lost, kept):
        app.steadybeat.ledger.runs.record(run)

    with attempt(task, lost.id), pytest.raises(StaleAttempt):
        lose(task, lost)
        task.run()
    assert everything(db_engine) == before

    with attempt(task, kept.id, lives=True):
        task.run()
    assert everything(db_engine) != before


def test_it_sends_no_mail(db_engine: sa.Engine, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task = copied(app, "tasks.notifications.notify")
    run = new_run(task=task.name, idempotency_key="digest")
    app.steadybeat.ledger.runs.record(run)

    with mail_server() as server:
        monkeypatch.setenv("SMTP_URL", server.url)
        with attempt(task, run.id), pytest.raises(StaleAttempt):
            lose(task, run)
            task.run(1, digest.KIND, "2026-W05")
        assert server.taken == []
    assert everything(db_engine)["notifications"] == []


def test_an_attempt_after_one_of_unknown_fate_asks_the_log_and_sends_nothing(
    db_engine: sa.Engine, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = copied(app, "tasks.notifications.notify")
    run = new_run(task=task.name, idempotency_key="digest")
    app.steadybeat.ledger.runs.record(run)
    told = (1, digest.KIND, "2026-W05")

    with mail_server() as server:
        monkeypatch.setenv("SMTP_URL", server.url)
        monkeypatch.setattr(notifications, "record_sent", lambda *_: 1 / 0)  # taken, and then nobody could say so
        with attempt(task, run.id), pytest.raises(ZeroDivisionError):
            task.run(*told)
        with attempt(task, run.id):
            assert task.run(*told) == {"state": "unknown"}
        assert len(server.taken) == 1
