from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from steadybeat.errors import EditConflict, UnknownSchedule
from steadybeat.ledger import Ledger
from steadybeat.ledger.interventions import Edit
from steadybeat.ledger.rows import ScheduleRow
from steadybeat.schedule import every
from steadybeat.schedule.policies import policies
from tests.eventually import eventually
from tests.integration.records import (
    a_schedule,
    all_at_once,
    blocked,
    every_minute,
    expect,
    fire_of,
    operations_of,
    schedule_of,
    sent,
    state_of,
)

BY: dict[str, Any] = {"who": "ann", "reason": "why"}
MINUTE = timedelta(minutes=1)

Act = Callable[..., Any]


def edited(minutes: int = 2) -> ScheduleRow:
    spec = every(timedelta(minutes=minutes)).to_json()
    return a_schedule(spec=spec, policies=policies({}).to_json())


def now() -> datetime:
    return datetime.now(UTC)


def everything(ledger: Ledger) -> tuple[Any, ...]:
    """All that an intervention may change."""
    tables = ("schedules", "fires", "operations")
    return tuple(
        [tuple(row) for row in ledger.database.execute(sa.text(f"SELECT * FROM steadybeat.{table} ORDER BY 1, 2"))]
        for table in tables
    )


VERBS: dict[str, Act] = {
    "put": lambda ledger, **options: ledger.interventions.put(edited(), **BY, **options),
    "pause": lambda ledger, **options: ledger.interventions.pause("s", **BY, **options),
    "resume": lambda ledger, **options: ledger.interventions.resume("s", make_up="all", **BY, **options),
    "remove": lambda ledger, **options: ledger.interventions.remove("s", **BY, **options),
    "trigger": lambda ledger, **options: ledger.interventions.ask("s", [now()], kind="trigger", **BY, **options),
}


@pytest.fixture(params=VERBS)
def verb(request: pytest.FixtureRequest, ledger: Ledger) -> str:
    """One of the verbs, on a schedule on which it does something."""
    every_minute(ledger)
    if request.param == "resume":
        ledger.interventions.pause("s", **BY)
        paused_since(ledger, timedelta(hours=1))
        expect(ledger, now() - timedelta(minutes=10))
    return str(request.param)


def paused_since(ledger: Ledger, back: timedelta) -> None:
    """Have a pause begin earlier, as if time had gone by."""
    statement = sa.text("UPDATE steadybeat.schedules SET paused_at = clock_timestamp() - :back")
    ledger.database.execute(statement, {"back": back})


# All of them


def test_whatever_a_person_does_is_on_record(ledger: Ledger, verb: str) -> None:
    VERBS[verb](ledger)
    assert operations_of(ledger)[-1] == (f"schedules {verb}", "s", "ann", "why")


def test_what_the_caller_rolls_back_has_not_happened(ledger: Ledger, verb: str) -> None:
    before = everything(ledger)
    with pytest.raises(ZeroDivisionError), ledger.database.transaction() as connection:
        VERBS[verb](ledger, connection=connection)
        raise ZeroDivisionError
    assert everything(ledger) == before


def test_what_is_part_of_the_callers_transaction_happens_when_that_commits(ledger: Ledger, verb: str) -> None:
    before = everything(ledger)
    with ledger.database.transaction() as connection:
        VERBS[verb](ledger, connection=connection)
        assert everything(ledger) == before
    schedules, fires, operations = everything(ledger)
    assert (schedules, fires) != before[:2]
    assert len(operations) == len(before[2]) + 1


