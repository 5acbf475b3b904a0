"""Promise: the timeline of a run is in the order of time, says why each thing happened, and shows no secret."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from steadybeat.operating.timeline import Facts, events, pace, standing

NOW = datetime(2026, 11, 28, 6, 10, tzinfo=UTC)
RUN = "019a1b7e-6c00-8d2f-9a3b-0c1d2e3f4a5b"
OTHER = "019a1b7e-6c00-8d2f-9a3b-000000000000"


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def facts(around: dict[str, Any] | None = None, fire: dict[str, Any] | None = None, **run: Any) -> Facts:
    nothing = (
        "schedule", "scheduled_for", "parent_id", "rerun_of", "of_fan_out", "tenant", "reason", "not_before",
        "deadline",
        "retry_until", "items_done", "items_total", "progressed_at", "cancel_requested_at", "cancel_reason", "key",
        "started_at", "finished_at", "error",
    )  # fmt: skip
    row: dict[str, Any] = dict.fromkeys(nothing)
    row |= {"id": RUN, "task": "t", "queue": "orders", "state": "enqueued", "delivery_no": 1, "attempt_count": 0}
    row |= {"idempotency_key": "sale:7", "in_line": False, "enqueued_at": at(-10)}
    row |= {"attempts": [], "steps": [], "duplicates": []}
    beside: dict[str, Any] = dict.fromkeys(("parent", "former", "whole"))
    beside |= {"lease": {}, "outbox": [], "holders": [], "reruns": [], "children": [], "parts": [], "alerts": []}
    return Facts(run=row | run, around=beside | (around or {}), fire=fire, now=NOW)


def attempt(number: int, outcome: str | None, began: float, ended: float | None, **more: Any) -> dict[str, Any]:
    given = {"number": number, "instance": OTHER, "host": "here", "pid": 7, "started_at": at(began), "outcome": outcome}
    given |= {"finished_at": None if ended is None else at(ended), "reason": None, "error": None}
    return {**given, "peak_memory_bytes": None, **more}


def test_a_fire_is_told_from_its_nominal_time_to_its_dispatch() -> None:
    fire = {"scheduled_for": at(-10), "due_at": at(-9), "dispatched_at": at(-8), "asked": None, "term": 3}
    told = events(facts(fire=fire, schedule="nightly", scheduled_for=at(-10)))
    assert [event.what for event in told] == ["Nominal time", "On record", "Due", "Dispatched"]
    assert told[2].text == "1 min of jitter after its nominal time."
    assert (told[3].text, told[3].who) == ("The Beat that leads sent it. 1 min after it was due.", "term 3")


@pytest.mark.parametrize(
    ("asked", "said"),
    [("trigger", "A person triggered it."), ("backfill", "It was backfilled."), ("resume", "A resume made it up.")],
)
def test_a_fire_that_a_person_asked_for_says_so(asked: str, said: str) -> None:
    fire = {"scheduled_for": at(-10), "due_at": at(-10), "dispatched_at": at(-10), "asked": asked, "term": None}
    assert said in [event.text for event in events(facts(fire=fire, schedule="n", scheduled_for=at(-10)))]


@pytest.mark.parametrize(
    ("outcome", "what"),
    [
        ("retried", "Attempt 1 failed, another follows"), ("timed_out", "Attempt 1 took too long"),
        ("lost", "Attempt 1 was lost with its worker"), ("interrupted", "Attempt 1 was interrupted"),
        ("failed", "Attempt 1 failed"), ("snoozed", "Attempt 1 snoozed"),
    ],
)  # fmt: skip
def test_an_attempt_ends_in_words_with_its_cause_and_its_stack(outcome: str, what: str) -> None:
    stack = 'Traceback\n  File "x", line 1\nOSError: https://me:hunter2@bank.example is away'
    told = events(facts(attempts=[attempt(1, outcome, -9, -7, error=stack, peak_memory_bytes=3 << 20)]))
    (ended,) = [event for event in told if event.what == what]
    assert ended.lasted == timedelta(minutes=2)
    assert ended.who == "here:7"
    assert ended.text == "OSError: https://me:***@bank.example is away. Its process needed 3 MiB at the most."
    assert "hunter2" not in ended.error


def test_what_one_statement_has_written_is_told_as_it_followed() -> None:
    end = at(-1)
    key = {"state": "done", "run": RUN, "changed_at": end - timedelta(microseconds=40)}
    ended = attempt(1, "succeeded", -5, -1, finished_at=end + timedelta(microseconds=70))
    told = events(facts(state="succeeded", finished_at=end, attempts=[ended], key=key))
    assert [event.what for event in told][-3:] == ["Attempt 1 succeeded", "Effect", "Succeeded"]


def test_what_is_to_come_stands_at_the_end_and_only_while_the_run_goes_on() -> None:
    outbox = [{"publish_at": at(5), "reason": "retry", "waits_for": None, "delivery_no": 2}]
    ahead = {"outbox": outbox, "lease": {"lease_until": at(2)}}
    told = events(facts(ahead, state="waiting", deadline=at(9), retry_until=at(7)))
    assert [event.what for event in told if event.is_ahead] == ["Lease ends", "Next message", "Last retry", "Deadline"]
    assert [event.is_ahead for event in told] == sorted(event.is_ahead for event in told)
    over = events(facts(ahead, state="dead", reason="no", finished_at=at(-1), deadline=at(9)))
    assert not [event for event in over if event.is_ahead]


def test_where_a_run_waits_and_for_what_is_said() -> None:
    lock = {"holders": [{"run": OTHER, "name": "lock:sale:7", "taken_at": at(-3)}]}
    waits = standing(facts(lock, state="waiting", reason="waits for lock:sale:7", not_before=at(1)))
    assert waits == [
        "It waits: waits for lock:sale:7.",
        f"Run {OTHER} took lock:sale:7 last, at 2026-11-28 06:07:00Z.",
        "It goes on at 2026-11-28 06:11:00Z, in 1 min.",
    ]
    queued = standing(facts({"lease": {"consumer_count": 2}}, delivery_no=3))
    assert queued[1:] == ["2 workers consume from that queue.", "It is its 3. delivery."]
    gone = {"lease": {"instance": OTHER, "fence": 9, "lease_until": at(1), "is_alive": False}}
    assert standing(facts(gone, state="running", attempt_count=1))[-1] == (
        "Its instance gives no sign of life: the run is rescued as soon as that is certain."
    )
    assert standing(facts(state="dead", reason="token=hunter2", attempt_count=2, finished_at=NOW)) == [
        "It has given up, and waits for a person, after 2 attempts: token=***."
    ]


@pytest.mark.parametrize(
    ("done", "total", "state", "said"),
    [
        (120, 240, "running", "2.0 a second, 1 min left, until 2026-11-28 06:11:00Z"),
        (6, None, "running", "6.0 a minute"),
        (1200, 1200, "succeeded", "20 a second"),
        (0, 10, "running", ""),
    ],
)
def test_pace_is_what_was_done_since_the_first_attempt_began(
    done: int, total: int | None, state: str, said: str
) -> None:
    run = facts(
        state=state, items_done=done, items_total=total, progressed_at=NOW, attempts=[attempt(1, None, -1, None)]
    )
    assert pace(run.run, NOW) == said
