"""What an application changes at run time: also as a part of its own transaction, and never over somebody's head."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from celery import Celery
from sqlalchemy.orm import Session

import steadybeat
from steadybeat import cron, every, schedules
from steadybeat.beat import SteadyScheduler, definitions
from steadybeat.errors import ConfigurationError, EditConflict, UnknownSchedule
from steadybeat.ledger import Ledger
from tests.eventually import eventually

DAILY = cron("0 9 * * *", tz="UTC")
TASK = "shop.mail.digest"


@pytest.fixture
def app(ledger_url: str, redis_url: str, tmp_path: Path) -> Iterator[Any]:
    app: Any = Celery("shop", set_as_current=False)
    app.conf.update(
        steadybeat_database_url=ledger_url, steadybeat_redis_url=redis_url, steadybeat_health_folder=str(tmp_path)
    )
    steadybeat.install(app)

    @app.task(name=TASK, schedule=DAILY, shared=False)
    def digest(account: int = 0) -> None: ...

    yield app
    app.steadybeat.ledger.database.close()
    app.close()


@pytest.fixture
def engine(ledger_url: str) -> Iterator[sa.Engine]:
    """The application's own way to the database."""
    engine = sa.create_engine(sa.make_url(ledger_url).set(drivername="postgresql+psycopg"))
    yield engine
    engine.dispose()


def put(app: Any, name: str = "customer-42", **given: Any) -> schedules.Edit:
    return schedules.put(name, **({"task": TASK, "schedule": DAILY, "reason": "signed up", "app": app} | given))


def operations(app: Any, name: str = "customer-42") -> list[str]:
    return [each["what"] for each in reversed(Ledger.of(app).history.operations(name, limit=50))]


def test_what_is_put_is_defined_with_its_policies_and_put_again_changes_nothing(app: Any) -> None:
    given: dict[str, Any] = {"args": [42], "jitter": timedelta(minutes=1), "overlap": "allow"}
    edit = put(app, **given)
    assert edit.verb == "added"
    found = schedules.get("customer-42", app=app)
    assert found is not None
    assert (found.task, found.service, found.args, found.source) == (TASK, "mail", [42], "operator")
    assert (found.policies["jitter_seconds"], found.policies["overlap"]) == (60.0, "allow")
    assert put(app, **given) == schedules.Edit("unchanged", edit.revision)
    assert put(app).verb == "changed"
    assert operations(app) == ["schedules put", "schedules put"]
    assert schedules.get("customer-43", app=app) is None


@pytest.mark.parametrize("how", ["connection", "session"])
def test_what_is_rolled_back_has_not_happened(app: Any, engine: sa.Engine, how: str) -> None:
    put(app, "there")

    def change(transaction: Any) -> None:
        put(app, transaction=transaction)
        schedules.pause("there", reason="x", transaction=transaction, app=app)
        schedules.trigger("there", reason="x", transaction=transaction, app=app)
        schedules.remove("there", reason="x", transaction=transaction, app=app)

    maker: Callable[[], Any] = engine.connect if how == "connection" else lambda: Session(engine)
    with maker() as transaction:
        change(transaction)
        transaction.rollback()
    assert schedules.get("customer-42", app=app) is None
    there = schedules.get("there", app=app)
    assert there is not None
    assert there.paused_at is None
    assert operations(app) + operations(app, "there") == ["schedules put"]
    with maker() as transaction:
        change(transaction)
        transaction.commit()
    assert schedules.get("customer-42", app=app) is not None
    assert schedules.get("there", app=app) is None
    assert operations(app, "there")[1:] == ["schedules pause", "schedules trigger", "schedules remove"]


def test_a_leader_sees_what_was_committed_and_nothing_before(app: Any, engine: sa.Engine) -> None:
    scheduler = SteadyScheduler(app, lazy=True)
    fires = sa.text("SELECT count(*) FROM steadybeat.fires WHERE schedule = 'customer-42'")

    def expected() -> int:
        scheduler.tick()
        with engine.connect() as connection:
            return int(connection.execute(fires).scalar_one())

    try:
        with engine.connect() as transaction:
            put(app, schedule=every(timedelta(seconds=1)), transaction=transaction)
            assert expected() == 0
            transaction.commit()
        assert eventually(expected)
    finally:
        scheduler.close()


