"""Sample rows of the marketplace: a year of trade up to an instant, the same rows every time."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from tasks import digest, market
from tasks.market import HOLD
from tasks.sample_books import Books, Paid, country_of, host_of

SPAN = timedelta(days=365)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
SEATS_PER_EVENT = 400
MAX_SEAT_COUNT = 4
TRIAL = timedelta(days=30)
NOTICE_WEEK_COUNT = 4
FEE_MONTH_COUNT = 3
FEE_CENTS = 900

GIVEN = ("Ada", "Amir", "Bea", "Carlos", "Chiara", "Dana", "Deniz", "Elif", "Emil", "Farah", "Goran", "Hana")
FAMILY = ("Aalto", "Bauer", "Costa", "Demir", "Eriksen", "Fischer", "Garcia", "Horvat", "Ivanov", "Jansen", "Kaya")
COUNTRIES = ("DE", "ES", "FR", "GB", "IT", "NL", "PL", "PT", "SE", "TR")
ACTS = ("Glass Harbour", "Night Ferry", "Paper Lions", "Salt & Cedar", "The Late Trams", "Velvet Static")
CITIES = ("Amsterdam", "Berlin", "Istanbul", "Lisbon", "London", "Madrid", "Milan", "Paris", "Warsaw")


class Part(NamedTuple):
    """The rows of one table: which, how many, of which columns."""

    table: sa.Table
    row_count: int
    columns: tuple[str, ...]
    rows: Iterable[tuple[Any, ...]]


class _Order(NamedTuple):
    id: int
    state: str
    placed_at: datetime
    paid_at: datetime | None
    first_ticket_id: int
    seat_count: int
    settled_at: datetime | None  # of all its sales


@dataclass
class Sample:
    """Rows for an empty marketplace; equal arguments give equal rows, on any machine.

    Args:
        as_of: The instant (aware) that the rows end at; none lies after it.
        account_count: Accounts; a twentieth of them are artists.
        order_count: Orders, evenly over the year before `as_of`.
        sale_count: Sales, spread over the paid orders; at least one for each of them.
    """

    as_of: datetime
    account_count: int = 5_000
    order_count: int = 50_000
    sale_count: int = 200_000
    _plan: list[_Order] = field(init=False, repr=False)
    _minted: list[tuple[Any, ...]] = field(init=False, repr=False)
    _fees: list[tuple[Any, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.as_of = self.as_of.astimezone(UTC)
        self._artist_count = self.account_count // 20
        self._session_count = self.account_count * 4
        self._plan = self._plan_orders()
        self._minted, self._fees = list(self._mints()), list(self._card_payments())
        last = self._plan[-1]
        free_count = self.sale_count // 40
        self._ticket_count = last.first_ticket_id + last.seat_count - 1 + free_count

    def parts(self) -> Iterator[Part]:
        """Yield the rows of each table, those first that others refer to."""
        settled_count = sum(each.seat_count for each in self._plan if each.settled_at is not None)
        for table, count, columns, rows in (
            (market.accounts, self.account_count, "id email display_name country opened_at", self._accounts),
            (market.royalties, self._artist_count, "artist_id share agreed_at", self._royalties),
            (
                market.orders,
                self.order_count,
                "id buyer_id state amount_cents placed_at paid_at expired_at",
                self._orders,
            ),
            (
                market.tickets,
                self._ticket_count,
                "id artist_id event seat price_cents order_id",
                self._tickets,
            ),
            (
                market.sales,
                self.sale_count,
                "id order_id ticket_id artist_id price_cents sold_at settled_at",
                self._sales,
            ),
            (market.payments, settled_count, "sale_id artist_id amount_cents paid_at", self._payments),
            (market.sessions, self._session_count, "id account_id started_at last_seen_at", self._sessions),
            (market.trials, self.account_count // 10, "account_id state started_at ends_at ended_at", self._trials),
            (market.subscriptions, self.account_count // 25, "account_id kind started_at", self._subscriptions),
            (
                market.notifications,
                self.account_count // 25 * NOTICE_WEEK_COUNT,
                "account_id kind period state reason attempt_count created_at sending_at sent_at",
                self._notifications,
            ),
            (market.wallets, len(self._wallet_ids), "account_id address opened_at", self._wallets),
            (
                market.mints,
                len(self._minted),
                "ticket_id wallet state valid_until token minted_at",
                self._minted.__iter__,
            ),
            (
                market.card_payments,
                len(self._fees),
                "account_id period amount_cents card state reason try_count failed_at try_at charge_id paid_at",
                self._fees.__iter__,
            ),
        ):
            yield Part(table, count, tuple(columns.split()), rows())
        for kept in self._books().parts():
            yield Part(kept.table, kept.row_count, tuple(kept.columns.split()), kept.rows)

    def _books(self) -> Books:
        countries = {row[0]: row[3] for row in self._accounts()}
        paid = (Paid(row[1], row[5], row[3]) for row in self._orders() if row[5] is not None)
        return Books(self.as_of, countries, paid)

    def digest(self) -> str:
        """Return a SHA-256 over all rows of all tables, in hexadecimal."""
        content = hashlib.sha256()
        for part in self.parts():
            content.update(part.table.name.encode())
            for row in part.rows:
                content.update("\t".join(map(str, row)).encode())
        return content.hexdigest()

    def _plan_orders(self) -> list[_Order]:
        random = Random("orders")  # noqa: S311 - rows, not secrets
        first = self.as_of - SPAN
        step = (SPAN - HOUR) / self.order_count
        times_and_states = []
        for index in range(self.order_count):
            placed_at = first + step * (index + random.random())
            times_and_states.append((placed_at, self._state(self.as_of - placed_at, random.random())))
        seat_counts = self._seat_counts([state for _, state in times_and_states], random)
        plan = []
        ticket_id = 1
        for index, (placed_at, state) in enumerate(times_and_states):
            paid_at = placed_at + random.random() * HOUR if state == "paid" else None
            seat_count, settled_at = seat_counts[index], self._settled(paid_at)
            plan.append(_Order(index + 1, state, placed_at, paid_at, ticket_id, seat_count, settled_at))
            ticket_id += seat_count if state != "expired" else 0  # expired orders hold no seats
        return plan

    def _state(self, age: timedelta, chance: float) -> str:
        """Return an order's state: of recent ones half are unpaid, of old ones a few have expired."""
        if age < HOLD + DAY:
            return "unpaid" if chance < 0.5 else "paid"
        return "expired" if chance < 0.03 else "paid"

    def _seat_counts(self, states: list[str], random: Random) -> list[int]:
        """Return how many seats each order has, so that the paid ones have `sale_count` together."""
        counts = [1 + int(random.random() * MAX_SEAT_COUNT) for _ in states]
        paid = [index for index, state in enumerate(states) if state == "paid"]
        share, rest = divmod(self.sale_count, len(paid))
        for position, index in enumerate(paid):
            counts[index] = share + (position < rest)
        for one, other in zip(paid[::2], paid[1::2], strict=False):
            moved = int(random.random() * min(share, MAX_SEAT_COUNT))
            counts[one] -= moved
            counts[other] += moved
        return counts

    def _settled(self, sold_at: datetime | None) -> datetime | None:
        """Return when the royalties of sales at `sold_at` were paid: 06:00 of the next day, if that was."""
        if sold_at is None:
            return None
        settled_at = sold_at.replace(hour=6, minute=0, second=0, microsecond=0) + DAY
        return settled_at if settled_at < self.as_of else None

    def _accounts(self) -> Iterator[tuple[Any, ...]]:
        random = Random("accounts")  # noqa: S311
        first = self.as_of - 3 * SPAN
        for account_id in range(1, self.account_count + 1):
            given = GIVEN[int(random.random() * len(GIVEN))]
            family = FAMILY[int(random.random() * len(FAMILY))]
            email = f"{given}.{family}.{account_id}@{host_of(account_id)}".lower()
            country = country_of(account_id, COUNTRIES[int(random.random() * len(COUNTRIES))])
            yield account_id, email, f"{given} {family}", country, first + random.random() * 2 * SPAN

    def _royalties(self) -> Iterator[tuple[Any, ...]]:
        agreed_at = self.as_of - SPAN
        for artist_id in range(1, self._artist_count + 1):
            yield artist_id, Decimal(_share(artist_id)).scaleb(-4), agreed_at

    def _buyers(self) -> Iterator[int]:
        """Yield the buyer of each order: anybody who is no artist."""
        random = Random("buyers")  # noqa: S311
        buyer_count = self.account_count - self._artist_count
        for _ in self._plan:
            yield self._artist_count + 1 + int(random.random() * buyer_count)

    def _orders(self) -> Iterator[tuple[Any, ...]]:
        for order, buyer_id in zip(self._plan, self._buyers(), strict=True):
            amount = sum(_price(each) for each in _tickets_of(order))
            expired_at = order.placed_at + HOLD if order.state == "expired" else None
            yield order.id, buyer_id, order.state, amount, order.placed_at, order.paid_at, expired_at

    def _tickets(self) -> Iterator[tuple[Any, ...]]:
        ticket_id = 0
        for order in self._plan:
            if order.state != "expired":
                for ticket_id in _tickets_of(order):
                    yield self._ticket(ticket_id, order.id)
        for free_id in range(ticket_id + 1, self._ticket_count + 1):
            yield self._ticket(free_id, None)

    def _ticket(self, ticket_id: int, order_id: int | None) -> tuple[Any, ...]:
        event, seat = divmod(ticket_id - 1, SEATS_PER_EVENT)
        title = f"{ACTS[event % len(ACTS)]}, {CITIES[event % len(CITIES)]}, night {event + 1}"
        name = f"{chr(65 + seat // 20)}{seat % 20 + 1}"
        return ticket_id, self._artist(ticket_id), title, name, _price(ticket_id), order_id

    def _artist(self, ticket_id: int) -> int:
        return (ticket_id - 1) // SEATS_PER_EVENT * 31 % self._artist_count + 1

    def _sales(self) -> Iterator[tuple[Any, ...]]:
        for sale_id, ticket_id, order in self._sold():
            artist_id = self._artist(ticket_id)
            yield sale_id, order.id, ticket_id, artist_id, _price(ticket_id), order.paid_at, order.settled_at

    def _payments(self) -> Iterator[tuple[Any, ...]]:
        for sale_id, ticket_id, order in self._sold():
            if order.settled_at is not None:
                artist_id = self._artist(ticket_id)
                owed = (_price(ticket_id) * _share(artist_id) + 5_000) // 10_000
                yield sale_id, artist_id, owed, order.settled_at

    def _sold(self) -> Iterator[tuple[int, int, _Order]]:
        sale_id = 0
        for order in self._plan:
            if order.state == "paid":
                for ticket_id in _tickets_of(order):
                    sale_id += 1
                    yield sale_id, ticket_id, order

    def _sessions(self) -> Iterator[tuple[Any, ...]]:
        random = Random("sessions")  # noqa: S311
        for _ in range(self._session_count):
            session_id = UUID(int=random.getrandbits(128), version=4)
            account_id = 1 + int(random.random() * self.account_count)
            last_seen_at = self.as_of - random.random() * 45 * DAY
            yield session_id, account_id, last_seen_at - random.random() * 2 * HOUR, last_seen_at

    def _trials(self) -> Iterator[tuple[Any, ...]]:
        """Every tenth account had a trial in the last 90 days; those that are over ended at the next ten minutes."""
        random = Random("trials")  # noqa: S311
        purchases: defaultdict[int, list[datetime]] = defaultdict(list)
        for order, buyer_id in zip(self._plan, self._buyers(), strict=True):
            if order.paid_at is not None:
                purchases[buyer_id].append(order.paid_at)
        for account_id in range(10, self.account_count + 1, 10):
            ends_at = self.as_of + TRIAL - random.random() * 3 * TRIAL
            started_at = ends_at - TRIAL
            ended_at = ends_at.replace(minute=ends_at.minute // 10 * 10, second=0, microsecond=0) + HOUR / 6
            if ended_at > self.as_of:
                yield account_id, "trial", started_at, ends_at, None
            else:
                bought = any(started_at <= paid_at < ends_at for paid_at in purchases[account_id])
                yield account_id, "converted" if bought else "expired", started_at, ends_at, ended_at

    def _subscriptions(self) -> Iterator[tuple[Any, ...]]:
        for account_id in range(25, self.account_count + 1, 25):
            yield account_id, digest.KIND, self.as_of - SPAN / 2

    def _notifications(self) -> Iterator[tuple[Any, ...]]:
        """The digests of the four weeks before this one: all were sent, but for an address that its server refuses."""
        last = digest.begin_of(digest.period_of(self.as_of)) - 7 * DAY + 7 * HOUR
        for week in reversed(range(NOTICE_WEEK_COUNT)):
            at = last - timedelta(weeks=week)
            for account_id in range(25, self.account_count + 1, 25):
                refused = account_id == 25
                outcome = ("refused", "550 5.1.1 no such user", 1) if refused else ("sent", None, 1)
                yield account_id, digest.KIND, digest.period_of(at), *outcome, at, at, None if refused else at

    @property
    def _wallet_ids(self) -> range:
        """Who has a wallet: every twentieth account of those that buy."""
        return range(self._artist_count + 1, self.account_count + 1, 20)

    def _wallets(self) -> Iterator[tuple[Any, ...]]:
        for account_id in self._wallet_ids:
            yield account_id, _wallet(account_id), self.as_of - SPAN / 2

    def _mints(self) -> Iterator[tuple[Any, ...]]:
        """Every seat bought with a wallet has its token, but for those of the last day."""
        for order, buyer_id in zip(self._plan, self._buyers(), strict=True):
            paid_at = order.paid_at
            if paid_at is None or buyer_id not in self._wallet_ids:
                continue
            if self.as_of - SPAN / 2 <= paid_at < self.as_of - DAY:
                at = paid_at.replace(minute=paid_at.minute // 5 * 5, second=0, microsecond=0) + HOUR / 12
                for ticket_id in _tickets_of(order):
                    yield ticket_id, _wallet(buyer_id), "minted", at, f"tok_sample_{ticket_id}", at

    def _card_payments(self) -> Iterator[tuple[Any, ...]]:
        """The fees of three months whose cards failed; those of the last month wait for their first try."""
        first = self.as_of - 2 * DAY
        for month in range(FEE_MONTH_COUNT):
            first = first.replace(day=1, hour=3, minute=0, second=0, microsecond=0)
            for account_id in range(50, self.account_count + 1, 50):
                card = _card(account_id)
                fee = (account_id, f"{first:%Y-%m}", FEE_CENTS, card)
                if month == 0:
                    yield *fee, "failed", "insufficient_funds", 0, first, first + DAY, None, None
                elif card.startswith("visa"):
                    charge_id = f"ch_sample_{account_id}_{first:%Y%m}"
                    yield *fee, "paid", "insufficient_funds", 1, first, None, charge_id, first + DAY
                else:
                    reason, try_count = ("stolen_card", 1) if card.startswith("stolen") else ("insufficient_funds", 4)
                    yield *fee, "given_up", reason, try_count, first, None, None, None
            first -= DAY


def _wallet(account_id: int) -> str:
    return "0x" + hashlib.sha256(f"wallet {account_id}".encode()).hexdigest()[:40]


def _card(account_id: int) -> str:
    """Return an account's card: of every seventh it is empty, of every eleventh stolen."""
    number = account_id // 50
    kind = "stolen" if number % 11 == 0 else "empty" if number % 7 == 0 else "visa"
    return f"{kind}-{account_id:05d}"


def _tickets_of(order: _Order) -> range:
    return range(order.first_ticket_id, order.first_ticket_id + order.seat_count)


def _price(ticket_id: int) -> int:
    """Return the price in cents: each event has its own, and the first five rows cost half as much again."""
    event, seat = divmod(ticket_id - 1, SEATS_PER_EVENT)
    price = 2_000 + event * 7_919 % 90 * 100
    return price * 3 // 2 if seat < 100 else price


def _share(artist_id: int) -> int:
    """Return an artist's share in hundredths of a per cent: 5 to 15 %."""
    return 500 + artist_id * 37 % 1_001
