"""What several effects of one run, and effects in a service's own database, come to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from celery import Celery
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import steadybeat
from steadybeat.errors import ConfigurationError, EffectRefused, StaleAttempt, Transient
from steadybeat.ledger import Ledger
from tests.integration.attempting import attempt
from tests.integration.records import all_at_once, new_run

EFFECTS = "CREATE TABLE public.effects (name text NOT NULL)"
PAY = sa.text("INSERT INTO public.effects VALUES (:name) RETURNING name")


class Base(DeclarativeBase):
    pass


class Payment(Base):
    __tablename__ = "payments"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def nothing(self: Any) -> None:
    """What a task does is in each test."""


@pytest.fixture
def app(ledger_url: str, redis_url: str) -> Iterator[Any]:
    app: Any = Celery("shop", set_as_current=False)
    app.conf.update(steadybeat_database_url=ledger_url, steadybeat_redis_url=redis_url, steadybeat_crash_count=20)
    steadybeat.install(app)
    app.task(name="shop.pay", bind=True)(nothing)
    app.task(name="shop.pay_daily", bind=True, key_ttl=timedelta(days=1))(nothing)
    with app.steadybeat.ledger.database.transaction() as db:
        db.execute(sa.text(EFFECTS))
    yield app
    app.steadybeat.ledger.database.close()


@pytest.fixture
def pay(app: Any) -> Any:
    return app.tasks["shop.pay"]


@pytest.fixture
def book(app: Any) -> Ledger:
    ledger: Ledger = app.steadybeat.ledger
    return ledger


@pytest.fixture
def elsewhere(postgres_url: str) -> Iterator[sa.Engine]:
    """A service's own database."""
    engine = sa.create_engine(sa.make_url(postgres_url).set(drivername="postgresql+psycopg"))
    steadybeat.install_processed_keys(engine)
    with engine.begin() as db:
        db.execute(sa.text(EFFECTS))
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def a_run(book: Ledger, task: str = "shop.pay", **facts: Any) -> str:
    run = new_run(task=task, **facts)
    book.runs.record(run)
    return run.id


def effects(database: Ledger | sa.Engine) -> list[str]:
    engine = database.database.engine if isinstance(database, Ledger) else database
    with engine.connect() as db:
        return [row.name for row in db.execute(sa.text("SELECT name FROM public.effects ORDER BY name"))]


def paid(task: Any, name: str, *where: Any, step: str = "") -> bool:
    """Make an effect, and return whether the block was left before its end."""
    reached = False
    with task.exactly_once(*where, step=step) as db:
        db.execute(PAY, {"name": name})
        reached = True
    return not reached


def test_an_effect_that_is_done_is_passed_by_and_the_task_goes_on(pay: Any, book: Ledger) -> None:
    run = a_run(book)
    with attempt(pay, run):
        assert not paid(pay, "debit", step="debit")
    with attempt(pay, run):
        assert paid(pay, "debit", step="debit")
        assert not paid(pay, "credit", step="credit")
        assert not paid(pay, "receipt")
    assert effects(book) == ["credit", "debit", "receipt"]


def test_what_was_kept_with_an_effect_is_the_same_in_every_attempt(pay: Any, book: Ledger) -> None:
    run = a_run(book)
    for _ in range(2):
        with attempt(pay, run):
            debit = pay.exactly_once(step="debit")
            with debit as db:
                debit.result = {"id": db.execute(PAY, {"name": "debit"}).scalar_one()}
            assert (debit.done, debit.result) == (True, {"id": "debit"})


def test_the_last_effect_gives_its_result_to_an_attempt_that_does_nothing_more(pay: Any, book: Ledger) -> None:
    run = a_run(book)
    with attempt(pay, run), (last := pay.exactly_once()):
        last.result = [1, 2]
    with attempt(pay, run) as made:
        assert (made.claimed.effect_done, made.claimed.effect_result) == (True, [1, 2])


