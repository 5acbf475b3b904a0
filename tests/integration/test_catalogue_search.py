"""The search table and the trials, in a real Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tasks import accounts, app, market, search
from tests.integration.marketplace import NOW, add_account, add_free_seat, add_order, marketplace

app.finalize()  # while the tasks of its modules are still on offer to every app


@pytest.fixture
def db_engine(postgres_url: str) -> Iterator[sa.Engine]:
    with marketplace(postgres_url) as engine:
        yield engine


@pytest.fixture
def artist(db_engine: sa.Engine) -> int:
    return add_account(db_engine, name="Ada Kaya")


def found(db_engine: sa.Engine, query: str, **how: Any) -> list[str]:
    with db_engine.connect() as db:
        return [hit.title for hit in search.find(db, query, **how)]


def sell(db_engine: sa.Engine, ticket: int, order: int) -> None:
    with db_engine.begin() as db:
        db.execute(sa.update(market.tickets).where(market.tickets.c.id == ticket).values(order_id=order))


def document(db_engine: sa.Engine) -> Any:
    """The only document."""
    with db_engine.connect() as db:
        return db.execute(sa.select(market.search_documents)).one()


def test_what_is_on_sale_is_found_best_first(db_engine: sa.Engine, artist: int) -> None:
    ferry = add_account(db_engine, "f@x.example", "Ferry Lions")
    add_free_seat(db_engine, artist, "Night Ferry, Berlin, night 2")
    add_free_seat(db_engine, ferry, "Paper Lions, Berlin, night 3")

    assert search.refresh(app.tasks["tasks.search.index"], db_engine) == (2, 0)

    assert found(db_engine, "ferry") == ["Night Ferry, Berlin, night 2", "Paper Lions, Berlin, night 3"]
    assert found(db_engine, "LIONS berlin") == ["Paper Lions, Berlin, night 3"]
    assert found(db_engine, "berlin -lions") == ["Night Ferry, Berlin, night 2"]
    assert found(db_engine, '"night 3" or kaya', limit=1) == ["Paper Lions, Berlin, night 3"]
    assert found(db_engine, "the") == []


@pytest.mark.parametrize("query", ["", "   ", "-", '"', "a:* & !(", "\0", "%_\\", "'; DROP TABLE"])
def test_any_text_is_a_query(db_engine: sa.Engine, query: str) -> None:
    assert found(db_engine, query) == []


def test_a_document_follows_its_event_and_goes_when_the_last_seat_is_sold(db_engine: sa.Engine, artist: int) -> None:
    order = add_order(db_engine, artist, state="unpaid")
    cheap = add_free_seat(db_engine, artist, "Night Ferry", "F1", price_cents=1_000)
    last = add_free_seat(db_engine, artist, "Night Ferry", "F2", price_cents=3_000)

    assert search.refresh(app.tasks["tasks.search.index"], db_engine) == (1, 0)
    assert document(db_engine).facts == {"free_seat_count": 2, "price_from_cents": 1_000}
    before = document(db_engine)
    assert search.refresh(app.tasks["tasks.search.index"], db_engine) == (0, 0)
    assert document(db_engine) == before

    sell(db_engine, cheap, order)
    assert search.refresh(app.tasks["tasks.search.index"], db_engine) == (1, 0)
    assert document(db_engine).facts == {"free_seat_count": 1, "price_from_cents": 3_000}

    sell(db_engine, last, order)
    assert search.refresh(app.tasks["tasks.search.index"], db_engine) == (0, 1)
    assert found(db_engine, "ferry") == []


def test_more_than_a_batch_is_written_and_removed_in_one_pass(
    db_engine: sa.Engine, artist: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "BATCH_COUNT", 2)
    order = add_order(db_engine, artist, state="unpaid")
    seats = [add_free_seat(db_engine, artist, f"night {number}") for number in range(5)]

    assert search.refresh(app.tasks["tasks.search.index"], db_engine) == (5, 0)
    for seat in seats:
        sell(db_engine, seat, order)
    assert search.refresh(app.tasks["tasks.search.index"], db_engine) == (0, 5)


def test_what_a_newer_pass_wrote_stays(db_engine: sa.Engine) -> None:
    old = search.Document("event:A", "A", "by nobody", {})
    with db_engine.begin() as db:
        assert search.upsert(db, [old._replace(body="by Ada")], version=2) == 1
        assert search.upsert(db, [old], version=1) == 0
        assert search.remove_gone(db, version=1) == 0
        assert search.upsert(db, [old], version=3) == 1
        assert search.remove_gone(db, version=3) == 1


def test_documents_of_other_kinds_are_left_alone(db_engine: sa.Engine) -> None:
    with db_engine.begin() as db:
        search.upsert(db, [search.Document("artist:1", "Ada", "", {})], version=1)

    assert search.refresh(app.tasks["tasks.search.index"], db_engine) == (0, 0)
    assert found(db_engine, "ada") == ["Ada"]


def test_the_task_says_what_it_changed(db_engine: sa.Engine, artist: int, monkeypatch: pytest.MonkeyPatch) -> None:
    add_free_seat(db_engine, artist, "Night Ferry")
    monkeypatch.setattr(search, "engine", lambda: db_engine)

    assert app.tasks["tasks.search.index"].run() == {"written_count": 1, "removed_count": 0}


def add_trial(db_engine: sa.Engine, account: int, *, ended_ago: timedelta) -> None:
    ends_at = NOW - ended_ago
    with db_engine.begin() as db:
        row = {"account_id": account, "started_at": ends_at - timedelta(days=30), "ends_at": ends_at}
        db.execute(sa.insert(market.trials).values(row))


def states(db_engine: sa.Engine) -> dict[int, str]:
    with db_engine.connect() as db:
        return dict(db.execute(sa.select(market.trials.c.account_id, market.trials.c.state)).all())


def test_trials_that_are_over_end_once_as_what_they_became(
    db_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bought, late, idle, running = (add_account(db_engine, f"{number}@x.example") for number in range(4))
    for account in (bought, late, idle):
        add_trial(db_engine, account, ended_ago=timedelta(days=1))
    add_trial(db_engine, running, ended_ago=timedelta(days=-1))
    add_order(db_engine, bought, state="paid", age=timedelta(days=2))
    add_order(db_engine, late, state="paid", age=timedelta(hours=1))
    add_order(db_engine, idle, state="unpaid", age=timedelta(days=2))
    monkeypatch.setattr(accounts, "engine", lambda: db_engine)
    monkeypatch.setattr(accounts, "BATCH_COUNT", 2)
    end_trials = app.tasks["tasks.accounts.end_trials"]

    assert end_trials.run() == {"converted_count": 1, "expired_count": 2}
    after = states(db_engine)
    assert after == {bought: "converted", late: "expired", idle: "expired", running: "trial"}
    add_order(db_engine, idle, state="paid", age=timedelta(days=3))
    assert end_trials.run() == {"converted_count": 0, "expired_count": 0}
    assert states(db_engine) == after


def test_a_trial_that_is_being_changed_at_this_moment_does_not_end(db_engine: sa.Engine, artist: int) -> None:
    add_trial(db_engine, artist, ended_ago=timedelta(days=1))

    with db_engine.begin() as support, db_engine.begin() as db:
        support.execute(sa.select(market.trials.c.account_id).with_for_update())
        assert accounts.end_due(db) == (0, 0)
