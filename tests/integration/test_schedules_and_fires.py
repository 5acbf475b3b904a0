from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from steadybeat.ledger import Ledger
from steadybeat.ledger.fires import Expected
from steadybeat.ledger.rows import FireRow, ScheduleRow
from tests.integration.records import (
    a_schedule,
    alive,
    all_at_once,
    claim,
    every_minute,
    fires_of,
    recorded,
    relayed,
    run_of,
    schedule_of,
    state_of,
)


@pytest.fixture
def worker(ledger: Ledger) -> str:
    return alive(ledger)


def test_apply_shows_what_it_changes_and_a_second_one_changes_nothing(ledger: Ledger) -> None:
    def verbs(*rows: ScheduleRow) -> list[tuple[str, str, tuple[str, ...]]]:
        return [(c.name, c.verb, c.fields) for c in ledger.schedules.apply(rows, ["orders"])]

    assert verbs(a_schedule(), a_schedule(name="r")) == [("s", "added", ()), ("r", "added", ())]
    assert verbs(a_schedule(), a_schedule(name="r")) == []
    assert verbs(a_schedule(spec={"every": 2})) == [("s", "changed", ("spec",)), ("r", "retired", ())]
    assert verbs(a_schedule(spec={"every": 2}), a_schedule(name="r")) == [("r", "added", ())]


def test_apply_leaves_the_schedules_of_other_services_alone(ledger: Ledger) -> None:
    ledger.schedules.apply([a_schedule()], ["orders"])
    ledger.schedules.apply([a_schedule(name="m", service="mail")], ["mail"])
    assert [row.name for row in ledger.schedules.all()] == ["m", "s"]


def test_a_change_supersedes_the_fires_that_are_not_dispatched(ledger: Ledger) -> None:
    ledger.schedules.apply([a_schedule()], ["orders"])
    (row,) = ledger.schedules.all()
    later = datetime.now(UTC) + timedelta(minutes=1)
    ledger.fires.expect([Expected("s", row.revision, later, fires_of(ledger, "s", later))])
    ledger.schedules.apply([a_schedule(spec={"every": 2})], ["orders"])
    assert state_of(ledger, later) == ("superseded", "the schedule was changed")
    ledger.fires.expect([Expected("s", row.revision, later + timedelta(hours=1), fires_of(ledger, "s", later))])
    assert state_of(ledger, later)[0] == "superseded", "an old revision expects nothing any more"
    (row,) = ledger.schedules.all()
    ledger.fires.expect([Expected("s", row.revision, later, fires_of(ledger, "s", later))])
    assert state_of(ledger, later) == ("expected", None), "a higher revision may expect it again"


def test_fires_of_a_retired_schedule_that_no_scheduler_wrote_can_still_be_accounted_for(ledger: Ledger) -> None:
    ledger.schedules.apply([a_schedule()], ["orders"])
    ledger.schedules.apply([], ["orders"])
    (row,) = ledger.schedules.left_over()
    assert row.retired_at is not None
    missed = FireRow(schedule="s", scheduled_for=row.retired_at, due_at=row.retired_at, state="missed", reason="why")
    ledger.fires.expect([Expected("s", row.revision, row.retired_at + timedelta(seconds=1), [])])
    assert ledger.schedules.left_over() == [row], "no fire is written past the retirement"
    ledger.fires.expect([Expected("s", row.revision, row.retired_at, [missed])])
    assert ledger.schedules.left_over() == []
    assert state_of(ledger, row.retired_at) == ("missed", "why")


def test_a_fire_is_expected_once_however_many_beats_write_it(ledger: Ledger) -> None:
    ledger.schedules.apply([a_schedule()], ["orders"])
    (row,) = ledger.schedules.all()
    at = datetime.now(UTC)
    for _ in range(2):
        ledger.fires.expect([Expected("s", row.revision, at, fires_of(ledger, "s", at))])
    assert len(ledger.fires.due(at, 10)) == 1


def test_the_claim_of_a_run_dispatches_its_fire(ledger: Ledger, worker: str) -> None:
    ledger.schedules.apply([a_schedule()], ["orders"])
    (row,) = ledger.schedules.all()
    at = datetime.now(UTC)
    ledger.fires.expect([Expected("s", row.revision, at, fires_of(ledger, "s", at))])
    run = recorded(ledger, schedule="s", scheduled_for=at)
    assert claim(ledger, run, worker).verdict == "claimed"
    assert state_of(ledger, at) == ("dispatched", None)


@pytest.mark.parametrize("state", ["skipped", "missed", "coalesced"])
def test_a_fire_that_is_not_to_run_is_refused_by_the_claim(ledger: Ledger, worker: str, state: str) -> None:
    ledger.schedules.apply([a_schedule()], ["orders"])
    (row,) = ledger.schedules.all()
    at = datetime.now(UTC)
    (fire,) = fires_of(ledger, "s", at)
    ledger.fires.expect([Expected("s", row.revision, at, [fire])])
    ledger.fires.mark(1, [(FireRow(schedule="s", scheduled_for=at, due_at=at, state=state, reason="why"), None)])
    run = recorded(ledger, schedule="s", scheduled_for=at)
    found = claim(ledger, run, worker)
    assert (found.verdict, found.detail) == ("skipped", f"its fire is {state}: why")


def test_no_fire_is_without_effect_and_without_reason(ledger: Ledger) -> None:
    for state in ("skipped", "missed", "coalesced", "superseded", "waiting"):
        with pytest.raises(sa.exc.IntegrityError), ledger.database.transaction() as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO steadybeat.fires (schedule, scheduled_for, due_at, revision, state)"
                    " VALUES ('s', now(), now(), 1, :state)"
                ),
                {"state": state},
            )


