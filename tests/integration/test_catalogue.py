"""The reference catalogue's SQL and sample, against a real Postgres."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from steadybeat import Permanent
from tasks import app, maintenance, market, orders, royalties, snapshots
from tasks.fill import count_rows, fill
from tasks.sample import Sample
from tasks.seed import seed
from tests.integration.marketplace import NOW, add, add_order, marketplace

app.finalize()  # while the tasks of its modules are still on offer to every app

AS_OF = datetime(2026, 1, 31, tzinfo=UTC)
SIZE = {"accounts": 5_000, "orders": 50_000, "sales": 200_000}
DIGEST = "389f905871d624a6771114d8d4a89b4be32a818b364f114151162193e4d6f6de"
small = partial(Sample, account_count=100, order_count=1_000, sale_count=4_000)


@pytest.fixture
def db_engine(postgres_url: str) -> Iterator[sa.Engine]:
    with marketplace(postgres_url) as engine:
        yield engine


@pytest.fixture
def artist(db_engine: sa.Engine) -> int:
    """An account with royalty terms: a tenth of each sale."""
    with db_engine.begin() as db:
        account_id = add(db, market.accounts, email="a@x", display_name="A", country="DE", opened_at=NOW)
        db.execute(sa.insert(market.royalties).values(artist_id=account_id, share=0.1, agreed_at=NOW))
    return account_id


def sale_ids(db_engine: sa.Engine) -> list[int]:
    with db_engine.connect() as db:
        return list(db.scalars(sa.select(market.sales.c.id).order_by(market.sales.c.id)))


def fill_with(db_engine: sa.Engine, sample: Sample) -> None:
    with db_engine.begin() as db:
        fill(db, sample, lambda part, written_count: None)


def schema_objects(db: sa.Connection) -> set[str]:
    constraints = sa.text(
        "SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = 'market'::regnamespace"
    )
    indexes = sa.text("SELECT indexdef FROM pg_indexes WHERE schemaname = 'market'")
    return {*db.scalars(constraints), *db.scalars(indexes)}


def test_creating_the_schema_twice_changes_nothing(db_engine: sa.Engine) -> None:
    with db_engine.begin() as db:
        before = schema_objects(db)
        market.create(db)
        assert schema_objects(db) == before


def test_unpaid_orders_past_their_hold_expire_and_free_their_seats(db_engine: sa.Engine, artist: int) -> None:
    old = add_order(db_engine, artist, state="unpaid", age=market.HOLD + timedelta(hours=1), seats=2)
    recent = add_order(db_engine, artist, state="unpaid", age=market.HOLD - timedelta(hours=1))
    paid = add_order(db_engine, artist, state="paid", age=market.HOLD + timedelta(hours=1))

    with db_engine.begin() as db:
        assert orders.expire_unpaid(db) == (1, 2)
    with db_engine.begin() as db:
        assert orders.expire_unpaid(db) == (0, 0)
        states = dict(db.execute(sa.select(market.orders.c.id, market.orders.c.state)).all())
        held = set(db.scalars(sa.select(market.tickets.c.order_id)))

    assert states == {old: "expired", recent: "unpaid", paid: "paid"}
    assert held == {None, recent, paid}


def test_an_order_being_paid_at_this_moment_does_not_expire(db_engine: sa.Engine, artist: int) -> None:
    add_order(db_engine, artist, state="unpaid", age=market.HOLD + timedelta(hours=1))

    with db_engine.begin() as buyer, db_engine.begin() as db:
        buyer.execute(sa.select(market.orders.c.id).with_for_update())
        assert orders.expire_unpaid(db) == (0, 0)


def test_no_more_orders_expire_in_one_statement_than_stated(
    db_engine: sa.Engine, artist: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        add_order(db_engine, artist, state="unpaid", age=market.HOLD * 2)
    monkeypatch.setattr(orders, "BATCH_COUNT", 2)

    with db_engine.begin() as db:
        assert [orders.expire_unpaid(db).order_count for _ in range(3)] == [2, 1, 0]


def test_a_sale_pays_its_artist_once(db_engine: sa.Engine, artist: int) -> None:
    add_order(db_engine, artist, state="paid", age=timedelta(days=1))
    [sale_id] = sale_ids(db_engine)

    with db_engine.begin() as db:
        assert royalties.pay(db, sale_id) == 101  # a tenth of 1005, half a cent goes up
        assert royalties.pay(db, sale_id) is None
        assert db.scalar(sa.select(sa.func.count()).select_from(market.payments)) == 1
        assert db.scalar(sa.select(market.sales.c.settled_at)) is not None


def test_of_two_payments_of_a_sale_at_once_one_pays(db_engine: sa.Engine, artist: int) -> None:
    add_order(db_engine, artist, state="paid", age=timedelta(days=1))
    [sale_id] = sale_ids(db_engine)

    def pay() -> int | None:
        with db_engine.begin() as db:
            return royalties.pay(db, sale_id)

    with ThreadPoolExecutor(2) as pool:
        paid = {each.result() for each in [pool.submit(pay), pool.submit(pay)]}

    assert paid == {101, None}


def test_a_royalty_that_can_never_be_paid_is_a_permanent_error(db_engine: sa.Engine, artist: int) -> None:
    add_order(db_engine, artist, state="paid", age=timedelta(days=1))
    [sale_id] = sale_ids(db_engine)

    with db_engine.begin() as db:
        with pytest.raises(Permanent, match="sale 999: there is no such sale"):
            royalties.pay(db, 999)
        db.execute(sa.delete(market.royalties))
        with pytest.raises(Permanent, match="no royalty terms"):
            royalties.pay(db, sale_id)


def test_unsettled_sales_come_oldest_first_in_bounded_lists(
    db_engine: sa.Engine, artist: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_order(db_engine, artist, state="paid", age=timedelta(days=1), seats=5)
    add_order(db_engine, artist, state="paid", age=timedelta())
    first, second, third, fourth, fifth, _later = sale_ids(db_engine)
    with db_engine.begin() as db:
        royalties.pay(db, second)
    cutoff = NOW - timedelta(hours=1)
    monkeypatch.setattr(royalties, "BATCH_COUNT", 3)

    assert list(royalties.unsettled(db_engine, cutoff)) == [[first, third, fourth], [fifth]]
    monkeypatch.setattr(royalties, "SETTLE_COUNT", 3)
    assert list(royalties.unsettled(db_engine, cutoff)) == [[first, third, fourth]]


def test_settle_orders_one_payment_per_unsettled_sale(
    db_engine: sa.Engine, artist: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_order(db_engine, artist, state="paid", age=timedelta(days=1), seats=3)
    enqueued: list[tuple[int]] = []
    monkeypatch.setattr(royalties, "engine", lambda: db_engine)
    monkeypatch.setattr(royalties, "BATCH_COUNT", 2)
    monkeypatch.setattr(royalties, "pay_royalty", SimpleNamespace(apply_async=enqueued.append))

    settle = app.tasks["tasks.royalties.settle"]

    assert settle.run() == {"enqueued_count": 3}
    assert [sale_id for (sale_id,) in enqueued] == sale_ids(db_engine)


def test_sessions_unseen_for_a_month_are_deleted_in_batches(
    db_engine: sa.Engine, artist: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db_engine.begin() as db:
        for age in (31, 32, 33, 29, 0):
            at = NOW - timedelta(days=age)
            add(db, market.sessions, id=uuid4(), account_id=artist, started_at=at, last_seen_at=at)
    monkeypatch.setattr(maintenance, "engine", lambda: db_engine)
    monkeypatch.setattr(maintenance, "BATCH_COUNT", 2)
    clear_sessions = app.tasks["tasks.maintenance.clear_sessions"]

    assert clear_sessions.run() == {"deleted_count": 3}
    assert clear_sessions.run() == {"deleted_count": 0}


class FireOf:
    """Stands for a task at work on one fire."""

    def __init__(self, db_engine: sa.Engine, scheduled_for: datetime | None) -> None:
        self.db_engine, self.scheduled_for = db_engine, scheduled_for
        self.request = SimpleNamespace(id=str(uuid4()) if scheduled_for else None)

    @contextmanager
    def exactly_once(self) -> Iterator[sa.Connection]:
        with self.db_engine.begin() as db:
            yield db


def test_a_doubled_fire_shows_in_the_effects(
    db_engine: sa.Engine, artist: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_order(db_engine, artist, state="unpaid", age=timedelta())
    add_order(db_engine, artist, state="paid", age=timedelta(hours=1), seats=2)
    monkeypatch.setattr(snapshots, "engine", lambda: db_engine)
    later = AS_OF + timedelta(seconds=1)

    for scheduled_for in (later, AS_OF, later, None):
        fire: Any = FireOf(db_engine, scheduled_for)
        figures = snapshots.take(fire, "orders", "orders-1s", orders.FIGURES, 0.0)
        assert figures == {"open_order_count": 1, "revenue_of_last_day_cents": 2_010}

    effects = snapshots.effects(db_engine)
    assert [(each.scheduled_for, each.row_count) for each in effects] == [(AS_OF, 1), (later, 2)]
    assert all(each.first_taken_at >= NOW for each in effects)


def test_a_sample_is_the_same_rows_on_every_machine() -> None:
    assert small(AS_OF).digest() == DIGEST


def test_filling_twice_gives_the_same_content_and_leaves_the_schema_whole(db_engine: sa.Engine) -> None:
    def content(db: sa.Connection) -> dict[str, str]:
        return {
            table.name: db.scalar(
                sa.text(f"SELECT md5(string_agg(md5(t::text), '' ORDER BY t::text)) FROM {table.fullname} t")
            )
            for table in market.metadata.sorted_tables
        }

    with db_engine.connect() as db:
        before = schema_objects(db)
    contents = []
    for _ in range(2):
        fill_with(db_engine, small(AS_OF))
        with db_engine.connect() as db:
            contents.append(content(db))
            assert schema_objects(db) == before

    assert contents[0] == contents[1]


def test_rows_added_after_filling_get_ids_of_their_own(db_engine: sa.Engine) -> None:
    fill_with(db_engine, small(AS_OF))

    with db_engine.begin() as db:
        added = add(db, market.accounts, email="a@x", display_name="A", country="DE", opened_at=NOW)

    assert added == 101


CONTRADICTIONS = """
SELECT FROM market.orders o WHERE o.state = 'paid'
    AND amount_cents <> (SELECT sum(price_cents) FROM market.sales s WHERE s.order_id = o.id);
