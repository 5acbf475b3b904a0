"""Section 7 of the audit: of each line a task that passes, and one that does not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from redis import Redis

from steadybeat import every
from tests.audited import ROUTED, add_task, new_app, said

EACH_MINUTE = every(timedelta(minutes=1))


def test_one_execution_needs_the_claim_and_the_scheduler_that_names_the_run() -> None:
    app, other = new_app(), new_app(beat_scheduler="celery.beat:PersistentScheduler")
    for each in (app, other):
        add_task(each, schedule=EACH_MINUTE)
        add_task(each, "shop.till.unscheduled")
        add_task(each, "shop.till.unrecorded", recorded=False)

    assert said("7.1", app)[0] == said("7.1", other, "shop.till.unscheduled")[0] == "PASS"
    assert said("7.1", app, "shop.till.unrecorded")[0] == "FAIL"
    verdict, evidence = said("7.1", other)
    assert verdict == "FAIL"
    assert evidence == "beat_scheduler=celery.beat:PersistentScheduler fires past the ledger"
    assert said("7.4", other)[0] == "FAIL"


def test_what_is_kept_on_one_machine_keeps_other_workers_from_going_on() -> None:
    def keeps(self: Any) -> None:
        with open("/var/tmp/last.txt", "w") as file:  # noqa: PTH123 - what the test is about
            file.write("7")

    def writes(self: Any) -> None:
        Path("/var/tmp/last.txt").write_text("7")

    def reads(self: Any) -> str:
        with open("/etc/hostname") as file:  # noqa: PTH123 - what the test is about
            return file.read()

    app, direct = new_app(), new_app(worker_direct=True)
    for name, code in (("keeps", keeps), ("writes", writes), ("reads", reads)):
        add_task(app, f"shop.till.{name}", code=code)
    add_task(direct)

    assert said("7.2", app, "shop.till.keeps")[0] == said("7.2", app, "shop.till.writes")[0] == "FAIL"
    verdict, evidence = said("7.2", app, "shop.till.reads")
    assert (verdict, evidence.startswith("queue=till; ")) == ("PASS", True)
    assert said("7.2", direct)[0] == "PARTIAL"


def test_lines_say_which_instance_has_written_them() -> None:
    app, foreign = new_app(), new_app(worker_hijack_root_logger=False)
    add_task(app)
    add_task(app, "shop.till.unrecorded", recorded=False)
    add_task(foreign)

    assert said("7.3", app)[0] == "UNKNOWN"  # runs have one too, which the ledger knows
    assert said("7.3", foreign)[0] == "PARTIAL"
    assert said("7.3", app, "shop.till.unrecorded")[0] == "FAIL"


def test_a_dead_holder_blocks_for_no_longer_than_the_time_limit() -> None:
    client = Redis()

    def locks(self: Any) -> None:
        with client.lock("till"):
            self.app.now()

    app, patient = new_app(), new_app(steadybeat_lease_seconds=60)
    for each in (app, patient):
        add_task(each, time_limit=40, soft_time_limit=30)
    add_task(app, "shop.till.locks", code=locks)

    assert said("7.5", app) == (
        "PASS",
        "what a dead instance holds is free after steadybeat_lease_seconds=15 s; time_limit=40 s",
    )
    assert said("7.5", patient)[0] == "FAIL"
    assert said("7.5", app, "shop.till.locks")[0] == "FAIL"
    assert "never lapses" in said("7.5", app, "shop.till.locks")[1]


def test_a_queue_that_is_never_asked_hides_a_worker_that_does_nothing() -> None:
    app, unasked, untold = new_app(**ROUTED), new_app(**ROUTED, steadybeat_canary_seconds=0), new_app()
    for each in (app, unasked, untold):
        add_task(each, owner="payments-team")

    assert said("7.6", app)[0] == "UNKNOWN"  # whether a watchdog asks, the ledger knows
    assert "queue till is asked each steadybeat_canary_seconds=60 s" in said("7.6", app)[1]
    assert said("7.6", unasked)[0] == "PARTIAL"
    assert said("7.6", untold)[0] == "FAIL"


@pytest.mark.parametrize(
    ("conf", "options", "verdict", "shown"),
    [
        ({}, {}, "PARTIAL", "as many runs of queue till as its machines have processors"),
        ({"worker_concurrency": 4}, {}, "PASS", "worker_concurrency=4"),
        ({"worker_concurrency": 4, "worker_prefetch_multiplier": 8}, {}, "PARTIAL", "worker_prefetch_multiplier=8"),
        ({}, {"concurrency": 3}, "PASS", "concurrency=3"),
        ({}, {"lock": "till"}, "PASS", "lock='till'"),
        ({}, {"schedule": EACH_MINUTE}, "PASS", "one run of its schedule"),
        ({}, {"schedule": EACH_MINUTE, "overlap": "allow"}, "PARTIAL", "queue till"),
        ({}, {"concurrency": 3, "recorded": True, "concurrency_key": None}, "PASS", "concurrency=3"),
    ],
)
def test_contention_is_bounded_by_the_task_or_by_the_workers_of_its_queue(
    conf: dict[str, Any], options: dict[str, Any], verdict: str, shown: str
) -> None:
    app = new_app(**conf)
    add_task(app, **options)

    assert said("7.8", app)[0] == verdict
    assert shown in said("7.8", app)[1]


def test_pools_of_connections_are_bounded() -> None:
    def bounded(self: Any) -> None:
        sa.create_engine("postgresql://", pool_size=2, max_overflow=1)

    def endless(self: Any) -> None:
        sa.create_engine("postgresql://", max_overflow=-1)

    def unpooled(self: Any) -> None:
        sa.create_engine("postgresql://", poolclass=sa.pool.NullPool)

    app, poolless = new_app(), new_app(broker_pool_limit=0)
    redis = new_app(result_backend="redis://127.0.0.1:1/1")
    few = new_app(result_backend="redis://127.0.0.1:1/1", redis_max_connections=20)
    for each in (app, poolless, redis, few):
        add_task(each, code=bounded)
    add_task(app, "shop.till.endless", code=endless)
    add_task(app, "shop.till.unpooled", code=unpooled)

    verdict, evidence = said("7.9", app)
    assert verdict == "PASS"
    assert evidence.startswith("broker_pool_limit=10; steadybeat_ledger_pool_count=5; create_engine(pool_size=2, max_")
    assert said("7.9", app, "shop.till.endless")[0] == said("7.9", app, "shop.till.unpooled")[0] == "FAIL"
    assert said("7.9", poolless)[0] == "FAIL"
    assert said("7.9", redis)[0] == "FAIL"
    assert said("7.9", few)[0] == "PASS"
