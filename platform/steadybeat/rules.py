"""Rules: what can be wrong, as the watchdog and the alerts name it. Words only; who looks, and how, is elsewhere.

`ops/runbooks/<name>.md` says for each what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of thing that can be wrong.

    Attributes:
        name: As it stands in alerts, on the command line and in metrics.
        title: What is wrong, in a few words, before the subject: "missed: tasks.royalties.settle".
        means: One sentence for a person.
        subject: What an alert of it is about: ``schedule``, ``task``, ``queue``, ``instance``, ``monitor``, ``channel``
            or ``platform``.
        severity: How bad it is. What is an ``error`` is as bad as the task says that it is about, or as the worst
            task of its queue; what is a ``warning`` is no worse than that, whatever the task says.
    """

    name: str
    title: str
    means: str
    subject: str
    severity: str = "error"


_RULES = (
    Rule(
        "missed",
        "fire missed",
        "A fire is past its time and its grace, and nobody has dispatched it; or it was missed for good.",
        "schedule",
    ),
    Rule(
        "late",
        "fire late",
        "The run of a fire began later than its schedule allows, or waits for longer than that.",
        "schedule",
        "warning",
    ),
    Rule(
        "never_started",
        "run not started",
        "The run of a fire was sent, and no attempt of it has begun in time.",
        "schedule",
    ),
    Rule(
        "running_too_long",
        "run too long",
        "An attempt goes on past its limit, or far past what its history says.",
        "task",
    ),
    Rule(
        "slower", "run slower", "A run took far longer than the runs of its schedule before it.", "schedule", "warning"
    ),
    Rule("stuck", "run stuck", "A run that shows how far it is has not come any further for long.", "task"),
    Rule(
        "lost",
        "run lost",
        "The worker or the message of a run was lost, and the run was sent again.",
        "task",
        "warning",
    ),
    Rule("failed", "schedule fails", "The last runs of a schedule are dead.", "schedule"),
    Rule("dead_letter", "dead letters", "Runs of no schedule have given up, and wait for a person.", "task"),
    Rule("empty", "success is empty", "A run succeeded, and did not do what its schedule expects.", "schedule"),
    Rule("paused", "schedule paused", "A schedule is paused: its fires are skipped.", "schedule", "warning"),
    Rule("no_leader", "no leader", "No Beat leads: no fire is dispatched.", "platform", "critical"),
    Rule(
        "relay_stalled",
        "relay stands still",
        "Messages in the outbox are past their time, and are not sent.",
        "platform",
        "critical",
    ),
    Rule(
        "queue_stalled",
        "queue stands still",
        "Runs wait on a queue, and none of it begins or goes on although a worker lives.",
        "queue",
    ),
    Rule(
        "no_consumer",
        "queue without a consumer",
        "No living worker consumes from a queue on which a run waits.",
        "queue",
    ),
    Rule(
        "not_consuming",
        "worker does not consume",
        "A worker is connected and takes no message: its canary was not answered.",
        "queue",
    ),
    Rule(
        "worker_silent",
        "worker silent",
        "A worker gives no sign of life, has not signed off, and no worker that came later consumes its queues.",
        "instance",
    ),
    Rule(
        "heartbeat_failing",
        "heartbeat fails",
        "A monitor elsewhere does not take the heartbeats that it is sent.",
        "monitor",
        "warning",
    ),
    Rule("clock_skew", "clock off", "The clock of an instance is off that of Postgres.", "instance", "warning"),
    Rule(
        "schema_skew",
        "releases differ",
        "Instances that live together need different schemas or are of different releases.",
        "platform",
        "warning",
    ),
    Rule(
        "ledger_away",
        "ledger away",
        "Postgres does not answer: nothing starts, and nothing is recorded.",
        "platform",
        "critical",
    ),
    Rule("channel_failing", "channel fails", "A way to people does not take what they are to be told.", "channel"),
)

RULES: Mapping[str, Rule] = {rule.name: rule for rule in _RULES}
"""Every rule, by name."""
