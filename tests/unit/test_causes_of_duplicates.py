from __future__ import annotations

import pytest

from steadybeat.ledger.rows import Claim
from steadybeat.task.verdicts import duplicate_of


@pytest.mark.parametrize(
    ("claim", "redelivered", "cause"),
    [
        (Claim(verdict="duplicate"), False, "callers_key"),
        (Claim(verdict="duplicate", rerun=True), False, "rerun"),
        (Claim(verdict="running", started_before=True), True, "visibility_timeout"),
        (Claim(verdict="ended", started_before=True), True, "visibility_timeout"),
        (Claim(verdict="superseded", started_before=True), True, "visibility_timeout"),
        (Claim(verdict="superseded", started_before=True), False, "rescue"),
        (Claim(verdict="running", started_before=True, schedule="s"), False, "second_scheduler"),
        (Claim(verdict="ended", started_before=True), False, "sent_twice"),
    ],
)
def test_a_duplicate_is_counted_by_its_cause(claim: Claim, redelivered: bool, cause: str) -> None:
    assert duplicate_of(claim, redelivered=redelivered) == cause


@pytest.mark.parametrize(
    "verdict", ["ended", "cancelled", "late", "skipped", "paused", "overlap", "early", "poisonous"]
)
def test_what_was_never_to_run_is_no_duplicate(verdict: str) -> None:
    assert duplicate_of(Claim(verdict=verdict), redelivered=False) is None
