"""Notifications: a weekly digest to each subscriber, and a notice before a trial ends.

Both are sent by SMTP and written down in the notification log.

SMTP honours no idempotency key: a message that the server has taken cannot be taken back, and one that is handed
over twice arrives twice. So the log says what is about to happen before it does. A row becomes `sending`, and that is
committed, before the server is given the message; `sent` follows the server's 250. An attempt that finds a row still
`sending` comes after one that died in between. It cannot know whether the mail went out, and does not send it again:
a digest twice is worse than a digest missed. It writes `unknown`. Where the server has certainly not taken the
message, the row goes back to `pending` and the retry sends, or becomes `refused` where no retry would help.

Whoever knows better sets a row that is `unknown` to `pending`, and reruns its run with `--again`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import sqlalchemy as sa
from celery import shared_task
from sqlalchemy.dialects.postgresql import insert

from steadybeat import FanOut, Permanent, SteadyTask, cron, eligible
from tasks import digest, mail, rehearsal, trial_notice
from tasks.letters import Letter, enveloped
from tasks.market import engine, notifications, subscriptions

BATCH_COUNT = 500

# What the log says of a mail whose sender died differs: nobody knows whether it went out.
FATE = tuple(f"market.notifications.{name}" for name in ("state", "reason", "attempt_count", "sent_at"))

# What can be sent: of each kind, what makes the letter to an account for a period.
KINDS: dict[str, Callable[[sa.Connection, int, str], Letter]] = {
    digest.KIND: digest.letter,
    trial_notice.KIND: trial_notice.letter,
}


@shared_task(
    bind=True,
    schedule=cron("0 7 * * 1", tz="UTC"),
    jitter=timedelta(minutes=10),
    catch_up="latest",
    catch_up_window=timedelta(days=2),
    overlap="skip",
    soft_time_limit=540,
    time_limit=600,
    memory_limit=256 * 2**20,
    max_retries=5,
    retry_backoff=30,
    retry_backoff_max=600,
    owner="growth-team",
    severity="warning",
    depends_on=["postgres", "redis"],
    audit_args=rehearsal.digests_to_send,
    audit_count=rehearsal.mail_count,
    audit_ignore=FATE,
)
def send_digests(self: SteadyTask) -> Any:
    """Send this ISO week's digest to every subscriber who has none yet: one run each, 20 at a time over all workers.

    Safe to run twice: it sends nothing itself; the log's row for a subscriber and a week lets one attempt send. Who is
    to have none though subscribed is no matter of this code: the policy `weekly-digest` says so.
    """
    period = digest.period_of(self.scheduled_for or datetime.now(UTC))
    return self.fan_out(
        notify,
        tenants=eligible(digest.KIND, of=partial(recipients, engine(), digest.KIND, period)),
        concurrency=20,
        abort_when=500,  # so many that fail have one cause: look before the rest is tried
        kwargs={"kind": digest.KIND, "period": period},
    )


def recipients(db_engine: sa.Engine, kind: str, period: str) -> Iterator[int]:
    """Yield the ids of accounts that subscribe to a kind and have got none for a period.

    They are read 500 at a time, in a transaction of its own that is over before they are worked on.
    """
    settled = sa.exists().where(
        notifications.c.account_id == subscriptions.c.account_id,
        notifications.c.kind == kind,
        notifications.c.period == period,
        notifications.c.state.in_(("sent", "refused", "unknown")),
    )
    last_id = 0
    while True:
        batch = (
            sa.select(subscriptions.c.account_id)
            .where(subscriptions.c.kind == kind, subscriptions.c.ended_at.is_(None), ~settled)
            .where(subscriptions.c.account_id > last_id)
            .order_by(subscriptions.c.account_id)
            .limit(BATCH_COUNT)
        )
        with db_engine.connect() as db:
            account_ids = list(db.scalars(batch))
        if not account_ids:
            return
        yield from account_ids
        last_id = account_ids[-1]


@shared_task(
    bind=True,
    key_template="{account_id}:{kind}:{period}",
    soft_time_limit=160,
    time_limit=180,
    memory_limit=256 * 2**20,
    max_retries=8,
    retry_backoff=30,
    retry_backoff_max=3600,
    owner="growth-team",
    severity="warning",
    depends_on=["postgres", "smtp"],
    audit_args=rehearsal.digest_to_send,
    audit_count=rehearsal.mail_count,
    audit_ignore=FATE,
)
def notify(self: SteadyTask, account_id: int, kind: str, period: str) -> dict[str, str]:
    """Send one account its mail of one kind for one period, at most once.

    Safe to run twice: the log's row lets one attempt send; one that follows an attempt of unknown fate does not send
    again, but records `unknown`. A digest twice is worse than a digest missed.

    Args:
        self: This run.
        account_id: Who gets it.
        kind: `weekly-digest` or `trial-notice`.
        period: Of a digest an ISO week, such as `2026-W05`; of a notice the day on which the trial ends.

    Raises:
        Permanent: There is no such account, kind or period, or the server refuses the recipient for good.
        mail.NotAccepted: The server did not take it; the retry sends.
    """
    if kind not in KINDS:
        raise Permanent(f"kind={kind!r}: there is no such kind of mail; there is {' and '.join(map(repr, KINDS))}")
    return once(self, Notice(account_id, kind, period, message_id(self.idempotency_key)))


def once(task: SteadyTask, notice: Notice) -> dict[str, str]:
    """Deliver a notice in a run that still has its right to: one that has lost it begins nothing.

    After an attempt of unknown fate the log says what is known: `deliver` asks it before it sends, now as before.
    """

    def send(key: str) -> dict[str, str]:
        return {"state": deliver(engine(), notice)}

    return task.external("mail", send, resolve=send)


@shared_task(
    bind=True,
    schedule=cron("0 8 * * *", tz="UTC"),
    jitter=timedelta(minutes=10),
    catch_up="latest",
    catch_up_window=timedelta(days=1),
    overlap="skip",
    for_each=FanOut(eligible(trial_notice.KIND, of=trial_notice.ending), concurrency=10, abort_when=500),
    soft_time_limit=160,
    time_limit=180,
    memory_limit=256 * 2**20,
    max_retries=8,
    retry_backoff=30,
    retry_backoff_max=3600,
    owner="growth-team",
    severity="warning",
    depends_on=["postgres", "redis", "smtp"],
    audit_args=rehearsal.ending_trials,
    audit_count=rehearsal.mail_count,
    audit_ignore=FATE,
)
def remind(self: SteadyTask, account_id: int) -> dict[str, str]:
    """Tell one account that its trial ends within three days, once for each end; each day, for every such account.

    Safe to run twice: the log's row lets one attempt send, as with a digest.

    Args:
        self: This run.
        account_id: Who gets it. Left out, it runs for everybody whom the policy `trial-notice` lets in.

    Raises:
        Permanent: The account's address is none that a mail can carry, or the server refuses it for good.
        mail.NotAccepted: The server did not take it; the retry sends.
    """
    with engine().connect() as db:
        period = trial_notice.period_for(db, account_id)
    if period is None:
        return {"state": "not due"}
    return once(self, Notice(account_id, trial_notice.KIND, period, message_id(self.idempotency_key)))


class Notice(NamedTuple):
    """One mail to one account: a row of the notification log, and the Message-ID it is sent under."""

    account_id: int
    kind: str
    period: str
    message_id: str

    @property
    def row(self) -> sa.ColumnElement[bool]:
        """The condition that picks its row."""
        log = notifications.c
        return sa.and_(log.account_id == self.account_id, log.kind == self.kind, log.period == self.period)


def message_id(idempotency_key: str) -> str:
    """Return the Message-ID of a run's mail: the same on every attempt."""
    name = hashlib.sha256(f"tasks.notifications.notify {idempotency_key}".encode()).hexdigest()[:32]
    return f"<{name}@{mail.sender().domain}>"


