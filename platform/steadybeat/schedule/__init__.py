"""When: the rules by which a schedule is due, and the identity of each of its fires.

Arithmetic on arguments only: no clock is read and nothing is sent. Instants come in aware, in any time zone,
and go out aware in UTC. A rule says *when* only; catch-up, overlap and the other policies stand beside it.

    rule.py         Rule: what every rule can be asked, and how it is narrowed
    wallclock.py    cron(): the wall clock of a time zone, as Debian's cron reads it
    fields.py       the five fields of a cron expression
    hashing.py      H in a field: a number that the schedule's name chooses
    interval.py     every(): a fixed interval, counted from an anchor
    moment.py       once(): a single instant
    recurrence.py   rrule(): RFC 5545, through python-dateutil
    combination.py  any_of(): whenever one of several rules is due
    bounds.py       starting(), until(), limited(): where a rule begins and ends
    exclusion.py    excluding(): without holidays, windows, or the instants of another rule
    windows.py      window(): maintenance, and what else can be left out
    zones.py        time zones, and when their clocks change
    stored.py       rules from JSON
    dialects.py     rules as Celery's own schedules
    fires.py        the key, the run id and the jitter of a fire
"""

from steadybeat.schedule.combination import AnyOf, any_of
from steadybeat.schedule.dialects import as_rule, from_celery, to_celery
from steadybeat.schedule.fires import fire_key, jitter, new_run_id, run_id
from steadybeat.schedule.interval import Every, every
from steadybeat.schedule.moment import Once, once
from steadybeat.schedule.recurrence import RRule, rrule
from steadybeat.schedule.rule import Rule
from steadybeat.schedule.stored import from_json
from steadybeat.schedule.wallclock import Cron, cron
from steadybeat.schedule.windows import Window, window

__all__ = [
    "AnyOf",
    "Cron",
    "Every",
    "Once",
    "RRule",
    "Rule",
    "Window",
    "any_of",
    "as_rule",
    "cron",
    "every",
    "fire_key",
    "from_celery",
    "from_json",
    "jitter",
    "new_run_id",
    "once",
    "rrule",
    "run_id",
    "to_celery",
    "window",
]
