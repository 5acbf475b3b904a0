"""Verdicts: what becomes of a run, and of its fire, where a claim says that it is not to be worked on."""

from __future__ import annotations

from typing import Any

from steadybeat.ledger.rows import Claim

_ENDS = {
    **dict.fromkeys(("duplicate", "cancelled", "late", "skipped", "too_late", "paused", "overlap"), "cancelled"),
    **dict.fromkeys(("poisonous", "exhausted"), "dead"),
}

_CAUSES = {"too_late": "deadline", "paused": "paused", "overlap": "overlap"}

STATUS = {
    **dict.fromkeys(("skipped", "late", "too_late", "paused", "overlap"), "skipped"),
    **dict.fromkeys(("poisonous", "exhausted"), "dead"),
    "cancelled": "cancelled",
}
"""How the log says it; every other verdict is a ``duplicate``."""


def ending(claim: Claim) -> dict[str, Any] | None:
    """Return how a run ends by a verdict, as `Runs.end_unstarted` takes it, or None where it does not end.

    A fire that waits for its turn gets another. A run that failed before its deadline passed is a dead letter.
    """
    if claim.verdict not in _ENDS:
        return None
    failed_before = claim.verdict == "late" and claim.retry_count > 0
    found: dict[str, Any] = {"state": "dead" if failed_before else _ENDS[claim.verdict], "reason": claim.detail}
    if claim.verdict in _CAUSES:
        waits = claim.verdict == "overlap" and claim.overlap != "skip"
        found |= {"fire_state": "waiting" if waits else "skipped", "cause": _CAUSES[claim.verdict]}
    return found


def duplicate_of(claim: Claim, *, redelivered: bool) -> str | None:
    """Return the cause, as `Duplicates.note` knows it, for which a delivery was one too many; None where it was not.

    Args:
        claim: What the ledger said of it.
        redelivered: Redis says that it was delivered before.
    """
    if claim.verdict == "duplicate":
        return "rerun" if claim.rerun else "callers_key"
    if claim.verdict not in ("running", "superseded", "ended") or not claim.started_before:
        return None
    if redelivered:
        return "visibility_timeout"
    if claim.verdict == "superseded":
        return "rescue"
    return "second_scheduler" if claim.schedule else "sent_twice"
