"""Minting: who has a wallet gets a token of each seat bought, and never two of one seat.

The provider honours no idempotency key here: asked twice, it mints two tokens. So nothing is sent before the provider
has been asked what tokens the ticket has, and each request says until when it may be done. An attempt that does not
know what became of the one before it asks, and does not send: a token that is there is the one; where there is none,
it asks again after `valid_until`, when none can come any more, and only then sends another request.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from celery import shared_task
from sqlalchemy.dialects.postgresql import insert

from steadybeat import Permanent, Snooze, SteadyTask, Transient, cron
from tasks import gateway, rehearsal
from tasks.market import engine, mints, orders, sales, wallets

BATCH_COUNT = 500
MINT_COUNT = 5_000
VALID = timedelta(seconds=30)  # how long the provider may take to begin
MARGIN = timedelta(seconds=2)  # how far its clock may be off ours


class Mint(NamedTuple):
    """What is to be minted: the token of a ticket, into a wallet."""

    ticket_id: int
    wallet: str


@shared_task(
    bind=True,
    schedule=cron("*/5 * * * *", tz="UTC"),
    jitter=timedelta(seconds=30),
    catch_up="latest",
    catch_up_window=timedelta(hours=1),
    overlap="skip",
    soft_time_limit=240,
    time_limit=290,
    memory_limit=256 * 2**20,
    max_retries=3,
    retry_backoff=5,
    retry_backoff_max=60,
    owner="collectibles-team",
    severity="warning",
    depends_on=["postgres", "redis"],
    audit_args=rehearsal.seats_to_mint,
    audit_count=rehearsal.provider_count,
)
def order_mints(self: SteadyTask) -> dict[str, int]:
    """Order the token of every seat that was bought by somebody with a wallet and has none, at most 5,000.

    Safe to run twice: it mints nothing itself; each ticket has one run, known by the key `ticket:<id>`.
    """
    enqueued_count = 0
    for ticket_ids in self.iterate(unminted(engine())):
        for ticket_id in ticket_ids:
            mint.apply_async((ticket_id,))
        enqueued_count += len(ticket_ids)
    return {"enqueued_count": enqueued_count}


def unminted(db_engine: sa.Engine) -> Iterator[list[int]]:
    """Yield the ids of tickets that are owed a token, in lists of at most 500 and 5,000 in all.

    Each list is read in a transaction of its own, which is over before the list is worked on.
    """
    settled = sa.exists().where(mints.c.ticket_id == sales.c.ticket_id, mints.c.state != "sending")
    last_id = 0
    for _ in range(MINT_COUNT // BATCH_COUNT):
        batch = (
            sa.select(sales.c.ticket_id)
            .join_from(wallets, orders, orders.c.buyer_id == wallets.c.account_id)
            .join(sales, sales.c.order_id == orders.c.id)
            .where(sales.c.sold_at >= wallets.c.opened_at, sales.c.ticket_id > last_id, ~settled)
            .order_by(sales.c.ticket_id)
            .limit(BATCH_COUNT)
        )
        with db_engine.connect() as db:
            ticket_ids = list(db.scalars(batch))
        if not ticket_ids:
            return
        yield ticket_ids
        last_id = ticket_ids[-1]


@shared_task(
    bind=True,
    key_template="ticket:{ticket_id}",
    soft_time_limit=45,
    time_limit=60,
    memory_limit=256 * 2**20,
    max_retries=10,
    retry_backoff=5,
    retry_backoff_max=1800,
    owner="collectibles-team",
    severity="error",
    depends_on=["postgres", "provider"],
    audit_args=rehearsal.seat_to_mint,
    audit_count=rehearsal.provider_count,
)
def mint(self: SteadyTask, ticket_id: int) -> dict[str, Any]:
    """Mint the token of one sold seat into its buyer's wallet, once.

    Safe to run twice: the mint is looked up by ticket before it is sent; an outcome that is unknown is resolved by
    asking, not by resending.

    Args:
        self: This run.
        ticket_id: The seat; also this run's idempotency key.

    Raises:
        Permanent: The ticket is not sold to anybody with a wallet, or the provider refuses its wallet.
        Snooze: A request for this ticket may still be done; it is asked for again when none can be.
        Transient: The provider did not answer, or says to come back later.
    """
    with engine().connect() as db:
        wanted = to_mint(db, ticket_id)

    def send(key: str) -> dict[str, Any]:
        return send_once(engine(), wanted)

    def resolve(key: str) -> dict[str, Any] | None:
        return found_or_gone(engine(), wanted)

    token = self.external("mint", send, resolve=resolve)
    with self.exactly_once() as db:
        record_minted(db, wanted, token)
        return {"ticket_id": ticket_id, "token": token["token"]}


def to_mint(db: sa.Connection, ticket_id: int) -> Mint:
    """Return what to mint for a ticket.

    Raises:
        Permanent: It is not sold to anybody with a wallet.
    """
    address = db.scalar(
        sa.select(wallets.c.address)
        .join_from(sales, orders, orders.c.id == sales.c.order_id)
        .join(wallets, wallets.c.account_id == orders.c.buyer_id)
        .where(sales.c.ticket_id == ticket_id)
    )
    if address is None:
        raise Permanent(f"ticket {ticket_id}: is not sold to anybody with a wallet")
    return Mint(ticket_id, address)


def send_once(db_engine: sa.Engine, wanted: Mint) -> dict[str, Any]:
    """Have a token minted unless the ticket has one, and unless another request for it may still be done.

    Raises:
        Permanent: The ticket has a token that the provider does not know.
        Refused: The provider refuses it; that is written down, so that it is not ordered again.
        Snooze: Another request for this ticket may still be done.
        Transient: The provider did not answer, or says to come back later.
    """
    with db_engine.begin() as db:
        valid_until = begin(db, wanted)
    try:
        token = gateway.token_of(wanted.ticket_id)
    except Transient as error:
        give_back(db_engine, wanted, valid_until)
        raise gateway.NotDone(str(error), after=error.after) from error
    if token is not None:
        return token
    if valid_until is None:
        raise Permanent(f"ticket {wanted.ticket_id}: has a token, which the provider does not know")
    try:
        return gateway.mint(wanted.ticket_id, wanted.wallet, valid_until)
    except gateway.NotDone:
        give_back(db_engine, wanted, valid_until)
        raise
    except gateway.Refused as refusal:
        with db_engine.begin() as db:
            record_refused(db, wanted, str(refusal))
        raise


def begin(db: sa.Connection, wanted: Mint) -> datetime | None:
    """Take the only turn to send, which is over after `valid_until`; return that, or None where nothing is to be sent.

    The unique ticket decides between two that ask at once. Nothing may be sent before this is committed.

    Raises:
        Snooze: Another has the turn; until when is in the error.
    """
    rows = mints.c
    until = sa.func.clock_timestamp() + VALID
    turn = insert(mints).values(ticket_id=wanted.ticket_id, wallet=wanted.wallet, valid_until=until)
    turn = turn.on_conflict_do_update(
        index_elements=["ticket_id"],
        set_={"wallet": wanted.wallet, "valid_until": until, "state": "sending", "reason": None},
        where=sa.and_(rows.state != "minted", rows.valid_until + MARGIN < sa.func.clock_timestamp()),
    )
    valid_until = db.scalar(turn.returning(rows.valid_until))
    if valid_until is not None:
        return _utc(valid_until)
    if db.scalar(sa.select(rows.state).where(rows.ticket_id == wanted.ticket_id)) == "minted":
        return None
    raise Snooze(_rest(db, wanted.ticket_id) or MARGIN, f"ticket {wanted.ticket_id}: another attempt may be sending")


def give_back(db_engine: sa.Engine, wanted: Mint, valid_until: datetime | None) -> None:
    """Give up a turn in which nothing was sent, or nothing was done: the next attempt need not wait for its end."""
    with db_engine.begin() as db:
        db.execute(
            sa.update(mints)
            .where(mints.c.ticket_id == wanted.ticket_id, mints.c.valid_until == valid_until)
            .values(valid_until=sa.func.clock_timestamp() - MARGIN)
        )


def found_or_gone(db_engine: sa.Engine, wanted: Mint) -> dict[str, Any] | None:
    """Return the token that an attempt of unknown fate has left, or None when it can leave none any more.

    Raises:
        Snooze: There is none yet, and the request may still be done.
        Transient: The provider cannot say now.
    """
    with db_engine.connect() as db:
        rest = _rest(db, wanted.ticket_id)  # before the provider is asked: what comes after this shows there
    token = gateway.token_of(wanted.ticket_id)
    if token is None and rest is not None:
        raise Snooze(rest, f"ticket {wanted.ticket_id}: its token may still come; asked again when it no longer can")
    return token


def _rest(db: sa.Connection, ticket_id: int) -> timedelta | None:
    """Return how long a request for a ticket may still be done, or None where it no longer can."""
    rows = mints.c
    rest: timedelta | None = db.scalar(
        sa.select(rows.valid_until + MARGIN - sa.func.clock_timestamp()).where(rows.ticket_id == ticket_id)
    )
    return rest if rest is not None and rest > timedelta() else None


def record_minted(db: sa.Connection, wanted: Mint, token: dict[str, Any]) -> None:
    """Write down a ticket's token, inside the caller's transaction."""
    minted = {"state": "minted", "token": token["token"], "minted_at": token["minted_at"], "reason": None}
    row = insert(mints).values(
        ticket_id=wanted.ticket_id, wallet=token["wallet"], valid_until=sa.func.clock_timestamp(), **minted
    )
    db.execute(row.on_conflict_do_update(index_elements=["ticket_id"], set_={**minted, "wallet": token["wallet"]}))


def record_refused(db: sa.Connection, wanted: Mint, reason: str) -> None:
    """Write down that the provider refuses a ticket's token; an order by hand tries it again."""
    db.execute(
        sa.update(mints)
        .where(mints.c.ticket_id == wanted.ticket_id, mints.c.state == "sending")
        .values(state="refused", reason=reason)
    )


def _utc(instant: Any) -> datetime:
    return datetime.astimezone(instant, UTC)
