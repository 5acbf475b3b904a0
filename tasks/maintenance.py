"""Maintenance: what has served its time is removed, a bounded number of rows at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from celery import shared_task

from steadybeat import SteadyTask, cron
from tasks import rehearsal
from tasks.books import announcements, audit_log
from tasks.clearing import clear
from tasks.market import engine, sessions
from tasks.snapshots import take

IDLE = timedelta(days=30)
AUDIT = timedelta(days=180)
EXPIRED = timedelta(days=7)
BATCH_COUNT = 1_000
PASS_COUNT = 100

FIGURES = sa.select(sa.func.count().label("live_session_count")).where(
    sessions.c.last_seen_at > sa.func.now() - timedelta(days=1)
)


@shared_task(
    bind=True,  # when it is due stands in celeryconfig.py
    soft_time_limit=240,
    time_limit=300,
    memory_limit=256 * 2**20,
    max_retries=3,
    retry_backoff=5,
    retry_backoff_max=60,
    owner="platform-team",
    severity="warning",
    depends_on=["postgres"],
    audit_args=rehearsal.idle_sessions,
)
def clear_sessions(self: SteadyTask) -> dict[str, int]:
    """Delete sessions not seen for 30 days, at most 100,000 in a run.

    Safe to run twice: one statement by age per batch, each in a transaction of its own; a run that is killed
    leaves whole batches behind and the next one goes on from there.
    """
    deleted_count = 0
    for number in self.iterate(range(PASS_COUNT)):
        batch = self.exactly_once(engine(), step=f"batch:{number}")  # an attempt that has lost its run deletes nothing
        with batch as db:
            batch.result = delete_idle(db)
        deleted_count += batch.result
        if batch.result < BATCH_COUNT:
            break
    return {"deleted_count": deleted_count}


def delete_idle(db: sa.Connection) -> int:
    """Delete the 1,000 sessions unseen for longest, if for 30 days; return how many there were."""
    idle = (
        sa.select(sessions.c.id)
        .where(sessions.c.last_seen_at < sa.func.now() - IDLE)
        .order_by(sessions.c.last_seen_at)
        .limit(BATCH_COUNT)
        .with_for_update(skip_locked=True)
    )
    return db.execute(sa.delete(sessions).where(sessions.c.id.in_(idle))).rowcount


@shared_task(
    bind=True,
    schedule=cron("40 3 * * *", tz="UTC"),
    jitter=timedelta(minutes=5),
    catch_up="latest",
    catch_up_window=timedelta(hours=12),
    overlap="skip",
    soft_time_limit=540,
    time_limit=600,
    memory_limit=256 * 2**20,
    max_retries=3,
    retry_backoff=10,
    retry_backoff_max=300,
    owner="platform-team",
    severity="warning",
    depends_on=["postgres"],
    audit_args=rehearsal.old_audit_log,
)
def trim_audit_log(self: SteadyTask) -> dict[str, int]:
    """Delete what the audit log has kept for 180 days, 1,000 rows in a transaction, at most 100,000 in a run.

    Safe to run twice: batched deletes by age; a run that was killed goes on behind the last batch on record.
    """
    before = (self.scheduled_for or datetime.now(UTC)) - AUDIT
    return clear(self, engine(), audit_log, audit_log.c.happened_at < before)


@shared_task(
    bind=True,
    schedule=cron("50 3 * * *", tz="UTC"),
    jitter=timedelta(minutes=5),
    catch_up="latest",
    catch_up_window=timedelta(hours=12),
    overlap="skip",
    soft_time_limit=540,
    time_limit=600,
    memory_limit=256 * 2**20,
    max_retries=3,
    retry_backoff=10,
    retry_backoff_max=300,
    owner="platform-team",
    severity="warning",
    depends_on=["postgres"],
    audit_args=rehearsal.old_announcements,
)
def remove_announcements(self: SteadyTask) -> dict[str, int]:
    """Delete announcements that expired seven days ago, 1,000 in a transaction, at most 100,000 in a run.

    Safe to run twice: batched deletes by age; a run that was killed goes on behind the last batch on record.
    """
    before = (self.scheduled_for or datetime.now(UTC)) - EXPIRED
    return clear(self, engine(), announcements, announcements.c.expires_at < before)


@shared_task(
    bind=True,
    schedule=cron("30 4 * * *", tz="UTC"),
    jitter=timedelta(minutes=5),
    catch_up="latest",
    overlap="skip",
    soft_time_limit=540,
    time_limit=600,
    memory_limit=256 * 2**20,
    max_retries=3,
    retry_backoff=10,
    retry_backoff_max=300,
    owner="platform-team",
    severity="warning",
    depends_on=["postgres"],
    audit_args=rehearsal.old_ledger,
    audit_count=rehearsal.old_ledger_count,
)
def prune_ledger(self: SteadyTask) -> dict[str, int]:
    """Delete from the ledger what is older than `steadybeat_retention_seconds`; return the rows per table.

    Safe to run twice: batched deletes by state and age.
    """
    deleted_counts: dict[str, int] = self.app.steadybeat.ledger.prune()
    return deleted_counts


@shared_task(
    bind=True,
    soft_time_limit=20,
    time_limit=30,
    memory_limit=256 * 2**20,
    max_retries=5,
    retry_backoff=1,
    retry_backoff_max=10,
    owner="platform-team",
    severity="info",
    depends_on=["postgres"],
    audit_args=("rehearsal",),
)
def snapshot(self: SteadyTask, name: str, work_seconds: float = 0.0) -> dict[str, int]:
    """Write down how many sessions are live: seen within a day.

    Safe to run twice: the row and the processed key commit together.

    Args:
        self: This run.
        name: What the row is called; the schedule's name.
        work_seconds: How long to wait between reading the figures and writing them.
    """
    return take(self, "maintenance", name, FIGURES, work_seconds)