def test_an_edit_of_what_has_changed_since_it_was_looked_at_is_refused_and_changes_nothing(
    ledger: Ledger, verb: str
) -> None:
    if verb == "trigger":
        return  # it edits nothing
    seen = schedule_of(ledger).revision
    statement = sa.text("UPDATE steadybeat.schedules SET revision = nextval('steadybeat.revisions')")
    ledger.database.execute(statement)
    before, found = everything(ledger), schedule_of(ledger).revision
    with pytest.raises(EditConflict) as caught:
        VERBS[verb](ledger, revision=seen)
    assert f"is at revision {found}, not at revision {seen}" in str(caught.value)
    assert caught.value.facts == {"schedule": "s", "revision": found}
    assert everything(ledger) == before
    VERBS[verb](ledger, revision=found)
    assert everything(ledger) != before


@pytest.mark.parametrize("name", ["pause", "resume", "remove", "trigger"])
def test_a_schedule_that_is_not_there_or_was_retired_cannot_be_worked_on(ledger: Ledger, name: str) -> None:
    with pytest.raises(UnknownSchedule, match="schedule 's': there is no such schedule"):
        VERBS[name](ledger)
    every_minute(ledger)
    ledger.schedules.apply([], ["orders"])
    with pytest.raises(UnknownSchedule):
        VERBS[name](ledger)
    assert operations_of(ledger) == []


# Put


def test_a_schedule_that_should_not_be_there_or_should_is_a_conflict_too(ledger: Ledger) -> None:
    with pytest.raises(EditConflict, match="is not there, not at revision 7"):
        ledger.interventions.put(edited(), revision=7, **BY)
    assert ledger.interventions.put(edited(), revision=0, **BY).verb == "added"
    with pytest.raises(EditConflict, match="not at revision 0"):
        ledger.interventions.put(edited(3), revision=0, **BY)


def test_putting_what_is_there_changes_nothing(ledger: Ledger) -> None:
    row = every_minute(ledger)
    before = everything(ledger)
    assert ledger.interventions.put(row, **BY) == Edit("unchanged", row.revision)
    assert everything(ledger) == before


def test_of_two_who_edit_what_both_have_looked_at_exactly_one_wins(ledger: Ledger) -> None:
    for number in range(10):
        seen = every_minute(ledger, name=f"s{number}").revision
        rows = [a_schedule(name=f"s{number}", spec={"type": "every", "mine": who}) for who in ("ann", "bob", "cleo")]
        found = all_at_once(*[partial(ledger.interventions.put, row, revision=seen, **BY) for row in rows])
        assert sorted(type(each).__name__ for each in found) == ["Edit", "EditConflict", "EditConflict"]
        (winner,) = [row for row, each in zip(rows, found, strict=True) if isinstance(each, Edit)]
        assert schedule_of(ledger, f"s{number}").spec == winner.spec
    assert len(operations_of(ledger)) == 10


def test_of_two_who_add_a_schedule_of_one_name_exactly_one_wins(ledger: Ledger) -> None:
    for number in range(10):
        rows = [a_schedule(name=f"s{number}", spec={"type": "every", "mine": who}) for who in ("ann", "bob", "cleo")]
        found = all_at_once(*[partial(ledger.interventions.put, row, revision=0, **BY) for row in rows])
        assert sorted(type(each).__name__ for each in found) == ["Edit", "EditConflict", "EditConflict"]
    assert len(operations_of(ledger)) == 10


def test_an_edit_that_is_taken_back_before_the_time_loses_no_fire(ledger: Ledger) -> None:
    row = every_minute(ledger)
    coming = [now() + MINUTE, now() + 2 * MINUTE]
    expect(ledger, *coming)
    assert ledger.interventions.put(edited(7), **BY).verb == "changed"
    assert [state_of(ledger, at)[0] for at in coming] == ["superseded", "superseded"]
    assert ledger.interventions.put(row, **BY).verb == "changed"
    until = schedule_of(ledger).expected_until
    assert until is not None
    assert until <= now(), "the next Beat that leads expects from here on"
    expect(ledger, *coming)
    assert [fire_of(ledger, at) for at in coming] == [("expected", None, None)] * 2
    assert len(ledger.fires.due(coming[-1], 10)) == 2


