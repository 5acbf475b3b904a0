"""Run walks: the statements by which runs are searched for: through one index, from the newest on."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import TextClause

from steadybeat.ledger.connection import sql

COLUMNS = """r.id, r.task, r.service, r.state, r.reason, r.schedule, r.scheduled_for, r.tenant,
    r.fan_out AS of_fan_out, r.attempt_count, r.enqueued_at, r.started_at, r.finished_at, r.error"""
WORDS = """to_tsvector('simple', translate(coalesce(r.reason, '') || ' ' || coalesce("right"(r.error, 4000), ''),
    './-+@<>&_~', '          '))"""
"""What words stand in the reason and in the error of a run; the index `runs_wrong` has the same."""

CONDITIONS = {
    "task": "r.task = :task",
    "tasks": "r.task = ANY(:names)",
    "service": "r.service = :service",
    "schedule": "r.schedule = :schedule",
    "state": "r.state = :state",
    "tenant": "r.tenant = :tenant",
    "fan_out": "r.fan_out = CAST(:fan_out AS uuid)",
    "key": "r.idempotency_key = :key",
    "error": f"(r.error IS NOT NULL OR r.state IN ('dead', 'cancelled')) AND {WORDS} @@ to_tsquery('simple', :words)",
}
_WALK = """
    SELECT {columns}, r.{order} AS ordered_at FROM {values}
     CROSS JOIN LATERAL (
           SELECT * FROM (
                SELECT r.* FROM steadybeat.runs r WHERE {where}
                 ORDER BY r.{order} DESC, r.id DESC LIMIT :examined_count) r
            WHERE {narrowed} ORDER BY r.{order} DESC, r.id DESC LIMIT :row_count) r"""
_REACHED = """
    SELECT r.ordered_at, r.id FROM {values}
     CROSS JOIN LATERAL (
           SELECT r.{order} AS ordered_at, r.id FROM steadybeat.runs r WHERE {where}
            ORDER BY r.{order} DESC, r.id DESC OFFSET CAST(:examined_count AS integer) - 1 LIMIT 1) r"""
_FOUND = "{walks}\n ORDER BY ordered_at DESC, id DESC LIMIT :row_count"
# The words are looked up first, whatever the planner thinks of it: what is rare may be old.
_OF_WORDS = """
    WITH hit AS MATERIALIZED (
        SELECT r.id, r.enqueued_at FROM steadybeat.runs r
         WHERE {bad} AND {words} @@ to_tsquery('simple', :words) AND {where}),
    newest AS MATERIALIZED (SELECT id FROM hit ORDER BY enqueued_at DESC, id DESC LIMIT :row_count)
    SELECT {columns}, r.enqueued_at AS ordered_at FROM newest JOIN steadybeat.runs r ON r.id = newest.id"""
# From each name to the next one, of which there are few, by the index.
TASKS = sql("""
    WITH RECURSIVE names AS (
        (SELECT task FROM steadybeat.runs WHERE finished_at IS NOT NULL ORDER BY task LIMIT 1)
        UNION ALL
        SELECT next.task FROM names
         CROSS JOIN LATERAL (
               SELECT task FROM steadybeat.runs WHERE finished_at IS NOT NULL AND task > names.task
                ORDER BY task LIMIT 1) next)
    SELECT names.task, last.service FROM names
     CROSS JOIN LATERAL (
           SELECT service FROM steadybeat.runs r WHERE r.task = names.task AND finished_at IS NOT NULL
            ORDER BY enqueued_at DESC LIMIT 1) last
    UNION
    SELECT name, service FROM steadybeat.tasks
     ORDER BY task
