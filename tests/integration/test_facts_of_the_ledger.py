"""What a watchdog serves of the ledger and of Redis' queues, on real servers."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from celery import Celery

import steadybeat
from steadybeat.ledger import Ledger, gauges
from steadybeat.settings import Settings
from steadybeat.telemetry.metrics.table import FACTS, METRICS
from steadybeat.watchdog.facts import Duplicates, Leading, LedgerFacts
from tests.integration.records import alive, claim, new_run, recorded

LARGE = ("runs", "attempts", "fires", "outbox", "duplicates", "processed_keys")


@pytest.fixture
def app(ledger_url: str, redis_url: str) -> Iterator[Any]:
    app: Any = Celery("shop", set_as_current=False)
    app.conf.update(steadybeat_database_url=ledger_url, steadybeat_redis_url=redis_url, steadybeat_services=["orders"])
    steadybeat.install(app)
    yield app
    app.steadybeat.ledger.database.close()
    app.close()


def read(facts: LedgerFacts) -> dict[str, float]:
    """What is served after one pass, by name and labels."""
    facts.read()
    return {" ".join((each.metric.name, *each.labels)): each.value for each in facts.facts.samples()}


def run(ledger: Ledger, statement: str, **values: Any) -> None:
    with ledger.database.transaction() as connection:
        connection.execute(sa.text(statement), values)


def fill(ledger: Ledger) -> None:
    """Write a little of everything that there is a fact of."""
    worker = alive(ledger)
    run(ledger, "UPDATE steadybeat.instances SET queues = '{orders,mail}', clock_offset_seconds = -0.5")
    for _ in range(3):
        recorded(ledger)
    claim(ledger, recorded(ledger), worker)
    run(
        ledger,
        "UPDATE steadybeat.runs SET enqueued_at = clock_timestamp() - interval '1 minute' WHERE started_at IS NULL",
    )
    dead = recorded(ledger, task="shop.mail.send")
    ledger.runs.end_unstarted(dead.id, delivery_no=1, state="dead", reason="a test")
    due = datetime.now(UTC) - timedelta(seconds=30)
    ledger.runs.record(new_run(not_before=due), outbox_reason="delayed")
    ledger.runs.record(new_run(not_before=due + timedelta(hours=1)), outbox_reason="delayed")
    run(
        ledger,
        """
        INSERT INTO steadybeat.fires (schedule, scheduled_for, due_at, state, reason, revision) VALUES
            ('settle', now() - interval '20 s', now() - interval '20 s', 'expected', NULL, 1),
            ('settle', now() + interval '20 s', now() + interval '20 s', 'expected', NULL, 1),
            ('settle', now() - interval '1 h', now() - interval '1 h', 'missed', 'a test', 1),
            ('settle', now() - interval '2 d', now() - interval '2 d', 'missed', 'a test', 1);
        INSERT INTO steadybeat.schedules (name, task, service, spec, policies, source, revision, generation,
                                          expected_until, consecutive_failures, paused_at, paused_by, paused_reason)
        VALUES ('settle', 't', 'royalties', '{}', '{}', 'code', 1, 1, now(), 2, now(), 'me', 'a test');
        INSERT INTO steadybeat.alerts (rule, subject, severity, summary) VALUES ('missed', 'settle', 'error', 'x');
        INSERT INTO steadybeat.canaries (queue, number, sent_at, answered_no) VALUES
            ('orders', 7, now() - interval '40 s', 6), ('mail', 7, now() - interval '40 s', 7);
        INSERT INTO steadybeat.monitors (name, kind, failing_since) VALUES
            ('settle', 'healthchecks', now()), ('platform', 'healthchecks', NULL);
        """,
    )


def test_every_fact_is_served_as_it_stands_in_the_ledger(app: Any) -> None:
    ledger = Ledger.of(app)
    fill(ledger)
    found = read(LedgerFacts(app))
    expected = {
        "steadybeat_dead_letters shop.mail.send": 1,
        "steadybeat_outbox_due_messages": 1,
        "steadybeat_runs_enqueued orders": 3,
        "steadybeat_runs_enqueued mail": 0,
        "steadybeat_runs_enqueued royalties": 0,
        "steadybeat_runs_running orders": 1,
        "steadybeat_instances worker": 1,
        "steadybeat_instances beat": 0,
        "steadybeat_clock_offset_seconds worker": 0.5,
        "steadybeat_fires_overdue": 1,
        "steadybeat_fires_missed_last_day settle": 1,
        "steadybeat_schedule_consecutive_failures settle": 2,
        "steadybeat_schedules_paused": 1,
        "steadybeat_alerts_open missed error open": 1,
        "steadybeat_heartbeats_failing healthchecks": 1,
        "steadybeat_canary_unanswered_seconds mail": 0,
        "steadybeat_queue_head_age_seconds mail": 0,
        "steadybeat_queue_messages orders": 0,
        "steadybeat_unacknowledged_messages": 0,
        "steadybeat_leader": 0,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["steadybeat_queue_head_age_seconds orders"] >= 60
    assert found["steadybeat_outbox_oldest_due_seconds"] >= 30
    assert found["steadybeat_fires_oldest_overdue_seconds"] >= 20
    assert found["steadybeat_canary_unanswered_seconds orders"] >= 40
    assert found["steadybeat_ledger_facts_age_seconds"] < 60


def test_messages_of_every_priority_count_and_are_left_out_while_redis_is_away(app: Any, redis_url: str) -> None:
    alive(Ledger.of(app))
    run(Ledger.of(app), "UPDATE steadybeat.instances SET queues = '{orders}'")
    for priority in (0, 6):
        app.send_task("shop.orders.pay", priority=priority, queue="orders")
    facts = LedgerFacts(app)
    assert read(facts)["steadybeat_queue_messages orders"] == 2
    app.conf.broker_url = "redis://127.0.0.1:1/0"
    found = read(facts)
    assert "steadybeat_queue_messages orders" not in found
    assert found["steadybeat_instances worker"] == 1


def test_who_leads_is_known_and_the_time_without_anybody_is_added_up(ledger: Ledger) -> None:
    leading = Leading(ledger.gauges, quiet_seconds=2, lease_seconds=15)

    def found() -> dict[str, float]:
        return {each.metric.name.removeprefix("steadybeat_"): each.value for each in leading()}

    def term(number: int, began: int, renewed: int, ended: bool = False) -> None:
        run(
            ledger,
            """
            INSERT INTO steadybeat.leaderships (term, instance, host, began_at, renewed_at, ended_at)
            VALUES (:number, :instance, 'here', now() - make_interval(secs => :began),
                    now() - make_interval(secs => :renewed),
                    CASE WHEN :ended THEN now() - make_interval(secs => :renewed) END)
            ON CONFLICT (term) DO UPDATE SET renewed_at = excluded.renewed_at, ended_at = excluded.ended_at
            """,
            number=number, instance=str(uuid.uuid4()), began=began, renewed=renewed, ended=ended,
        )  # fmt: skip

    assert found() == {"leader": 0, "leader_changes_total": 0, "leaderless_seconds_total": 0}
    term(1, began=500, renewed=400)
    first = found()
    assert (first["leader"], first["leader_changes_total"]) == (0, 1)
    leading = Leading(ledger.gauges, quiet_seconds=2, lease_seconds=15)
    assert found()["leaderless_seconds_total"] == 0  # four hundred seconds were before it
    term(3, began=100, renewed=1)
    after = found()
    assert (after["leader"], after["leader_changes_total"]) == (1, 1)
    assert after["leaderless_seconds_total"] == 0  # it began before this watchdog looked
    term(3, began=100, renewed=1, ended=True)
    assert found()["leader"] == 0
    grown = found()["leaderless_seconds_total"]
    term(4, began=0, renewed=0)
    last = found()
    assert (last["leader"], last["leader_changes_total"]) == (1, 2)
    assert last["leaderless_seconds_total"] >= grown >= 0
    assert last["leader_silence_seconds"] < 60


def test_duplicates_of_fires_are_counted_from_when_the_watchdog_began(ledger: Ledger) -> None:
    def note(schedule: str | None, age: str = "3 seconds") -> None:
        run(
            ledger,
            "INSERT INTO steadybeat.duplicates (run, task, schedule, cause, detail, seen_at)"
            " VALUES (gen_random_uuid(), 't', :schedule, 'rescue', 'x', clock_timestamp() - CAST(:age AS interval))",
            schedule=schedule,
            age=age,
        )

    note("settle")
    duplicates = Duplicates(ledger.gauges)
    assert [*duplicates()] == []
    note("settle")
    note(None)
    note("settle")
    note("settle", age="0 seconds")  # perhaps not the last of its moment
    (only,) = duplicates()
    assert (only.labels, only.value) == (("settle", "rescue"), 2)
    assert [each.value for each in duplicates()] == [2]


def test_a_fact_that_cannot_be_read_is_left_out_and_counted_alone(app: Any) -> None:
    ledger = Ledger.of(app)
    run(ledger, "DROP TABLE steadybeat.canaries")
    found = read(LedgerFacts(app))
    assert found["steadybeat_ledger_facts_failures_total canaries"] == 1
    assert found["steadybeat_schedules_paused"] == 0


def test_while_the_ledger_is_away_nothing_else_is_asked_of_it(app: Any) -> None:
    app.steadybeat.ledger = Ledger(Settings(database_url="postgresql://127.0.0.1:1/none", ledger_timeout_seconds=0.2))
    found = read(LedgerFacts(app))
    assert [name for name in found if "_age_" not in name] == ["steadybeat_ledger_facts_failures_total leading"]


def test_no_statement_reads_a_large_table_as_a_whole(ledger: Ledger) -> None:
    asked = {name: (statement, {}) for name, statement in gauges.STATEMENTS.items()}
    asked |= {"terms": (gauges._TERMS, {"term": 1}), "duplicates": (gauges._DUPLICATES, {"before_id": 1})}
    with ledger.database.transaction() as connection:
        connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        for name, (statement, values) in asked.items():
            explained = sa.text(f"EXPLAIN {statement.text}").bindparams(*statement._bindparams.values())
            plan = "\n".join(row[0] for row in connection.execute(explained, values))
            assert not re.search(rf"Seq Scan on ({'|'.join(LARGE)})\b", plan), plan
            assert not re.search(r"(runs|fires|duplicates|outbox)_pkey", plan) or name == "duplicates", plan


def test_every_fact_of_the_table_is_read_by_something(app: Any) -> None:
    fill(Ledger.of(app))
    run(
        Ledger.of(app),
        "INSERT INTO steadybeat.leaderships (term, instance, host) VALUES (1, gen_random_uuid(), 'here')",
    )
    facts = LedgerFacts(app)
    read(facts)
    run(
        Ledger.of(app),
        "INSERT INTO steadybeat.duplicates (run, task, schedule, cause, detail, seen_at) VALUES"
        " (gen_random_uuid(), 't', 'settle', 'rescue', 'x', clock_timestamp() - interval '1 hour')",
    )
    facts._failures["x"] = 1
    served = {name.split()[0] for name in read(facts)}
    assert served == {metric.name for metric in FACTS}
    assert served <= METRICS.keys()
