"""Schedule lists: schedules as a person looks through them, and what has become of the fires of a few.

A list is read page by page, from behind the row that the former page ended with. Of fires and runs only those of the
schedules on a page are read, by the primary key of `fires` and by `runs_of_schedule`: so many of each, however many
there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import TextClause

from steadybeat.ledger.connection import Database, sql
from steadybeat.ledger.tables import FIRE_STATES

SORTS: Mapping[str, str] = {
    "name": "''",
    "service": "s.service",
    "owner": "coalesce(t.owner, '~')",
    "failures": "lpad(CAST(999999 - least(s.consecutive_failures, 999999) AS text), 6, '0')",
    "changed": "lpad(CAST(9999999999999 - CAST(extract(epoch FROM s.updated_at) * 1000 AS bigint) AS text), 13, '0')",
}
"""By what a list is ordered, before the name: an expression of SQL that is text and increases."""
STATES: Mapping[str, str] = {
    "active": "s.retired_at IS NULL AND s.paused_at IS NULL",
    "paused": "s.retired_at IS NULL AND s.paused_at IS NOT NULL",
    "failing": "s.retired_at IS NULL AND s.consecutive_failures > 0",
    "missed": """s.retired_at IS NULL AND s.name = ANY(ARRAY(
        SELECT DISTINCT f.schedule FROM steadybeat.fires f
         WHERE f.state = 'missed' AND f.due_at > statement_timestamp() - interval '1 day'))""",
    "edited": "s.retired_at IS NULL AND s.source = 'operator'",
    "retired": "s.retired_at IS NOT NULL",
}
"""What a schedule may be, as a condition."""
MOST_FIRES = 50_000
"""So many fires of one schedule are counted by days, the newest."""
MOST_OF_REVISIONS = 1_000
"""Of so many of its newest fires it is told by which revisions they came."""

_CONDITIONS = {**STATES, "any": "s.retired_at IS NULL"}
_COLUMNS = """s.name, s.task, s.service, s.spec, s.policies, s.source, s.revision, s.retired_at, s.paused_at,
           s.paused_by, s.paused_reason, s.consecutive_failures, s.updated_at, t.owner, t.severity, t.purpose"""
_FROM = """steadybeat.schedules s LEFT JOIN steadybeat.tasks t ON t.name = s.task
     WHERE (CAST(:service AS text) IS NULL OR s.service = :service)
       AND (CAST(:owner AS text) IS NULL OR t.owner = :owner)
       AND (CAST(:task AS text) IS NULL OR s.task = :task)
       AND (CAST(:part AS text) IS NULL OR position(lower(:part) IN lower(s.name)) > 0)"""
_PAGES = {
    (sort, state): sql(f"""
        SELECT {_COLUMNS}, {order} AS place FROM {_FROM} AND {condition}
           AND (CAST(:behind AS text) IS NULL OR ({order}, s.name) > (:behind, CAST(:behind_name AS text)))
         ORDER BY place, s.name LIMIT CAST(:row_count AS integer)
    """)
    for sort, order in SORTS.items()
    for state, condition in _CONDITIONS.items()
}
_RULES = {
    state: sql(f"SELECT s.name, s.revision FROM {_FROM} AND {condition}") for state, condition in _CONDITIONS.items()
}
_SPECS = sql("SELECT name, revision, spec FROM steadybeat.schedules WHERE name = ANY(:names)")
_NAMED = sql(f"""
    SELECT {_COLUMNS} FROM steadybeat.schedules s LEFT JOIN steadybeat.tasks t ON t.name = s.task
     WHERE s.name = ANY(:names)
""")
_CHOICES = sql("""
    SELECT DISTINCT s.service, t.owner FROM steadybeat.schedules s LEFT JOIN steadybeat.tasks t ON t.name = s.task
     WHERE s.retired_at IS NULL
