"""Notices: what people are to be told, and were: the outbox of the ways to people.

One row for each channel, written in the transaction that decides. Whoever sends one moves its ``publish_at`` ahead
first: a sender that dies leaves it to be sent again once that has passed. A notice waits for the earlier ones of its
alert on its channel, so that nobody hears of the end first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from steadybeat.ledger.connection import Database, sql

_INSERT = sql("""
    INSERT INTO steadybeat.notices (alert, kind, channel, fallbacks, severity, title, body, html, facts, publish_at)
    SELECT alert, kind, channel, coalesce(fallbacks, '[]'), severity, title, body, html, coalesce(facts, '{}'),
           coalesce(publish_at, clock_timestamp())
      FROM jsonb_to_recordset(CAST(:given AS jsonb)) AS given (
        alert bigint, kind text, channel text, fallbacks jsonb, severity text, title text, body text, html text,
        facts jsonb, publish_at timestamptz)
""")
_WAITS = "n.sent_at IS NULL AND n.given_up_at IS NULL"
_IS_NEXT = """NOT EXISTS (
    SELECT FROM steadybeat.notices earlier
     WHERE earlier.alert = n.alert AND earlier.channel = n.channel AND earlier.id < n.id
       AND earlier.sent_at IS NULL AND earlier.given_up_at IS NULL)"""
_DUE = sql(f"""
    SELECT DISTINCT n.channel FROM steadybeat.notices n
     WHERE {_WAITS} AND n.publish_at <= clock_timestamp() AND NOT n.channel = ANY(:channels) AND {_IS_NEXT}
