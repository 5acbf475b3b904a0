from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from steadybeat import cron, every
from steadybeat.commands.output import Column, Output, aligned, as_json, distance, length, nominal, one_line
from steadybeat.commands.schedules import differences
from steadybeat.commands.why import Answer, Facts, answer, neighbours, of_run, state_of
from steadybeat.ledger.rows import ScheduleRow
from steadybeat.ledger.schedules import Change
from steadybeat.operating.rerun import body_of
from steadybeat.schedule import Rule
from steadybeat.wording import headline

AT = datetime(2026, 3, 1, 6, tzinfo=UTC)
NOON = AT + timedelta(hours=6)
RULE = cron("0 6 * * *", tz="UTC")
POLICIES = {"jitter_seconds": 0.0, "catch_up": "latest", "catch_up_window_seconds": 3600.0, "overlap": "skip"}


def asked(now: datetime = AT, at: datetime = AT, rule: Rule = RULE, **facts: Any) -> Answer:
    schedule = {
        "name": "settle",
        "policies": POLICIES,
        "created_at": AT - timedelta(days=9),
        "updated_at": AT - timedelta(days=3),
        "expected_until": AT - timedelta(hours=1),
        "retired_at": None,
        "paused_at": None,
        **facts.pop("schedule", {}),
    }
    return answer(Facts(schedule=schedule, rule=rule, at=at, now=now, **facts))


def fire(state: str = "expected", **columns: Any) -> dict[str, Any]:
    return {"state": state, "reason": None, "due_at": AT, "dispatched_at": None, "run_id": None, **columns}


def ended(state: str, **columns: Any) -> dict[str, Any]:
    later = AT + timedelta(seconds=2)
    run = {"id": "r1", "state": state, "reason": None, "attempt_count": 1, "queue": "royalties", "not_before": None}
    run |= {"started_at": AT, "finished_at": later, "enqueued_at": AT, "attempts": []}
    return run | columns


@pytest.mark.parametrize(
    ("late", "verdict", "finding"),
    [(-60, "ahead", False), (5, "ahead", False), (60, "unwritten", True)],
)
def test_a_fire_that_nobody_has_written_is_ahead_until_it_is_late(late: int, verdict: str, finding: bool) -> None:
    found = asked(AT + timedelta(seconds=late))
    assert (found.verdict, found.is_finding) == (verdict, finding)


@pytest.mark.parametrize(("late", "verdict", "finding"), [(-60, "expected", False), (60, "overdue", True)])
def test_a_fire_on_record_is_expected_until_it_is_overdue(late: int, verdict: str, finding: bool) -> None:
    found = asked(AT + timedelta(seconds=late), fire=fire())
    assert (found.verdict, found.is_finding) == (verdict, finding)


def test_an_overdue_fire_says_whether_a_beat_is_alive() -> None:
    late = AT + timedelta(minutes=2)
    assert asked(late, fire=fire()).sentences == [
        "It was due at 2026-03-01 06:00:00Z, 2 min ago, and is not dispatched yet.",
        "No Beat is alive: start one with `celery -A … beat`. It goes on from there.",
    ]
    assert asked(late, fire=fire(), beat_count=2).sentences[-1].startswith("2 Beats are alive;")


def test_a_time_between_two_fires_is_no_fire() -> None:
    found = asked(at=AT + timedelta(hours=5))
    assert (found.verdict, found.nearest) == ("not a fire", [AT, AT + timedelta(days=1)])
    assert found.is_finding


PAUSED = {"paused_at": AT - timedelta(days=1), "paused_by": "ada@desk", "paused_reason": "the bank is away"}


@pytest.mark.parametrize("facts", [{"fire": fire()}, {"at": datetime(2040, 3, 1, 6, tzinfo=UTC)}])
def test_a_fire_to_come_of_a_paused_schedule_says_that_it_is_skipped_unless(facts: dict[str, Any]) -> None:
    found = asked(AT - timedelta(minutes=1), schedule=PAUSED, **facts)
    assert (
        "The schedule is paused by ada@desk at 2026-02-28 06:00:00Z: the bank is away. Unless it is resumed before,"
        " this fire is skipped."
    ) in found.sentences
    assert not found.is_finding


