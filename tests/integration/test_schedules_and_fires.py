from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from steadybeat.ledger import Ledger
from steadybeat.ledger.fires import Expected
from steadybeat.ledger.rows import FireRow, ScheduleRow
from tests.integration.records import a_schedule, alive, claim, fires_of, recorded, state_of


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