def test_an_attempt_that_is_killed_inside_of_a_block_leaves_nothing(pay: Any, book: Ledger) -> None:
    run = a_run(book)
    with attempt(pay, run), pytest.raises(RuntimeError), pay.exactly_once(step="debit") as db:
        db.execute(PAY, {"name": "debit"})
        raise RuntimeError
    with attempt(pay, run):
        assert not paid(pay, "debit", step="debit")
    assert effects(book) == ["debit"]


def test_nothing_that_a_task_catches_leads_it_through_a_block_that_is_done(pay: Any, book: Ledger) -> None:
    run, went_on = a_run(book), []
    with attempt(pay, run):
        paid(pay, "debit", step="debit")
    with attempt(pay, run), pay.exactly_once(step="debit") as db:
        try:
            db.exec_driver_sql("INSERT INTO public.effects VALUES ('again')")
        except Exception:  # noqa: BLE001 - as tasks do
            went_on.append("caught")
        went_on.append("behind")
    assert (went_on, effects(book)) == ([], ["debit"])


def test_a_stale_attempt_commits_no_step(pay: Any, book: Ledger) -> None:
    run = a_run(book)
    with attempt(pay, run):
        stale = pay.exactly_once(step="debit")
        with pytest.raises(StaleAttempt), stale as db:
            db.execute(PAY, {"name": "stale"})
            with attempt(pay, run):
                paid_by_the_other = pay.request.steadybeat_attempt.claimed.fence
        assert paid_by_the_other > pay.request.steadybeat_attempt.claimed.fence
    assert effects(book) == []


@pytest.mark.parametrize("given", ["engine", "connection", "session"])
def test_an_effect_in_a_services_own_database_is_made_once(
    pay: Any, book: Ledger, elsewhere: sa.Engine, given: str
) -> None:
    run = a_run(book)
    for _ in range(3):
        with attempt(pay, run), elsewhere.connect() as connection, Session(elsewhere) as session:
            where = {"engine": elsewhere, "connection": connection, "session": session}[given]
            paid(pay, "debit", where)
            paid(pay, "credit", where, step="credit")
    assert effects(elsewhere) == ["credit", "debit"]


def test_what_a_session_was_given_and_did_not_send_is_not_sent_a_second_time(
    pay: Any, book: Ledger, elsewhere: sa.Engine
) -> None:
    run = a_run(book)
    for _ in range(2):
        with attempt(pay, run), Session(elsewhere) as session, pay.exactly_once(session, step="debit") as db:
            db.add(Payment(name="debit"))
    with Session(elsewhere) as session:
        assert [each.name for each in session.scalars(sa.select(Payment))] == ["debit"]


def test_the_transactions_that_follow_on_a_callers_connection_are_its_own(
    pay: Any, book: Ledger, elsewhere: sa.Engine
) -> None:
    run = a_run(book)
    for name in ("first", "second"):
        with attempt(pay, run), elsewhere.connect() as connection:
            paid(pay, "debit", connection, step="debit")
            connection.execute(PAY, {"name": name})
            connection.commit()
    assert effects(elsewhere) == ["debit", "first", "second"]


def test_a_stale_attempt_commits_nothing_in_a_services_own_database(
    pay: Any, book: Ledger, elsewhere: sa.Engine
) -> None:
    run = a_run(book)
    with attempt(pay, run):
        with pytest.raises(StaleAttempt), pay.exactly_once(elsewhere) as db:
            db.execute(PAY, {"name": "stale"})
            with attempt(pay, run):
                pass
        assert effects(elsewhere) == []
    with attempt(pay, run):
        assert not paid(pay, "debit", elsewhere)


def test_an_attempt_whose_effect_was_made_by_an_earlier_one_meanwhile_is_tried_again(
    pay: Any, book: Ledger, elsewhere: sa.Engine
) -> None:
    run = a_run(book)
    with attempt(pay, run) as late, attempt(pay, run) as newer:
        # the earlier one has asked for the fence, and is stopped until now, right before its COMMIT
        with pytest.raises(Transient, match="an earlier attempt"), pay.exactly_once(elsewhere) as db:
            db.execute(PAY, {"name": "newer"})
            with elsewhere.begin() as other:
                book.keys.write_in_others(other, late.holder, "", None, None)
        assert newer.holder.fence > late.holder.fence
    assert effects(elsewhere) == []


