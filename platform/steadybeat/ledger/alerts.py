"""Alerts: what was found wrong, from the first time it was seen until it was resolved.

A pass over alerts is one transaction under one lock, which people's answers take as well: two watchdogs, or a watchdog
and a person, decide one after the other, and a process that dies in between has decided nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.notices import DROP_HELD, NewNotice, write_notices
from steadybeat.ledger.silences import HELD_NOW, Silence

_LOCK = sql("SELECT pg_advisory_xact_lock(hashtext('steadybeat.alerts')), clock_timestamp() AS now")
_COLUMNS = """a.id, a.rule, a.subject, a.state, a.severity, a.owner, a.service, a.task, a.schedule,
    CAST(a.run AS text) AS run, a.summary, a.facts, a.error, CAST(a.last_good_run AS text) AS last_good_run, a.cause_id,
    a.since, a.opened_at, a.reopened_at, a.last_seen_at, a.seen_count, a.reopened_count, a.acknowledged_at,
    a.acknowledged_by, a.acknowledged_reason, a.resolved_at, a.resolved_by, a.resolved_reason, a.told_at,
    a.told_severity, a.storm_id, a.escalation_step, a.escalate_at"""
_OPEN = sql(f"SELECT {_COLUMNS} FROM steadybeat.alerts a WHERE a.state <> 'resolved' ORDER BY a.id")
_RECENT = sql(f"""
    SELECT DISTINCT ON (a.rule, a.subject) {_COLUMNS} FROM steadybeat.alerts a
     WHERE a.state = 'resolved' AND a.resolved_at > clock_timestamp() - make_interval(secs => :within_seconds)
     ORDER BY a.rule, a.subject, a.id DESC
""")
_GIVEN = """given AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(CAST(:given AS jsonb)) AS given (
        id bigint, rule text, subject text, severity text, owner text, service text, task text, schedule text, run uuid,
        summary text, facts jsonb, error text, last_good_run uuid, since timestamptz))"""
_INSERT = sql(f"""
    WITH {_GIVEN}
    INSERT INTO steadybeat.alerts (rule, subject, severity, owner, service, task, schedule, run, summary, facts, error,
                                   last_good_run, since)
    SELECT rule, subject, severity, owner, service, task, schedule, run, summary, coalesce(facts, '{{}}'), error,
           last_good_run, since FROM given
    RETURNING id
""")
_SEEN = """severity = given.severity, owner = given.owner, service = given.service, task = given.task,
    schedule = given.schedule, run = coalesce(given.run, a.run), summary = given.summary,
    facts = coalesce(given.facts, '{}'), error = coalesce(given.error, a.error),
    last_good_run = coalesce(given.last_good_run, a.last_good_run), since = coalesce(given.since, a.since),
    last_seen_at = clock_timestamp(), seen_count = a.seen_count + 1"""
_COUNT = sql(f"WITH {_GIVEN} UPDATE steadybeat.alerts a SET {_SEEN} FROM given WHERE a.id = given.id")
_REOPEN = sql(f"""
    WITH {_GIVEN}
    UPDATE steadybeat.alerts a
       SET {_SEEN}, state = 'open', reopened_at = clock_timestamp(), reopened_count = a.reopened_count + 1,
           acknowledged_at = NULL, acknowledged_by = NULL, acknowledged_reason = NULL,
           resolved_at = NULL, resolved_by = NULL, resolved_reason = NULL, cause_id = NULL, storm_id = NULL,
           escalation_step = 0, escalate_at = NULL
      FROM given WHERE a.id = given.id
""")
_RESOLVE = sql("""
    UPDATE steadybeat.alerts
       SET state = 'resolved', resolved_at = clock_timestamp(), resolved_by = :who, resolved_reason = :reason,
           escalate_at = NULL
     WHERE id = ANY(:alert_ids) AND state <> 'resolved' RETURNING id
""")
_ACKNOWLEDGE = sql("""
    UPDATE steadybeat.alerts
       SET state = 'acknowledged', acknowledged_at = clock_timestamp(), acknowledged_by = :who,
           acknowledged_reason = :reason, escalate_at = NULL
     WHERE id = ANY(:alert_ids) AND state = 'open' RETURNING id