""")
# The run of a fire that was sent last: one that a person has asked for again stands for it.
_LATEST_RUN = """
      LEFT JOIN LATERAL (
        SELECT r.id, r.state, r.reason, r.error, r.started_at, r.finished_at, r.attempt_count FROM steadybeat.runs r
         WHERE r.schedule = f.schedule AND r.scheduled_for = f.scheduled_for
         ORDER BY r.enqueued_at DESC, r.id DESC LIMIT 1) run ON true"""
_FIRE = """f.schedule, f.scheduled_for, f.due_at, f.state, f.reason, f.cause, f.asked, f.dispatched_at,
           CAST(coalesce(run.id, f.run_id) AS text) AS run, run.state AS run_state, run.reason AS run_reason,
           run.started_at, run.finished_at, run.attempt_count"""
_RECENT = sql(f"""
    SELECT {_FIRE}
      FROM unnest(CAST(:names AS text[])) AS given (name)
     CROSS JOIN LATERAL (
        SELECT * FROM steadybeat.fires
         WHERE schedule = given.name AND state <> 'superseded'
           AND (state <> 'expected' OR due_at <= statement_timestamp())
         ORDER BY scheduled_for DESC LIMIT CAST(:row_count AS integer)) f {_LATEST_RUN}
     ORDER BY f.schedule, f.scheduled_for DESC
""")
# A state stands in the statement as such: by `fires_without_run` and `fires_waiting` those are found that few are in.
_FIRES: Mapping[str | None, TextClause] = {
    state: sql(f"""
        SELECT {_FIRE}
          FROM (SELECT * FROM steadybeat.fires
                 WHERE schedule = :schedule {condition}
                   AND (CAST(:until AS timestamptz) IS NULL OR scheduled_for < :until)
                 ORDER BY scheduled_for DESC LIMIT CAST(:row_count AS integer)) f {_LATEST_RUN}
         ORDER BY f.scheduled_for DESC
    """)
    for state, condition in [(None, ""), *((state, f"AND state = '{state}'") for state in FIRE_STATES)]
}
_EXPECTED = sql("""
    SELECT scheduled_for, due_at, state, reason FROM steadybeat.fires
     WHERE schedule = :schedule AND scheduled_for > :since ORDER BY scheduled_for LIMIT CAST(:row_count AS integer)
""")
_DAYS = sql(f"""
    SELECT CAST(scheduled_for AT TIME ZONE 'UTC' AS date) AS day, state, count(*) AS n
      FROM (SELECT scheduled_for, state FROM steadybeat.fires
             WHERE schedule = :schedule AND scheduled_for >= :since AND scheduled_for <= :until
               AND state NOT IN ('expected', 'superseded')
             ORDER BY scheduled_for DESC LIMIT {MOST_FIRES}) newest
     GROUP BY day, state ORDER BY day
""")
# By `runs_dead_of_schedule`.
_DEAD_DAYS = sql(f"""
    SELECT CAST(scheduled_for AT TIME ZONE 'UTC' AS date) AS day, count(*) AS n
      FROM (SELECT scheduled_for FROM steadybeat.runs
             WHERE schedule = :schedule AND scheduled_for >= :since AND state = 'dead'
             ORDER BY scheduled_for DESC LIMIT {MOST_FIRES}) newest
     GROUP BY day
""")
_DURATIONS = sql("""
    SELECT scheduled_for, CAST(extract(epoch FROM finished_at - started_at) AS double precision) AS seconds, state
      FROM steadybeat.runs
     WHERE schedule = :schedule AND scheduled_for <= :until
     ORDER BY scheduled_for DESC LIMIT CAST(:row_count AS integer)