SELECT FROM market.orders WHERE greatest(placed_at, paid_at, expired_at) > :as_of;
SELECT FROM market.tickets t JOIN market.orders o ON o.id = t.order_id WHERE o.state = 'expired';
SELECT FROM market.sales s JOIN market.orders o ON o.id = s.order_id WHERE o.paid_at IS DISTINCT FROM s.sold_at;
SELECT FROM market.sales s JOIN market.tickets t ON t.id = s.ticket_id
    WHERE (t.order_id, t.artist_id, t.price_cents) <> (s.order_id, s.artist_id, s.price_cents);
SELECT FROM market.sales s LEFT JOIN market.royalties r USING (artist_id) WHERE r.share IS NULL;
SELECT FROM market.sales s LEFT JOIN market.payments p ON p.sale_id = s.id
    WHERE p.paid_at IS DISTINCT FROM s.settled_at;
SELECT FROM market.payments p JOIN market.sales s ON s.id = p.sale_id
    JOIN market.royalties r ON r.artist_id = s.artist_id WHERE p.amount_cents <> round(s.price_cents * r.share);
SELECT FROM market.sessions WHERE last_seen_at > :as_of;
SELECT FROM market.trials WHERE greatest(started_at, ended_at) > :as_of OR ended_at < ends_at;
SELECT FROM market.trials t WHERE t.state <> 'trial' AND (t.state = 'converted') <> EXISTS (
    SELECT FROM market.orders o
    WHERE o.buyer_id = t.account_id AND o.paid_at >= t.started_at AND o.paid_at < t.ends_at);
