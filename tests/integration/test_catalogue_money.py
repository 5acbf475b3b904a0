"""The money services' steps, from a real Postgres to a real provider that misbehaves."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from steadybeat import Permanent, Snooze, Transient
from tasks import app, cards, gateway, market, minting, sync
from tasks.provider_server import Provider
from tests.eventually import eventually
from tests.integration.marketplace import NOW, add, add_account, add_order, marketplace
from tests.integration.payments import plan, provider_with, rows_of

app.finalize()  # while the tasks of its modules are still on offer to every app

WALLET = "0x00aa"


@pytest.fixture
def db_engine(postgres_url: str) -> Iterator[sa.Engine]:
    with marketplace(postgres_url) as engine:
        yield engine


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "provider.sqlite"


@pytest.fixture
def provider(book: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    with provider_with(book) as provider:
        monkeypatch.setenv("PROVIDER_URL", provider.url)
        yield provider


@pytest.fixture
def ticket(db_engine: sa.Engine) -> int:
    """A seat that was sold to somebody with a wallet."""
    account = add_account(db_engine)
    with db_engine.begin() as db:
        opened = {"account_id": account, "address": WALLET, "opened_at": NOW - timedelta(days=9)}
        db.execute(sa.insert(market.wallets).values(opened))
    add_order(db_engine, account, state="paid", age=timedelta(days=1))
    with db_engine.connect() as db:
        return int(db.scalar(sa.select(market.sales.c.ticket_id)))


def owe(db_engine: sa.Engine, card: str = "visa-1", **columns: Any) -> cards.Payment:
    """A card payment that has failed, of an account of its own."""
    account = add_account(db_engine, f"{card}@x.example")
    values = {"account_id": account, "period": "2026-01", "amount_cents": 900, "card": card, "reason": "network"}
    values |= {"failed_at": NOW - timedelta(days=2), "try_at": NOW - timedelta(days=1), **columns}
    with db_engine.begin() as db:
        return cards.Payment(add(db, market.card_payments, **values), 900, card)


def row_of(db_engine: sa.Engine, table: sa.Table) -> Any:
    with db_engine.connect() as db:
        return db.execute(sa.select(table)).one()


def charge(payment: cards.Payment, key: str = "key") -> dict[str, Any]:
    return gateway.charge(key, reference=payment.reference, amount_cents=payment.amount_cents, card=payment.card)


ONE = cards.Payment(1, 900, "visa-1")


# The gateway and the provider


def test_the_same_key_is_one_charge_and_gets_the_same_answer(provider: Provider, book: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: charge(ONE), range(16)))

    [charged] = rows_of(book, "charges")
    assert answers == [charged] * 16
    assert (charged["state"], charged["amount_cents"], charged["reference"]) == ("paid", 900, "card-payment:1")
    assert gateway.charge_of("key") == charged
    assert gateway.charge_of("another key") is None


def test_a_key_with_other_parameters_is_refused(provider: Provider, book: Path) -> None:
    charge(ONE)

    with pytest.raises(gateway.Refused, match="422 idempotency key 'key' was used for other parameters"):
        charge(ONE._replace(amount_cents=901))

    assert len(rows_of(book, "charges")) == 1


@pytest.mark.parametrize("word", ["lose", "stall", "500", "garble"])
def test_what_was_done_without_a_word_is_found_by_asking(
    provider: Provider, book: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.setattr(gateway, "ANSWER_SECONDS", 0.3)
    plan(provider, word, stall_seconds=30.0)

    with pytest.raises(Transient) as caught:
        charge(ONE)

    assert not isinstance(caught.value, gateway.NotDone)
    monkeypatch.undo()
    monkeypatch.setenv("PROVIDER_URL", provider.url)
    [charged] = rows_of(book, "charges")
    assert gateway.charge_of("key") == charged


@pytest.mark.parametrize("word", ["drop", "503"])
def test_what_may_have_been_done_and_was_not_is_sent_again(provider: Provider, book: Path, word: str) -> None:
    plan(provider, word)

    with pytest.raises(Transient):
        charge(ONE)

    assert gateway.charge_of("key") is None
    assert charge(ONE)["state"] == "paid"
    assert len(rows_of(book, "charges")) == 1


def test_a_provider_with_too_much_to_do_says_how_long_to_wait(provider: Provider, book: Path) -> None:
    plan(provider, "429")

    with pytest.raises(gateway.NotDone, match="429 come back later") as caught:
        charge(ONE)

    assert caught.value.after == timedelta(seconds=1)
    assert rows_of(book, "charges") == []


def test_a_provider_that_is_not_there_has_done_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER_URL", "http://127.0.0.1:1")

    with pytest.raises(gateway.NotDone, match=r"no answer from the provider .*refused"):
        charge(ONE)


def test_the_book_survives_a_restart_of_the_provider(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = []
    for _ in range(2):
        with provider_with(book) as provider:
            monkeypatch.setenv("PROVIDER_URL", provider.url)
            answers += [charge(ONE), gateway.mint(7, WALLET, datetime.now(UTC) + timedelta(minutes=1))]

    assert answers[0] == answers[2]
    assert answers[1] != answers[3]  # it mints whatever it is sent
    assert [each["number"] for each in rows_of(book, "events")] == [1, 2, 3]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/charges", b'{"reference": "a", "amount_cents": 0, "card": "b"}', 400),
        ("POST", "/charges", b'{"reference": "a", "amount_cents": true, "card": "b"}', 400),
        ("POST", "/charges", b"[]", 400),
        ("POST", "/charges", b"{", 400),
        ("POST", "/mints", b'{"ticket_id": 1, "wallet": "0x1", "valid_until": "2026-01-01"}', 400),
        ("POST", "/mints", b'{"ticket_id": 1, "wallet": "0x1", "valid_until": "2026-01-01T00:00:00Z"}', 410),
        ("POST", "/refunds", b'{"charge_id": "x"}', 404),
        ("GET", "/events?after=-1", None, 400),
        ("GET", "/nowhere", None, 404),
        ("PUT", "/mischief", b'{"plan": ["explode"]}', 400),
        ("PUT", "/mischief", b'{"plans": []}', 400),
        ("PUT", "/mischief", b'{"stall_seconds": -1}', 400),
    ],
)
def test_the_provider_answers_a_wrong_request_with_its_reason(
    provider: Provider, method: str, path: str, body: bytes | None, status: int
) -> None:
    request = urllib.request.Request(provider.url + path, data=body, method=method, headers={"Idempotency-Key": "k"})

    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)

    with caught.value as answer:
        assert answer.code == status
        assert b'{"error": "' in answer.read()


# Cards


def test_a_card_that_pays_settles_the_payment(db_engine: sa.Engine, provider: Provider) -> None:
    payment = owe(db_engine)
    with db_engine.connect() as db:
        assert cards.to_try(db, payment.id, 1) == payment

    charged = charge(payment)
    with db_engine.begin() as db:
        assert cards.record(db, payment, 1, charged) == "paid"

    row = row_of(db_engine, market.card_payments)
    assert (row.charge_id, row.try_count, row.try_at) == (charged["id"], 1, None)
    with db_engine.connect() as db:
        assert cards.to_try(db, payment.id, 1) is None


def test_a_card_that_is_empty_is_tried_again_after_longer_and_longer_pauses_and_then_given_up(
    db_engine: sa.Engine, provider: Provider
) -> None:
    payment = owe(db_engine, "empty-1")
    pauses = []
    for number in range(1, 5):
        charged = charge(payment, key=f"{payment.reference}:{number}")
        with db_engine.begin() as db:
            cards.record(db, payment, number, charged)
        row = row_of(db_engine, market.card_payments)
        pauses.append(row.try_at and round((row.try_at - datetime.now(UTC)) / timedelta(days=1)))

    assert pauses == [1, 3, 7, None]
    assert (row.state, row.reason, row.try_count) == ("given_up", "insufficient_funds", 4)


def test_a_stolen_card_is_not_tried_again(db_engine: sa.Engine, provider: Provider) -> None:
    payment = owe(db_engine, "stolen-1")

    with db_engine.begin() as db:
        assert cards.record(db, payment, 1, charge(payment)) == "given_up"


def test_a_payment_that_somebody_changed_while_its_card_was_charged_is_left_for_a_person(
    db_engine: sa.Engine, provider: Provider
) -> None:
    payment = owe(db_engine)
    charged = charge(payment)
    with db_engine.begin() as db:
        db.execute(sa.update(market.card_payments).values(state="given_up", try_at=None))

    with db_engine.begin() as db, pytest.raises(Permanent, match=f"look at charge {charged['id']}"):
        cards.record(db, payment, 1, charged)


def test_what_the_provider_refuses_as_it_stands_is_given_up_and_what_it_did_is_kept(
    db_engine: sa.Engine, provider: Provider, book: Path
) -> None:
    payment = owe(db_engine)
    charge(payment._replace(amount_cents=1), "key")

    with pytest.raises(gateway.Refused, match="was used for other parameters"):
        cards.charged_or_given_up(db_engine, payment, 1, "key")

    row = row_of(db_engine, market.card_payments)
    assert (row.state, row.try_count, len(rows_of(book, "charges"))) == ("given_up", 1, 1)
    assert list(cards.due(db_engine, NOW)) == []


def test_a_try_that_cannot_be_is_a_permanent_error(db_engine: sa.Engine) -> None:
    payment = owe(db_engine)
    with db_engine.connect() as db:
        with pytest.raises(Permanent, match="card payment 999: there is no such payment"):
            cards.to_try(db, 999, 1)
        with pytest.raises(Permanent, match="has been tried 0 times, so 2 is no try"):
            cards.to_try(db, payment.id, 2)


def test_due_payments_come_longest_due_first_in_bounded_lists(
    db_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    payments = [owe(db_engine, f"visa-{age}", try_at=NOW - timedelta(hours=age)).id for age in (1, 3, 2)]
    owe(db_engine, "visa-later", try_at=NOW + timedelta(hours=1))
    owe(db_engine, "visa-paid", state="paid", try_at=None, charge_id="ch", paid_at=NOW)
    monkeypatch.setattr(cards, "BATCH_COUNT", 2)

    first, second, third = payments
    assert list(cards.due(db_engine, NOW)) == [[(second, 1), (third, 1)], [(first, 1)]]
    monkeypatch.setattr(cards, "TRY_COUNT", 2)
    assert list(cards.due(db_engine, NOW)) == [[(second, 1), (third, 1)]]


def test_each_due_payment_gets_one_run(db_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    payment = owe(db_engine)
    enqueued: list[tuple[int, int]] = []
    monkeypatch.setattr(cards, "engine", lambda: db_engine)
    monkeypatch.setattr(cards, "charge", SimpleNamespace(apply_async=enqueued.append))

    assert app.tasks["tasks.cards.retry_failed"].run() == {"enqueued_count": 1}
    assert enqueued == [(payment.id, 1)]


# Minting


def wanted_of(db_engine: sa.Engine, ticket: int) -> minting.Mint:
    with db_engine.connect() as db:
        return minting.to_mint(db, ticket)


def test_a_ticket_is_looked_up_before_a_token_is_minted(
    db_engine: sa.Engine, provider: Provider, book: Path, ticket: int
) -> None:
    there = gateway.mint(ticket, WALLET, datetime.now(UTC) + timedelta(minutes=1))

    token = minting.send_once(db_engine, wanted_of(db_engine, ticket))

    assert token == there
    assert len(rows_of(book, "tokens")) == 1
    with db_engine.begin() as db:
        minting.record_minted(db, minting.Mint(ticket, WALLET), token)
    row = row_of(db_engine, market.mints)
    assert (row.state, row.token, row.wallet) == ("minted", there["token"], WALLET)
    assert list(minting.unminted(db_engine)) == []


@pytest.mark.parametrize("word", ["lose", "stall", "500", "garble"])
def test_a_token_whose_answer_is_lost_is_found_and_not_minted_again(
    db_engine: sa.Engine, provider: Provider, book: Path, ticket: int, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    wanted = wanted_of(db_engine, ticket)
    monkeypatch.setattr(gateway, "ANSWER_SECONDS", 0.5)
    plan(provider, "well", word, stall_seconds=30.0)
    with pytest.raises(Transient):
        minting.send_once(db_engine, wanted)
    monkeypatch.setattr(gateway, "ANSWER_SECONDS", 10.0)

    token = minting.found_or_gone(db_engine, wanted)

    assert [token] == rows_of(book, "tokens")


def test_while_a_request_may_still_be_done_nothing_is_sent_and_afterwards_it_no_longer_can(
    db_engine: sa.Engine, provider: Provider, book: Path, ticket: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = wanted_of(db_engine, ticket)
    monkeypatch.setattr(gateway, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(minting, "VALID", timedelta(seconds=1))
    monkeypatch.setattr(minting, "MARGIN", timedelta(seconds=0.5))
    said: list[str] = []
    provider.say = said.append
    plan(provider, "well", "late", stall_seconds=2.0)
    with pytest.raises(Transient):
        minting.send_once(db_engine, wanted)

    for ask in (minting.found_or_gone, minting.send_once):  # this attempt's successor, and another run of the ticket
        with pytest.raises(Snooze) as caught:
            ask(db_engine, wanted)
        assert timedelta() < caught.value.after <= timedelta(seconds=1.5)

    def gone() -> bool:
        try:
            return minting.found_or_gone(db_engine, wanted) is None
        except Snooze:
            return False

    assert eventually(gone)
    token = minting.send_once(db_engine, wanted)
    assert eventually(lambda: "POST /mints: 410, late" in said)
    assert [token] == rows_of(book, "tokens")


def test_a_request_that_comes_too_late_mints_nothing(provider: Provider, book: Path) -> None:
    with pytest.raises(gateway.NotDone, match="410 valid until"):
        gateway.mint(1, WALLET, datetime.now(UTC) - timedelta(seconds=1))

    assert rows_of(book, "tokens") == []


@pytest.mark.parametrize("words", [["429"], ["well", "429"], ["lose"]])
def test_a_turn_in_which_nothing_was_sent_is_given_back_at_once(
    db_engine: sa.Engine, provider: Provider, book: Path, ticket: int, words: list[str]
) -> None:
    wanted = wanted_of(db_engine, ticket)
    plan(provider, *words)
    with pytest.raises(Transient):
        minting.send_once(db_engine, wanted)

    assert minting.found_or_gone(db_engine, wanted) is None
    assert [minting.send_once(db_engine, wanted)] == rows_of(book, "tokens")


def test_of_two_runs_of_one_ticket_at_once_one_mints(
    db_engine: sa.Engine, provider: Provider, book: Path, ticket: int
) -> None:
    wanted = wanted_of(db_engine, ticket)

    def attempt(_: int) -> object:
        try:
            return minting.send_once(db_engine, wanted)["token"]
        except Snooze as snooze:
            return type(snooze)

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(attempt, range(2)))

    [minted] = rows_of(book, "tokens")
    assert sorted(outcomes, key=str) == sorted([Snooze, minted["token"]], key=str)


def test_a_wallet_that_the_provider_refuses_is_not_ordered_again(
    db_engine: sa.Engine, provider: Provider, ticket: int
) -> None:
    assert list(minting.unminted(db_engine)) == [[ticket]]

    with pytest.raises(gateway.Refused, match="is no wallet's address"):
        minting.send_once(db_engine, minting.Mint(ticket, "at home"))

    assert "is no wallet's address" in row_of(db_engine, market.mints).reason
    assert list(minting.unminted(db_engine)) == []


def test_only_seats_sold_to_somebody_with_a_wallet_get_a_token(db_engine: sa.Engine) -> None:
    account = add_account(db_engine)
    order = add_order(db_engine, account, state="paid")
    with db_engine.connect() as db:
        seat = db.scalar(sa.select(market.sales.c.ticket_id).where(market.sales.c.order_id == order))
        assert list(minting.unminted(db_engine)) == []
        with pytest.raises(Permanent, match="is not sold to anybody with a wallet"):
            minting.to_mint(db, seat)


# Sync


def synced(db_engine: sa.Engine) -> dict[str, str]:
    with db_engine.connect() as db:
        rows = market.provider_charges.c
        return dict(db.execute(sa.select(rows.id, rows.state)).all())


def test_the_providers_charges_come_page_by_page_and_as_they_are_last(
    db_engine: sa.Engine, provider: Provider, book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "EVENT_COUNT", 2)
    charged = [
        charge(ONE._replace(id=number, card=f"{kind}-1"), f"key {number}")
        for number, kind in enumerate(["visa", "empty", "visa"])
    ]
    gateway.mint(7, WALLET, datetime.now(UTC) + timedelta(minutes=1))  # not a charge
    provider.book.refund(charged[0]["id"])

    assert sync.pull(db_engine) == 5
    assert sync.pull(db_engine) == 0

    assert synced(db_engine) == {each["id"]: each["state"] for each in rows_of(book, "charges")}
    assert [*synced(db_engine).values()].count("refunded") == 1
    assert row_of(db_engine, market.cursors).position == 5


@pytest.mark.parametrize("word", ["lose", "429", "500", "garble"])
def test_a_page_that_does_not_come_is_asked_for_again(
    db_engine: sa.Engine, provider: Provider, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.setattr(sync, "EVENT_COUNT", 1)
    charge(ONE), charge(ONE, "another key")
    plan(provider, "well", word)
    with pytest.raises(Transient):
        sync.pull(db_engine)
    assert row_of(db_engine, market.cursors).position == 1

    assert sync.pull(db_engine) == 1
    assert len(synced(db_engine)) == 2


def test_a_run_says_how_many_events_it_took(
    db_engine: sa.Engine, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "engine", lambda: db_engine)
    charge(ONE)

    assert app.tasks["tasks.sync.pull_charges"].run() == {"event_count": 1}


def test_an_older_page_changes_nothing_that_is_newer(db_engine: sa.Engine, provider: Provider) -> None:
    charged = charge(ONE)
    old = gateway.events(0)
    provider.book.refund(charged["id"])
    sync.pull(db_engine)

    with db_engine.begin() as db:
        sync.take(db, 0, old)

    assert synced(db_engine) == {charged["id"]: "refunded"}
    assert row_of(db_engine, market.cursors).position == 2


EVENT = {"number": 3, "kind": "charge.paid", "at": "2026-01-01T00:00:00Z", "object": {"id": "ch"}}


@pytest.mark.parametrize(
    ("page", "error", "said"),
    [
        (gateway.Page([EVENT], False), Permanent, "event 3 cannot be read: KeyError"),
        (gateway.Page([EVENT | {"object": None}], False), Permanent, "event 3 cannot be read: TypeError"),
        (gateway.Page([EVENT, EVENT], False), Permanent, "not in ascending order"),
        (gateway.Page([EVENT | {"number": "3"}], False), Permanent, "not in ascending order"),
        (gateway.Page([EVENT | {"number": 2}], False), Transient, "goes back, or nowhere"),
        (gateway.Page([], True), Transient, "goes back, or nowhere"),
    ],
)
def test_a_page_that_cannot_be_moves_no_cursor(
    db_engine: sa.Engine, page: gateway.Page, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said), db_engine.begin() as db:
        sync.take(db, 2, page)

    with db_engine.connect() as db:
        assert sync.position(db) == 0
