"""What external effects and steps come to, whatever happens in the middle of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from celery import Celery

import steadybeat
from steadybeat.errors import EffectRefused, NotSent, Permanent, StaleAttempt, Transient
from steadybeat.ledger import Ledger
from tests.integration.attempting import Killed, attempt
from tests.integration.records import new_run


class Provider:
    """The other side: a book of what it was asked for, which knows nothing of idempotency."""

    def __init__(self) -> None:
        self.charges: list[str] = []
        self.asked: list[str] = []
        self.answers: list[Callable[[str], Any]] = []

    def charge(self, key: str) -> dict[str, str]:
        """Charge, then do what the test has laid down for this call, if anything."""
        self.charges.append(key)
        return self.answers.pop(0)(key) if self.answers else {"id": key}

    def find(self, key: str) -> dict[str, str] | None:
        self.asked.append(key)
        return {"id": key} if key in self.charges else None


def failing(error: BaseException) -> Callable[[str], Any]:
    def fail(_: str) -> Any:
        raise error

    return fail


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def pay(ledger_url: str, redis_url: str) -> Iterator[Any]:
    app: Any = Celery("shop", set_as_current=False)
    app.conf.update(steadybeat_database_url=ledger_url, steadybeat_redis_url=redis_url, steadybeat_crash_count=20)
    steadybeat.install(app)

    @app.task(name="shop.pay", bind=True)
    def pay(self: Any) -> None:
        """What a task does is in each test."""

    yield app.tasks["shop.pay"]
    app.steadybeat.ledger.database.close()


@pytest.fixture
def book(pay: Any) -> Ledger:
    ledger: Ledger = pay.app.steadybeat.ledger
    return ledger


def a_run(book: Ledger, **facts: Any) -> str:
    run = new_run(**{"task": "shop.pay", "idempotency_key": "sale:7", **facts})
    book.runs.record(run)
    return run.id


def state(book: Ledger) -> str:
    found = book.database.execute(sa.text("SELECT state FROM steadybeat.processed_keys WHERE step <> ''"))
    return str(found[0].state) if found else ""


def test_an_external_effect_is_sent_once_and_every_attempt_gets_its_result(
    pay: Any, book: Ledger, provider: Provider
) -> None:
    run, results = a_run(book), []
    for _ in range(3):
        with attempt(pay, run):
            results.append(pay.external("charge", provider.charge, resolve=provider.find))
    assert results == [{"id": "shop.pay:sale:7:charge"}] * 3
    assert (provider.charges, provider.asked, state(book)) == (["shop.pay:sale:7:charge"], [], "confirmed")


@pytest.mark.parametrize("error", [Killed(), ConnectionError("reset"), Permanent("declined"), Transient("429")])
def test_whatever_ends_a_call_the_other_side_is_asked_before_it_is_called_again(
    pay: Any, book: Ledger, provider: Provider, error: BaseException
) -> None:
    run = a_run(book)
    provider.answers = [failing(error)]
    with attempt(pay, run):
        with pytest.raises(type(error)):
            pay.external("charge", provider.charge, resolve=provider.find)
        assert state(book) == ("sent" if isinstance(error, Killed) else "unknown")
    with attempt(pay, run):
        assert pay.external("charge", provider.charge, resolve=provider.find)["id"] == provider.charges[0]
    assert (len(provider.charges), len(provider.asked), state(book)) == (1, 1, "confirmed")


def test_what_the_other_side_does_not_know_is_sent_again_under_the_same_key(
    pay: Any, book: Ledger, provider: Provider
) -> None:
    run = a_run(book)
    keys: list[str] = []

    def lost_on_the_way(key: str) -> None:
        keys.append(key)
        raise ConnectionError

    with attempt(pay, run), pytest.raises(ConnectionError):
        pay.external("charge", lost_on_the_way, resolve=provider.find)
    with attempt(pay, run):
        pay.external("charge", provider.charge, resolve=provider.find)
    assert provider.asked == provider.charges == keys


def test_while_the_other_side_cannot_be_asked_nothing_is_sent(pay: Any, book: Ledger, provider: Provider) -> None:
    run = a_run(book)
    provider.answers = [failing(Killed())]
    with attempt(pay, run):
        pay.external("charge", provider.charge, resolve=provider.find)
    for _ in range(2):
        with attempt(pay, run), pytest.raises(TimeoutError):
            pay.external("charge", provider.charge, resolve=failing(TimeoutError()))
        assert state(book) == "unknown"
    with attempt(pay, run):
        pay.external("charge", provider.charge, resolve=provider.find)
    assert len(provider.charges) == 1


def test_what_was_certainly_not_sent_needs_no_question(pay: Any, book: Ledger, provider: Provider) -> None:
    run = a_run(book)
    with attempt(pay, run), pytest.raises(NotSent):
        pay.external("charge", failing(NotSent("refused")), resolve=provider.find)
    assert state(book) == "pending"
    with attempt(pay, run):
        pay.external("charge", provider.charge, resolve=provider.find)
    assert (len(provider.charges), provider.asked) == (1, [])


def test_a_run_after_a_dead_letter_asks_what_became_of_its_effect(pay: Any, book: Ledger, provider: Provider) -> None:
    first, second = a_run(book), a_run(book)
    provider.answers = [failing(Permanent("no answer"))]
    with attempt(pay, first) as made, pytest.raises(Permanent):
        pay.external("charge", provider.charge, resolve=provider.find)
    book.runs.give_up(first, fence=made.claimed.fence, reason="r", error="e")
    with attempt(pay, second):
        pay.external("charge", provider.charge, resolve=provider.find)
    assert (len(provider.charges), len(provider.asked)) == (1, 1)


def test_a_stale_attempt_moves_no_state_and_sends_nothing(pay: Any, book: Ledger, provider: Provider) -> None:
    run = a_run(book)
    with attempt(pay, run):
        with attempt(pay, run):
            pass
        with pytest.raises(StaleAttempt):
            pay.external("charge", provider.charge, resolve=provider.find)
        with pytest.raises(StaleAttempt):
            pay.step("count", lambda: 1)
    assert (provider.charges, state(book)) == ([], "")

    def overtaken(key: str) -> dict[str, str]:
        with attempt(pay, run):
            pay.external("charge", provider.charge, resolve=lambda key: {"id": "found"})
        return {"id": "late"}

    with attempt(pay, run), pytest.raises(StaleAttempt):
        pay.external("charge", overtaken, resolve=provider.find)
    with attempt(pay, run):
        assert pay.external("charge", provider.charge, resolve=provider.find) == {"id": "found"}
    assert provider.charges == []


def test_a_result_that_later_attempts_could_not_get_leaves_it_unknown(pay: Any, book: Ledger) -> None:
    with attempt(pay, a_run(book)), pytest.raises(EffectRefused, match="is not JSON"):
        pay.external("charge", lambda key: {key}, resolve=lambda key: None)
    assert state(book) == "unknown"


def test_a_step_is_not_done_again_by_later_attempts(pay: Any, book: Ledger) -> None:
    run, done, results = a_run(book), [], []

    def count(name: str) -> tuple[str, int]:
        done.append(name)
        return name, len(done)

    for _ in range(2):
        with attempt(pay, run):
            results.append([pay.step(name, lambda name=name: count(name)) for name in ("sales", "refunds")])
            results.append([pay.step("nothing", lambda: done.append("nothing"))])
    assert done == ["sales", "refunds", "nothing"]
    assert results[0::2] == [[["sales", 1], ["refunds", 2]]] * 2
    assert results[1::2] == [[None]] * 2
    with attempt(pay, run), pytest.raises(EffectRefused, match="name must be a text"):
        pay.step("", int)


def test_the_steps_of_a_task_that_takes_anothers_place_are_its_own(pay: Any, book: Ledger) -> None:
    run = a_run(book, task="shop.order")
    with attempt(pay, run):
        pay.step("count", lambda: 1)
    (row,) = book.database.execute(sa.text("SELECT task, step FROM steadybeat.processed_keys WHERE step <> ''"))
    assert (row.task, row.step) == ("shop.order", "shop.pay:count")


def test_called_as_a_plain_function_nothing_is_recorded(pay: Any, book: Ledger, provider: Provider) -> None:
    for _ in range(2):
        assert pay.external("charge", provider.charge, resolve=provider.find) == {"id": "shop.pay::charge"}
        assert pay.step("count", lambda: 1) == 1
    assert (len(provider.charges), state(book)) == (2, "")