def test_of_two_edits_of_one_revision_one_is_refused(app: Any, engine: sa.Engine) -> None:
    seen = put(app).revision
    with engine.connect() as first:
        put(app, args=[1], revision=seen, transaction=first)
        outcome: list[Any] = []

        def second() -> None:
            try:
                outcome.append(put(app, args=[2], revision=seen))
            except EditConflict as conflict:
                outcome.append(conflict)

        thread = threading.Thread(target=second)
        thread.start()
        eventually(lambda: waits_for_a_lock(engine))
        first.commit()
        thread.join(30)
    [conflict] = outcome
    assert isinstance(conflict, EditConflict)
    found = schedules.get("customer-42", app=app)
    assert found is not None
    assert (found.args, found.revision) == ([1], conflict.facts["revision"])
    for refused in (schedules.pause, schedules.resume, schedules.remove):
        with pytest.raises(EditConflict, match="somebody has changed it since"):
            refused("customer-42", reason="x", revision=seen, app=app)


def waits_for_a_lock(engine: sa.Engine) -> bool:
    statement = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with engine.connect() as connection:
        return bool(connection.execute(statement).scalar_one())


def test_of_two_that_bring_in_the_same_name_one_is_refused(app: Any, engine: sa.Engine) -> None:
    with engine.connect() as first:
        put(app, args=[1], revision=0, transaction=first)
        outcome: list[Any] = []

        def second() -> None:
            try:
                outcome.append(put(app, args=[2], revision=0))
            except EditConflict as conflict:
                outcome.append(conflict)

        thread = threading.Thread(target=second)
        thread.start()
        eventually(lambda: waits_for_a_lock(engine))
        first.commit()
        thread.join(30)
    assert [type(each) for each in outcome] == [EditConflict]
    found = schedules.get("customer-42", app=app)
    assert found is not None
    assert found.args == [1]


def test_a_deploy_that_runs_meanwhile_does_not_take_an_edit_back(app: Any, engine: sa.Engine) -> None:
    book = Ledger.of(app)
    book.schedules.apply(definitions(app), ["mail"])
    app.tasks[TASK].schedule = cron("0 10 * * *", tz="UTC")
    with engine.connect() as person:
        put(app, TASK, schedule=cron("0 11 * * *", tz="UTC"), transaction=person)
        deploy = threading.Thread(target=lambda: book.schedules.apply(definitions(app), ["mail"]))
        deploy.start()
        eventually(lambda: waits_for_a_lock(engine))
        person.commit()
        deploy.join(30)
    found = schedules.get(TASK, app=app)
    assert found is not None
    assert (found.source, found.spec["expression"]) == ("operator", "0 11 * * *")
    assert found.code is not None


def test_what_an_operator_did_survives_a_deploy_until_it_is_taken_back(app: Any) -> None:
    book = Ledger.of(app)
    book.schedules.apply(definitions(app), ["mail"])
    put(app, TASK, schedule=every(timedelta(hours=1)))
    schedules.pause(TASK, reason="the bank is away", who="ada", app=app)
    app.tasks[TASK].schedule = cron("0 10 * * *", tz="UTC")
    assert [change.verb for change in book.schedules.apply(definitions(app), ["mail"])] == ["kept"]
    found = schedules.get(TASK, app=app)
    assert found is not None
    assert (found.spec["type"], found.paused_by, found.paused_reason) == ("every", "ada", "the bank is away")
    assert schedules.remove(TASK, reason="done", app=app) == "restored"
    found = schedules.get(TASK, app=app)
    assert found is not None
    assert (found.spec["expression"], found.source, found.paused_by) == ("0 10 * * *", "code", "ada")
    assert schedules.remove(TASK, reason="done", app=app) == "retired"


def test_a_pause_ends_with_the_fires_that_are_wanted(app: Any) -> None:
    put(app, schedule=every(timedelta(seconds=1)))
    assert schedules.resume("customer-42", reason="x", app=app) is None
    assert schedules.pause("customer-42", reason="x", app=app)
    assert not schedules.pause("customer-42", reason="x", app=app)
    scheduler = SteadyScheduler(app, lazy=True)
    skipped = sa.text("SELECT count(*) FROM steadybeat.fires WHERE state = 'skipped' AND cause = 'paused'")

    def skips() -> bool:
        scheduler.tick()
        return bool(Ledger.of(app).database.execute(skipped)[0].count > 1)

    try:
        eventually(skips)
    finally:
        scheduler.close()
    made_up = schedules.resume("customer-42", reason="x", make_up="latest", app=app)
    assert made_up is not None
    assert len(made_up) == 1


