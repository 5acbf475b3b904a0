"""Search: what is on sale can be found, through one document per event in a table with full text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import count
from typing import Any, NamedTuple

import sqlalchemy as sa
from celery import shared_task
from sqlalchemy.dialects.postgresql import insert

from steadybeat import SteadyTask, cron
from tasks import rehearsal
from tasks.market import accounts, engine, search_documents, search_version, tickets

BATCH_COUNT = 500
FIND_LIMIT_COUNT = 100
EVENT = "event:"


class Document(NamedTuple):
    """One thing that can be found.

    Attributes:
        id: What it is of, such as `event:Night Ferry, Berlin, night 2`.
        title: Its words count most.
        body: Further words.
        facts: What a page shows beside it.
    """

    id: str
    title: str
    body: str
    facts: dict[str, Any]


class Hit(NamedTuple):
    """A document that was found, and how well it fits: the higher the better."""

    id: str
    title: str
    facts: dict[str, Any]
    rank: float


class Indexed(NamedTuple):
    """How many documents one pass wrote and removed."""

    written_count: int
    removed_count: int


@shared_task(
    bind=True,
    schedule=cron("* * * * *", tz="UTC"),
    jitter=timedelta(seconds=20),
    catch_up="latest",
    catch_up_window=timedelta(minutes=5),
    overlap="skip",
    soft_time_limit=240,
    time_limit=300,
    memory_limit=256 * 2**20,
    max_retries=3,
    retry_backoff=2,
    retry_backoff_max=30,
    owner="search-team",
    severity="warning",
    depends_on=["postgres"],
    audit_args=rehearsal.seats_on_sale,
)
def index(self: SteadyTask) -> dict[str, int]:
    """Bring the documents of all events up to date: new and changed ones are written, sold-out ones removed.

    Safe to run twice: an upsert by document id that writes only what differs. It compares contents instead of
    remembering when it last ran, so neither a killed run nor a wrong clock makes it miss a change: whole batches stay,
    the next pass compares again.
    """
    return refresh(self, engine())._asdict()


def refresh(task: SteadyTask, db_engine: sa.Engine) -> Indexed:
    """Make one pass over all events on sale, 500 at a time, each batch in a transaction of its own.

    An attempt that has lost its run writes nothing; one that follows another goes on behind its last batch.
    """
    with db_engine.connect() as db:
        version = int(db.execute(sa.select(search_version.next_value())).scalar_one())
    written_total = removed_total = 0
    last_event = ""
    for number in task.iterate(count()):
        batch = task.exactly_once(db_engine, step=f"write:{number}")
        with batch as db:
            documents = on_sale(db, last_event)
            written_count = upsert(db, documents, version)
            batch.result = [written_count, len(documents), documents[-1].title if documents else last_event]
        written_count, read_count, last_event = batch.result
        written_total += written_count
        if read_count < BATCH_COUNT:
            break
    for number in task.iterate(count()):
        batch = task.exactly_once(db_engine, step=f"remove:{number}")
        with batch as db:
            batch.result = remove_gone(db, version)
        removed_total += batch.result
        if batch.result < BATCH_COUNT:
            break
    return Indexed(written_total, removed_total)


def on_sale(db: sa.Connection, after_event: str) -> list[Document]:
    """Return the documents of the next 500 events that have free seats, in the order of their names."""
    events = (
        sa.select(
            tickets.c.event,
            sa.func.string_agg(sa.distinct(accounts.c.display_name), sa.literal_column("', '")),
            sa.func.count(),
            sa.func.min(tickets.c.price_cents),
        )
        .join_from(tickets, accounts, accounts.c.id == tickets.c.artist_id)
        .where(tickets.c.order_id.is_(None), tickets.c.event > after_event)
        .group_by(tickets.c.event)
        .order_by(tickets.c.event)
        .limit(BATCH_COUNT)
    )
    return [
        Document(EVENT + event, event, artists, {"free_seat_count": free_count, "price_from_cents": price_cents})
        for event, artists, free_count, price_cents in db.execute(events)
    ]


def upsert(db: sa.Connection, documents: Sequence[Document], version: int) -> int:
    """Write the documents that are new, or differ from what an older pass wrote; return how many those were.

    Args:
        db: A connection to the marketplace's database, in the caller's transaction.
        documents: Each id at most once, in the order of their ids, so that two passes never wait for each other in
            a circle.
        version: The pass' number. What a newer pass wrote stays.
    """
    if not documents:
        return 0
    written = insert(search_documents).values([{**each._asdict(), "version": version} for each in documents])
    present, offered = search_documents.c, written.excluded
    content = ("title", "body", "facts")
    written = written.on_conflict_do_update(
        index_elements=["id"],
        set_={name: offered[name] for name in (*content, "version")} | {"indexed_at": sa.func.clock_timestamp()},
        where=sa.and_(
            present.version < offered.version,
            sa.or_(*(present[name].is_distinct_from(offered[name]) for name in content)),
        ),
    )
    return len(db.scalars(written.returning(search_documents.c.id)).all())


def remove_gone(db: sa.Connection, version: int) -> int:
    """Remove up to 500 documents of events that have no free seat left or are gone; return how many.

    Args:
        db: A connection to the marketplace's database, in the caller's transaction.
        version: The pass' number. What a newer pass wrote stays.
    """
    free = sa.exists().where(tickets.c.event == search_documents.c.title, tickets.c.order_id.is_(None))
    gone = (
        sa.select(search_documents.c.id)
        .where(search_documents.c.id.startswith(EVENT, autoescape=True), search_documents.c.version <= version, ~free)
        .order_by(search_documents.c.id)
        .limit(BATCH_COUNT)
        .with_for_update(skip_locked=True)
    )
    return db.execute(sa.delete(search_documents).where(search_documents.c.id.in_(gone))).rowcount


def find(db: sa.Connection, query: str, limit: int = 20) -> list[Hit]:
    """Return the documents that fit a query, best first.

    Args:
        db: A connection to the marketplace's database.
        query: As people write it: words, "a phrase", or, -without. Any text is a query; some find nothing.
        limit: How many at the most, up to 100.
    """
    wanted = sa.func.websearch_to_tsquery("simple", query.replace("\0", " "))
    rank = sa.func.ts_rank_cd(search_documents.c.words, wanted)
    hits = (
        sa.select(search_documents.c.id, search_documents.c.title, search_documents.c.facts, rank)
        .where(search_documents.c.words.bool_op("@@")(wanted))
        .order_by(rank.desc(), search_documents.c.id)
        .limit(max(0, min(limit, FIND_LIMIT_COUNT)))
    )
    return [Hit(*row) for row in db.execute(hits)]
