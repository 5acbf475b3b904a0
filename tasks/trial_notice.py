"""The trial notice: one mail, in the last three days of a trial, that says when it ends."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta

import sqlalchemy as sa

from steadybeat import Permanent
from tasks.letters import Letter
from tasks.market import accounts, engine, notifications, trials

KIND = "trial-notice"
AHEAD = timedelta(days=3)
ROW_COUNT = 1_000


def ending() -> Generator[int]:
    """Yield the ids of accounts whose trial ends within three days, and which have not been told of that end.

    They are read through a cursor of the server's, 1,000 at a time, which is closed when the reader stops early, too.
    """
    day = sa.func.to_char(sa.func.timezone("UTC", trials.c.ends_at), "YYYY-MM-DD")
    told = sa.exists().where(
        notifications.c.account_id == trials.c.account_id,
        notifications.c.kind == KIND,
        notifications.c.period == day,
        notifications.c.state.in_(("sent", "refused", "unknown")),
    )
    near = sa.select(trials.c.account_id).where(_is_near(), ~told)
    with engine().connect() as db, db.execution_options(yield_per=ROW_COUNT).execute(near) as found:
        yield from found.scalars()


def period_for(db: sa.Connection, account_id: int) -> str | None:
    """Return the day in UTC, such as `2026-02-03`, on which an account's trial ends; None where no end is near."""
    ends_at = db.scalar(sa.select(trials.c.ends_at).where(trials.c.account_id == account_id, _is_near()))
    return None if ends_at is None else f"{ends_at.astimezone(UTC):%Y-%m-%d}"


def _is_near() -> sa.ColumnElement[bool]:
    return sa.and_(
        trials.c.state == "trial",
        trials.c.ends_at > sa.func.now(),
        trials.c.ends_at <= sa.func.now() + AHEAD,
    )


def letter(db: sa.Connection, account_id: int, period: str) -> Letter:
    """Return the letter to one account whose trial ends on a day.

    Args:
        db: A connection to the marketplace's database.
        account_id: Whose trial it is.
        period: The day in UTC, such as `2026-02-03`.

    Raises:
        Permanent: This is no day, or no trial of that account ends on it.
    """
    begin = begin_of(period)
    found = db.execute(
        sa.select(accounts.c.display_name, accounts.c.email, trials.c.ends_at)
        .join_from(trials, accounts, accounts.c.id == trials.c.account_id)
        .where(trials.c.account_id == account_id, trials.c.state == "trial")
        .where(trials.c.ends_at >= begin, trials.c.ends_at < begin + timedelta(days=1))
    ).one_or_none()
    if found is None:
        raise Permanent(f"account {account_id}: has no trial that ends on {period}")
    told = f"Your trial ends on {found.ends_at.astimezone(UTC):%Y-%m-%d at %H:%M} UTC. Whoever buys a ticket stays."
    subject = f"Your trial ends on {period}"
    return Letter(found.display_name, found.email, subject, told, f"<p>{told}</p>", subscribed=False)


def begin_of(period: str) -> datetime:
    """Return 00:00 UTC of a day such as `2026-02-03`.

    Raises:
        Permanent: This is no day.
    """
    with suppress(ValueError):
        begin = datetime.combine(date.fromisoformat(period), time.min, UTC)
        if f"{begin:%Y-%m-%d}" == period:
            return begin
    raise Permanent(f"period={period!r}: is no day; write it like 2026-02-03")