def test_a_run_after_a_dead_letter_goes_on_where_that_ended(pay: Any, book: Ledger, elsewhere: sa.Engine) -> None:
    first, second = a_run(book, idempotency_key="k"), a_run(book, idempotency_key="k")
    with attempt(pay, first) as made:
        paid(pay, "debit", step="debit")
        paid(pay, "elsewhere", elsewhere)
        book.runs.give_up(first, fence=made.claimed.fence, reason="r", error="e")
    with attempt(pay, second):
        assert paid(pay, "debit", step="debit")
        assert paid(pay, "elsewhere", elsewhere)
    assert (effects(book), effects(elsewhere)) == (["debit"], ["elsewhere"])


def test_once_its_key_is_free_again_a_task_begins_anew(app: Any, book: Ledger, elsewhere: sa.Engine) -> None:
    daily, runs = app.tasks["shop.pay_daily"], []
    for _ in range(2):
        runs.append(a_run(book, "shop.pay_daily", idempotency_key="k"))
        with attempt(daily, runs[-1]) as made:
            assert not paid(daily, "debit", step="debit")
            assert not paid(daily, "elsewhere", elsewhere)
            made.succeed(None, [])
        too_early = a_run(book, "shop.pay_daily", idempotency_key="k")
        assert book.runs.claim(
            too_early, delivery_no=1, instance=runs[0], time_limit_seconds=9, crash_limit=3
        ).detail.startswith("the effect happened at")
        book.database.execute(
            sa.text("UPDATE steadybeat.processed_keys SET expires_at = expires_at - interval '25 hours'")
        )
    assert (effects(book), effects(elsewhere)) == (["debit"] * 2, ["elsewhere"] * 2)


def test_effects_do_not_nest(pay: Any, book: Ledger, elsewhere: sa.Engine) -> None:
    inner: list[Callable[[], Any]] = [
        lambda: paid(pay, "inner", step="inner"),
        lambda: paid(pay, "inner", elsewhere),
        lambda: pay.external("inner", str, resolve=str),
        lambda: pay.step("inner", int),
    ]
    for each in inner:
        refused = pytest.raises(EffectRefused, match="inside of exactly_once")
        with attempt(pay, a_run(book)), refused, pay.exactly_once(step="outer") as db:
            db.execute(PAY, {"name": "outer"})
            each()
    with pytest.raises(EffectRefused, match="inside of exactly_once"), pay.exactly_once(), pay.exactly_once(elsewhere):
        pass
    assert effects(book) == effects(elsewhere) == []


def test_one_name_stands_for_one_effect(pay: Any, book: Ledger) -> None:
    with attempt(pay, a_run(book)):
        paid(pay, "debit", step="debit")
        with pytest.raises(EffectRefused, match="for the second time in one run"):
            paid(pay, "debit", step="debit")
        with pytest.raises(EffectRefused, match="for the second time in one run"):
            pay.step("debit", int)
        paid(pay, "last")
        with pytest.raises(EffectRefused, match="the last effect of a run"):
            paid(pay, "credit", step="credit")
        with pytest.raises(EffectRefused, match="the last effect of a run"):
            paid(pay, "last")
    run = a_run(book)
    with attempt(pay, run):
        pay.external("charge", lambda key: 1, resolve=lambda key: None)
    with attempt(pay, run):
        with pytest.raises(EffectRefused, match="external step"):
            paid(pay, "charge", step="charge")
        with pytest.raises(EffectRefused, match="another kind"):
            pay.step("charge", int)
    assert effects(book) == ["debit", "last"]


