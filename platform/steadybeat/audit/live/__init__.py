"""Live: does what must hold between the settings of the running system hold?

readings    what was read: plain values
asking      reads them, of Redis, Postgres, the ledger, the workers and the configuration; changes nothing
inequality  what must hold, as named functions over readings, and their answers
times       limits, leases, locks and polls, each against those that it must outlive
stores      whether Redis and Postgres keep what they are given, and have room
living      who is there, who leads, who consumes what
guarding    a worker does not start to consume a queue while its work could be lost or doubled
"""

from __future__ import annotations

from steadybeat.audit.live import living, stores, times
from steadybeat.audit.live.asking import readings
from steadybeat.audit.live.guarding import refuse_unsafe, unsafe
from steadybeat.audit.live.inequality import INEQUALITIES, Answer, Inequality, Judged, judge
from steadybeat.audit.live.readings import Readings

__all__ = [
    "INEQUALITIES",
    "Answer",
    "Inequality",
    "Judged",
    "Readings",
    "judge",
    "living",
    "readings",
    "refuse_unsafe",
    "stores",
    "times",
    "unsafe",
]
