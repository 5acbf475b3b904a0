"""Task: one run, from claim to outcome.

steady      SteadyTask, the base class of every task
attempt     one try of a run: claim, work, finish, fail
options     what a task may be told, checked when it is registered
request     what only the parent process sees: time-outs, lost children, revokes
keeper      the sign of life of a worker, and its pause while the ledger is away
consumer    messages that no task can take
"""

from __future__ import annotations

from steadybeat.task.consumer import SteadyConsumer
from steadybeat.task.keeper import Keeper
from steadybeat.task.steady import SteadyTask

__all__ = ["Keeper", "SteadyConsumer", "SteadyTask"]