def test_an_edit_leaves_no_gap_between_the_fires_that_it_takes_back_and_those_that_it_expects(ledger: Ledger) -> None:
    """Where the edit waits for a Beat that marks, a fire comes due meanwhile."""
    every_minute(ledger)
    first, second = now() + timedelta(seconds=30), now() + timedelta(milliseconds=400)
    expect(ledger, second, first)
    with ThreadPoolExecutor(1) as pool, ledger.database.transaction() as marking:
        marking.execute(sa.text("SELECT FROM steadybeat.fires FOR UPDATE"))
        pool.submit(ledger.interventions.put, edited(), **BY)
        eventually(lambda: blocked(ledger))
        eventually(lambda: now() > second)
    until = schedule_of(ledger).expected_until
    assert until is not None
    assert state_of(ledger, first)[0] == "superseded"
    assert state_of(ledger, second)[0] == "expected" or until < second


# Pause and resume


def test_a_pause_says_who_and_why_and_a_second_one_does_nothing(ledger: Ledger) -> None:
    revision = every_minute(ledger).revision
    assert ledger.interventions.pause("s", **BY)
    row = schedule_of(ledger)
    assert (row.paused_by, row.paused_reason) == ("ann", "why")
    assert row.paused_at is not None
    assert row.revision > revision
    assert not ledger.interventions.pause("s", who="bob", reason="me too")
    assert schedule_of(ledger) == row
    assert len(operations_of(ledger)) == 1


def test_resuming_what_is_not_paused_does_nothing(ledger: Ledger) -> None:
    every_minute(ledger)
    assert ledger.interventions.resume("s", **BY) is None
    assert operations_of(ledger) == []


@pytest.mark.parametrize(("make_up", "count"), [("none", 0), ("latest", 1), ("all", 3)])
def test_what_came_due_in_a_pause_without_a_leader_was_skipped_and_can_be_made_up_for(
    ledger: Ledger, make_up: str, count: int
) -> None:
    every_minute(ledger)
    ledger.interventions.pause("s", **BY)
    paused_since(ledger, timedelta(hours=1))
    before, coming = now() - timedelta(hours=2), now() + MINUTE
    within = [now() - back * MINUTE for back in (30, 20, 10)]
    expect(ledger, before, *within, coming)
    made_up = ledger.interventions.resume("s", make_up=make_up, who="bob", reason="the bank is back")
    assert made_up == within[3 - count :]
    for at in within[: 3 - count]:
        assert fire_of(ledger, at) == ("skipped", "paused", None)
        assert state_of(ledger, at)[1] == "paused by ann: why"
    assert [fire_of(ledger, at) for at in made_up] == [("expected", None, "resume")] * count
    assert fire_of(ledger, before) == fire_of(ledger, coming) == ("expected", None, None)
    assert schedule_of(ledger).paused_at is None
    assert {each.scheduled_for for each in ledger.fires.due(now(), 10)} == {before, *made_up}


def test_a_pause_keeps_the_fires_that_are_to_come_for_its_end(ledger: Ledger) -> None:
    every_minute(ledger)
    coming = now() + MINUTE
    expect(ledger, coming)
    ledger.interventions.pause("s", **BY)
    ledger.interventions.resume("s", **BY)
    assert fire_of(ledger, coming) == ("expected", None, None)


# Remove, and what code says meanwhile


def test_removing_an_operators_edit_brings_back_what_the_code_says(ledger: Ledger) -> None:
    row = every_minute(ledger)
    ledger.interventions.put(edited(), **BY)
    assert (schedule_of(ledger).source, schedule_of(ledger).spec) == ("operator", edited().spec)
    assert ledger.interventions.remove("s", **BY) == "restored"
    assert (schedule_of(ledger).source, schedule_of(ledger).spec) == ("code", row.spec)
    assert ledger.schedules.difference([row], ["orders"]) == []


