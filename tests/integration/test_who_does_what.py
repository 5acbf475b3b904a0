"""Promise: the ledger alone says who leads, who acts where one is enough, and what tasks are."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from celery import Celery

from steadybeat.ledger import Ledger
from steadybeat.ledger.connection import sql
from steadybeat.ledger.instances import _certain
from steadybeat.ledger.rows import TaskRow
from steadybeat.task.describing import described
from tests.integration.playing import app_of

LEASE = timedelta(minutes=1)
_LAPSE = sql("UPDATE steadybeat.duties SET until = clock_timestamp() - interval '1 second'")


@pytest.fixture
def ids() -> tuple[str, str]:
    return str(uuid.uuid4()), str(uuid.uuid4())


def test_a_duty_is_one_processes_until_it_is_left_or_lapses(ledger: Ledger, ids: tuple[str, str]) -> None:
    one, other = ids
    assert ledger.duties.take("watch", one, LEASE)
    assert ledger.duties.take("watch", one, LEASE)
    assert not ledger.duties.take("watch", other, LEASE)
    ledger.duties.leave("watch", one)
    assert ledger.duties.take("watch", other, LEASE)
    ledger.database.execute(_LAPSE)
    assert ledger.duties.take("watch", one, LEASE)


def test_what_is_done_now_and_then_is_done_once_in_that_time(ledger: Ledger, ids: tuple[str, str]) -> None:
    one, other = ids
    assert ledger.duties.take_now_and_then("report", one, LEASE)
    assert not ledger.duties.take_now_and_then("report", other, LEASE)
    assert ledger.duties.take_now_and_then("report", other, timedelta(0))


def test_a_term_is_on_record_from_its_beginning_to_its_end(ledger: Ledger, ids: tuple[str, str]) -> None:
    term = ledger.fires.next_term()
    ledger.leaderships.renew(term, instance=ids[0], host="here")
    (begun,) = ledger.leaderships.latest()
    ledger.leaderships.renew(term, instance=ids[0], host="here")
    ledger.leaderships.end(term)
    (ended,) = ledger.leaderships.latest()
    assert (begun.term, begun.instance, begun.ended_at) == (term, ids[0], None)
    assert ended.began_at == begun.began_at <= begun.renewed_at <= ended.renewed_at
    assert ended.ended_at is not None


def test_a_deploy_writes_down_what_its_tasks_are_and_forgets_those_that_are_gone(ledger: Ledger) -> None:
    others = TaskRow(name="mail.send", service="mail", owner="post")
    ledger.tasks.describe([others, TaskRow(name="orders.old", service="orders")], ["mail", "orders"])
    ledger.tasks.describe([TaskRow(name="orders.new", service="orders", severity="critical")], ["orders"])
    assert [(row.name, row.owner, row.severity) for row in ledger.tasks.all()] == [
        ("mail.send", "post", "error"),
        ("orders.new", None, "critical"),
    ]


@pytest.mark.parametrize(
    ("offset", "uncertain", "certain"), [(5.2, 5.2, 0.0), (-3.0, 0.5, -2.5), (0.2, 0.5, 0.0), (2.0, 0.0, 2.0)]
)
def test_a_process_that_was_stopped_while_it_asked_for_the_time_has_no_wrong_clock(
    offset: float, uncertain: float, certain: float
) -> None:
    assert _certain(offset, uncertain) == certain


def test_a_task_is_described_by_what_its_code_says(ledger_url: str, redis_url: str, tmp_path: Path) -> None:
    app: Celery = app_of("shop", ledger_url, redis_url, tmp_path)

    @app.task(name="shop.orders.pack", owner="packers", severity="critical", depends_on=["paper"], time_limit=60)
    def pack() -> None:
        """Pack what was ordered. It is safe
        to run twice.
        """

    (row,) = described(app)
    assert json.loads(json.dumps(row.depends_on)) == ["paper"]
    assert (row.name, row.service, row.owner, row.severity) == ("shop.orders.pack", "orders", "packers", "critical")
    assert (row.purpose, row.time_limit_seconds) == ("Pack what was ordered.", 60)
