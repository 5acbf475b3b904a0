"""Promise: what is wrong with the platform itself is seen in the ledger, and is not when it is well again."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
import sqlalchemy as sa

from steadybeat.ledger import Ledger
from steadybeat.watchdog.looking import NotJudged
from tests.integration.looking import Eyes, change, eyes_of, leads, older, worker
from tests.integration.records import every_minute


@pytest.fixture
def eyes(ledger: Ledger) -> Eyes:
    return eyes_of(ledger)


def test_a_leader_that_falls_silent_is_missed_and_one_that_ends_is_as_well(eyes: Eyes) -> None:
    every_minute(eyes.ledger)
    term = leads(eyes.ledger, 9)
    assert eyes.see("no_leader") == []
    older(eyes.ledger, "leaderships", "renewed_at", 2)
    found = eyes.one("no_leader")
    assert (found.subject, found.severity, found.facts["term"]) == ("platform", "critical", term)
    leads(eyes.ledger)
    assert eyes.see("no_leader") == []
    change(eyes.ledger, "leaderships SET ended_at = clock_timestamp() - interval '11 seconds'")
    assert len(eyes.see("no_leader")) == 1


def test_a_platform_without_schedules_that_are_due_needs_no_leader(eyes: Eyes) -> None:
    leads(eyes.ledger, 60)
    assert eyes.see("no_leader") == []
    every_minute(eyes.ledger)
    assert len(eyes.see("no_leader")) == 1
    eyes.ledger.interventions.pause("s", who="me", reason="so")
    assert eyes.see("no_leader") == []


def test_where_nobody_has_ever_led_there_is_no_leader_from_the_first_schedule_on(eyes: Eyes) -> None:
    every_minute(eyes.ledger)
    assert eyes.see("no_leader") == []
    older(eyes.ledger, "schedules", "created_at", 11)
    assert "No Beat has ever led" in eyes.one("no_leader").summary


def test_nobody_misses_a_leader_that_could_not_say_that_it_leads(eyes: Eyes) -> None:
    every_minute(eyes.ledger)
    leads(eyes.ledger, 60)
    with pytest.raises(NotJudged):
        eyes.see("no_leader", answering=timedelta(seconds=9))


def test_the_relay_stands_still_when_a_message_is_a_minute_past_its_time(eyes: Eyes) -> None:
    put = sa.text("""
        INSERT INTO steadybeat.outbox (publish_at, run, delivery_no, reason)
        VALUES (clock_timestamp() - interval '59 seconds', CAST(:run AS uuid), 1, 'retry')
    """)
    eyes.ledger.database.execute(put, {"run": str(uuid.uuid4())})
    assert eyes.see("relay_stalled") == []
    older(eyes.ledger, "outbox", "publish_at", 2)
    assert eyes.one("relay_stalled").cause is None
    every_minute(eyes.ledger)
    leads(eyes.ledger, 60)
    assert eyes.one("relay_stalled").cause is None
    eyes.redis_error = "Redis does not answer: refused"
    found = eyes.one("relay_stalled")
    assert (found.cause, found.error) == (("no_leader", "platform"), "Redis does not answer: refused")
    eyes.ledger.database.execute(sa.text("DELETE FROM steadybeat.outbox"))
    assert eyes.see("relay_stalled") == []


def test_nothing_counts_as_missing_until_whoever_waited_for_the_ledger_could_write_it_down(eyes: Eyes) -> None:
    for rule in ("missed", "late", "never_started", "running_too_long", "stuck", "relay_stalled"):
        assert eyes.see(rule, answering=timedelta(seconds=15)) == []
        with pytest.raises(NotJudged):
            eyes.see(rule, answering=timedelta(seconds=14))


def test_a_clock_that_is_off_is_seen_on_either_side(eyes: Eyes) -> None:
    worker(eyes.ledger, "orders", node="orders@here")
    for offset, count in ((0.9, 0), (-0.9, 0), (1.1, 1), (-1.1, 1)):
        change(eyes.ledger, "instances SET clock_offset_seconds = :offset", offset=offset)
        assert len(eyes.see("clock_skew")) == count
    assert "behind" in eyes.one("clock_skew").summary


def test_two_releases_may_live_together_for_as_long_as_a_deploy_takes(eyes: Eyes) -> None:
    worker(eyes.ledger, "orders", release="1")
    worker(eyes.ledger, "orders", release="2")
    older(eyes.ledger, "instances", "started_at", 599)
    assert eyes.see("schema_skew") == []
    older(eyes.ledger, "instances", "started_at", 2)
    assert "2 kinds" in eyes.one("schema_skew").summary
    change(eyes.ledger, "instances SET release = '2'")
    assert eyes.see("schema_skew") == []


def test_a_monitor_fails_that_does_not_take_three_heartbeats_in_a_row(eyes: Eyes) -> None:
    every_minute(eyes.ledger)
    put = sa.text("""
        INSERT INTO steadybeat.monitors (name, kind, failing_since, failure_count, error)
        VALUES ('s', 'healthchecks', clock_timestamp(), 2, 'HTTP 500'), ('platform', 'url', NULL, 0, NULL)
    """)
    eyes.ledger.database.execute(put)
    assert eyes.see("heartbeat_failing") == []
    change(eyes.ledger, "monitors SET failure_count = 3 WHERE name = 's'")
    found = eyes.one("heartbeat_failing")
    assert (found.subject, found.owner, found.severity, found.error) == ("s", "packers", "warning", "HTTP 500")
    change(eyes.ledger, "monitors SET failing_since = NULL")
    assert eyes.see("heartbeat_failing") == []


def test_nothing_is_wrong_with_a_platform_that_is_well(eyes: Eyes) -> None:
    every_minute(eyes.ledger)
    leads(eyes.ledger)
    older(eyes.ledger, "leaderships", "began_at", 31)
    worker(eyes.ledger, "orders", node="orders@here")
    assert eyes.all() == {}
