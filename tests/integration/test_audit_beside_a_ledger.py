"""What the audit asks the ledger of sections 1, 5 and 6: of each line what passes, and what does not."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from steadybeat import every
from steadybeat.beat import definitions
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import TaskRow
from tests.audited import add_task, new_app, said

SETTLE = "shop.till.settle"


@pytest.fixture
def app(ledger: Ledger, ledger_url: str, redis_url: str) -> Iterator[Any]:
    """An app with a scheduled task, beside servers that answer."""
    app = new_app(steadybeat_database_url=ledger_url, steadybeat_redis_url=redis_url)
    add_task(app, schedule=every(timedelta(minutes=1)), depends_on=["postgres", "redis"])
    app.finalize()
    yield app
    app.steadybeat.ledger.database.close()
    app.close()


@pytest.fixture
def live(ledger: Ledger) -> Callable[..., None]:
    """Lets a process live."""

    def sign(role: str, pid: int) -> None:
        ledger.instances.sign_of_life(str(uuid.uuid4()), role=role, host="here", pid=pid, release="0")

    return sign


def test_a_name_that_another_service_has_in_the_ledger_is_taken(app: Any, ledger: Ledger) -> None:
    assert said("1.1", app)[0] == "PASS"
    ledger.tasks.describe([TaskRow(name=SETTLE, service="kiosk")], ["kiosk"])

    verdict, evidence = said("1.1", app)

    assert (verdict, "the ledger has it as a task of service kiosk" in evidence) == ("FAIL", True)


def test_servers_that_are_needed_answer(app: Any) -> None:
    assert said("1.9", app) == ("PASS", "depends_on=['postgres', 'redis']; from here answers: postgres, redis")


def test_dead_letters_are_kept_by_a_ledger_that_has_its_tables(app: Any) -> None:
    verdict, evidence = said("5.8", app)

    assert verdict == "PASS"
    assert "keeps the whole message of a dead run" in evidence


def test_unfinished_work_resumes_while_somebody_looks_for_it(app: Any, live: Callable[..., None]) -> None:
    live("worker", 1)
    assert said("5.10", app)[0] == "FAIL"
    live("watchdog", 2)
    verdict, evidence = said("5.10", app)
    assert (verdict, evidence.endswith("looked for by watchdog here:2")) == ("PASS", True)


def test_schedules_survive_once_they_are_applied(app: Any, ledger: Ledger) -> None:
    assert said("6.2", app) == ("FAIL", f"the ledger does not have the schedule {SETTLE}")
    ledger.schedules.apply(definitions(app), ["till"])
    assert said("6.2", app) == ("PASS", f"steadybeat.schedules has {SETTLE}; each run is a row before it is sent")


def test_work_is_done_by_workers_that_live(app: Any, live: Callable[..., None]) -> None:
    assert said("6.6", app)[0] == "UNKNOWN"
    live("worker", 1)
    assert said("6.6", app)[0] == "PASS"


def test_a_worker_of_another_queue_does_none_of_its_work(app: Any, ledger: Ledger) -> None:
    def live(pid: int, queue: str) -> None:
        ledger.instances.sign_of_life(
            str(uuid.uuid4()), role="worker", host="here", pid=pid, release="0", queues=[queue]
        )

    live(1, "kiosk")
    verdict, evidence = said("6.6", app)
    assert (verdict, evidence.endswith("1 worker alive, none of queue till")) == ("UNKNOWN", True)
    live(2, "till")
    verdict, evidence = said("6.6", app)
    assert (verdict, "2 workers alive, 1 of queue till" in evidence) == ("PASS", True)


def test_the_scheduler_is_a_process_of_its_own(app: Any, live: Callable[..., None]) -> None:
    live("worker", 1)
    assert said("6.7", app)[0] == "UNKNOWN"  # nobody schedules
    live("beat", 2)
    assert said("6.7", app) == ("PASS", "worker_pool='prefork'; Beat is a process of its own: here:2")
    live("beat", 1)
    assert said("6.7", app) == ("FAIL", "here:1 is worker and Beat in one")