SELECT FROM market.mints m LEFT JOIN market.sales s USING (ticket_id) LEFT JOIN market.orders o ON o.id = s.order_id
    LEFT JOIN market.wallets w ON w.account_id = o.buyer_id AND w.address = m.wallet AND w.opened_at <= s.sold_at
    WHERE w.address IS NULL OR m.minted_at < s.sold_at OR m.minted_at > :as_of;
SELECT FROM market.card_payments WHERE greatest(failed_at, try_at, paid_at) > :as_of
    OR (state = 'paid') <> (try_count = 1 AND card LIKE 'visa-%');
SELECT FROM market.notifications n LEFT JOIN market.subscriptions s USING (account_id, kind)
    WHERE s.started_at IS NULL OR s.started_at > n.created_at OR greatest(n.created_at, n.sent_at) > :as_of;
SELECT FROM market.notifications n JOIN market.accounts a ON a.id = n.account_id WHERE a.email LIKE '%ä%';
SELECT FROM market.invoices WHERE greatest(made_at, issued_at, voided_at) > :as_of;
SELECT FROM market.invoices i JOIN market.accounts a ON a.id = i.account_id LEFT JOIN market.tax_rates USING (country)
    WHERE i.tax_cents IS DISTINCT FROM round(i.net_cents * rate);
