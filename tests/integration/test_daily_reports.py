"""Promise: everybody is told once a day how it was for what they answer for, whoever dies while it is written."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from steadybeat.alerts.report import Day, Gathering, Report
from steadybeat.alerts.reports import Reports, day_of
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import TaskRow
from steadybeat.schedule.wallclock import make
from steadybeat.settings import Settings
from tests.integration.records import new_run

DAY = Day(date(2026, 11, 27))
NOW = datetime(2026, 11, 28, 8, tzinfo=UTC)
_SCHEDULE = sa.text("""
    INSERT INTO steadybeat.schedules (name, task, service, spec, policies, source, revision, generation, expected_until)
    VALUES (:name, :task, 'shop', CAST(:spec AS jsonb), CAST(:policies AS jsonb), 'code', 1, 1, clock_timestamp())
""")
_FIRE = sa.text("""
    INSERT INTO steadybeat.fires
        (schedule, scheduled_for, due_at, state, cause, reason, revision, run_id, dispatched_at)
    VALUES (:schedule, :at, :at, :state, :cause, :reason, 1, CAST(:run AS uuid), :dispatched_at)
""")
_RUN = sa.text("""
    UPDATE steadybeat.runs
       SET state = :state, reason = :reason, error = :error, started_at = :started_at, finished_at = :finished_at,
           attempt_count = 1, retry_count = :retry_count, items_done = :items, enqueued_at = :enqueued_at
     WHERE id = CAST(:id AS uuid)
""")
_ATTEMPT = sa.text("""
    INSERT INTO steadybeat.attempts (run, number, instance, fence, started_at)
    VALUES (CAST(:id AS uuid), 1, CAST(:id AS uuid), 1, :started_at)
""")
_ALERT = sa.text("""
    INSERT INTO steadybeat.alerts (rule, subject, severity, owner, summary, opened_at, state, resolved_at)
    VALUES (:rule, :subject, 'error', :owner, :summary, :at, :state, :resolved_at)
""")
_NOTICES = sa.text("""
    SELECT kind, key, channel, severity, title, body, html, facts FROM steadybeat.notices ORDER BY id
""")


def at(hour: int, minute: int = 0, second: int = 0, day: int = 27) -> datetime:
    return datetime(2026, 11, day, hour, minute, second, tzinfo=UTC)


class Days:
    """Writes what happened."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def schedule(self, name: str, task: str, cron: str = "0 6 * * *", tz: str = "UTC", **policies: Any) -> None:
        values = {"spec": json.dumps(make(cron, tz).to_json()), "policies": json.dumps(policies)}
        self.ledger.database.execute(_SCHEDULE, {"name": name, "task": task, **values})

    def fire(self, schedule: str, when: datetime, state: str, cause: str | None = None, **facts: Any) -> None:
        values = {"schedule": schedule, "at": when, "state": state, "cause": cause, "run": facts.get("run")}
        reason = facts.get("reason", None if state == "dispatched" else "because")
        dispatched_at = when + facts.get("late", timedelta()) if state == "dispatched" else None
        self.ledger.database.execute(_FIRE, {**values, "reason": reason, "dispatched_at": dispatched_at})

    def run(self, task: str, when: datetime, took: float | None, state: str = "succeeded", **facts: Any) -> str:
        schedule = facts.get("schedule")
        scheduled_for = facts.get("scheduled_for", when) if schedule else None
        run = new_run(id=str(uuid.uuid4()), task=task, schedule=schedule, scheduled_for=scheduled_for)
        assert self.ledger.runs.record(run)
        values: dict[str, Any] = {"id": run.id, "state": state, "started_at": None, "finished_at": None}
        values |= {
            "reason": "it gave up" if state == "dead" else None,
            "error": facts.get("error"),
            "enqueued_at": when,
        }
        values |= {"retry_count": facts.get("retries", 0), "items": facts.get("items")}
        if took is not None:
            values |= {"started_at": when + facts.get("late", timedelta())}
            values |= {"finished_at": values["started_at"] + timedelta(seconds=took)}
        self.ledger.database.execute(_RUN, values)
        if took is not None:
            self.ledger.database.execute(_ATTEMPT, {"id": run.id, "started_at": values["started_at"]})
        return run.id

    def fired(self, schedule: str, task: str, when: datetime, took: float | None, **facts: Any) -> str:
        run = self.run(task, when, took, schedule=schedule, **facts)
        self.fire(schedule, when, "dispatched", run=run)
        return run

    def alert(self, rule: str, owner: str | None, when: datetime, resolved_at: datetime | None = None) -> None:
        state = "resolved" if resolved_at else "open"
        values = {"rule": rule, "subject": "s", "owner": owner, "summary": "token=hunter2 is wrong", "at": when}
        self.ledger.database.execute(_ALERT, {**values, "state": state, "resolved_at": resolved_at})

    def notices(self) -> list[Any]:
        return self.ledger.database.execute(_NOTICES)