""")
_BLAME = sql("""
    WITH given AS (SELECT * FROM jsonb_to_recordset(CAST(:given AS jsonb)) AS given (id bigint, cause_id bigint))
    UPDATE steadybeat.alerts a SET cause_id = given.cause_id FROM given
     WHERE a.id = given.id AND a.cause_id IS DISTINCT FROM given.cause_id
""")
_TOLD = sql("""
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(CAST(:given AS jsonb)) AS given (
            id bigint, storm_id bigint, escalation_step integer, escalate_at timestamptz))
    UPDATE steadybeat.alerts a
       SET told_at = clock_timestamp(), told_severity = a.severity, storm_id = given.storm_id,
           escalation_step = given.escalation_step, escalate_at = given.escalate_at
      FROM given WHERE a.id = given.id
""")
_STEP = sql("""
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(CAST(:given AS jsonb)) AS given (
            id bigint, escalation_step integer, escalate_at timestamptz))
    UPDATE steadybeat.alerts a
       SET escalation_step = given.escalation_step, escalate_at = given.escalate_at
      FROM given WHERE a.id = given.id
""")
_EVENT = sql("""
    INSERT INTO steadybeat.alert_events (alert, what, who, text)
    SELECT alert, what, who, text FROM jsonb_to_recordset(CAST(:given AS jsonb)) AS given (
        alert bigint, what text, who text, text text)
""")
_ENDED_RUNS = sql("""
    SELECT CAST(id AS text) AS id, finished_at FROM steadybeat.runs WHERE id = ANY(CAST(:run_ids AS uuid[]))
""")
_CONSEQUENCES = sql("""
    SELECT a.cause_id, a.subject FROM steadybeat.alerts a JOIN steadybeat.alerts cause ON cause.id = a.cause_id
     WHERE a.cause_id = ANY(:alert_ids) AND a.last_seen_at >= coalesce(cause.reopened_at, cause.opened_at)
     ORDER BY a.id
""")
_TOLD_CHANNELS = sql("""
    SELECT DISTINCT a.id, n.channel FROM steadybeat.alerts a
      JOIN steadybeat.notices n ON n.alert = coalesce(a.storm_id, a.id)
     WHERE a.id = ANY(:alert_ids) AND n.kind IN ('opened', 'reopened', 'worse', 'escalated')
       AND n.given_up_at IS NULL AND n.created_at >= coalesce(a.reopened_at, a.opened_at)
     ORDER BY a.id, n.channel
""")
_LIST = sql(f"""
    SELECT {_COLUMNS} FROM steadybeat.alerts a
     WHERE (:everything OR a.state <> 'resolved')
       AND (CAST(:state AS text) IS NULL OR a.state = :state) AND (CAST(:rule AS text) IS NULL OR a.rule = :rule)
       AND (CAST(:owner AS text) IS NULL OR a.owner = :owner)
       AND (CAST(:service AS text) IS NULL OR a.service = :service)
     ORDER BY a.id DESC LIMIT CAST(:row_count AS integer)
""")
_ONE = sql(f"SELECT {_COLUMNS} FROM steadybeat.alerts a WHERE a.id = :alert")
_EVENTS = sql("SELECT at, what, who, text FROM steadybeat.alert_events WHERE alert = :alert ORDER BY id")
_OPERATION = sql("""
    INSERT INTO steadybeat.operations (who, what, target, reason) VALUES (:who, :what, :target, :reason)
