"""Meaning: what the policies of a schedule say, in words."""

from __future__ import annotations

from collections.abc import Iterator

from steadybeat.monitor import shown
from steadybeat.schedule.policies import Policies
from steadybeat.wording import length

_CATCH_UP = {
    "latest": "of the fires that nobody dispatched, the latest is made up for",
    "all": "every fire that nobody dispatched is made up for",
    "none": "no fire that nobody dispatched is made up for",
}
_OVERLAP = {
    "skip": "a fire is skipped while a run of it has not ended",
    "queue_one": "a fire waits while a run of it has not ended, unless another waits already",
    "queue_all": "a fire waits while a run of it has not ended",
    "cancel_running": "a run that has not ended is cancelled, and the fire follows",
    "allow": "its runs may go on side by side",
}


def meanings(policies: Policies) -> Iterator[tuple[str, str, str]]:
    """Yield each policy that holds: its name, its value, and what that means in a sentence without its end.

    Args:
        policies: Of a schedule.
    """
    if policies.jitter:
        yield "jitter", length(policies.jitter), "a fire is due up to so much later, always the same for one fire"
    caught = "" if policies.catch_up == "none" else f" within {length(policies.catch_up_window)}"
    most = f", {policies.catch_up_limit} at the most" if policies.catch_up_limit else ""
    yield "catch-up", f"{policies.catch_up}{caught}{most}", _CATCH_UP[policies.catch_up]
    yield "overlap", policies.overlap, _OVERLAP[policies.overlap]
    if policies.start_deadline is not None:
        value = length(policies.start_deadline)
        yield "start deadline", value, "a fire that could not begin within this after it was due is skipped"
    if policies.pause_after_failures:
        value = f"{policies.pause_after_failures} dead runs in a row"
        yield "paused after", value, "then it is paused by itself"
    if policies.fire_limit:
        yield "fires at the most", f"{policies.fire_limit}", "then it is never due again"
    yield from _told(policies)


def _told(policies: Policies) -> Iterator[tuple[str, str, str]]:
    """Yield what people and monitors are told of a schedule."""
    if policies.late_after is not None:
        yield "late after", length(policies.late_after), "people are told of a fire that has not begun by then"
    if policies.failures_before_alert:
        value = f"{policies.failures_before_alert} dead runs in a row"
        yield "an alert after", value, "people are told then, and not before"
    if policies.expect:
        yield "expected", policies.expect, "people are told of a run that succeeds and has not done so"
    if policies.heartbeat:
        yield "heartbeats to", shown(policies.heartbeat), "a monitor elsewhere alarms when nothing is heard"


def policies_in_words(policies: Policies) -> str:
    """Return what the policies of a schedule say, as one line."""
    return "; ".join(_said(name, value) for name, value, _ in meanings(policies))


def _said(name: str, value: str) -> str:
    if name == "fires at the most":
        return f"{value} {name}"
    return f"{name}: {value}" if name == "expected" else f"{name} {value}"
