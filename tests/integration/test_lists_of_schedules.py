"""Promise: what is read of schedules and their fires is found by an index, however dense a schedule is."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from steadybeat.ledger import Ledger, schedule_lists
from steadybeat.ledger.schedule_lists import Chosen
from tests.integration.looking import change
from tests.integration.records import every_minute, expect

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
RARE = ("waiting", "skipped", "missed", "coalesced", "superseded")
VALUES = {
    "schedule": "s",
    "names": ["s"],
    "until": NOW,
    "since": NOW - timedelta(days=366),
    "row_count": 50,
    "service": None,
    "owner": None,
    "task": None,
    "part": None,
    "behind": None,
    "behind_name": None,
}


def plan(ledger: Ledger, statement: sa.TextClause) -> str:
    values = {name: value for name, value in VALUES.items() if name in statement._bindparams}
    explained = sa.text(f"EXPLAIN {statement.text}").bindparams(*statement._bindparams.values())
    with ledger.database.transaction() as connection:
        for method in ("seqscan", "sort"):
            connection.execute(sa.text(f"SET LOCAL enable_{method} = off"))
        return "\n".join(row[0] for row in connection.execute(explained, values))


@pytest.mark.parametrize("state", RARE)
def test_fires_of_a_state_that_few_are_in_have_an_index(ledger: Ledger, state: str) -> None:
    found = plan(ledger, schedule_lists._FIRES[state])
    index = "fires_waiting" if state == "waiting" else "fires_without_run"
    assert re.search(rf"(using|on) {index}", found), found


@pytest.mark.parametrize("name", ["_RECENT", "_EXPECTED", "_DAYS", "_DURATIONS", "_DEAD_DAYS"])
def test_no_statement_reads_fires_or_runs_as_a_whole(ledger: Ledger, name: str) -> None:
    found = plan(ledger, getattr(schedule_lists, name))
    assert not re.search(r"Seq Scan on (runs|fires)\b", found), found
    assert not re.search(r"using runs_pkey", found), found


def test_dead_runs_of_a_schedule_have_an_index(ledger: Ledger) -> None:
    assert re.search(r"(using|on) runs_dead_of_schedule", plan(ledger, schedule_lists._DEAD_DAYS))


def test_schedules_with_missed_fires_are_found_by_these(ledger: Ledger) -> None:
    found = plan(ledger, schedule_lists._PAGES["name", "missed"])
    assert re.search(r"(using|on) fires_missed", found), found
    assert "Join Filter" not in found, found


def test_a_schedule_is_among_the_missed_ones_for_a_day(ledger: Ledger) -> None:
    every_minute(ledger)
    expect(ledger, datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1))
    assert ledger.schedule_lists.page(Chosen(state="missed"), sort="name", behind=None, limit=9) == []
    change(ledger, "fires SET state = 'missed', reason = 'an outage'")
    found = ledger.schedule_lists.page(Chosen(state="missed"), sort="name", behind=None, limit=9)
    assert [row["name"] for row in found] == ["s"]
    change(ledger, "fires SET due_at = due_at - interval '1 day'")
    assert ledger.schedule_lists.page(Chosen(state="missed"), sort="name", behind=None, limit=9) == []


@pytest.mark.parametrize("state", [*RARE, "expected", "dispatched"])
def test_fires_are_chosen_by_their_state_and_go_on_where_they_ended(ledger: Ledger, state: str) -> None:
    every_minute(ledger)
    times = [NOW - timedelta(minutes=n) for n in range(4)]
    expect(ledger, *times)
    change(ledger, "fires SET state = 'skipped', reason = 'so' WHERE scheduled_for = :at", at=times[1])
    change(ledger, "fires SET state = :state, reason = 'so' WHERE scheduled_for <> :at", state=state, at=times[1])
    wanted = times if state == "skipped" else [times[0], times[2], times[3]]
    first = ledger.schedule_lists.fires("s", state=state, before=None, limit=2)
    rest = ledger.schedule_lists.fires("s", state=state, before=first[-1]["scheduled_for"], limit=9)
    assert [row["scheduled_for"] for row in first + rest] == wanted
