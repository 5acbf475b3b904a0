"""Probes: what code cannot show. A task is run twice, killed in the middle, and started by many at once.

Its own code runs in real workers, in a scratch place: a database and a number of Redis of its own, removed afterwards.

place      the scratch place: made, checked to be empty, removed
crew       the processes in it: workers, what the application keeps running, and the driver
driver     the process that tries one task after another, and tells what it saw
inside     what a worker of a scratch place brings along: two more points at which it can be killed
trials     one task is tried: undisturbed, twice, killed, concurrently
comparing  whether a trial changed what one undisturbed run changes
judging    what trials say of the three lines of the checklist
proofs     the file that keeps what was shown, for as long as the code is the same
probing    all of it, for one or several tasks
"""

from __future__ import annotations

from steadybeat.audit.probes.judging import PROVEN
from steadybeat.audit.probes.probing import Kept, Means, Probing
from steadybeat.audit.probes.proofs import Proofs

__all__ = ["PROVEN", "Kept", "Means", "Probing", "Proofs"]