def deliver(db_engine: sa.Engine, notice: Notice) -> str:
    """Send a notice unless it went out before, or may have; return the state of its row in the end.

    What can go wrong without the server's doing does so before the row says `sending`. Where the answer or the last
    word to Postgres is lost, the row stays so, and the next attempt makes `unknown` of it.
    """
    mail.server()
    with db_engine.connect() as db:
        letter = KINDS[notice.kind](db, notice.account_id, notice.period)
    message = enveloped(letter, sender=mail.sender(), message_id=notice.message_id)
    with db_engine.begin() as db:
        attempt = begin(db, notice)
    if attempt.state != "sending":
        return attempt.state
    try:
        mail.send(message, letter.email)
    except mail.NotAccepted as refusal:
        with db_engine.begin() as db:
            put_back(db, notice, attempt, str(refusal), permanent=refusal.permanent)
        if refusal.permanent:
            raise Permanent(f"account {notice.account_id}: the mail server refuses it: {refusal}") from refusal
        raise
    with db_engine.begin() as db:
        record_sent(db, notice, attempt)
    return "sent"


class Attempt(NamedTuple):
    """The state in which an attempt leaves its row, and the attempt's number."""

    state: str
    number: int


def begin(db: sa.Connection, notice: Notice) -> Attempt:
    """Turn a row that may be sent to `sending`, and one that an earlier attempt left `sending` to `unknown`.

    The mail may be sent once this is committed, and only if the state is `sending`.
    """
    log = notifications.c
    key = {"account_id": notice.account_id, "kind": notice.kind, "period": notice.period}
    db.execute(insert(notifications).values(key).on_conflict_do_nothing())
    state, number = db.execute(sa.select(log.state, log.attempt_count).where(notice.row).with_for_update()).one()
    if state == "sending":
        attempt = Attempt("unknown", number)
        _leave(db, notice, attempt, "an earlier attempt ended while the mail server may have had the message")
        return attempt
    if state not in {"pending", "refused"}:
        return Attempt(state, number)
    attempt = Attempt("sending", number + 1)
    started = {"sending_at": sa.func.clock_timestamp(), "message_id": notice.message_id}
    db.execute(
        sa.update(notifications)
        .where(notice.row)
        .values(state=attempt.state, attempt_count=attempt.number, reason=None, **started)
    )
    return attempt


def put_back(db: sa.Connection, notice: Notice, attempt: Attempt, reason: str, *, permanent: bool) -> None:
    """Write down that the server has certainly not taken this attempt's message."""
    _leave(db, notice, attempt._replace(state="refused" if permanent else "pending"), reason)


def record_sent(db: sa.Connection, notice: Notice, attempt: Attempt) -> None:
    """Write down that the server has taken this attempt's message, also where another has called it `unknown`."""
    _leave(db, notice, attempt._replace(state="sent"), None, sent_at=sa.func.clock_timestamp())


def _leave(db: sa.Connection, notice: Notice, attempt: Attempt, reason: str | None, **columns: object) -> None:
    """Write the state in which an attempt leaves a row; once a later one has begun, only that speaks for the row."""
    db.execute(
        sa.update(notifications)
        .where(notice.row, notifications.c.attempt_count == attempt.number)
        .values(state=attempt.state, reason=reason, **columns)
    )