""")
_CLAIM = sql(f"""
    UPDATE steadybeat.notices SET publish_at = clock_timestamp() + make_interval(secs => :lease_seconds),
           tried_at = clock_timestamp(), try_count = try_count + 1
     WHERE id = (SELECT n.id FROM steadybeat.notices n
                  WHERE {_WAITS} AND n.publish_at <= clock_timestamp() AND n.channel = :channel AND {_IS_NEXT}
                  ORDER BY n.publish_at, n.id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id, alert, kind, channel, fallbacks, severity, title, body, html, facts, created_at, try_count
""")
_SENT = sql("""
    UPDATE steadybeat.notices SET sent_at = clock_timestamp(), error = NULL WHERE id = :notice AND sent_at IS NULL
    RETURNING alert, channel
""")
_LATER = sql("""
    UPDATE steadybeat.notices SET publish_at = clock_timestamp() + make_interval(secs => :pause_seconds), error = :error
     WHERE id = :notice AND try_count = CAST(:try AS integer) AND sent_at IS NULL AND given_up_at IS NULL
    RETURNING alert, channel
""")
_GIVE_UP = sql("""
    WITH gone AS (
        UPDATE steadybeat.notices SET given_up_at = clock_timestamp(), error = :error
         WHERE id = :notice AND try_count = CAST(:try AS integer) AND sent_at IS NULL AND given_up_at IS NULL
        RETURNING *
    ),
    passed_on AS (
        INSERT INTO steadybeat.notices (alert, kind, channel, fallbacks, severity, title, body, html, facts)
        SELECT alert, kind, fallbacks ->> 0, fallbacks - 0, severity, title, body, html, facts FROM gone
         WHERE jsonb_array_length(fallbacks) > 0 AND NOT EXISTS (
            SELECT FROM steadybeat.notices other
             WHERE other.alert = gone.alert AND other.kind = gone.kind AND other.channel = gone.fallbacks ->> 0
               AND other.created_at > gone.created_at - interval '1 second' AND other.given_up_at IS NULL)
    )
    SELECT alert, channel, fallbacks ->> 0 AS next FROM gone
""")
_EVENT = sql("INSERT INTO steadybeat.alert_events (alert, what, text) VALUES (:alert, :what, :text)")
_DROP_HELD = sql("""
    UPDATE steadybeat.notices SET given_up_at = clock_timestamp(), error = :reason
     WHERE alert = ANY(:alert_ids) AND sent_at IS NULL AND given_up_at IS NULL AND try_count = 0
       AND publish_at > clock_timestamp()
""")
_FAILING = sql("""
    WITH last AS (
        SELECT channel, max(sent_at) AS sent_at FROM steadybeat.notices GROUP BY channel
    )
    SELECT n.channel, min(n.tried_at) AS since, sum(n.try_count) AS try_count,
           (array_agg(n.error ORDER BY n.tried_at DESC))[1] AS error,
           (array_agg(n.severity ORDER BY array_position(
               ARRAY['critical', 'error', 'warning', 'info'], n.severity)))[1] AS severity
      FROM steadybeat.notices n JOIN last ON last.channel = n.channel
     WHERE n.sent_at IS NULL AND n.error IS NOT NULL AND n.try_count > 0 AND n.kind <> 'test'
       AND n.tried_at > coalesce(last.sent_at, '-infinity')
     GROUP BY n.channel
    HAVING sum(n.try_count) > 1
""")
_TRIED = sql("""
    INSERT INTO steadybeat.notices (kind, channel, severity, title, body, tried_at, try_count, sent_at, given_up_at,
                                    error)
    SELECT 'test', :channel, :severity, :title, :body, clock_timestamp(), 1,
           CASE WHEN CAST(:error AS text) IS NULL THEN clock_timestamp() END,
           CASE WHEN CAST(:error AS text) IS NOT NULL THEN clock_timestamp() END, :error
""")
_OF_ALERT = sql("""
    SELECT id, kind, channel, title, created_at, publish_at, tried_at, try_count, sent_at, given_up_at, error
      FROM steadybeat.notices WHERE alert = ANY(:alert_ids) ORDER BY id
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNotice:
    """A notice to be written, for one channel.

    Attributes:
        kind: ``opened``, ``reopened``, ``worse``, ``escalated``, ``acknowledged``, ``resolved``, ``report`` or
            ``test``.
        channel: Its name.
        fallbacks: Channels that are tried in their order where it fails.
        body: Plain text.
        html: The same for mail; None: the text will do.
        facts: ``markdown`` and ``short``: the body for those who read such; and whatever else a channel may want.
        publish_at: Not before this; at once unless given.
    """

    alert: int | None
    kind: str
    channel: str
    severity: str
    title: str
    body: str
    html: str | None = None
    fallbacks: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    publish_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A notice that is this process' to send for a while."""

    id: int
    alert: int | None
    kind: str
    channel: str
    fallbacks: list[str]
    severity: str
    title: str
    body: str
    html: str | None
    facts: Mapping[str, Any]
    created_at: datetime
    try_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """A channel that takes nothing.

    Attributes:
        since: Since when.
        try_count: How often it was tried in vain.
        severity: Of the worst that it did not take.
    """

    channel: str
    since: datetime
    try_count: int
    error: str
    severity: str


def write_notices(connection: Connection, notices: Sequence[NewNotice]) -> None:
    """Write notices as a part of the caller's transaction."""
    if notices:
        connection.execute(_INSERT, {"given": json.dumps([_row(each) for each in notices])})


def _row(notice: NewNotice) -> dict[str, Any]:
    return {
        "alert": notice.alert,
        "kind": notice.kind,
        "channel": notice.channel,
        "fallbacks": [*notice.fallbacks],
        "severity": notice.severity,
        "title": notice.title,
        "body": notice.body,
        "html": notice.html,
        "facts": dict(notice.facts),
        "publish_at": None if notice.publish_at is None else notice.publish_at.isoformat(),
    }


class Notices:
    """What people are to be told, and were."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, notices: Sequence[NewNotice]) -> None:
        """Write notices, all of them or none."""
        with self._database.transaction() as connection:
            write_notices(connection, notices)

    def due(self, busy: Sequence[str] = ()) -> list[str]:
        """Return the channels that have something to send now, but for those that are busy."""
        return [row.channel for row in self._database.execute(_DUE, {"channels": list(busy)})]

    def claim(self, channel: str, lease: timedelta) -> Notice | None:
        """Take the next notice of a channel, for a while in which nobody else does; None: there is none."""
        values = {"channel": channel, "lease_seconds": lease.total_seconds()}
        rows = self._database.execute(_CLAIM, values)
        return Notice(**rows[0]._mapping) if rows else None

    def sent(self, notice: int) -> None:
        """Say that a notice was sent."""
        with self._database.transaction() as connection:
            for row in connection.execute(_SENT, {"notice": notice}):
                _note(connection, row.alert, "told", f"through {row.channel}")

    def later(self, notice: Notice, error: str, pause: timedelta) -> None:
        """Say that a try failed, and that another follows after a pause."""
        values = {"notice": notice.id, "try": str(notice.try_count), "error": error}
        with self._database.transaction() as connection:
            for row in connection.execute(_LATER, {**values, "pause_seconds": pause.total_seconds()}):
                _note(connection, row.alert, "failed", f"{row.channel}: {error}")

    def give_up(self, notice: Notice, error: str) -> None:
        """Say that a channel does not take a notice; the next one of its fallbacks gets it."""
        values = {"notice": notice.id, "try": str(notice.try_count), "error": error}
        with self._database.transaction() as connection:
            for row in connection.execute(_GIVE_UP, values):
                goes_on = f"; {row.next} gets it" if row.next else ""
                _note(connection, row.alert, "failed", f"{row.channel}: {error}{goes_on}")

    def tried(self, channel: str, *, severity: str, title: str, body: str, error: str | None) -> None:
        """Write down a test message that was sent, or not."""
        values = {"channel": channel, "severity": severity, "title": title, "body": body, "error": error}
        self._database.execute(_TRIED, values)

    def failing(self) -> list[Failing]:
        """Return the channels that have failed more than once since they took something last."""
        return [Failing(**row._mapping) for row in self._database.execute(_FAILING)]

    def of_alerts(self, alerts: Sequence[int]) -> list[dict[str, Any]]:
        """Return what people were to be told of alerts, the oldest first."""
        return [dict(row._mapping) for row in self._database.execute(_OF_ALERT, {"alert_ids": list(alerts)})]


DROP_HELD = _DROP_HELD
"""Drops what quiet hours hold back of some alerts, and nobody has tried to send."""


def _note(connection: Connection, alert: int | None, what: str, text: str) -> None:
    if alert is not None:
        connection.execute(_EVENT, {"alert": alert, "what": what, "text": text})
