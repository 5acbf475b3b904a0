"""When: the rules by which a schedule is due, and the identity of each of its fires.

Arithmetic on arguments only: no clock is read and nothing is sent. Instants come in aware, in any time zone,
and go out aware in UTC. A rule says *when* only; catch-up, overlap and the other policies stand beside it.

    rule.py         Rule: what every rule can be asked
    wallclock.py    cron(): the wall clock of a time zone, as Debian's cron reads it
    interval.py     every(): a fixed interval, counted from an anchor
    recurrence.py   rrule(): RFC 5545, through python-dateutil
    dialects.py     rules as JSON and as Celery's own schedules
    fires.py        the key, the run id and the jitter of a fire
"""

from steadybeat.schedule.dialects import as_rule, from_celery, from_json, to_celery
from steadybeat.schedule.fires import fire_key, jitter, new_run_id, run_id
from steadybeat.schedule.interval import Every, every
from steadybeat.schedule.recurrence import RRule, rrule
from steadybeat.schedule.rule import Rule
from steadybeat.schedule.wallclock import Cron, cron

__all__ = [
    "Cron",
    "Every",
    "RRule",
    "Rule",
    "as_rule",
    "cron",
    "every",
    "fire_key",
    "from_celery",
    "from_json",
    "jitter",
    "new_run_id",
    "rrule",
    "run_id",
    "to_celery",
]
