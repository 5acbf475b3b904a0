"""Minting, from a real Postgres to a real provider that mints whatever it is sent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from steadybeat import Permanent, Snooze, Transient
from tasks import app, gateway, market, minting
from tasks.provider_book import Book
from tasks.provider_server import Provider
from tests.eventually import eventually
from tests.integration.marketplace import NOW, add_account, add_order
from tests.integration.payments import plan, row_of, rows_of

app.finalize()  # while the tasks of its modules are still on offer to every app

WALLET = "0x00aa"


@pytest.fixture
def ticket(market_engine: sa.Engine) -> int:
    """A seat that was sold to somebody with a wallet."""
    account = add_account(market_engine)
    with market_engine.begin() as db:
        opened = {"account_id": account, "address": WALLET, "opened_at": NOW - timedelta(days=9)}
        db.execute(sa.insert(market.wallets).values(opened))
    add_order(market_engine, account, state="paid", age=timedelta(days=1))
    with market_engine.connect() as db:
        return int(db.scalar(sa.select(market.sales.c.ticket_id)))


def wanted_of(market_engine: sa.Engine, ticket: int) -> minting.Mint:
    with market_engine.connect() as db:
        return minting.to_mint(db, ticket)


def test_a_ticket_is_looked_up_before_a_token_is_minted(
    market_engine: sa.Engine, provider: Provider, book: Path, ticket: int
) -> None:
    there = gateway.mint(ticket, WALLET, datetime.now(UTC) + timedelta(minutes=1))

    token = minting.send_once(market_engine, wanted_of(market_engine, ticket))

    assert token == there
    assert len(rows_of(book, "tokens")) == 1
    with market_engine.begin() as db:
        minting.record_minted(db, minting.Mint(ticket, WALLET), token)
    row = row_of(market_engine, market.mints)
    assert (row.state, row.token, row.wallet) == ("minted", there["token"], WALLET)
    assert list(minting.unminted(market_engine)) == []


@pytest.mark.parametrize("word", ["lose", "stall", "500", "garble"])
def test_a_token_whose_answer_is_lost_is_found_and_not_minted_again(
    market_engine: sa.Engine, provider: Provider, book: Path, ticket: int, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    wanted = wanted_of(market_engine, ticket)
    monkeypatch.setattr(gateway, "ANSWER_SECONDS", 0.5)
    plan(provider, "well", word, stall_seconds=30.0)
    with pytest.raises(Transient):
        minting.send_once(market_engine, wanted)
    monkeypatch.setattr(gateway, "ANSWER_SECONDS", 10.0)

    token = minting.found_or_gone(market_engine, wanted)

    assert [token] == rows_of(book, "tokens")


def test_while_a_request_may_still_be_done_nothing_is_sent_and_afterwards_it_no_longer_can(
    market_engine: sa.Engine, provider: Provider, book: Path, ticket: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = wanted_of(market_engine, ticket)
    monkeypatch.setattr(gateway, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(minting, "VALID", timedelta(seconds=1))
    monkeypatch.setattr(minting, "MARGIN", timedelta(seconds=0.5))
    said: list[str] = []
    provider.say = said.append
    plan(provider, "well", "late", stall_seconds=2.0)
    with pytest.raises(Transient):
        minting.send_once(market_engine, wanted)

    for ask in (minting.found_or_gone, minting.send_once):  # this attempt's successor, and another run of the ticket
        with pytest.raises(Snooze) as caught:
            ask(market_engine, wanted)
        assert timedelta() < caught.value.after <= timedelta(seconds=1.5)

    def gone() -> bool:
        try:
            return minting.found_or_gone(market_engine, wanted) is None
        except Snooze:
            return False

    assert eventually(gone)
    token = minting.send_once(market_engine, wanted)
    assert eventually(lambda: "POST /mints: 410, late" in said)
    assert [token] == rows_of(book, "tokens")


def test_a_request_that_comes_too_late_mints_nothing(provider: Provider, book: Path) -> None:
    with pytest.raises(gateway.NotDone, match="410 valid until"):
        gateway.mint(1, WALLET, datetime.now(UTC) - timedelta(seconds=1))

    assert rows_of(book, "tokens") == []


@pytest.mark.parametrize("words", [["429"], ["well", "429"], ["lose"]])
def test_a_turn_in_which_nothing_was_sent_is_given_back_at_once(
    market_engine: sa.Engine, provider: Provider, book: Path, ticket: int, words: list[str]
) -> None:
    wanted = wanted_of(market_engine, ticket)
    plan(provider, *words)
    with pytest.raises(Transient):
        minting.send_once(market_engine, wanted)

    assert minting.found_or_gone(market_engine, wanted) is None
    assert [minting.send_once(market_engine, wanted)] == rows_of(book, "tokens")


def test_of_two_runs_of_one_ticket_at_once_one_mints(
    market_engine: sa.Engine, provider: Provider, book: Path, ticket: int
) -> None:
    wanted = wanted_of(market_engine, ticket)

    def attempt(_: int) -> object:
        try:
            return minting.send_once(market_engine, wanted)["token"]
        except Snooze as snooze:
            return type(snooze)

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(attempt, range(2)))

    [minted] = rows_of(book, "tokens")
    assert sorted(outcomes, key=str) == sorted([Snooze, minted["token"]], key=str)


def test_a_wallet_that_the_provider_refuses_is_not_ordered_again(
    market_engine: sa.Engine, provider: Provider, ticket: int
) -> None:
    assert list(minting.unminted(market_engine)) == [[ticket]]

    with pytest.raises(gateway.Refused, match="is no wallet's address"):
        minting.send_once(market_engine, minting.Mint(ticket, "at home"))

    assert "is no wallet's address" in row_of(market_engine, market.mints).reason
    assert list(minting.unminted(market_engine)) == []


def test_a_ticket_that_is_minted_again_by_hand_keeps_its_token(
    market_engine: sa.Engine, provider: Provider, book: Path, ticket: int
) -> None:
    wanted = wanted_of(market_engine, ticket)
    token = minting.send_once(market_engine, wanted)
    with market_engine.begin() as db:
        minting.record_minted(db, wanted, token)

    assert minting.send_once(market_engine, wanted) == token
    assert [token] == rows_of(book, "tokens")
    book.unlink()  # a provider that has forgotten is a case for a person
    provider.book = Book(book)
    with pytest.raises(Permanent, match="has a token, which the provider does not know"):
        minting.send_once(market_engine, wanted)
    provider.book.close()


def test_only_seats_sold_to_somebody_with_a_wallet_get_a_token(market_engine: sa.Engine) -> None:
    account = add_account(market_engine)
    order = add_order(market_engine, account, state="paid")
    with market_engine.connect() as db:
        seat = db.scalar(sa.select(market.sales.c.ticket_id).where(market.sales.c.order_id == order))
        assert list(minting.unminted(market_engine)) == []
        with pytest.raises(Permanent, match="is not sold to anybody with a wallet"):
            minting.to_mint(db, seat)
