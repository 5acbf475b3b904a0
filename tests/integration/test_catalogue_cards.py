"""Card retry, from a real Postgres to a real provider."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from steadybeat import Permanent
from tasks import app, cards, gateway, market
from tasks.provider_server import Provider
from tests.integration.marketplace import NOW, add, add_account
from tests.integration.payments import charge, row_of, rows_of

app.finalize()  # while the tasks of its modules are still on offer to every app


def owe(market_engine: sa.Engine, card: str = "visa-1", **columns: Any) -> cards.Payment:
    """A card payment that has failed, of an account of its own."""
    account = add_account(market_engine, f"{card}@x.example")
    values = {"account_id": account, "period": "2026-01", "amount_cents": 900, "card": card, "reason": "network"}
    values |= {"failed_at": NOW - timedelta(days=2), "try_at": NOW - timedelta(days=1), **columns}
    with market_engine.begin() as db:
        return cards.Payment(add(db, market.card_payments, **values), 900, card)


def test_a_card_that_pays_settles_the_payment(market_engine: sa.Engine, provider: Provider) -> None:
    payment = owe(market_engine)
    with market_engine.connect() as db:
        assert cards.to_try(db, payment.id, 1) == payment

    charged = charge(payment)
    with market_engine.begin() as db:
        assert cards.record(db, payment, 1, charged) == "paid"

    row = row_of(market_engine, market.card_payments)
    assert (row.charge_id, row.try_count, row.try_at) == (charged["id"], 1, None)
    with market_engine.connect() as db:
        assert cards.to_try(db, payment.id, 1) is None


def test_a_card_that_is_empty_is_tried_again_after_longer_and_longer_pauses_and_then_given_up(
    market_engine: sa.Engine, provider: Provider
) -> None:
    payment = owe(market_engine, "empty-1")
    pauses = []
    for number in range(1, 5):
        charged = charge(payment, key=f"{payment.reference}:{number}")
        with market_engine.begin() as db:
            cards.record(db, payment, number, charged)
        row = row_of(market_engine, market.card_payments)
        pauses.append(row.try_at and round((row.try_at - datetime.now(UTC)) / timedelta(days=1)))

    assert pauses == [1, 3, 7, None]
    assert (row.state, row.reason, row.try_count) == ("given_up", "insufficient_funds", 4)


def test_a_stolen_card_is_not_tried_again(market_engine: sa.Engine, provider: Provider) -> None:
    payment = owe(market_engine, "stolen-1")

    with market_engine.begin() as db:
        assert cards.record(db, payment, 1, charge(payment)) == "given_up"


def test_a_payment_that_somebody_changed_while_its_card_was_charged_is_left_for_a_person(
    market_engine: sa.Engine, provider: Provider
) -> None:
    payment = owe(market_engine)
    charged = charge(payment)
    with market_engine.begin() as db:
        db.execute(sa.update(market.card_payments).values(state="given_up", try_at=None))

    with market_engine.begin() as db, pytest.raises(Permanent, match=f"look at charge {charged['id']}"):
        cards.record(db, payment, 1, charged)


def test_what_the_provider_refuses_as_it_stands_is_given_up_and_what_it_did_is_kept(
    market_engine: sa.Engine, provider: Provider, book: Path
) -> None:
    payment = owe(market_engine)
    charge(payment._replace(amount_cents=1), "key")

    with pytest.raises(gateway.Refused, match="was used for other parameters"):
        cards.charged_or_given_up(market_engine, payment, 1, "key")

    row = row_of(market_engine, market.card_payments)
    assert (row.state, row.try_count, len(rows_of(book, "charges"))) == ("given_up", 1, 1)
    assert list(cards.due(market_engine, NOW)) == []


def test_a_try_that_cannot_be_is_a_permanent_error(market_engine: sa.Engine) -> None:
    payment = owe(market_engine)
    with market_engine.connect() as db:
        with pytest.raises(Permanent, match="card payment 999: there is no such payment"):
            cards.to_try(db, 999, 1)
        with pytest.raises(Permanent, match="has been tried 0 times, so 2 is no try"):
            cards.to_try(db, payment.id, 2)


def test_due_payments_come_longest_due_first_in_bounded_lists(
    market_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    payments = [owe(market_engine, f"visa-{age}", try_at=NOW - timedelta(hours=age)).id for age in (1, 3, 2)]
    owe(market_engine, "visa-later", try_at=NOW + timedelta(hours=1))
    owe(market_engine, "visa-paid", state="paid", try_at=None, charge_id="ch", paid_at=NOW)
    monkeypatch.setattr(cards, "BATCH_COUNT", 2)

    first, second, third = payments
    assert list(cards.due(market_engine, NOW)) == [[(second, 1), (third, 1)], [(first, 1)]]
    monkeypatch.setattr(cards, "TRY_COUNT", 2)
    assert list(cards.due(market_engine, NOW)) == [[(second, 1), (third, 1)]]


def test_each_due_payment_gets_one_run(market_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    payment = owe(market_engine)
    enqueued: list[tuple[int, int]] = []
    monkeypatch.setattr(cards, "engine", lambda: market_engine)
    monkeypatch.setattr(cards, "charge", SimpleNamespace(apply_async=enqueued.append))

    assert app.tasks["tasks.cards.retry_failed"].run() == {"enqueued_count": 1}
    assert enqueued == [(payment.id, 1)]