""")


@dataclass(frozen=True, slots=True)
class Way:
    """A way through runs: by one index, from the newest on, for each of some values.

    Attributes:
        said: What it needs not look up in each run.
        where: What the index has.
        values: What `v.value` stands for: an array.
        value_count: How many those are.
        order: By which column the index has them.
    """

    said: frozenset[str]
    where: str
    values: str = "(VALUES (NULL)) AS v (value)"
    value_count: int = 1
    order: str = "enqueued_at"


BADLY = Way(frozenset(), "r.state IN ('dead', 'cancelled')")
"""The way through runs that ended badly."""


def open_way(states: Sequence[str]) -> Way:
    """Return the way through runs that have not ended."""
    return Way(
        frozenset({"state"} if len(states) == 1 else ()),
        "r.state = v.value AND r.finished_at IS NULL",
        "unnest(CAST(:states AS text[])) AS v (value)",
        len(states),
    )


def narrowing(names: set[str], order: str, behind: bool) -> list[str]:
    """Return conditions on runs: what is asked for, and where the page begins."""
    where = [CONDITIONS[name] for name in sorted(names) if name in CONDITIONS]
    where += ["r.enqueued_at >= :since"] if "since" in names else []
    where += ["r.enqueued_at <= :until"] if "until" in names else []
    return [*where, f"(r.{order}, r.id) < (:instant, :after)"] if behind else where or ["true"]


@functools.lru_cache(maxsize=512)
def walk_of(ways: tuple[Way, ...], asked: frozenset[str], behind: bool) -> TextClause:
    """Return the statement that walks some ways, and finds what is asked for."""
    walks = "\n UNION ALL\n".join(_made(_WALK, way, asked, behind) for way in ways)
    return sql(_FOUND.format(walks=walks))


@functools.lru_cache(maxsize=512)
def reach_of(ways: tuple[Way, ...], asked: frozenset[str], behind: bool) -> TextClause:
    """Return the statement that says up to where a walk comes that looks at so many; no row: to the end."""
    return sql("\n UNION ALL\n".join(_made(_REACHED, way, asked, behind) for way in ways))


def _made(form: str, way: Way, asked: frozenset[str], behind: bool) -> str:
    times = {"since", "until"} & asked if way.order == "enqueued_at" else frozenset()
    where = [way.where, *narrowing(set(times), way.order, behind)]
    if way.order != "enqueued_at" and "until" in asked:
        where.append("r.scheduled_for <= :until + interval '1 day'")  # a fire is sent when it is due, or just before
    narrowed = narrowing(set(asked) - way.said - times, way.order, False)
    return form.format(
        columns=COLUMNS, values=way.values, where=" AND ".join(where), narrowed=" AND ".join(narrowed), order=way.order
    )


@functools.lru_cache(maxsize=64)
def words_of(where: str) -> TextClause:
    """Return the statement that finds runs that ended badly by words in their errors."""
    return sql(_OF_WORDS.format(bad=BADLY.where, words=WORDS, columns=COLUMNS, where=where))


# Of a fire, of a tenant's run and of a run whose key is its id the key says where they are; of others an index does.
@functools.lru_cache(maxsize=64)
def key_of(where: str) -> TextClause:
    """Return the statement that finds runs by their key."""
    return sql(f"""
        WITH hit AS MATERIALIZED (
            SELECT r.id FROM steadybeat.runs r
             WHERE r.idempotency_key = :key AND r.schedule IS NULL AND r.fan_out IS NULL
               AND r.idempotency_key <> CAST(r.id AS text)
            UNION SELECT r.id FROM steadybeat.runs r WHERE r.id = :run
            UNION SELECT r.id FROM steadybeat.runs r WHERE r.rerun_of = :run
            UNION SELECT r.id FROM steadybeat.runs r
             WHERE r.schedule = :schedule_of AND r.scheduled_for = :scheduled_for
            UNION SELECT r.id FROM steadybeat.runs r WHERE r.tenant = ANY(:names) AND r.fan_out IS NOT NULL)
        SELECT {COLUMNS}, r.enqueued_at AS ordered_at FROM hit JOIN steadybeat.runs r ON r.id = hit.id
         WHERE r.idempotency_key = :key AND {where}
         ORDER BY r.enqueued_at DESC, r.id DESC LIMIT :row_count
    """)
