"""Seeing: which function sees what is wrong by which rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from steadybeat.ledger.rows import Finding
from steadybeat.watchdog.fires import late, missed, never_started
from steadybeat.watchdog.looking import Look
from steadybeat.watchdog.platform import clock_skew, heartbeat_failing, no_leader, relay_stalled, schema_skew
from steadybeat.watchdog.remembering import Memory
from steadybeat.watchdog.runs import dead_letter, lost, running_too_long, stuck
from steadybeat.watchdog.schedules import empty, failed, paused, slower
from steadybeat.watchdog.workers import no_consumer, not_consuming, queue_stalled, worker_silent

Rule = Callable[[Look, Memory], list[Finding]]

SEEN_BY: Mapping[str, Rule] = {
    rule.__name__: rule
    for rule in (
        no_leader, relay_stalled, worker_silent, no_consumer, not_consuming, queue_stalled,
        missed, late, never_started, failed, paused, slower, empty,
        running_too_long, stuck, lost, dead_letter,
        heartbeat_failing, clock_skew, schema_skew,
    )
}  # fmt: skip
"""By the name of the rule. What may be a cause is judged before its consequences."""