def test_removing_what_the_code_does_not_have_retires_it_and_gives_its_fires_a_reason(ledger: Ledger) -> None:
    ledger.interventions.put(edited(), **BY)
    late, coming = now() - MINUTE, now() + MINUTE
    expect(ledger, late, coming)
    assert ledger.interventions.remove("s", **BY) == "retired"
    assert ledger.schedules.all() == []
    for at in (late, coming):
        assert state_of(ledger, at) == ("superseded", "the schedule was retired")


def test_apply_keeps_an_operators_edit_and_notes_what_the_code_says_now(ledger: Ledger) -> None:
    row = every_minute(ledger)
    ledger.interventions.put(edited(2), **BY)
    edit = schedule_of(ledger)
    newer = a_schedule(spec=edited(9).spec, policies=row.policies)
    assert [(each.name, each.verb) for each in ledger.schedules.apply([newer], ["orders"])] == [("s", "kept")]
    kept = schedule_of(ledger)
    assert (kept.spec, kept.source, kept.revision) == (edit.spec, "operator", edit.revision)
    assert kept.code is not None
    assert kept.code["spec"] == newer.spec
    assert ledger.schedules.apply([newer], ["orders"]) == [], "it is said once"
    ledger.interventions.remove("s", **BY)
    assert schedule_of(ledger).spec == newer.spec


def test_apply_retires_an_operators_edit_of_what_the_code_has_given_up_and_nothing_else_of_an_operator(
    ledger: Ledger,
) -> None:
    every_minute(ledger)
    ledger.interventions.put(edited(), **BY)
    ledger.interventions.put(a_schedule(name="added by hand"), **BY)
    assert [(each.name, each.verb) for each in ledger.schedules.apply([], ["orders"])] == [("s", "retired")]


def test_a_pause_outlives_an_edit_and_an_apply(ledger: Ledger) -> None:
    every_minute(ledger)
    ledger.interventions.pause("s", **BY)
    ledger.interventions.put(edited(), **BY)
    assert schedule_of(ledger).paused_by == "ann"
    ledger.interventions.remove("s", **BY)
    ledger.schedules.apply([edited(9)], ["orders"])
    assert schedule_of(ledger).paused_by == "ann"


# Ask


def test_what_a_person_asks_for_is_due_at_once_unless_it_was_dispatched_before(ledger: Ledger) -> None:
    every_minute(ledger)
    ran, skipped, never = (now() - back * MINUTE for back in (3, 2, 1))
    sent(ledger, ran)
    expect(ledger, skipped)
    ledger.interventions.pause("s", **BY)
    paused_since(ledger, timedelta(hours=1))
    ledger.interventions.resume("s", **BY)
    assert fire_of(ledger, skipped) == ("skipped", "paused", None)
    asked = ledger.interventions.ask("s", [never, ran, skipped], kind="backfill", **BY)
    assert asked == [skipped, never]
    assert fire_of(ledger, ran) == ("dispatched", None, None)
    due = ledger.fires.due(now(), 10)
    assert {(each.scheduled_for, each.asked) for each in due} == {(at, "backfill") for at in asked}


def test_asking_for_nothing_is_on_record_and_does_nothing(ledger: Ledger) -> None:
    every_minute(ledger)
    assert ledger.interventions.ask("s", [], kind="trigger", **BY) == []
    assert [what for what, *_ in operations_of(ledger)] == ["schedules trigger"]


def test_apply_does_not_overwrite_an_edit_that_commits_while_it_looks(ledger: Ledger) -> None:
    every_minute(ledger)
    with ThreadPoolExecutor(1) as pool:
        with ledger.database.transaction() as editing:
            ledger.interventions.put(edited(2), connection=editing, **BY)
            applying = pool.submit(ledger.schedules.apply, [edited(9)], ["orders"])
            eventually(lambda: blocked(ledger))
        changes = applying.result()
    assert [each.verb for each in changes] == ["kept"]
    assert (schedule_of(ledger).source, schedule_of(ledger).spec) == ("operator", edited(2).spec)
