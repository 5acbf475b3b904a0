"""Task: one run, from claim to outcome.

steady        SteadyTask, the base class of every task
facts         what a task can ask about its run
effects       what a task does to the world, once for each key
iterating     long work: a loop that can be stopped between two items, and goes on where it stood
progress      how far an attempt is, and whether it may go on
replacing     what takes the place of a task: a task, or a whole canvas
transactions  an effect in a database, committed with its key
steps         what was done outside of any transaction, and what it gave back
attempt       one try of a run: claim, work
outcomes      how an attempt ends: success, another attempt, a dead letter
failing       what becomes of a run whose attempt raised an error
classifying   what an error means: try again, when, or not at all
retrying      whether a task is tried again, and when
turns         what an attempt holds while it works: its lock, one of the places of its task
wording       how a result and an error are written into the ledger
verdicts      what becomes of a run that is not to be worked on
describing    what tasks are, for those who do not have their code
options       what a task may be told, checked when it is registered
unrecorded    runs of messages that were sent without steadybeat
request       what only the parent process sees: time-outs, lost children, revokes
ending        how a worker ends, and how its attempts learn of it
pools         where attempts run, and what does not work there
canaries      messages that ask only whether a worker consumes
memory        what an attempt took at its peak
keeper        the sign of life of a worker, and its pause while the ledger is away
consumer      messages that no task can take
"""

from __future__ import annotations

from steadybeat.task.consumer import SteadyConsumer
from steadybeat.task.keeper import Keeper
from steadybeat.task.steady import SteadyTask

__all__ = ["Keeper", "SteadyConsumer", "SteadyTask"]