RIGA = cron("30 3 * * *", tz="Europe/Riga", dst="once")


def test_a_time_in_the_hour_that_the_clocks_skip_says_what_they_do_on_that_day() -> None:
    gap = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)  # 03:30 by winter time, which is 04:30 on that day
    found = asked(AT, at=gap, rule=RIGA)
    assert found.verdict == "not a fire"
    assert found.sentences[1] == (
        "2026-03-29: the clocks of Europe/Riga go from 03:00 to 04:00. It is due at 04:00+03:00; a week later due at"
        " 03:30+03:00."
    )
    assert found.nearest[0] == datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert "the clocks of" not in " ".join(asked(AT, at=gap + timedelta(days=9), rule=RIGA).sentences)


def test_a_fire_to_come_on_a_day_of_a_clock_change_says_so() -> None:
    noon = cron("0 12 * * *", tz="Europe/Riga")
    found = asked(AT, at=datetime(2026, 10, 25, 10, tzinfo=UTC), rule=noon, schedule={"expected_until": AT})
    assert found.verdict == "ahead"
    assert found.sentences[-1].startswith("2026-10-25: the clocks of Europe/Riga go from 04:00 to 03:00.")


def test_a_superseded_fire_says_what_the_schedule_has_instead() -> None:
    noon, gone = AT + timedelta(hours=6), fire("superseded", reason="the schedule was changed")
    assert asked(at=noon, fire=gone).sentences == [
        "It was superseded: the schedule was changed.",
        f"Its present rule, since 2026-02-26 06:00:00Z: {RULE.explain()}.",
        "Nearest by that: 2026-03-01 06:00:00Z and 2026-03-02 06:00:00Z.",
    ]
    assert asked(fire=gone).sentences[-1] == "Its present rule has this time as well."
    retired = asked(at=noon, fire=gone, schedule={"retired_at": AT})
    assert retired.sentences == ["It was superseded: the schedule was changed."]


def test_what_is_no_fire_names_no_fire_after_the_end_of_its_schedule_but_those_of_another_rule() -> None:
    found = asked(at=AT + timedelta(hours=5), schedule={"retired_at": AT + timedelta(hours=4)}, on_record=[AT, NOON])
    assert found.nearest == [AT]
    assert found.sentences[1:] == [
        "Nearest: 2026-03-01 06:00:00Z.",
        "By another rule it had fires at 2026-03-01 12:00:00Z.",
        "The schedule was retired at 2026-03-01 10:00:00Z.",
    ]


def test_a_run_that_nobody_takes_says_so() -> None:
    waits = ended("enqueued", finished_at=None, started_at=None, attempt_count=0, rerun_of=None, of_fan_out=None)
    found = of_run({**waits, "parent_id": "r0"}, (), None, AT, doubt="No worker consumes from queue 'royalties'.")
    assert found.sentences == [
        "It was sent at 2026-03-01 06:00:00Z to queue royalties; no schedule has asked for it.",
        "Run r0 has sent it.",
        "It waits on queue royalties for a worker, since 2026-03-01 06:00:00Z.",
        "No worker consumes from queue 'royalties'.",
    ]
    assert (found.verdict, found.is_finding) == ("enqueued", False)


def test_a_fire_from_before_the_present_rule_is_not_on_record() -> None:
    found = asked(at=AT - timedelta(days=4))
    assert (found.verdict, found.is_finding) == ("unrecorded", True)
    assert "defined last at 2026-02-26 06:00:00Z" in found.sentences[0]