@pytest.fixture
def days(ledger: Ledger) -> Days:
    tasks = [
        TaskRow(name="pay", service="shop", owner="payments", severity="critical"),
        TaskRow(name="mail", service="shop", owner="post"),
        TaskRow(name="own", service="shop"),
    ]
    ledger.tasks.describe(tasks, ["shop"])
    return Days(ledger)


def of(days: Days, owner: str | None) -> Report:
    return Gathering(days.ledger, DAY).report(owner, NOW)


def test_a_day_holds_what_became_of_its_fires_and_of_no_other_days(days: Days) -> None:
    days.schedule("settle", "pay", tz="Europe/Berlin", cron="30 2 * * *")
    days.fired("settle", "pay", at(6), 3.0, items=10, retries=2)
    days.fired("settle", "pay", at(7), 60.0, items=5)
    error = 'Traceback\n  File "x"\n    pay()\nValueError: token=hunter2\n'
    lost = days.fired("settle", "pay", at(8), 1.0, state="dead", error=error)
    days.fired("settle", "pay", at(9), 1.0, state="dead")
    days.run("pay", at(10), 2.0, schedule="settle", scheduled_for=at(9))
    days.fired("settle", "pay", at(11), None, state="running")
    days.fire("settle", at(12), "missed", "window")
    days.fire("settle", at(13), "missed", "window", reason="the last")
    days.fire("settle", at(14), "skipped", "overlap")
    days.fire("settle", at(15), "superseded", "superseded")
    days.fired("settle", "pay", at(23, 59, day=26), 900.0)
    days.fired("settle", "pay", at(0, day=28), 900.0)
    report = of(days, "payments")
    (found,) = report.schedules
    assert found.states == {"dispatched": 5, "missed": 2, "skipped": 1}
    counts = (found.succeeded_count, found.dead_count, found.open_count, found.cancelled_count)
    assert counts == (3, 1, 1, 0)
    assert (found.retry_count, found.item_count, found.severity) == (2, 15, "critical")
    assert (found.longest, found.usual) == (timedelta(seconds=60), timedelta(seconds=900))
    assert (found.dead_run, found.error) == (lost, "ValueError: token=***")
    assert [(each.state, each.cause, each.count, each.reason) for each in report.unfired] == [
        ("missed", "window", 2, "the last"),
        ("skipped", "overlap", 1, "because"),
    ]
    assert (report.unfired[0].first_at, report.unfired[0].last_at) == (at(12), at(13))


def test_a_report_is_of_what_its_owner_answers_for_and_the_rest_is_nobodys(days: Days) -> None:
    for name, task in (("a", "pay"), ("b", "mail"), ("c", "own"), ("d", "unknown")):
        days.schedule(name, task)
        days.run(task, at(6), 1.0)
        days.run(task, at(6), 1.0, state="dead")
    days.alert("failed", "payments", at(3))
    days.alert("no_leader", None, at(3))
    found = {owner: of(days, owner) for owner in ("payments", "post", None)}
    assert {owner: [each.name for each in report.schedules] for owner, report in found.items()} == {
        "payments": ["a"],
        "post": ["b"],
        None: ["c", "d"],
    }
    assert [each.task for each in found[None].others] == ["own", "unknown"]
    assert [(each.run_count, each.succeeded_count, each.dead_count) for each in found["post"].others] == [(2, 1, 1)]
    assert [(each["task"], each["new_count"]) for each in found["payments"].letters] == [("pay", 1)]
    assert [each["rule"] for each in found["payments"].alerts] == ["failed"]
    assert found["payments"].alerts[0]["summary"] == "token=*** is wrong"
    assert [each["rule"] for each in found[None].alerts] == ["no_leader"]


def test_a_fire_is_late_where_its_run_began_later_than_its_schedule_allows(days: Days) -> None:
    days.schedule("usual", "pay")
    days.schedule("patient", "pay", late_after_seconds=600)
    for name in ("usual", "patient"):
        days.fired(name, "pay", at(6), 1.0, late=timedelta(minutes=5))
        days.fired(name, "pay", at(7), 1.0, late=timedelta(seconds=5))
    patient, usual = of(days, "payments").schedules
    assert (usual.late_count, usual.latest, usual.latest_at) == (1, timedelta(minutes=5), at(6))
    assert (patient.late_count, patient.latest) == (0, None)


def test_alerts_of_a_day_are_those_that_were_there_on_it(days: Days) -> None:
    days.alert("failed", "payments", at(3, day=20))
    days.alert("late", "payments", at(3, day=20), at(4))
    days.alert("slower", "payments", at(3, day=20), at(4, day=26))
    days.alert("stuck", "payments", at(3, day=28))
    assert [each["rule"] for each in of(days, "payments").alerts] == ["failed", "late"]


