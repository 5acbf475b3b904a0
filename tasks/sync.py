"""Sync: the provider's charges as it has them, in a table of our own, page by page.

The provider tells what has happened as events with ascending numbers. A page of them becomes rows by upsert, in one
transaction with the cursor that says how far the stream has been read: a killed run leaves whole pages behind, and
the next one goes on from there.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from celery import shared_task
from sqlalchemy.dialects.postgresql import insert

from steadybeat import Permanent, SteadyTask, Transient, cron
from tasks import gateway, rehearsal
from tasks.market import cursors, engine, provider_charges

STREAM = "provider"
PAGE_COUNT = 200
EVENT_COUNT = 100


@shared_task(
    bind=True,
    schedule=cron("*/10 * * * *", tz="UTC"),
    jitter=timedelta(minutes=1),
    catch_up="latest",
    catch_up_window=timedelta(hours=1),
    overlap="skip",
    soft_time_limit=240,
    time_limit=300,
    memory_limit=256 * 2**20,
    max_retries=5,
    retry_backoff=10,
    retry_backoff_max=300,
    owner="payments-team",
    severity="error",
    depends_on=["postgres", "provider"],
    audit_args=rehearsal.charges_to_pull,
    audit_count=0,
)
def pull_charges(self: SteadyTask) -> dict[str, int]:
    """Bring our copy of the provider's charges up to date, at most 20,000 events in a run.

    Safe to run twice: an upsert by charge id, in which an older event never overwrites a newer one; a page and the
    cursor behind it are committed together.

    Raises:
        Permanent: An event cannot be read; nothing behind it is, until a person has looked at it.
        Transient: The provider did not answer, or says to come back later.
    """
    return {"event_count": pull(self, engine())}


def pull(task: SteadyTask, db_engine: sa.Engine) -> int:
    """Take pages until there are no more, 200 at the most; return how many events they held."""
    event_count = 0
    for _ in task.iterate(range(PAGE_COUNT)):
        with db_engine.connect() as db:
            after = position(db)
        page = gateway.events(after, EVENT_COUNT)  # in no transaction: it may take its time
        effect = task.exactly_once(db_engine, step=f"after:{after}")  # an attempt that has lost its run takes nothing
        with effect as db:
            effect.result = take(db, after, page)
        event_count += effect.result
        if not page.has_more:
            break
    return event_count


def position(db: sa.Connection) -> int:
    """Return the number of the last event that was taken, 0 before the first."""
    found = db.scalar(sa.select(cursors.c.position).where(cursors.c.stream == STREAM))
    return int(found or 0)


def take(db: sa.Connection, after: int, page: gateway.Page) -> int:
    """Write what a page tells and move the cursor behind it, inside the caller's transaction.

    Two passes at once wait for each other at the cursor; the page of the second changes nothing that is newer.

    Args:
        db: A connection to the marketplace's database.
        after: The number that the page was asked for.
        page: Events after that number.

    Returns:
        How many events the page holds.

    Raises:
        Permanent: An event cannot be read.
        Transient: The page does not lie behind `after`.
    """
    numbers = [each["number"] for each in page.events]
    if not all(isinstance(number, int) for number in numbers) or numbers != sorted({*numbers}):
        raise Permanent(f"{STREAM}: the events after {after} are not in ascending order")
    if (numbers and numbers[0] <= after) or (page.has_more and not numbers):
        raise Transient(f"{STREAM}: the page after {after} goes back, or nowhere")
    if not numbers:
        return 0
    moved = insert(cursors).values(stream=STREAM, position=numbers[-1])
    db.execute(
        moved.on_conflict_do_update(
            index_elements=["stream"],
            set_={
                "position": sa.func.greatest(cursors.c.position, moved.excluded.position),
                "moved_at": sa.func.clock_timestamp(),
            },
        )
    )
    upsert(db, page.events)
    return len(numbers)


def upsert(db: sa.Connection, events: list[dict[str, Any]]) -> None:
    """Write the charges that events tell of, each as its last event has it; other events tell nothing here."""
    last = {each["id"]: each for each in map(charge_in, events) if each is not None}
    if not last:
        return
    written = insert(provider_charges).values(list(last.values()))
    names = [column.name for column in provider_charges.columns if column.name != "id"]
    db.execute(
        written.on_conflict_do_update(
            index_elements=["id"],
            set_={name: written.excluded[name] for name in names},
            where=provider_charges.c.event_number < written.excluded.event_number,
        )
    )


def charge_in(event: dict[str, Any]) -> dict[str, Any] | None:
    """Return the row that an event makes of a charge, or None where it is about something else.

    Raises:
        Permanent: It cannot be read; names it.
    """
    if not str(event["kind"]).startswith("charge."):
        return None
    try:
        charge = event["object"]
        return {
            "id": str(charge["id"]),
            "reference": str(charge["reference"]),
            "amount_cents": int(charge["amount_cents"]),
            "state": str(charge["state"]),
            "reason": charge.get("reason"),
            "event_number": event["number"],
            "created_at": _instant(charge["created_at"]),
            "changed_at": _instant(event["at"]),
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Permanent(f"{STREAM}: event {event['number']} cannot be read: {error!r}") from error


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