def test_a_fire_that_nobody_wrote_before_its_schedule_was_retired_is_retired() -> None:
    found = asked(AT + timedelta(minutes=9), schedule={"retired_at": AT + timedelta(minutes=5)})
    assert (found.verdict, found.is_finding) == ("retired", True)
    assert found.sentences[0].endswith("Until then no scheduler had written fires after 2026-03-01 05:00:00Z.")
    assert asked(schedule={"retired_at": AT - timedelta(minutes=5)}).verdict == "retired"


def test_a_pruned_fire_is_known_by_its_processed_key() -> None:
    key = {"state": "done", "changed_at": AT, "run": "r1"}
    late = AT + timedelta(days=31)
    found = asked(late, schedule={"expected_until": late}, key=key)
    assert (found.verdict, found.effect_at, found.is_finding) == ("unrecorded", AT, False)
    assert found.sentences[-1] == "Its effect happened at 2026-03-01 06:00:00Z, in run r1."


def test_a_dispatched_fire_tells_its_delay_and_its_run() -> None:
    dispatched = fire("dispatched", dispatched_at=AT + timedelta(seconds=3), run_id="r1")
    found = asked(AT + timedelta(minutes=1), fire=dispatched, run=ended("succeeded"))
    assert found.sentences == [
        "It was dispatched at 2026-03-01 06:00:03Z, 3.0 s after it was due, as run r1.",
        "It succeeded at 2026-03-01 06:00:02Z, after 1 attempt of 2.0 s.",
    ]
    assert not found.is_finding


def test_a_run_whose_effect_another_run_made_is_no_finding() -> None:
    key = {"state": "done", "changed_at": AT, "run": "r0"}
    found = asked(fire=fire("dispatched"), run=ended("cancelled", reason="a duplicate"), key=key)
    assert (found.verdict, found.is_finding) == ("cancelled", False)
    assert asked(fire=fire("dispatched"), run=ended("cancelled", reason="late")).is_finding


def test_a_run_of_a_fire_that_was_not_to_run_keeps_the_fires_reason() -> None:
    found = asked(fire=fire("missed", reason="it could not be sent"), run=ended("cancelled", reason="missed"))
    assert found.verdict == "missed"
    assert found.sentences[0] == "It was missed: it could not be sent. Yet it has a run, r1."


def test_a_waiting_run_says_when_it_is_tried_again() -> None:
    run = ended("waiting", reason="retry: no", not_before=AT + timedelta(seconds=90), finished_at=None)
    assert state_of(run, AT) == "The next attempt follows at 2026-03-01 06:01:30Z, in 2 min: retry: no."


def test_a_run_that_waits_for_its_tenants_says_so() -> None:
    run = ended("waiting", reason="waits for 40 tenants", finished_at=None) | {"has_fanned_out": True}
    said = state_of(run, AT)
    assert said.startswith("It has begun, and waits for 40 tenants: ")
    assert said.endswith(f"runs show {run['id']} says how far they are.")


def test_the_headline_of_an_error_is_the_first_line_after_its_stack() -> None:
    stack = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    f()\n    ^^^\n'
    assert headline(f"{stack}ValueError: one\ntwo\n") == "ValueError: one"
    assert headline("just words\nmore") == "just words"
    assert headline(None) == ""


def test_neighbours_are_found_across_years_and_not_before_1970() -> None:
    leap = cron("0 0 29 2 *", tz="UTC")
    assert neighbours(leap, AT) == (datetime(2024, 2, 29, tzinfo=UTC), datetime(2028, 2, 29, tzinfo=UTC))
    assert neighbours(RULE, datetime(1970, 1, 1, tzinfo=UTC))[0] is None
    five = every(timedelta(seconds=5))
    assert neighbours(five, AT) == (AT - timedelta(seconds=5), AT + timedelta(seconds=5))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.04, "40 ms"),
        (0.9999, "1.0 s"),
        (41.2, "41 s"),
        (59.7, "1 min"),
        (3 * 3600 + 720, "3 h 12 min"),
        (3599.9, "1 h"),
        (86399, "1 d"),
        (30 * 86400, "30 d"),
        (90000, "1 d 1 h"),
    ],
)
def test_a_duration_is_told_in_two_units_at_most(seconds: float, text: str) -> None:
    assert length(timedelta(seconds=seconds)) == text