def ran(ledger: Ledger, worker: str, number: int, error: str | None) -> None:
    """A run of a fire that dies, or succeeds."""
    run = run_of(ledger, datetime(2026, 1, 1, 0, number, tzinfo=UTC))
    held = claim(ledger, run, worker)
    assert held.verdict == "claimed"
    if error is None:
        assert ledger.runs.finish(run.id, held.fence, result=None)
    else:
        assert ledger.runs.give_up(run.id, fence=held.fence, reason=error, error="stack")


def test_a_schedule_whose_runs_die_so_often_in_a_row_is_paused(ledger: Ledger, worker: str) -> None:
    revision = every_minute(ledger, pause_after_failures=3).revision
    horizon = ledger.schedules.horizon()
    for number in range(2):
        ran(ledger, worker, number, "no bank")
    row = schedule_of(ledger)
    assert (row.consecutive_failures, row.paused_at, row.revision) == (2, None, revision)
    ran(ledger, worker, 2, "no bank at all")
    row = schedule_of(ledger)
    assert row.paused_at is not None
    assert (row.paused_by, row.paused_reason) == ("steadybeat", "3 failures in a row; the last: no bank at all")
    assert [each for each in ledger.schedules.changed(horizon)[0] if each.revision > revision] == [
        replace(row, code=None)
    ]
    paused_at = row.paused_at
    ledger.runs.give_up(run_of(ledger, paused_at).id, instance=worker, reason="why", error="stack")
    assert schedule_of(ledger).paused_at == paused_at, "a later death does not begin another pause"
    ledger.interventions.resume("s", who="ann", reason="the bank is back")
    row = schedule_of(ledger)
    assert (row.consecutive_failures, row.paused_at) == (0, None)


def test_a_success_ends_a_row_of_failures(ledger: Ledger, worker: str) -> None:
    every_minute(ledger, pause_after_failures=3)
    for number, error in enumerate(["no bank", "no bank", None, "no bank", "no bank"]):
        ran(ledger, worker, number, error)
    row = schedule_of(ledger)
    assert (row.consecutive_failures, row.paused_at) == (2, None)


def test_what_was_cancelled_is_no_failure_and_a_poisonous_run_is_one(ledger: Ledger) -> None:
    every_minute(ledger, pause_after_failures=1)
    first, second = (run_of(ledger, datetime(2026, 1, 1, 0, number, tzinfo=UTC)) for number in range(2))
    ledger.runs.end_unstarted(first.id, delivery_no=1, state="cancelled", reason="why")
    assert schedule_of(ledger).consecutive_failures == 0
    ledger.runs.end_unstarted(second.id, delivery_no=1, state="dead", reason="3 workers died under it")
    assert schedule_of(ledger).paused_reason == "1 failures in a row; the last: 3 workers died under it"


def test_runs_under_which_workers_die_pause_their_schedule_when_they_are_given_up(ledger: Ledger) -> None:
    every_minute(ledger, pause_after_failures=1)
    run = run_of(ledger, datetime(2026, 1, 1, tzinfo=UTC))
    for delivery_no in (1, 2, 3):
        assert claim(ledger, run, str(uuid.uuid4()), delivery_no).verdict == "claimed"
        assert schedule_of(ledger).paused_at is None
        ledger.rescue.lost()
        relayed(ledger)
    assert schedule_of(ledger).paused_by == "steadybeat"


def test_without_the_policy_nothing_is_paused(ledger: Ledger, worker: str) -> None:
    every_minute(ledger)
    for number in range(5):
        ran(ledger, worker, number, "no bank")
    row = schedule_of(ledger)
    assert (row.consecutive_failures, row.paused_at) == (5, None)


def test_what_changes_is_not_missed_though_an_older_transaction_commits_after_a_younger_one(ledger: Ledger) -> None:
    for name in ("older", "younger", "third"):
        every_minute(ledger, name=name)
    horizon = ledger.schedules.horizon()

    def changed() -> set[str]:
        nonlocal horizon
        rows, horizon = ledger.schedules.changed(horizon)
        return {row.name for row in rows if row.paused_at is not None}

    with ledger.database.transaction() as older:
        ledger.interventions.pause("older", who="ann", reason="why", connection=older)
        with ledger.database.transaction() as younger:
            ledger.interventions.pause("younger", who="bob", reason="why", connection=younger)
            assert changed() == set()
        assert changed() == {"younger"}
        ledger.interventions.pause("third", who="cleo", reason="why")
        assert "third" in changed()
    assert "older" in changed(), "its number is lower than all that were seen"
    changed()
    assert changed() == set(), "what was seen, and cannot change unseen any more, is not read again"


def test_what_many_change_at_once_is_seen_by_one_who_asks_meanwhile(ledger: Ledger) -> None:
    names = [f"s{number}" for number in range(12)]
    for name in names:
        every_minute(ledger, name=name)
    horizon, seen = ledger.schedules.horizon(), set()

    def pause(name: str) -> None:
        ledger.interventions.pause(name, who="ann", reason="why")

    def ask() -> None:
        nonlocal horizon
        for _ in range(30):
            rows, horizon = ledger.schedules.changed(horizon)
            seen.update(row.name for row in rows if row.paused_at is not None)

    for start in range(0, len(names), 3):
        all_at_once(ask, *[lambda name=name: pause(name) for name in names[start : start + 3]])
    ask()
    assert seen == set(names)
