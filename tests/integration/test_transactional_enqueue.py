"""What is enqueued in a caller's transaction is sent once that commits, and never if it does not."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from celery import Celery, chain, group
from sqlalchemy.orm import Session

import steadybeat
from steadybeat.errors import ConfigurationError
from steadybeat.ledger import Ledger
from tests.integration.attempting import Killed, attempt
from tests.integration.records import recorded


class Desk:
    """An app with a table of its own beside the ledger, and what lies on its queue."""

    def __init__(self, app: Any, engine: sa.Engine, client: Any) -> None:
        self.app, self.engine, self._redis = app, engine, client
        self.pay = app.tasks["shop.orders.pay"]
        with engine.begin() as db:
            db.execute(sa.text("CREATE TABLE public.orders (name text)"))

    def order(self, db: Any, name: str) -> None:
        db.execute(sa.text("INSERT INTO public.orders VALUES (:name)"), {"name": name})

    def orders(self) -> list[str]:
        with self.engine.begin() as db:
            return [name for (name,) in db.execute(sa.text("SELECT name FROM public.orders ORDER BY name"))]

    def relayed(self) -> int:
        sent = int(self.app.steadybeat.relay())
        assert self._redis.llen("orders") == sent
        self._redis.delete("orders")
        return sent

    def runs(self) -> list[tuple[str, str]]:
        return [(run["state"], run["task"]) for run in Ledger.of(self.app).story.runs()]


@pytest.fixture
def desk(ledger_url: str, redis_url: str) -> Iterator[Desk]:
    app: Any = Celery("shop", set_as_current=False)
    app.conf.update(steadybeat_database_url=ledger_url, steadybeat_redis_url=redis_url)
    steadybeat.install(app)

    @app.task(name="shop.orders.pay", shared=False)
    def pay(*_: Any) -> None: ...

    @app.task(name="shop.orders.settle", bind=True, shared=False)
    def settle(self: Any) -> None: ...

    @app.task(name="shop.orders.count", recorded=False, shared=False)
    def count() -> None: ...

    engine = sa.create_engine(sa.make_url(ledger_url).set(drivername="postgresql+psycopg"))
    with redis.Redis.from_url(redis_url) as client:
        yield Desk(app, engine, client)
    engine.dispose()
    app.steadybeat.ledger.database.close()
    app.close()


@pytest.mark.parametrize("how", ["connection", "session"])
def test_what_is_rolled_back_was_never_enqueued(desk: Desk, how: str) -> None:
    opened = desk.engine.connect() if how == "connection" else Session(desk.engine)
    with opened as transaction:
        desk.order(transaction, "lamp")
        desk.pay.apply_async((1,), transaction=transaction)
        transaction.rollback()
    assert (desk.runs(), desk.relayed(), desk.orders()) == ([], 0, [])


@pytest.mark.parametrize("how", ["connection", "session"])
def test_what_is_committed_is_sent_once_and_nothing_before(desk: Desk, how: str) -> None:
    opened = desk.engine.connect() if how == "connection" else Session(desk.engine)
    with opened as transaction:
        desk.order(transaction, "lamp")
        run = desk.pay.apply_async((1,), idempotency_key="order:lamp", transaction=transaction).id
        assert (desk.runs(), desk.relayed()) == ([], 0)
        transaction.commit()
    assert desk.runs() == [("waiting", "shop.orders.pay")]
    assert (desk.relayed(), desk.relayed()) == (1, 0)
    found = Ledger.of(desk.app).story.run(run)
    assert found is not None
    assert (found["state"], found["idempotency_key"]) == ("enqueued", "order:lamp")


def test_a_caller_that_is_killed_right_after_its_commit_has_its_run_sent_once(
    desk: Desk, ledger_url: str, redis_url: str
) -> None:
    code = """if True:
        import os, signal, sys, sqlalchemy, celery, steadybeat
        app = celery.Celery("shop")
        app.conf.update(steadybeat_database_url=sys.argv[1], steadybeat_redis_url=sys.argv[2])
        app.conf.steadybeat_services = ("orders",)
        steadybeat.install(app)
        engine = sqlalchemy.create_engine(sys.argv[1].replace("postgresql:", "postgresql+psycopg:"))
        for end in ("rollback", "commit"):
            db = engine.connect()
            db.execute(sqlalchemy.text("INSERT INTO public.orders VALUES (:name)"), {"name": end})
            app.send_task("shop.orders.pay", (end,), transaction=db)
            getattr(db, end)()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    ended = subprocess.run([sys.executable, "-c", code, ledger_url, redis_url], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert desk.orders() == ["commit"]
    assert (desk.relayed(), desk.relayed()) == (1, 0)


def test_a_delay_holds_from_a_transaction_too(desk: Desk) -> None:
    with desk.engine.begin() as db:
        desk.pay.apply_async((1,), countdown=3600, transaction=db)
        desk.pay.apply_async((2,), countdown=-1, transaction=db)
    assert desk.relayed() == 1
    waits = Ledger.of(desk.app).outbox.next_due()
    assert waits is not None
    assert timedelta(minutes=59) < waits < timedelta(hours=1)


def test_a_chain_and_a_group_are_part_of_a_transaction_as_a_whole(desk: Desk) -> None:
    with desk.engine.connect() as db:
        group([desk.pay.s(1), desk.pay.s(2)]).apply_async(transaction=db)
        chain(desk.pay.s(3), desk.pay.s(4)).apply_async(transaction=db)
        db.rollback()
        group([desk.pay.s(1), desk.pay.s(2)]).apply_async(transaction=db)
        chain(desk.pay.s(3), desk.pay.s(4)).apply_async(transaction=db)
        db.commit()
    assert desk.relayed() == 3  # the second of the chain follows the first


def test_what_a_task_calls_with_its_effect_is_called_exactly_if_that_happens(desk: Desk) -> None:
    settle = desk.app.tasks["shop.orders.settle"]
    run = recorded(Ledger.of(desk.app), task=settle.name).id
    for lives in (False, True):
        with attempt(settle, run), settle.exactly_once() as db:
            desk.order(db, "lamp")
            desk.pay.apply_async((1,), transaction=db)
            if not lives:
                raise Killed
        assert (desk.orders(), desk.relayed()) == ((["lamp"], 1) if lives else ([], 0))


def test_redis_may_be_away_while_a_transaction_is_made(desk: Desk, ledger_url: str) -> None:
    app: Any = Celery("caller", set_as_current=False)
    app.conf.update(steadybeat_database_url=ledger_url, steadybeat_redis_url="redis://127.0.0.1:1/0")
    app.conf.steadybeat_services = ("orders",)
    steadybeat.install(app)
    with desk.engine.begin() as db:
        app.send_task("shop.orders.pay", (1,), transaction=db)
    app.steadybeat.ledger.database.close()
    app.close()
    assert desk.relayed() == 1


def test_a_transaction_that_cannot_hold_a_run_is_refused(desk: Desk, ledger_url: str) -> None:
    elsewhere = sa.create_engine("sqlite://")
    with desk.engine.begin() as db, elsewhere.begin() as other:
        with pytest.raises(
            ConfigurationError, match=r"shop.orders.count: transaction=: its runs are not in the ledger"
        ):
            desk.app.tasks["shop.orders.count"].apply_async(transaction=db)
        with pytest.raises(ConfigurationError, match="must be on the Postgres"):
            desk.pay.apply_async((1,), transaction=other)
        with pytest.raises(ConfigurationError, match="must be a SQLAlchemy Connection or Session"):
            desk.pay.apply_async((1,), transaction=desk.engine)
    committing = desk.engine.execution_options(isolation_level="AUTOCOMMIT")
    with committing.connect() as db, pytest.raises(ConfigurationError, match="commits every statement by itself"):
        desk.pay.apply_async((1,), transaction=db)
    assert (desk.runs(), desk.relayed()) == ([], 0)


def test_a_caller_may_take_its_time_after_it_has_enqueued(desk: Desk) -> None:
    with desk.engine.begin() as db:
        before = db.execute(sa.text("SHOW idle_in_transaction_session_timeout")).scalar()
        desk.pay.apply_async((1,), transaction=db)
        assert db.execute(sa.text("SHOW idle_in_transaction_session_timeout")).scalar() == before