""")
_COUNTS = sql("""
    SELECT rule, severity, count(*) AS n FROM steadybeat.alerts WHERE state <> 'resolved' GROUP BY rule, severity
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRow:
    """An alert as the ledger has it.

    Attributes:
        state: ``open``, ``acknowledged`` or ``resolved``.
        cause_id: The alert of which it is a consequence.
        since: Since when what it says is so; None where that is not known.
        reopened_at: When it came back last.
        seen_count: Passes in which it was seen.
        told_at: When people were told last.
        told_severity: What it was then.
        storm_id: The alert in whose notice they were told, together with others.
        escalation_step: Steps of its route that were taken.
        escalate_at: When the next one is.
    """

    id: int
    rule: str
    subject: str
    state: str = "open"
    severity: str = "error"
    owner: str | None = None
    service: str | None = None
    task: str | None = None
    schedule: str | None = None
    run: str | None = None
    summary: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    last_good_run: str | None = None
    cause_id: int | None = None
    since: datetime | None = None
    opened_at: datetime
    reopened_at: datetime | None = None
    last_seen_at: datetime
    seen_count: int = 1
    reopened_count: int = 0
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    acknowledged_reason: str | None = None
    resolved_at: datetime | None = None
    resolved_by: str | None = None
    resolved_reason: str | None = None
    told_at: datetime | None = None
    told_severity: str | None = None
    storm_id: int | None = None
    escalation_step: int = 0
    escalate_at: datetime | None = None

    @property
    def began_at(self) -> datetime:
        """When it was opened, or came back, last."""
        return self.reopened_at or self.opened_at

    @property
    def is_told(self) -> bool:
        """Whether people were told since it was opened, or came back, last."""
        return self.told_at is not None and self.told_at >= self.began_at


@dataclass(frozen=True, slots=True)
class Event:
    """What has happened to an alert.

    Attributes:
        what: ``opened``, ``reopened``, ``worse``, ``acknowledged``, ``resolved``, ``escalated``, ``told``, ``not_told``
            or ``failed``.
        who: A person; None: the platform itself.
    """

    alert: int
    what: str
    text: str | None = None
    who: str | None = None


class AlertPass:
    """One pass over the alerts, a transaction: what it reads is so until it ends.

    Attributes:
        now: Postgres' clock.
    """

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self.now = now

    def open(self) -> list[AlertRow]:
        """Return what is not resolved, the oldest first."""
        return [AlertRow(**row._mapping) for row in self._connection.execute(_OPEN)]

    def recent(self, within: timedelta) -> list[AlertRow]:
        """Return of each rule and subject what was resolved last, if that is not longer ago."""
        values = {"within_seconds": within.total_seconds()}
        return [AlertRow(**row._mapping) for row in self._connection.execute(_RECENT, values)]

    def silences(self) -> list[Silence]:
        """Return those that hold now."""
        return [Silence(**row._mapping) for row in self._connection.execute(HELD_NOW)]

    def one(self, alert: int) -> AlertRow | None:
        """Return an alert by its id, or None."""
        row = self._connection.execute(_ONE, {"alert": alert}).one_or_none()
        return None if row is None else AlertRow(**row._mapping)

    def insert(self, findings: Sequence[Mapping[str, Any]]) -> list[int]:
        """Open alerts; return their ids."""
        return [row.id for row in self._connection.execute(_INSERT, _given(findings))]

    def count(self, findings: Sequence[Mapping[str, Any]]) -> None:
        """Say that alerts were seen again; each finding has the ``id`` of one."""
        self._connection.execute(_COUNT, _given(findings))

    def reopen(self, findings: Sequence[Mapping[str, Any]]) -> None:
        """Open alerts again; each finding has the ``id`` of one."""
        self._connection.execute(_REOPEN, _given(findings))

    def resolve(self, alerts: Sequence[int], *, who: str | None = None, reason: str | None = None) -> list[int]:
        """Resolve alerts; return which were not resolved before."""
        values = {"alert_ids": list(alerts), "who": who, "reason": reason}
        return [row.id for row in self._connection.execute(_RESOLVE, values)]

    def acknowledge(self, alerts: Sequence[int], *, who: str, reason: str) -> list[int]:
        """Say that somebody sees to open alerts; return which were open."""
        values = {"alert_ids": list(alerts), "who": who, "reason": reason}
        return [row.id for row in self._connection.execute(_ACKNOWLEDGE, values)]

    def blame(self, causes: Mapping[int, int | None]) -> None:
        """Say of alerts which other one is their cause."""
        self._connection.execute(_BLAME, _given([{"id": own, "cause_id": cause} for own, cause in causes.items()]))

    def told(self, marks: Sequence[Mapping[str, Any]]) -> None:
        """Say that people are told of alerts: ``id``, ``storm_id``, ``escalation_step`` and ``escalate_at`` of each."""
        self._connection.execute(_TOLD, _given(marks))

    def step(self, marks: Sequence[Mapping[str, Any]]) -> None:
        """Say how far alerts are escalated: ``id``, ``escalation_step`` and ``escalate_at`` of each."""
        self._connection.execute(_STEP, _given(marks))

    def note(self, events: Sequence[Event]) -> None:
        """Write down what has happened to alerts."""
        given = [
            {"alert": each.alert, "what": each.what, "who": each.who, "text": each.text} for each in events
        ]  # fmt: skip
        if given:
            self._connection.execute(_EVENT, _given(given))

    def write(self, notices: Sequence[NewNotice]) -> None:
        """Write what people are to be told."""
        write_notices(self._connection, notices)

    def drop_held(self, alerts: Sequence[int], reason: str) -> None:
        """Drop what quiet hours hold back of alerts, and nobody has tried to send."""
        self._connection.execute(DROP_HELD, {"alert_ids": list(alerts), "reason": reason})

    def operation(self, who: str, what: str, target: str, reason: str) -> None:
        """Write down what a person did."""
        self._connection.execute(_OPERATION, {"who": who, "what": what, "target": target, "reason": reason})

    def ended_at(self, runs: Sequence[str]) -> dict[str, datetime]:
        """Return when runs have ended, of those that are on record."""
        rows = self._connection.execute(_ENDED_RUNS, {"run_ids": list(runs)}) if runs else ()
        return {row.id: row.finished_at for row in rows if row.finished_at is not None}

    def consequences(self, alerts: Sequence[int]) -> dict[int, list[str]]:
        """Return what alerts are the cause of since they were opened, or came back, last; as subjects."""
        found: dict[int, list[str]] = {}
        for row in self._connection.execute(_CONSEQUENCES, {"alert_ids": list(alerts)}):
            found.setdefault(row.cause_id, []).append(row.subject)
        return found

    def told_channels(self, alerts: Sequence[int]) -> dict[int, list[str]]:
        """Return through which channels people were told of alerts since they were opened, or came back, last."""
        found: dict[int, list[str]] = {}
        for row in self._connection.execute(_TOLD_CHANNELS, {"alert_ids": list(alerts)}):
            found.setdefault(row.id, []).append(row.channel)
        return found


