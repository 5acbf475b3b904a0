"""The weekly digest: what a subscriber's week was like, and what is on sale, as one mail."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from html import escape
from typing import NamedTuple

import sqlalchemy as sa

from steadybeat import Permanent
from tasks.letters import Letter, line
from tasks.market import accounts, orders, payments, sales, tickets

KIND = "weekly-digest"
LINE_COUNT = 5
WEEK = timedelta(days=7)


def period_of(instant: datetime) -> str:
    """Return the ISO week of an instant in UTC: `2026-W05`."""
    year, week, _ = instant.astimezone(UTC).isocalendar()
    return f"{year}-W{week:02d}"


def begin_of(period: str) -> datetime:
    """Return Monday 00:00 UTC of an ISO week such as `2026-W05`.

    Raises:
        Permanent: This is no ISO week.
    """
    with suppress(ValueError):
        monday = datetime.combine(date.fromisoformat(f"{period}-1"), time.min, UTC)
        if period_of(monday) == period:
            return monday
    raise Permanent(f"period={period!r}: is no ISO week; write it like 2026-W05")


class Event(NamedTuple):
    """An event, with a count and a price: those of the seats sold in a week, or of those still free."""

    name: str
    artist: str
    seat_count: int
    price_cents: int


@dataclass(frozen=True)
class Digest:
    """The seven days that end where the week `period` begins, as one subscriber sees them.

    Args:
        since: The first instant of those days, UTC.
        name: What the subscriber is called.
        email: Where the digest goes.
        bought_count: Orders that the subscriber paid.
        bought_cents: What they cost.
        sold_count: Seats of the subscriber's own events that were sold; 0 for who is no artist.
        paid_cents: Royalties that were paid to the subscriber.
        best_sold: The events with the most seats sold, by anybody.
        on_sale: The events with the most free seats now.
    """

    since: datetime
    name: str
    email: str
    bought_count: int
    bought_cents: int
    sold_count: int
    paid_cents: int
    best_sold: list[Event]
    on_sale: list[Event]


def digest_for(db: sa.Connection, account_id: int, period: str) -> Digest:
    """Return the digest of one account for an ISO week.

    Args:
        db: A connection to the marketplace's database.
        account_id: Whose week it is.
        period: The week in which the digest is sent; its figures are those of the seven days before.

    Raises:
        Permanent: There is no such account, or no such week.
    """
    until = begin_of(period)
    since = until - WEEK
    bought = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(orders.c.amount_cents), 0)).where(
        orders.c.buyer_id == account_id, orders.c.paid_at >= since, orders.c.paid_at < until
    )
    sold = sa.select(sa.func.count()).where(
        sales.c.artist_id == account_id, sales.c.sold_at >= since, sales.c.sold_at < until
    )
    paid = sa.select(sa.func.coalesce(sa.func.sum(payments.c.amount_cents), 0)).where(
        payments.c.artist_id == account_id, payments.c.paid_at >= since, payments.c.paid_at < until
    )
    account = db.execute(
        sa.select(accounts.c.display_name, accounts.c.email).where(accounts.c.id == account_id)
    ).one_or_none()
    if account is None:
        raise Permanent(f"account {account_id}: there is no such account")
    bought_count, bought_cents = db.execute(bought).one()
    return Digest(
        since=since,
        name=account.display_name,
        email=account.email,
        bought_count=bought_count,
        bought_cents=bought_cents,
        sold_count=db.execute(sold).scalar_one(),
        paid_cents=db.execute(paid).scalar_one(),
        best_sold=_events(db, _best_sold(since, until)),
        on_sale=_events(db, _on_sale()),
    )


def _best_sold(since: datetime, until: datetime) -> sa.Select[str, str, int, int]:
    return (
        sa.select(tickets.c.event, accounts.c.display_name, sa.func.count(), sa.func.sum(sales.c.price_cents))
        .select_from(sales)
        .join(tickets, tickets.c.id == sales.c.ticket_id)
        .join(accounts, accounts.c.id == sales.c.artist_id)
        .where(sales.c.sold_at >= since, sales.c.sold_at < until)
        .group_by(tickets.c.event, accounts.c.display_name)
    )


def _on_sale() -> sa.Select[str, str, int, int]:
    return (
        sa.select(tickets.c.event, accounts.c.display_name, sa.func.count(), sa.func.min(tickets.c.price_cents))
        .join_from(tickets, accounts, accounts.c.id == tickets.c.artist_id)
        .where(tickets.c.order_id.is_(None))
        .group_by(tickets.c.event, accounts.c.display_name)
    )


def _events(db: sa.Connection, found: sa.Select[str, str, int, int]) -> list[Event]:
    most_seats_first = found.order_by(sa.func.count().desc(), tickets.c.event).limit(LINE_COUNT)
    return [Event(*row) for row in db.execute(most_seats_first)]


def letter(db: sa.Connection, account_id: int, period: str) -> Letter:
    """Return the letter to one account for an ISO week; see `digest_for`."""
    return written(digest_for(db, account_id, period))


def written(digest: Digest) -> Letter:
    """Return a digest as a letter."""
    subject = f"Your week in tickets, from {digest.since:%Y-%m-%d}"
    return Letter(digest.name, digest.email, subject, _as_text(digest), _as_html(digest), subscribed=True)


def _own(digest: Digest) -> list[str]:
    """Return the sentences about the subscriber's own week."""
    told = []
    if digest.bought_count:
        told.append(f"You bought {_times(digest.bought_count, 'order')} for {_money(digest.bought_cents)}.")
    if digest.sold_count:
        told.append(f"{_times(digest.sold_count, 'seat')} of your events were sold.")
    if digest.paid_cents:
        told.append(f"You were paid {_money(digest.paid_cents)} in royalties.")
    return told or ["You bought nothing this week."]


def _lists(digest: Digest) -> list[tuple[str, list[str]]]:
    """Return the lists below those sentences: a title, and a line for each event."""
    sold = [
        f"{each.name} by {each.artist}: {_times(each.seat_count, 'seat')}, {_money(each.price_cents)}"
        for each in digest.best_sold
    ]
    free = [
        f"{each.name} by {each.artist}: {_times(each.seat_count, 'free seat')} from {_money(each.price_cents)}"
        for each in digest.on_sale
    ]
    titled = [("Most sold in these seven days", sold), ("Still on sale", free)]
    return [(title, [line(each) for each in lines]) for title, lines in titled if lines]


def _as_text(digest: Digest) -> str:
    parts = ["\n".join(_own(digest))]
    parts += ["\n".join([title + ":", *(f"- {each}" for each in lines)]) for title, lines in _lists(digest)]
    return "\n\n".join([*parts, _footer(digest)])


def _as_html(digest: Digest) -> str:
    own = "".join(f"<p>{escape(sentence)}</p>" for sentence in _own(digest))
    lists = "".join(
        f"<h2>{escape(title)}</h2><ul>{''.join(f'<li>{escape(each)}</li>' for each in lines)}</ul>"
        for title, lines in _lists(digest)
    )
    return f"{own}{lists}<p><small>{escape(_footer(digest))}</small></p>"


def _footer(digest: Digest) -> str:
    until = digest.since + WEEK
    return f"Seven days up to {until:%Y-%m-%d %H:%M} UTC. Reply with the subject “unsubscribe” to get no more of these."


def _times(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _money(cents: int) -> str:
    return f"{cents // 100:,}.{cents % 100:02d}"