def test_a_fire_that_is_asked_for_twice_is_one_fire(app: Any) -> None:
    put(app)
    at = datetime(2026, 1, 1, 9, tzinfo=UTC)
    first, again = (schedules.trigger("customer-42", as_of=at, reason="x", app=app) for _ in range(2))
    assert first == again
    assert first.is_new
    now = schedules.trigger("customer-42", reason="x", app=app).scheduled_for
    assert now.microsecond == 0
    with pytest.raises(ConfigurationError, match="lies ahead: it fires by itself"):
        schedules.trigger("customer-42", as_of=datetime(2999, 1, 1, tzinfo=UTC), reason="x", app=app)


def test_what_cannot_be_is_refused_with_the_way_out(app: Any, engine: sa.Engine) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no policy 'jiter'\. Did you mean 'jitter'\?"):
        put(app, jiter=timedelta(minutes=1))
    with pytest.raises(ConfigurationError, match=r"there is no task 'shop\.mail\.digst'\. Did you mean"):
        put(app, task="shop.mail.digst")
    with pytest.raises(ConfigurationError, match="reason=' ': must say why"):
        put(app, reason=" ")
    with pytest.raises(ConfigurationError, match="name='': must be the name of a schedule"):
        put(app, "")
    with pytest.raises(ConfigurationError, match=r"make_up='latst': must be one of none, latest, all\. Did you mean"):
        schedules.resume("x", make_up="latst", reason="x", app=app)
    with pytest.raises(UnknownSchedule):
        schedules.pause("customer-42", reason="x", app=app)
    with pytest.raises(ConfigurationError, match="has no steadybeat; call"):
        put(Celery("plain", set_as_current=False))
    with pytest.raises(ConfigurationError, match="transaction=Engine: must be a SQLAlchemy Connection or Session"):
        put(app, transaction=engine)
    committing = engine.execution_options(isolation_level="AUTOCOMMIT").connect()
    with committing, pytest.raises(ConfigurationError, match="commits every statement by itself"):
        put(app, transaction=committing)


def test_a_transaction_on_another_database_is_refused(app: Any, postgres_url: str) -> None:
    elsewhere = sa.create_engine(sa.make_url(postgres_url).set(drivername="postgresql+psycopg"))
    with elsewhere.connect() as transaction, pytest.raises(ConfigurationError, match="its database holds no ledger"):
        put(app, transaction=transaction)
    elsewhere.dispose()


def test_a_transaction_that_is_left_open_is_rolled_back_before_it_holds_up_others(app: Any, engine: sa.Engine) -> None:
    app.steadybeat.settings = replace(app.steadybeat.settings, ledger_timeout_seconds=0.2)
    with engine.connect() as forgotten:
        put(app, transaction=forgotten)
        eventually(lambda: not is_in_a_transaction(engine))
        with pytest.raises(sa.exc.DBAPIError, match="idle-in-transaction"):
            forgotten.execute(sa.text("SELECT 1"))
    assert schedules.get("customer-42", app=app) is None


def is_in_a_transaction(engine: sa.Engine) -> bool:
    statement = sa.text("""
        SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND state LIKE 'idle in transaction%'
    """)
    with engine.connect() as connection:
        return bool(connection.execute(statement).scalar_one())


def test_the_front_door_leads_there() -> None:
    assert steadybeat.schedules is schedules


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"args": [float("nan")]}, "must be JSON"),
        ({"args": ["a\0b"]}, "holds a NUL or half of a pair of surrogates, which Postgres cannot store"),
        ({"args": ["\ud800"]}, "which Postgres cannot store"),
        ({"args": "abc"}, "args='abc': must be a list"),
        ({"schedule": every(timedelta(seconds=1)), "since": datetime(1970, 1, 1, tzinfo=UTC)}, "give a later time"),
        ({"name": "two\nlines"}, "its name must be 200 printable characters at the most"),
        ({"name": "n" * 201}, "its name must be 200 printable characters at the most"),
    ],
    ids=str,
)
def test_what_would_only_fail_later_is_refused_at_once(app: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        put(app, **given)
    assert message in str(caught.value)
    assert Ledger.of(app).schedules.all() == []


def test_a_task_may_be_given_as_it_is(app: Any) -> None:
    put(app, task=app.tasks[TASK])
    found = schedules.get("customer-42", app=app)
    assert found is not None
    assert found.task == TASK


def test_a_ledger_without_its_tables_names_the_command_that_mends_it(postgres_url: str, redis_url: str) -> None:
    app: Any = Celery("shop", set_as_current=False)
    app.conf.update(steadybeat_database_url=postgres_url, steadybeat_redis_url=redis_url)
    steadybeat.install(app)
    with pytest.raises(steadybeat.SteadybeatError, match="ledger upgrade"):
        schedules.pause("customer-42", reason="a look", app=app)
    app.steadybeat.ledger.database.close()
    app.close()