def test_dead_letters_of_earlier_days_wait_still_and_are_not_new(days: Days) -> None:
    days.run("pay", at(6, day=20), 1.0, state="dead")
    days.run("pay", at(6), 1.0, state="dead")
    days.run("pay", at(6, day=28), 1.0, state="dead")
    (letter,) = of(days, "payments").letters
    assert (letter["new_count"], letter["waiting_count"], letter["oldest_at"]) == (1, 2, at(6, 0, 1, day=20))


def test_more_schedules_than_one_statement_takes_are_all_told_of(days: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steadybeat.ledger.reporting.PAGE", 2)
    for number in range(5):
        days.schedule(f"s{number}", "pay")
        days.fired(f"s{number}", "pay", at(6), 1.0)
    assert of(days, "payments").total("succeeded_count") == 5


def test_yesterday_is_the_day_unless_another_is_named() -> None:
    assert day_of(None, "Europe/Berlin", at(23, 30)).date == date(2026, 11, 27)
    assert day_of("2026-11-01", "UTC").date == date(2026, 11, 1)


# Sending


def channels(owner: str | None) -> Sequence[str]:
    return {"payments": ["mail", "chat"], "post": ["mail"]}.get(owner or "", [])


def reports_of(days: Days, report_at: str = "07:00 Europe/Berlin") -> Reports:
    ledger = Ledger(Settings(database_url="postgresql://unused/x", report_at=report_at))
    ledger.duties, ledger.reporting = days.ledger.duties, days.ledger.reporting
    return Reports(ledger, str(uuid.uuid4()))


def keys(days: Days) -> list[str]:
    return [row.key for row in days.notices()]


def test_each_report_is_written_once_at_its_time_whoever_writes_it(days: Days) -> None:
    days.schedule("settle", "pay")
    one, other = reports_of(days), reports_of(days)
    days.ledger.duties.done("report", str(uuid.uuid4()), at(6, 0))
    assert one.send_due(at(5, 59, 59, day=28), channels) == 0
    assert one.send_due(at(6, 0, day=28), channels) == 3
    assert other.send_due(at(6, 1, day=28), channels) == one.send_due(at(6, 2, day=28), channels) == 0
    assert keys(days) == [
        "report/payments/2026-11-27/mail",
        "report/payments/2026-11-27/chat",
        "report/post/2026-11-27/mail",
    ]
    notice = days.notices()[0]
    assert (notice.kind, notice.channel, notice.severity) == ("report", "mail", "info")
    assert notice.title == "Daily report of payments, 2026-11-27: Nothing was due"
    assert notice.body.startswith("DAILY REPORT of payments\n")
    assert notice.html.startswith("<!DOCTYPE html>")
    assert notice.facts["day"] == "2026-11-27"
    assert one.send_due(at(6, 0, day=29), channels) == 3


def test_who_dies_while_reports_are_written_leaves_the_rest_and_nothing_is_written_twice(days: Days) -> None:
    def dies(owner: str | None) -> Sequence[str]:
        if owner == "post":
            raise KeyboardInterrupt
        return channels(owner)

    with pytest.raises(KeyboardInterrupt):
        reports_of(days).send_due(at(8, day=28), dies)
    assert len(keys(days)) == 2
    assert reports_of(days).send_due(at(9, day=28), channels) == 1
    assert len(keys(days)) == len({*keys(days)}) == 3


def test_after_an_outage_the_last_days_are_made_up_for_and_older_ones_are_said_to_be_left_out(days: Days) -> None:
    days.schedule("settle", "pay")
    days.ledger.duties.done("report", str(uuid.uuid4()), at(6, day=20))
    assert reports_of(days).send_due(at(12, day=28), lambda owner: ["mail"] if owner == "payments" else []) == 3
    assert [key.split("/")[2] for key in keys(days)] == ["2026-11-25", "2026-11-26", "2026-11-27"]
    first, *rest = [row.body for row in days.notices()]
    assert "No report was sent for 2026-11-20, 2026-11-21, 2026-11-22, 2026-11-23, 2026-11-24" in first
    assert not any("No report was sent" in body for body in rest)


def test_none_is_sent_where_no_time_is_set_or_nobody_is_told(days: Days) -> None:
    days.schedule("settle", "pay")
    assert reports_of(days, report_at="").send_due(NOW, channels) == 0
    assert reports_of(days).send_due(NOW, lambda owner: []) == 0
    assert days.notices() == []


def test_nobodys_report_is_sent_only_where_it_says_something(days: Days) -> None:
    assert reports_of(days).send_due(NOW, lambda owner: ["mail"] if owner is None else []) == 0
    days.run("own", at(6, day=28), 1.0)
    assert reports_of(days).send_due(NOW + timedelta(days=1), lambda owner: ["mail"] if owner is None else []) == 1
    assert keys(days) == ["report/nobody/2026-11-28/mail"]
