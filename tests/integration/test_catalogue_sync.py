"""The provider's charges, page by page from a real provider into a real Postgres."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from steadybeat import Permanent, Transient
from tasks import app, gateway, market, sync
from tasks.provider_server import Provider
from tests.integration.payments import ONE, charge, plan, row_of, rows_of

app.finalize()  # while the tasks of its modules are still on offer to every app

WALLET = "0x00aa"


def synced(market_engine: sa.Engine) -> dict[str, str]:
    with market_engine.connect() as db:
        rows = market.provider_charges.c
        return dict(db.execute(sa.select(rows.id, rows.state)).all())


def test_the_providers_charges_come_page_by_page_and_as_they_are_last(
    market_engine: sa.Engine, provider: Provider, book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "EVENT_COUNT", 2)
    charged = [
        charge(ONE._replace(id=number, card=f"{kind}-1"), f"key {number}")
        for number, kind in enumerate(["visa", "empty", "visa"])
    ]
    gateway.mint(7, WALLET, datetime.now(UTC) + timedelta(minutes=1))  # not a charge
    provider.book.refund(charged[0]["id"])

    assert sync.pull(app.tasks["tasks.sync.pull_charges"], market_engine) == 5
    assert sync.pull(app.tasks["tasks.sync.pull_charges"], market_engine) == 0

    assert synced(market_engine) == {each["id"]: each["state"] for each in rows_of(book, "charges")}
    assert [*synced(market_engine).values()].count("refunded") == 1
    assert row_of(market_engine, market.cursors).position == 5


@pytest.mark.parametrize("word", ["lose", "429", "500", "garble"])
def test_a_page_that_does_not_come_is_asked_for_again(
    market_engine: sa.Engine, provider: Provider, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.setattr(sync, "EVENT_COUNT", 1)
    charge(ONE), charge(ONE, "another key")
    plan(provider, "well", word)
    with pytest.raises(Transient):
        sync.pull(app.tasks["tasks.sync.pull_charges"], market_engine)
    assert row_of(market_engine, market.cursors).position == 1

    assert sync.pull(app.tasks["tasks.sync.pull_charges"], market_engine) == 1
    assert len(synced(market_engine)) == 2


def test_a_run_says_how_many_events_it_took(
    market_engine: sa.Engine, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "engine", lambda: market_engine)
    charge(ONE)

    assert app.tasks["tasks.sync.pull_charges"].run() == {"event_count": 1}


def test_an_older_page_changes_nothing_that_is_newer(market_engine: sa.Engine, provider: Provider) -> None:
    charged = charge(ONE)
    old = gateway.events(0)
    provider.book.refund(charged["id"])
    sync.pull(app.tasks["tasks.sync.pull_charges"], market_engine)

    with market_engine.begin() as db:
        sync.take(db, 0, old)

    assert synced(market_engine) == {charged["id"]: "refunded"}
    assert row_of(market_engine, market.cursors).position == 2


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
    market_engine: sa.Engine, page: gateway.Page, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said), market_engine.begin() as db:
        sync.take(db, 2, page)

    with market_engine.connect() as db:
        assert sync.position(db) == 0
