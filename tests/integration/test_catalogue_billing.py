"""Monthly invoices, against a real Postgres: one per account and month, and what is lacking named."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from steadybeat import Permanent
from tasks import accounts, app, billing, books, market
from tests.integration.marketplace import NOW, add, add_account

app.finalize()  # while the tasks of its modules are still on offer to every app

MONTH = "2026-01"
BEGIN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)


@pytest.fixture
def account(market_engine: sa.Engine) -> int:
    """An account in a country with a tax of a fifth."""
    with market_engine.begin() as db:
        db.execute(sa.insert(books.tax_rates).values(country="DE", rate=0.2))
    return add_account(market_engine)


def buy(market_engine: sa.Engine, account: int, cents: int, paid_at: datetime | None) -> None:
    with market_engine.begin() as db:
        values = {"state": "paid" if paid_at else "unpaid", "amount_cents": cents, "paid_at": paid_at}
        add(db, market.orders, buyer_id=account, placed_at=BEGIN, **values)


def issue(market_engine: sa.Engine, account: int, month: str = MONTH) -> str:
    with market_engine.begin() as db:
        return billing.issue(db, account, month)


def issued(market_engine: sa.Engine) -> list[Any]:
    with market_engine.connect() as db:
        return list(db.execute(sa.select(books.invoices).order_by(books.invoices.c.id)))


def test_an_invoice_is_the_sum_of_what_was_paid_in_its_month_and_the_tax_on_it(
    market_engine: sa.Engine, account: int
) -> None:
    other = add_account(market_engine, "b@x.example")
    for cents, paid_at in ((1_001, BEGIN), (2_002, END - INSTANT), (4, BEGIN - INSTANT), (8, END), (16, None)):
        buy(market_engine, account, cents, paid_at)

    assert issue(market_engine, account) == "issued"
    assert issue(market_engine, other) == "nothing bought"

    [row] = issued(market_engine)
    assert (row.account_id, row.month, row.order_count) == (account, MONTH, 2)
    assert (row.net_cents, row.tax_cents) == (3_003, 601)  # 600.6: half a cent and more goes up


def test_a_connection_bills_as_many_accounts_as_it_likes(market_engine: sa.Engine, account: int) -> None:
    ids = [account, *(add_account(market_engine, f"{number}@x.example") for number in range(20))]
    for each in ids:
        buy(market_engine, each, 1_000, BEGIN)

    assert [issue(market_engine, each) for each in ids] == ["issued"] * 21  # prepared statements from the sixth on


def test_an_account_is_billed_once_for_a_month_whoever_asks(market_engine: sa.Engine, account: int) -> None:
    buy(market_engine, account, 1_000, BEGIN)

    with ThreadPoolExecutor(2) as pool:
        said = [each.result() for each in [pool.submit(issue, market_engine, account) for _ in range(2)]]

    assert sorted(said) == ["issued", "issued before"]
    assert issue(market_engine, account) == "issued before"
    assert len(issued(market_engine)) == 1


def test_a_month_whose_invoice_was_voided_may_be_billed_again(market_engine: sa.Engine, account: int) -> None:
    buy(market_engine, account, 1_000, BEGIN)
    issue(market_engine, account)
    with market_engine.begin() as db:
        db.execute(sa.update(books.invoices).values(state="void", voided_at=NOW))

    assert issue(market_engine, account) == "issued"
    assert [row.state for row in issued(market_engine)] == ["void", "issued"]


def test_what_an_account_lacks_is_a_permanent_error_and_leaves_no_invoice(
    market_engine: sa.Engine, account: int
) -> None:
    buy(market_engine, account, 1_000, BEGIN)
    with market_engine.begin() as db:
        db.execute(sa.update(market.accounts).values(country="AQ"))

    for account_id, month, said in (
        (account, MONTH, f"account {account}: its country AQ has no tax rate"),
        (999, MONTH, "account 999: there is no such account"),
        (account, "soon", "month='soon': is no month"),
    ):
        with pytest.raises(Permanent, match=said):
            issue(market_engine, account_id, month)
    assert issued(market_engine) == []


def test_a_month_that_is_not_over_is_not_billed() -> None:
    with pytest.raises(Permanent, match="is not over"):
        app.tasks["tasks.billing.bill_month"].run(month=f"{NOW:%Y-%m}")


def test_what_became_of_a_month_is_written_down_anew_when_it_is_told_again(
    market_engine: sa.Engine, account: int
) -> None:
    buy(market_engine, account, 1_000, BEGIN)
    issue(market_engine, account)
    told = {"state": "succeeded", "succeeded": 1, "failed": 2, "skipped": 3, "cancelled": 0, "fan_out": "x"}

    with market_engine.begin() as db:
        billing.close(db, told, MONTH)
        billing.close(db, told | {"succeeded": 3, "failed": 0}, MONTH)
        [row] = db.execute(sa.select(books.billed_months)).all()

    assert (row.month, row.billed_count, row.failed_count, row.skipped_count) == (MONTH, 3, 0, 3)
    assert (row.invoice_count, row.gross_cents) == (1, 1_200)


def test_the_accounts_are_read_one_by_one_and_their_connection_is_given_back_when_the_reader_stops(
    market_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [add_account(market_engine, f"{number}@x.example") for number in range(5)]
    monkeypatch.setattr(accounts, "engine", lambda: market_engine)
    monkeypatch.setattr(accounts, "BATCH_COUNT", 2)
    pool: Any = market_engine.pool

    assert sorted(accounts.ids()) == ids
    reader = accounts.ids()
    next(reader)
    assert pool.checkedout() == 1
    reader.close()
    assert pool.checkedout() == 0
