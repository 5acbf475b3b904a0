from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from steadybeat.commands.output import Output
from steadybeat.commands.watching import Screen
from steadybeat.operating.fanned import counted, facts_of_fan_out, is_over, pace_of, progress_of

AT = datetime(2026, 3, 1, 6, tzinfo=UTC)


def fan_out(**facts: Any) -> dict[str, Any]:
    counts = {"succeeded": 600, "failed": 10, "cancelled": 0, "running": 20, "waiting": 370, "skipped": 3}
    counts |= facts.pop("counts", {})
    ended = counts["succeeded"] + counts["failed"] + counts["cancelled"]
    total = ended + counts["running"] + counts["waiting"]
    return {
        "task": "tasks.mail.send", "policy": None, "seed": "7", "concurrency": 20, "spread_seconds": 0.0,
        "abort_count": None, "abort_share": None, "on_complete": None, "begun_at": AT, "written_at": AT,
        "aborted_at": None, "abort_reason": None, "ended_at": None, "tenants_per_second": 35.0,
        "expected_at": AT + timedelta(seconds=11), "counts": {**counts, "ended": ended, "total": total}, **facts,
    }  # fmt: skip


def terminal() -> tuple[Output, io.StringIO]:
    shown = io.StringIO()
    out = Output(SimpleNamespace(obj=SimpleNamespace(no_color=True)))  # type: ignore[arg-type]
    out._console = Console(file=shown, force_terminal=True, width=100, color_system=None)
    return out, shown


def test_progress_is_said_in_one_line() -> None:
    assert progress_of(fan_out()) == (
        "610 of 1,000 ended, 61 %: 600 succeeded, 10 failed, 20 running, 370 waiting, 3 skipped"
    )
    nobody = dict.fromkeys(("succeeded", "failed", "running", "waiting", "skipped"), 0)
    assert progress_of(fan_out(counts=nobody)) == "0 of 0 ended: none"
    assert counted(fan_out()["counts"]).startswith("600 succeeded, 10 failed, 20 running")


def test_a_fan_out_that_is_still_written_says_that_nobody_begins() -> None:
    text = progress_of(fan_out(written_at=None))
    assert text == "1,000 on record so far, 3 skipped; none begins before all are"


@pytest.mark.parametrize(
    ("rate", "left", "text"),
    [
        (35.4, 11, "35 a second, 11 s left, until 2026-03-01 06:00:11Z"),
        (0.5, 7200, "30 a minute, 2 h left, until 2026-03-01 08:00:00Z"),
        (0.001, 7200, "2 h left, until 2026-03-01 08:00:00Z"),
        (35.4, -3, "35 a second, 1.0 s left, until 2026-03-01 05:59:57Z"),
    ],
)
def test_the_pace_says_when_the_last_is_expected_to_end(rate: float, left: int, text: str) -> None:
    facts = fan_out(tenants_per_second=rate, expected_at=AT + timedelta(seconds=left))
    assert pace_of(facts, AT) == text


def test_without_a_pace_nothing_is_promised() -> None:
    assert pace_of(fan_out(tenants_per_second=None, expected_at=None), AT) == ""


def test_what_it_was_told_stands_beside_it() -> None:
    told: dict[str, Any] = {"policy": "digest", "abort_count": 10, "spread_seconds": 3600.0, "on_complete": "tasks.x"}
    told |= {"aborted_at": AT, "abort_reason": "10 of 1000 tenants failed (abort_when=10)"}
    facts = dict(facts_of_fan_out(fan_out(**told), AT))
    assert facts["at a time"] == "20, begun over 1 h"
    assert facts["gives up"] == "after 10 failed tenants"
    assert facts["aborted"] == "at 2026-03-01 06:00:00Z: 10 of 1000 tenants failed (abort_when=10)"
    assert (facts["policy"], facts["then"]) == ("digest", "tasks.x is told the counts")


def test_a_run_is_over_when_its_tenants_are() -> None:
    assert is_over({"finished_at": AT}, None)
    assert not is_over({"finished_at": AT}, fan_out())
    assert is_over({"finished_at": AT}, fan_out(ended_at=AT))
    assert not is_over({"finished_at": None}, fan_out(ended_at=AT))


def test_a_terminal_gets_a_bar_and_words_beside_it() -> None:
    out, shown = terminal()
    screen = Screen(out)
    screen.show({"state": "waiting"}, fan_out())
    screen.close()
    first, second, *_ = shown.getvalue().splitlines()
    assert "━" * 24 in first
    assert first.rstrip().endswith("610 of 1,000")
    assert "600 succeeded, 10 failed, 20 running" in second


def test_a_pipe_gets_a_line_only_where_something_has_changed(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(Output(SimpleNamespace(obj=SimpleNamespace(no_color=True))))  # type: ignore[arg-type]
    for counts in ({}, {}, {"succeeded": 601, "running": 19}):
        screen.show({"state": "waiting"}, fan_out(counts=counts))
    screen.close()
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("waiting: 610 of 1,000 ended, 61 %: 600 succeeded")
    assert second.startswith("waiting: 611 of 1,000 ended, 61 %: 601 succeeded")
