"""Beat: RedBeat's scheduler, which cannot lose or double a fire. The only room that touches RedBeat.

definitions  the schedules that the code of an app defines
scheduler    SteadyScheduler: who leads, and what every Beat does at each tick
leading      what the Beat that leads does at each tick
learning     what the ledger's schedules are now
expecting    fires are written ahead
foreseeing   and so they are while nobody leads
herd         the fires of the next seconds, their messages built ahead
deciding     what becomes of a fire that is due
edits        what RedBeat's tools change becomes an operator's change
projection   the schedules in RedBeat's keys, for RedBeat's tools
takeover     what RedBeat has in Redis, and what becomes of it in the ledger
meaning      what an entry of plain Celery or RedBeat means something else by here
"""

from __future__ import annotations

from steadybeat.beat.definitions import definitions
from steadybeat.beat.foreseeing import Expecting
from steadybeat.beat.scheduler import SteadyScheduler

__all__ = ["Expecting", "SteadyScheduler", "definitions"]
