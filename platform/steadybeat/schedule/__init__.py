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
    surprises.py    what a change of the clocks does to a rule that its words do not say
    stored.py       rules from JSON
    dialects.py     rules as Celery's own schedules
    fires.py        the key, the run id and the jitter of a fire

What can be written, with ``from steadybeat import any_of, cron, every, once, rrule, window``:

    cron("0 6 * * *", tz="Europe/Riga")                            every day at 06:00 in Riga
    cron("30 2 * * *", tz="America/New_York", dst="skip")          not on the day on which there is no 02:30
    cron("H H(0-5) * * *")                                         at night, when the schedule's name decides
    every(timedelta(minutes=5))                                    288 times a day
    once(datetime(2026, 6, 1, 9, tzinfo=timezone.utc))             one shot
    rrule("FREQ=MONTHLY;BYDAY=2FR", dtstart=datetime(2026, 1, 9, 9, tzinfo=timezone.utc))
    any_of(cron("0 6 * * MON-FRI"), cron("0 9 * * SAT,SUN"))       later at the weekend
    cron("0 6 * * *").excluding(date(2026, 12, 25))                not at Christmas
    cron("0 6 * * *").excluding(holidays.LV(years=[2026, 2027]))   not on public holidays
    cron("*/5 * * * *").excluding(window("SAT 22:00", "SUN 04:00", tz="Europe/Riga"))
    cron("0 * * * *").excluding(window(cron("0 2 * * SUN#1"), timedelta(hours=4)))
    cron("0 6 * * *").starting(datetime(2026, 6, 1, tzinfo=timezone.utc)).limited(10)
    every(timedelta(hours=1)).until(datetime(2027, 1, 1, tzinfo=timezone.utc))
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
