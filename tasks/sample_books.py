"""Sample rows of the marketplace's books: what billing needs and has made, and what clean-ups find."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

import sqlalchemy as sa

from tasks import books

DAY = timedelta(days=1)
YEAR = timedelta(days=365)
ACTIONS = ("signed in", "changed the password", "bought a ticket", "changed the address")
ACTIONS_PER_ACCOUNT = 4
# In hundredths of a per cent. An account in any other country cannot be billed.
TAX = {
    "DE": 1900, "ES": 2100, "FR": 2000, "GB": 2000, "IT": 2200, "NL": 2100, "PL": 2300, "PT": 2300, "SE": 2500,
    "TR": 2000,
}  # fmt: skip
NO_TAX = "AQ"


class Rows(NamedTuple):
    """The rows of one table: which, how many, of which columns."""

    table: sa.Table
    row_count: int
    columns: str
    rows: Iterable[tuple[Any, ...]]


class Paid(NamedTuple):
    """An order that was paid: by whom, when, and what it cost."""

    buyer_id: int
    paid_at: datetime
    amount_cents: int


def country_of(account_id: int, drawn: str) -> str:
    """Return an account's country: of about one in a hundred it has no tax rate, so that nobody can bill it."""
    return NO_TAX if account_id % 97 == 5 else drawn


def host_of(account_id: int) -> str:
    """Return the host of an account's address: about one in a hundred has a name that not every mail server takes.

    Subscribers are none of them: their mail of the last weeks has arrived.
    """
    return "exämple.org" if account_id % 101 == 7 and account_id % 25 else "example.org"


@dataclass
class Books:
    """Rows of the books; equal arguments give equal rows.

    Args:
        as_of: The instant (UTC) that the rows end at.
        countries: Where each account lives.
        paid: Every order that was paid.
    """

    as_of: datetime
    countries: Mapping[int, str]
    paid: Iterable[Paid]

    def parts(self) -> Iterator[Rows]:
        """Yield the rows of each table."""
        rates = [(country, Decimal(rate).scaleb(-4)) for country, rate in TAX.items()]
        yield Rows(books.tax_rates, len(rates), "country rate", rates)
        made = [*self._issued(), *self._unfinished()]
        columns = "account_id month state order_count net_cents tax_cents made_at issued_at voided_at"
        yield Rows(books.invoices, len(made), columns, made)
        count = ACTIONS_PER_ACCOUNT * len(self.countries)
        yield Rows(books.audit_log, count, "account_id action happened_at", self._actions(count))
        told = [*self._announced("New seats are on sale.", 60), *self._announced("Doors open an hour earlier.", 5)]
        yield Rows(books.announcements, len(told), "account_id text shown_at expires_at", told)

    def _issued(self) -> Iterator[tuple[Any, ...]]:
        """The invoices of the month before the last; those of the last month are left for `bill_month`."""
        month = f"{_months_before(self.as_of, 2):%Y-%m}"
        issued_at = _months_before(self.as_of, 1) + timedelta(hours=5)
        bought: defaultdict[int, list[int]] = defaultdict(list)
        for each in self.paid:
            if f"{each.paid_at:%Y-%m}" == month:
                bought[each.buyer_id].append(each.amount_cents)
        for account_id, amounts in sorted(bought.items()):
            country = self.countries[account_id]
            if country in TAX:
                net = sum(amounts)
                yield account_id, month, "issued", len(amounts), net, _tax(country, net), issued_at, issued_at, None

    def _unfinished(self) -> Iterator[tuple[Any, ...]]:
        """Drafts that somebody began, and invoices that were voided on the day of their issue, up to a year ago."""
        random = Random("invoices")  # noqa: S311 - rows, not secrets
        for account_id in range(20, len(self.countries) + 1, 20):
            made_at, country = self.as_of - random.random() * YEAR, self.countries[account_id]
            net = 2_000 + account_id % 7 * 500
            if country in TAX:
                facts = (account_id, f"{_months_before(made_at, 1):%Y-%m}")
                void = account_id % 60 == 0
                instants = (made_at, made_at, made_at) if void else (made_at, None, None)
                yield *facts, "void" if void else "draft", 1, net, _tax(country, net), *instants

    def _actions(self, count: int) -> Iterator[tuple[Any, ...]]:
        random = Random("actions")  # noqa: S311
        for index in range(count):
            account_id = 1 + int(random.random() * len(self.countries))
            yield account_id, ACTIONS[int(random.random() * len(ACTIONS))], self.as_of - YEAR * (1 - index / count)

    def _announced(self, text: str, days: int) -> Iterator[tuple[Any, ...]]:
        """What every account was told some days ago, for thirty days."""
        shown_at = self.as_of - days * DAY
        for account_id in self.countries:
            yield account_id, text, shown_at, shown_at + 30 * DAY


def _tax(country: str, net_cents: int) -> int:
    return (net_cents * TAX[country] + 5_000) // 10_000


def _months_before(instant: datetime, count: int) -> datetime:
    """Return the first instant of a month, so many before that of an instant."""
    first = instant.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for _ in range(count):
        first = (first - DAY).replace(day=1)
    return first