""")
_REVISIONS = sql(f"""
    SELECT revision, count(*) AS n, min(scheduled_for) AS first_for, max(scheduled_for) AS last_for
      FROM (SELECT revision, scheduled_for FROM steadybeat.fires
             WHERE schedule = :schedule ORDER BY scheduled_for DESC LIMIT {MOST_OF_REVISIONS}) newest
     GROUP BY revision ORDER BY revision DESC LIMIT 20
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which schedules are asked for; None: any.

    Attributes:
        state: One of `STATES`; all that are not retired unless given.
        part: Of the name, in any case.
    """

    service: str | None = None
    owner: str | None = None
    task: str | None = None
    state: str | None = None
    part: str | None = None

    @property
    def values(self) -> dict[str, str | None]:
        """The values of the statements."""
        return {"service": self.service, "owner": self.owner, "task": self.task, "part": self.part}


class ScheduleLists:
    """Lists of schedules. Rows are plain mappings."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, chosen: Chosen, *, sort: str, behind: tuple[str, str] | None, limit: int) -> list[dict[str, Any]]:
        """Return schedules in the order of one of `SORTS`.

        Args:
            chosen: Which.
            sort: By what.
            behind: The ``place`` and the name of the row behind which the page begins; None: at the beginning.
            limit: How many at the most.
        """
        place, name = behind or (None, None)
        values = chosen.values | {"behind": place, "behind_name": name, "row_count": limit}
        return self._mappings(_PAGES[sort, chosen.state or "any"], values)

    def revisions(self, chosen: Chosen) -> dict[str, int]:
        """Return the revision of every schedule that is asked for, by its name."""
        return {row["name"]: row["revision"] for row in self._mappings(_RULES[chosen.state or "any"], chosen.values)}

    def specs(self, names: Sequence[str]) -> dict[str, tuple[int, Mapping[str, Any]]]:
        """Return revision and rule of some schedules, by their names."""
        found = self._mappings(_SPECS, {"names": list(names)})
        return {row["name"]: (row["revision"], row["spec"]) for row in found}

    def named(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return some schedules, in the order of their names as they are given."""
        found = {row["name"]: row for row in self._mappings(_NAMED, {"names": list(names)})}
        return [found[name] for name in names if name in found]

    def choices(self) -> tuple[list[str], list[str]]:
        """Return the services that have schedules, and who answers for those."""
        found = self._mappings(_CHOICES, {})
        return sorted({row["service"] for row in found}), sorted({row["owner"] for row in found if row["owner"]})

    def recent(self, names: Sequence[str], limit: int) -> dict[str, list[dict[str, Any]]]:
        """Return the newest fires of some schedules that were due, or of which something has become; newest first.

        Returns:
            By the name of the schedule; of each fire also the state and the times of its newest run.
        """
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for row in self._mappings(_RECENT, {"names": list(names), "row_count": limit}):
            found[row["schedule"]].append(row)
        return found

    def fires(self, schedule: str, *, state: str | None, before: datetime | None, limit: int) -> list[dict[str, Any]]:
        """Return fires of a schedule, the newest first, with the state and the times of their newest runs.

        Args:
            schedule: Its name.
            state: Only those in this state, one of `FIRE_STATES`.
            before: Only those before this nominal time.
            limit: How many at the most.
        """
        return self._mappings(_FIRES[state], {"schedule": schedule, "until": before, "row_count": limit})

    def expected(self, schedule: str, since: datetime, limit: int) -> list[dict[str, Any]]:
        """Return the fires after an instant that are on record already, by their nominal time."""
        return self._mappings(_EXPECTED, {"schedule": schedule, "since": since, "row_count": limit})

    def days(self, schedule: str, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """Return how many fires of each state each day of UTC had; of `MOST_FIRES` at the most, the newest."""
        return self._mappings(_DAYS, {"schedule": schedule, "since": since, "until": until})

    def dead_days(self, schedule: str, since: datetime) -> dict[Any, int]:
        """Return how many dead letters there are of the fires of each day of UTC."""
        found = self._mappings(_DEAD_DAYS, {"schedule": schedule, "since": since})
        return {row["day"]: row["n"] for row in found}

    def durations(self, schedule: str, until: datetime, limit: int) -> list[dict[str, Any]]:
        """Return how long the newest runs of a schedule took, in seconds, the newest first; None where one goes on."""
        return self._mappings(_DURATIONS, {"schedule": schedule, "until": until, "row_count": limit})

    def revisions_of(self, schedule: str) -> list[dict[str, Any]]:
        """Return by which revisions the newest fires of a schedule came: how many (`n`), the first and the last one."""
        return self._mappings(_REVISIONS, {"schedule": schedule})

    def _mappings(self, statement: Any, values: dict[str, Any]) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in self._database.execute(statement, values)]
