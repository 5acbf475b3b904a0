"""Pruning: what may be forgotten, in batches that lock little."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import TextClause

from steadybeat.ledger.connection import Database, sql
from steadybeat.settings import Settings

_BATCH = 5000


@dataclass(frozen=True, slots=True)
class _Old:
    """Rows of a table that may be forgotten.

    Attributes:
        key: Their primary key.
        condition: Which they are.
        once: What must be gone before, in the same pass: their parts.
    """

    key: str
    condition: str
    once: str = ""


# A processed key outlives its run by a retention: every way on which a message can come back is shorter by then.
_OLD = "clock_timestamp() - make_interval(secs => :retention_seconds)"
# The latest that is old enough stays: a task may ask for the fire before its own, and for its last success.
_OVERTAKEN = """EXISTS (
    SELECT FROM steadybeat.{table} later
     WHERE later.schedule = {table}.schedule AND later.scheduled_for > {table}.scheduled_for AND {which})"""
_RUN_IS_OVERTAKEN = _OVERTAKEN.format(table="runs", which=f"later.state = 'succeeded' AND later.finished_at < {_OLD}")
_FIRE_IS_OVERTAKEN = _OVERTAKEN.format(table="fires", which=f"later.scheduled_for < {_OLD}")
# A chord is over when it has joined, or no run of it can go on any more; one that is dead can.
_IS_OVER = """(joined_at IS NOT NULL OR NOT EXISTS (
    SELECT FROM steadybeat.runs part
     WHERE part.group_id = chords.group_id AND (part.finished_at IS NULL OR part.state = 'dead')))"""
# As long as a tenant's run is on record, which a person may requeue, so is the run that it is a share of.
_IS_NO_WHOLE = "NOT EXISTS (SELECT FROM steadybeat.runs share WHERE share.fan_out = runs.id)"
_HAS_NO_RUNS = """NOT EXISTS (SELECT FROM steadybeat.runs r WHERE r.fan_out = f.run OR r.id = f.run)"""
# What has happened for a run that is not over, or for a dead letter that a person may requeue, is asked for again.
_MAY_GO_ON = """EXISTS (
    SELECT FROM steadybeat.runs r
     WHERE r.task = processed_keys.task AND r.idempotency_key = processed_keys.key
       AND (r.finished_at IS NULL OR r.state = 'dead'))"""
_ROWS = {
    "attempts": _Old(
        "run, number",
        f"run IN (SELECT id FROM steadybeat.runs WHERE finished_at < {_OLD} AND state <> 'dead'"
        " AND EXISTS (SELECT FROM steadybeat.attempts part WHERE part.run = runs.id){limit})",
    ),
    "run_lines": _Old("id", f"at < {_OLD}"),
    "runs": _Old(
        "id",
        f"finished_at < {_OLD} AND state <> 'dead'"
        f" AND (schedule IS NULL OR state <> 'succeeded' OR {_RUN_IS_OVERTAKEN}) AND {_IS_NO_WHOLE}",
        " AND NOT EXISTS (SELECT FROM steadybeat.attempts a WHERE a.run = runs.id)",
    ),
    "processed_keys": _Old(
        "task, key, step",
        "state <> 'held' AND (expires_at < clock_timestamp()"
        f" OR changed_at < {_OLD} - make_interval(secs => :retention_seconds))"
        f" AND NOT {_MAY_GO_ON}",
    ),
    "duplicates": _Old("id", f"seen_at < {_OLD}"),
    "fires": _Old(
        "schedule, scheduled_for",
        f"state NOT IN ('expected', 'waiting') AND scheduled_for < {_OLD} AND {_FIRE_IS_OVERTAKEN}",
    ),
    "chords": _Old("group_id", f"coalesce(joined_at, failed_at, created_at) < {_OLD} AND {_IS_OVER}"),
    "skipped_tenants": _Old(
        "run, tenant",
        f"run IN (SELECT f.run FROM steadybeat.fan_outs f WHERE f.ended_at < {_OLD} AND {_HAS_NO_RUNS})",
    ),
    "fan_outs": _Old(
        "run",
        f"ended_at < {_OLD} AND {_HAS_NO_RUNS.replace('f.run', 'fan_outs.run')}",
        " AND NOT EXISTS (SELECT FROM steadybeat.skipped_tenants s WHERE s.run = fan_outs.run)",
    ),
    "tenant_rules": _Old("policy, tenant", f"expires_at < {_OLD}"),
    "alert_events": _Old(
        "id",
        f"alert IN (SELECT id FROM steadybeat.alerts WHERE state = 'resolved' AND resolved_at < {_OLD})",
    ),
    "notices": _Old("id", f"coalesce(sent_at, given_up_at) < {_OLD}"),
    "alerts": _Old(
        "id",
        f"state = 'resolved' AND resolved_at < {_OLD}",
        " AND NOT EXISTS (SELECT FROM steadybeat.alert_events e WHERE e.alert = alerts.id)",
    ),
    "silences": _Old("id", f"coalesce(ended_at, ends_at) < {_OLD}"),
    "results": _Old("id", f"changed_at < {_OLD}"),
    "groups": _Old("id", f"created_at < {_OLD}"),
    # An attempt that finds no row of its lock commits nothing, so a row that goes too early does no harm.
    "turns": _Old("name, place", f"taken_at < {_OLD}"),
    "instances": _Old("id", "expires_at < clock_timestamp() - interval '1 day'"),
}


def prune(database: Database, settings: Settings, tell: Callable[[int], None] | None = None) -> dict[str, int]:
    """Delete what ended longer ago than the retention; dead letters and foreign messages wait for a person.

    Args:
        database: The ledger's.
        settings: Say how long the retention is.
        tell: Is called with how many rows were deleted, batch by batch.

    Returns:
        The deleted rows, by table.
    """
    deleted = {}
    for table, old in _ROWS.items():
        which = f"{old.condition}{old.once}".replace("{limit}", f" LIMIT {_BATCH}")
        clause = sql(f"""
            DELETE FROM steadybeat.{table} WHERE ({old.key}) IN (
                SELECT {old.key} FROM steadybeat.{table} WHERE {which} LIMIT {_BATCH})
            RETURNING 1""")
        count, batch = 0, _BATCH
        while batch == _BATCH:
            batch = len(database.execute(clause, _values(clause, settings)))
            count += batch
            if tell is not None:
                tell(batch)
        deleted[table] = count
    return deleted


def prunable(database: Database, settings: Settings) -> dict[str, int]:
    """Return how many rows of each table a pass finds now. What hangs on others goes in that pass or in the next."""
    found = {}
    for table, old in _ROWS.items():
        clause = sql(f"SELECT count(*) FROM steadybeat.{table} WHERE {old.condition.replace('{limit}', '')}")
        found[table] = int(database.count(clause, _values(clause, settings))[0])
    return found


def _values(clause: TextClause, settings: Settings) -> dict[str, float]:
    return {"retention_seconds": settings.retention_seconds} if "retention_seconds" in clause._bindparams else {}
