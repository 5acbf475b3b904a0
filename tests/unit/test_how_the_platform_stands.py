"""Promise: what is not all right is said in sentences, the worst first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from steadybeat.pages.standing import Queue, Standing, counted, queues_of
from steadybeat.settings import Settings

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


def instance(role: str, *, alive: bool = True, queues: list[str] | None = None) -> Any:
    return SimpleNamespace(id=role, role=role, alive=alive, queues=queues)


def queue(**given: Any) -> Queue:
    facts = {"name": "mail", "waiting_count": 0, "since": None, "worker_count": 1, "may_be_more": False}
    asked = {"asked_at": None, "answered_at": None, "unanswered_since": None}
    return Queue(**{**facts, **asked, **given})


def standing(**given: Any) -> Standing:
    """All is well, but for what is given."""
    leading = {"heard_at": NOW, "has_ended": False, "schedule_count": 1, "term": 1} | given.pop("leading", {})
    facts = {"instances": [instance("watchdog")], "acting": None, "settings": Settings(**given.pop("settings", {}))}
    return Standing(now=NOW, leading=SimpleNamespace(**leading), **{**facts, **given})


def said(**given: Any) -> list[str]:
    return [each.text for each in standing(**given).troubles]


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def test_where_all_is_well_nothing_is_said() -> None:
    assert said() == []


def test_a_leader_is_missed_when_it_is_silent_for_longer_than_the_setting_says() -> None:
    assert said(leading={"heard_at": ago(10)}) == []
    assert said(leading={"heard_at": ago(11)}) == [
        "No Beat leads: none was heard of for 11 s. Fires are dispatched as soon as one does."
    ]
    assert said(leading={"heard_at": ago(11)}, settings={"leaderless_seconds": 20}) == []
    assert said(leading={"heard_at": None}) == [
        "No Beat leads: no Beat has ever led. Fires are dispatched as soon as one does."
    ]
    assert said(leading={"heard_at": None, "schedule_count": 0}) == []


def test_a_leader_that_has_said_farewell_leads_no_more() -> None:
    assert not standing(leading={"has_ended": True}).leads
    assert standing().leads


def test_what_costs_fires_or_runs_comes_before_what_is_to_be_looked_at() -> None:
    slow = queue(waiting_count=3, since=ago(120))
    troubles = standing(
        queues=[slow],
        overdue={"n": 1, "since": ago(60), "schedule_count": 1, "example": "s"},
        instances=[instance("watchdog"), instance("worker", alive=False)],
    ).troubles
    assert [(each.text, each.is_bad) for each in troubles] == [
        ("1 fire of s not dispatched, the first 1 min past its time.", True),
        ("3 runs on mail, the first for 2 min.", False),
        ("1 instance fell silent in the last hour without a farewell.", False),
    ]


def test_a_queue_that_nobody_consumes_is_no_trouble_while_nothing_waits_on_it() -> None:
    assert said(queues=[queue(worker_count=0)]) == []
    waits = queue(worker_count=0, waiting_count=10_001, since=ago(5))
    assert said(queues=[waits]) == ["No worker consumes from mail: 10,000 runs and more there, the first for 5.0 s."]


def test_a_canary_is_overdue_after_as_long_as_the_setting_says_and_never_where_none_is_sent() -> None:
    silent = queue(asked_at=NOW, unanswered_since=ago(61))
    assert said(queues=[silent]) == ["mail has not answered a canary for 1 min."]
    assert said(queues=[silent], settings={"canary_seconds": 0}) == []
    assert said(queues=[queue(asked_at=NOW, unanswered_since=ago(59))]) == []


def test_fires_of_several_schedules_are_told_with_one_name_and_the_number_of_the_others() -> None:
    overdue = {"n": 1001, "since": ago(60), "schedule_count": 3, "example": "s"}
    (trouble,) = standing(overdue=overdue).troubles
    assert trouble.text == (
        "1,000 fires and more of s and 2 other schedules not dispatched, the first 1 min past its time."
    )
    assert trouble.page == ("schedules", (), {"sort": "next"})


def test_alerts_that_somebody_sees_to_are_to_be_looked_at_only() -> None:
    own = {"rule": "missed", "subject": "s", "severity": "critical", "n": 1}
    assert standing(alerts=[{**own, "state": "open"}]).troubles[0].is_bad
    (trouble,) = standing(alerts=[{**own, "state": "acknowledged"}]).troubles
    assert (trouble.text, trouble.is_bad) == ("1 alert not resolved.", False)
    assert not standing(alerts=[{**own, "state": "open", "severity": "info"}]).troubles[0].is_bad


def test_every_queue_is_there_on_which_runs_wait_that_is_asked_or_that_somebody_consumes() -> None:
    workers = [
        instance("worker", queues=["a", "b"]),
        instance("worker", queues=["a"]),
        instance("worker", alive=False, queues=["gone"]),
        instance("beat"),
    ]
    found = queues_of({"c": {"n": 7, "since": NOW}}, {"d": {"sent_at": NOW}}, workers)
    assert [(each.name, each.worker_count, each.waiting_count, each.may_be_more) for each in found] == [
        ("a", 2, 0, False),
        ("b", 1, 0, False),
        ("c", 0, 7, False),
        ("d", 0, 0, False),
    ]
    assert found[3].asked_at == NOW
    assert queues_of({"c": {"n": 1, "since": NOW}}, {}, [instance("worker")])[0].may_be_more


def test_a_number_says_whether_it_is_all() -> None:
    assert [counted(n, "fire") for n in (1, 1000, 1001)] == ["1 fire", "1,000 fires", "1,000 fires and more"]