def test_a_distance_is_told_to_the_second() -> None:
    assert distance(AT + timedelta(seconds=2.7), AT) == "in 3 s"
    assert distance(AT - timedelta(minutes=2), AT) == "2 min ago"
    assert distance(AT + timedelta(milliseconds=300), AT) == "now"


def test_a_nominal_time_is_exact() -> None:
    assert nominal(AT) == "2026-03-01 06:00:00Z"
    assert nominal(AT + timedelta(milliseconds=500)) == "2026-03-01 06:00:00.5Z"
    assert nominal(None) == ""


def test_text_can_neither_break_a_line_nor_move_the_cursor() -> None:
    assert one_line("one\n\x1b[31mtwo\u202e\udc80") == "one [31mtwo"


def test_a_piped_table_is_aligned_and_has_no_empty_cells() -> None:
    columns = [Column(title="name", value=str), Column(title="count", value=str, right=True)]
    assert aligned(columns, [["a", "1"], ["long name", ""]]) == [
        "NAME       COUNT",
        "a              1",
        "long name      -",
    ]


def test_a_terminal_is_shown_only_the_columns_that_fit_and_say_something(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    columns = [
        Column(title="state", value=lambda row: row["state"]),
        Column(title="empty", value=lambda row: ""),
        Column(title="wide", value=lambda row: "w", shown_from=61),
        Column(title="reason", value=lambda row: "because " * 20, tight="cut"),
    ]
    output = Output(SimpleNamespace(obj=SimpleNamespace(no_color=True)))  # type: ignore[arg-type]
    output.table(columns, [{"state": "[dead]"}])
    title, _, line = capsys.readouterr().out.splitlines()
    assert title.split() == ["state", "reason"]
    assert line.startswith("[dead]   because because")
    assert line.rstrip().endswith("…")


def test_a_terminal_that_is_too_narrow_for_a_table_is_shown_a_block_for_each_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("TERM", "xterm")
    columns = [
        Column(title="run", value=lambda row: row),
        Column(title="reason", value=lambda row: ""),
        Column(title="state", value=lambda row: "dead", tight="wrap"),
    ]
    output = Output(SimpleNamespace(obj=SimpleNamespace(no_color=True)))  # type: ignore[arg-type]
    output.table(columns, ["0123456789abcdef", "x"])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["run    0123456789abc", "       def", "state  dead", "", "run    x", "state  dead"]


def test_json_has_instants_in_utc() -> None:
    assert as_json({"at": [AT], "took": timedelta(seconds=2)}) == {"at": ["2026-03-01T06:00:00Z"], "took": 2.0}


def test_a_changed_schedule_is_told_in_words() -> None:
    before = ScheduleRow(name="s", task="t", service="x", spec=RULE.to_json(), policies=POLICIES)
    spec = every(timedelta(minutes=5)).to_json()
    after = ScheduleRow(
        name="s", task="t", service="x", spec=spec, policies={**POLICIES, "catch_up": "all"}, kwargs={"a": 1}
    )
    change = Change("s", "changed", ("spec", "policies", "kwargs"))
    assert differences(before, after, change) == [
        "rule: At 06:00 every day (UTC) → Every 5 minutes",
        "catch_up: latest → all",
        'kwargs: {} → {"a": 1}',
    ]
    assert differences(before, None, Change("s", "retired")) == ["the code no longer has it"]


def test_a_body_is_decoded_as_kombu_wrote_it() -> None:
    body = '[[{"__type__": "datetime", "__value__": "2026-03-01T06:00:00+00:00"}], {"a": 1}, {"chain": null}]'
    assert body_of({"body": body}) == ([AT], {"a": 1}, {"chain": None})
