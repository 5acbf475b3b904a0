"""Deciding: what becomes of a fire when it is due. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from steadybeat.beat.projection import Definition
from steadybeat.ledger.rows import FireRow
from steadybeat.schedule import jitter

LATE = timedelta(seconds=10)
"""A fire later than this was missed by every scheduler, and is made up for as its schedule says. Sooner is on time:
a failover takes less."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a fire: a state, with its reason as a sentence and as one word."""

    state: str
    cause: str | None = None
    reason: str | None = None


DISPATCH = Decision("dispatched")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a schedule stands when one of its fires is due.

    Attributes:
        under_way: Its runs, but for the fire's own, that have not ended.
        queued_count: Its fires that wait for their turn.
        fire_count: Its fires that were dispatched, where it counts them.
    """

    under_way: Collection[str] = ()
    queued_count: int = 0
    fire_count: int = 0


FREE = Standing()
"""How a schedule stands of which no run goes on and no fire waits."""


def decide(fire: FireRow, definition: Definition, now: datetime, standing: Standing) -> Decision:
    """Return what becomes of a due fire.

    Args:
        fire: The fire.
        definition: Its schedule.
        now: Aware.
        standing: Of the schedule.
    """
    row, rules = definition.row, definition.policies
    if fire.asked is None and row.paused_at is not None and fire.due_at > row.paused_at:
        return Decision("skipped", "paused", f"paused by {row.paused_by}: {row.paused_reason}")
    if fire.asked is None and rules.fire_limit is not None and standing.fire_count >= rules.fire_limit:
        return Decision("skipped", "limit", f"its {rules.fire_limit} fires have been dispatched (fire_limit)")
    if rules.start_deadline is not None and now > fire.due_at + rules.start_deadline:
        return Decision("skipped", "deadline", f"it could not start within {rules.start_deadline} (start_deadline)")
    late = fire.asked is None and fire.state == "expected" and now - fire.due_at > LATE
    if late:
        missed = _missed(fire, definition, now)
        if missed is not None:
            return missed
    if fire.asked != "backfill" and rules.overlap != "allow" and (standing.under_way or standing.queued_count):
        # Each fire that is made up for has its turn; skipping all but the first would make up for one.
        each = (late and rules.catch_up == "all") or fire.asked == "resume"
        return _overlapping("queue_all" if each else rules.overlap, standing)
    return DISPATCH


def _missed(fire: FireRow, definition: Definition, now: datetime) -> Decision | None:
    rules = definition.policies
    if now - fire.due_at > rules.catch_up_window:
        older = f"it is older than its catch-up window of {rules.catch_up_window}"
        return Decision("missed", "window", f"no scheduler was there, and {older}")
    if rules.catch_up == "none":
        return Decision("missed", "catch_up", "no scheduler was there, and it is not made up for (catch_up=none)")
    if rules.catch_up == "latest":
        following = definition.rule.next_after(fire.scheduled_for)
        if following is not None and due_at(definition, following) <= now:
            said = f"no scheduler was there, and the fire of {following.isoformat()} was due too"
            return Decision("coalesced", "catch_up", said)
    limit = rules.catch_up_limit
    if limit is not None:
        younger = islice(definition.rule.between(fire.scheduled_for, now), limit)
        if sum(due_at(definition, at) <= now for at in younger) >= limit:
            said = f"no scheduler was there, and {limit} later fires are made up for (catch_up_limit)"
            return Decision("missed", "catch_up_limit", said)
    return None


def _overlapping(overlap: str, standing: Standing) -> Decision:
    if overlap == "skip":
        return Decision("skipped", "overlap", "the run of an earlier fire has not ended (overlap=skip)")
    if overlap == "queue_one" and standing.queued_count:
        return Decision("skipped", "overlap", "another fire waits for its turn already (overlap=queue_one)")
    said = "the run of an earlier fire is being cancelled" if overlap == "cancel_running" else "it waits for its turn"
    return Decision("waiting", "overlap", f"{said} (overlap={overlap})")


def due_at(definition: Definition, scheduled_for: datetime) -> datetime:
    """Return when a fire is due: its nominal time and its jitter."""
    width = definition.policies.jitter
    return jitter(definition.row.name, scheduled_for, width, definition.rule) if width else scheduled_for