SELECT FROM (SELECT * FROM market.invoices WHERE state = 'issued') i FULL JOIN (
    SELECT buyer_id, count(*) AS count, sum(amount_cents) AS net FROM market.orders
    JOIN market.accounts a ON a.id = buyer_id JOIN market.tax_rates USING (country)
    WHERE date_trunc('month', paid_at, 'UTC') = date_trunc('month', :as_of, 'UTC') - interval '2 months' GROUP BY 1
    ) o ON o.buyer_id = i.account_id WHERE (i.order_count, i.net_cents) IS DISTINCT FROM (o.count, o.net);
SELECT FROM market.audit_log WHERE happened_at > :as_of;
SELECT FROM market.announcements WHERE shown_at > :as_of
"""


def test_a_sample_does_not_contradict_itself(db_engine: sa.Engine) -> None:
    sample = small(AS_OF)
    fill_with(db_engine, sample)

    with db_engine.connect() as db:
        none = dict.fromkeys(("snapshots", "search_documents", "provider_charges", "cursors", "billed_months"), 0)
        assert count_rows(db) == none | {each.table.name: each.row_count for each in sample.parts()}
        for contradiction in CONTRADICTIONS.split(";"):
            found = db.execute(sa.text(f"SELECT count(*) FROM ({contradiction}) _"), {"as_of": AS_OF})
            assert found.scalar() == 0, contradiction


def test_a_hundredth_of_the_samples_accounts_lacks_what_a_job_needs() -> None:
    rows = [*Sample(AS_OF, order_count=500, sale_count=1_000)._accounts()]

    assert [sum(lacks(row) for row in rows) for lacks in (lambda row: "ä" in row[1], lambda row: row[3] == "AQ")] == [
        48,
        52,
    ]


@pytest.fixture
def celery_seed(postgres_url: str) -> Callable[..., Result]:
    def run(*options: str, url: str = postgres_url, answer: str = "") -> Result:
        told = SimpleNamespace(steadybeat=SimpleNamespace(settings=SimpleNamespace(database_url=url)))
        return CliRunner().invoke(seed, options, obj=SimpleNamespace(app=told), input=answer)

    return run


def test_seed_fills_an_empty_marketplace_and_leaves_a_filled_one(
    celery_seed: Callable[..., Result], db_engine: sa.Engine
) -> None:
    filled = celery_seed("--as-of", "2026-01-31", "--json")
    again = celery_seed()

    assert filled.exit_code == 0, filled.output
    counts = json.loads(filled.stdout)["row_counts"]
    assert {name: counts[name] for name in ("accounts", "orders", "sales")} == SIZE
    assert again.exit_code == 0
    assert again.stdout.startswith("already filled: 5,000 accounts, 50,000 orders, 200,000 sales")
    with db_engine.connect() as db:
        assert 100 < db.scalar(royalties.FIGURES) < 1_000  # some are left for `settle`
        for figures in (orders.FIGURES, royalties.FIGURES, maintenance.FIGURES):
            text = str(figures.compile(db_engine, compile_kwargs={"literal_binds": True}))
            plan = "\n".join(db.scalars(sa.text("EXPLAIN " + text.replace(":", "\\:"))))
            assert not re.search(r"Seq Scan on (orders|sales|payments|sessions)", plan), plan


def test_seed_can_create_the_tables_and_leave_them_empty(celery_seed: Callable[..., Result]) -> None:
    for _ in range(2):
        created = celery_seed("--tables-only")
        assert (created.exit_code, created.stdout) == (0, "tables are there: 0 accounts, 0 orders, 0 sales\n")
    assert not json.loads(celery_seed("--tables-only", "--json").stdout)["filled"]
    refused = celery_seed("--tables-only", "--reset")
    assert refused.exit_code == 2
    assert "leave out --reset" in refused.stderr


def test_seed_asks_before_it_deletes(
    celery_seed: Callable[..., Result], db_engine: sa.Engine, artist: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.sample.Sample", small)

    refused = celery_seed("--reset", answer="n\n")
    assert refused.exit_code == 1
    assert celery_seed().stdout.startswith("already filled: 1 accounts")
    assert "sales: 4,000 rows" in celery_seed("--reset", "--yes").stdout.splitlines()


def test_seed_names_what_is_wrong_in_one_line(celery_seed: Callable[..., Result]) -> None:
    nobody = celery_seed(url="postgresql://me:secret@127.0.0.1:1/x")
    assert nobody.exit_code == 2
    assert nobody.stderr.startswith("Error: STEADYBEAT_DATABASE_URL=postgresql://me:***@127.0.0.1:1/x: ")
    assert len(nobody.stderr.splitlines()) == 1
    for as_of, reason in (("2026-01-31T12:00", "has no time zone"), ("soon", "is no date")):
        refused = celery_seed("--as-of", as_of)
        assert refused.exit_code == 2
        assert f"'{as_of}' {reason}; write it like 2026-01-31" in refused.stderr


def test_a_forked_child_has_connections_of_its_own(db_engine: sa.Engine, postgres_url: str) -> None:
    def backend() -> int:
        with market.engine(postgres_url).connect() as db:
            return int(db.scalar(sa.text("SELECT pg_backend_pid()")))

    parents = backend()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, str(backend()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        childs = int(answer.read())
    os.waitpid(child, 0)

    assert childs != parents
    assert backend() == parents


def test_the_drills_schedules_cover_the_services_and_name_their_own_rows() -> None:
    from tasks.demo import SCHEDULES
    from tasks.demo import app as demo

    app.set_current()
    assert demo.conf.imports == ["tasks.maintenance", "tasks.orders", "tasks.royalties"]

    assert len(SCHEDULES) >= 9
    assert {entry["task"].split(".")[1] for entry in SCHEDULES.values()} == {"orders", "royalties", "maintenance"}
    for name, entry in SCHEDULES.items():
        assert entry["args"] == (name,)