def test_no_effect_is_committed_without_its_key(pay: Any, book: Ledger, elsewhere: sa.Engine) -> None:
    with Session(elsewhere) as session, elsewhere.connect() as connection:
        for where in (None, elsewhere, session, connection):
            refused = pytest.raises(EffectRefused, match=r"commit\(\) inside of the block")
            with attempt(pay, a_run(book)), refused, pay.exactly_once(where) as db:
                db.execute(PAY, {"name": "debit"})
                db.commit()
    assert effects(book) == effects(elsewhere) == []


def test_a_database_in_which_an_effect_could_not_happen_once_is_refused(
    pay: Any, book: Ledger, elsewhere: sa.Engine, new_database: Callable[[str | None], str], ledger_template: str
) -> None:
    empty, other = (
        sa.create_engine(sa.make_url(new_database(template)).set(drivername="postgresql+psycopg"))
        for template in (None, ledger_template)
    )
    lite = sa.create_engine("sqlite://")
    with attempt(pay, a_run(book)), elsewhere.connect() as busy:
        busy.execute(sa.text("SELECT 1"))
        refused: list[tuple[Any, str]] = [
            (lite, "must be a Postgres"),
            (busy, "inside of a transaction already"),
            (elsewhere.execution_options(isolation_level="AUTOCOMMIT"), "commits every statement by itself"),
            ("postgresql://", "str is no database"),
            (empty, "steadybeat.install_processed_keys"),
            (other, "holds the ledger of other programs"),
        ]
        for where, why in refused:
            with pytest.raises(ConfigurationError, match=why):
                paid(pay, "debit", where, step="debit")
    for engine in (empty, other, lite):
        engine.dispose()


def test_the_ledgers_own_database_is_known_whoever_opens_it(pay: Any, book: Ledger, ledger_url: str) -> None:
    same, run = sa.create_engine(sa.make_url(ledger_url).set(drivername="postgresql+psycopg")), a_run(book)
    with attempt(pay, run):
        paid(pay, "debit", same, step="debit")
        paid(pay, "last", same)
    with attempt(pay, run) as made:
        assert made.claimed.effect_done
    same.dispose()


def test_a_result_that_could_not_be_kept_rolls_its_effect_back(pay: Any, book: Ledger) -> None:
    for result in ({1, 2}, float("nan"), "a\0b", "x" * 2_000_000):
        refused = pytest.raises(EffectRefused, match="give back an id instead")
        with attempt(pay, a_run(book)), refused, (debit := pay.exactly_once(step="debit")) as db:
            db.execute(PAY, {"name": "debit"})
            debit.result = result
    assert effects(book) == []


def test_called_as_a_plain_function_a_block_is_a_transaction(pay: Any, book: Ledger, elsewhere: sa.Engine) -> None:
    for _ in range(2):
        assert not paid(pay, "debit", step="debit")
        assert not paid(pay, "debit", elsewhere)
    assert effects(book) == effects(elsewhere) == ["debit", "debit"]


def test_processed_keys_are_installed_by_any_number_of_programs_at_once(postgres_url: str) -> None:
    engine = sa.create_engine(sa.make_url(postgres_url).set(drivername="postgresql+psycopg"), pool_size=8)
    assert all_at_once(*[lambda: steadybeat.install_processed_keys(engine)] * 8) == [None] * 8
    with engine.begin() as db:
        steadybeat.install_processed_keys(db)
        db.exec_driver_sql(steadybeat.PROCESSED_KEYS_SQL)
        assert db.execute(sa.text("SELECT count(*) FROM steadybeat.processed_keys")).scalar() == 0
    engine.dispose()
    with pytest.raises(ConfigurationError, match="must be a Postgres"):
        steadybeat.install_processed_keys(sa.create_engine("sqlite://"))


def test_of_many_attempts_at_once_one_commits_a_step(pay: Any, book: Ledger) -> None:
    run, threads, made = a_run(book), 12, []
    start = threading.Barrier(threads)

    def go() -> None:
        with attempt(pay, run):
            start.wait()
            with suppress(StaleAttempt):
                made.append(not paid(pay, "debit", step="debit"))

    assert all_at_once(*[go] * threads) == [None] * threads
    assert (effects(book), made.count(True)) == (["debit"], 1)