class Alerts:
    """What was found wrong."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def deciding(self) -> Iterator[AlertPass]:
        """Yield a pass over the alerts; what it writes is committed together when the block ends well."""
        with self._database.transaction() as connection:
            yield AlertPass(connection, connection.execute(_LOCK).one().now)

    def find(
        self,
        *,
        state: str | None = None,
        rule: str | None = None,
        owner: str | None = None,
        service: str | None = None,
        everything: bool = False,
        limit: int = 100,
    ) -> list[AlertRow]:
        """Return alerts, the newest first.

        Args:
            state: Only those in this state.
            rule: Only those of this rule.
            owner: Only those of this owner.
            service: Only those of this service.
            everything: Also those that are resolved.
            limit: So many at the most.
        """
        values = {"state": state, "rule": rule, "owner": owner, "service": service, "row_count": limit}
        rows = self._database.execute(_LIST, values | {"everything": everything or state == "resolved"})
        return [AlertRow(**row._mapping) for row in rows]

    def one(self, alert: int) -> AlertRow | None:
        """Return an alert by its id, or None."""
        rows = self._database.execute(_ONE, {"alert": alert})
        return AlertRow(**rows[0]._mapping) if rows else None

    def events(self, alert: int) -> list[dict[str, Any]]:
        """Return what has happened to an alert: ``at``, ``what``, ``who`` and ``text``, the oldest first."""
        return [dict(row._mapping) for row in self._database.execute(_EVENTS, {"alert": alert})]

    def consequences(self, alert: int) -> list[AlertRow]:
        """Return the alerts that another is the cause of."""
        rows = self._database.execute(_OF_CAUSE, {"alert": alert})
        return [AlertRow(**row._mapping) for row in rows]

    def open_counts(self) -> dict[tuple[str, str], int]:
        """Return how many alerts are not resolved, by rule and severity."""
        return {(row.rule, row.severity): row.n for row in self._database.execute(_COUNTS)}


_OF_CAUSE = sql(f"SELECT {_COLUMNS} FROM steadybeat.alerts a WHERE a.cause_id = :alert ORDER BY a.id")


def _given(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {"given": json.dumps(rows, default=_plain)}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)
