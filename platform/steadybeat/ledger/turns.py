"""Turns: who took a lock last, and runs that wait for one."""

from __future__ import annotations

from sqlalchemy import Connection

from steadybeat.ledger.connection import Database, sql

# The row outlives the lock: it is what an attempt that was stopped for longer than its lock lasts is measured by.
_TAKE = sql("""
    INSERT INTO steadybeat.turns (name, place, run, fence) VALUES (:turn, :place, :run, :fence)
    ON CONFLICT (name, place) DO UPDATE
       SET run = excluded.run, fence = excluded.fence, taken_at = clock_timestamp()
""")

_STILL = sql("""
    SELECT run FROM steadybeat.turns
     WHERE name = :turn AND place = :place AND run = :run AND fence = :fence
       FOR NO KEY UPDATE
""")

# As if the claim had not been: an attempt is something that runs the task's code. However many wait for one lock,
# together they ask for it a few dozen times a second.
_WAIT = sql("""
    WITH run AS (
        UPDATE steadybeat.runs r
           SET state = 'waiting', reason = :reason, lease_until = NULL, instance = NULL,
               delivery_no = r.delivery_no + 1, attempt_count = r.attempt_count - 1,
               started_at = (SELECT a.started_at FROM steadybeat.attempts a
                              WHERE a.run = r.id AND a.number = r.attempt_count - 1),
               retry_until = CASE WHEN r.attempt_count > 1 THEN r.retry_until END,
               not_before = clock_timestamp() + make_interval(secs => (0.5 + random()) * (
                   :pause_seconds + :share_seconds * (
                       SELECT count(*) FROM (SELECT FROM steadybeat.outbox o WHERE o.waits_for = :turn LIMIT 5000) w)))
         WHERE r.id = :run AND r.state = 'running' AND r.fence = :fence
        RETURNING r.id, r.attempt_count, r.delivery_no, r.not_before
    ),
    attempt AS (
        DELETE FROM steadybeat.attempts a USING run WHERE a.run = run.id AND a.number = run.attempt_count + 1
    ),
    later AS (
        INSERT INTO steadybeat.outbox (publish_at, run, delivery_no, reason, waits_for)
        SELECT not_before, id, delivery_no, 'lock', :turn FROM run
    )
    SELECT id FROM run
""")

_PAUSE_SECONDS = 0.7
_SHARE_SECONDS = 0.03


class Turns:
    """What the ledger knows of locks and of places."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, turn: str, place: int, *, run: str, fence: int) -> None:
        """Note that an attempt has taken a lock, in the place of whoever took it before.

        It waits for a transaction in which the effect of that other one is being committed.

        Args:
            turn: Kind and name of the lock.
            place: Which of its places.
            run: Whose attempt it is.
            fence: Of the attempt.
        """
        self._database.execute(_TAKE, {"turn": turn, "place": place, "run": run, "fence": fence})

    @staticmethod
    def still(connection: Connection, turn: str, place: int, *, run: str, fence: int) -> bool:
        """Return whether nobody has taken a lock since; nobody does before the caller's transaction has ended."""
        values = {"turn": turn, "place": place, "run": run, "fence": fence}
        return connection.execute(_STILL, values).first() is not None

    def wait(self, turn: str, *, run: str, fence: int, reason: str) -> bool:
        """Give a claim back and put its run into the outbox, to ask again later. Return whether it was still ours.

        The pause is about a second, longer where many wait for the same.

        Args:
            turn: Kind and name of the lock.
            run: Who waits.
            fence: Of its claim.
            reason: What stands in the way.
        """
        values = {"turn": turn, "run": run, "fence": fence, "reason": reason}
        pauses = {"pause_seconds": _PAUSE_SECONDS, "share_seconds": _SHARE_SECONDS}
        return bool(self._database.execute(_WAIT, values | pauses))
