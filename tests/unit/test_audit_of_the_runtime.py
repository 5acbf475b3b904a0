"""Section 6 of the audit: of each line a task that passes, and one that does not."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from steadybeat import every
from tests.audited import add_task, new_app, said

engine: Any = None
EACH_MINUTE = every(timedelta(minutes=1))


class OwnScheduler:
    """One that nobody maintains."""


def nothing(self: Any) -> None:
    """Do nothing."""


def schedules_itself(self: Any) -> None:
    threading.Timer(60, nothing).start()


def loads(self: Any) -> Any:
    with engine.connect() as db:
        return db.execute(sa.text("SELECT id FROM sales")).fetchall()


def reads_some(self: Any) -> Any:
    with engine.connect() as db:
        return db.execute(sa.select(sa.column("id")).select_from(sa.table("sales")).limit(500)).fetchall()


def loops(self: Any) -> None:
    while True:
        with engine.begin() as db:
            db.execute(sa.text("DELETE FROM old WHERE id < 7"))


def iterates(self: Any) -> None:
    for _ in self.iterate(range(100)):
        with engine.begin() as db:
            db.execute(sa.text("DELETE FROM old WHERE id < 7"))


def looks(self: Any) -> None:
    while not self.should_stop:
        with engine.begin() as db:
            db.execute(sa.text("DELETE FROM old WHERE id < 7"))


def batches() -> Any:
    while True:
        with engine.connect() as db:
            yield db.execute(sa.text("SELECT id FROM old LIMIT 500"))


def goes_through_batches(self: Any) -> None:
    for batch in self.iterate(batches()):
        with engine.begin() as db:
            db.execute(sa.text("DELETE FROM old WHERE id = :id"), {"id": batch})


def forks(self: Any) -> None:
    subprocess.run(["true"], check=True)


def forks_briefly(self: Any) -> None:
    subprocess.run(["true"], check=True, timeout=5)


def of(line: str, code: Callable[..., Any] = nothing, conf: dict[str, Any] | None = None, **options: Any) -> Any:
    """Return what a line says of one task with this code."""
    app = new_app(**(conf or {}))
    add_task(app, code=code, **options)
    return said(line, app)


def test_the_scheduler_is_a_library_that_somebody_maintains() -> None:
    verdict, evidence = of("6.1", schedule=EACH_MINUTE)
    assert verdict == "PASS"
    assert evidence.startswith("beat_scheduler=steadybeat.beat.scheduler:SteadyScheduler, on celery 5.")
    own = {"beat_scheduler": f"{__name__}:OwnScheduler"}
    assert of("6.1", conf=own, schedule=EACH_MINUTE)[0] == "FAIL"
    assert of("6.1", conf=own)[0] == "N/A"
    assert of("6.1", schedules_itself)[0] == "FAIL"


def test_schedules_and_messages_are_in_the_ledger() -> None:
    assert of("6.2", schedule=EACH_MINUTE)[0] == "UNKNOWN"  # which it has, only the ledger knows
    foreign = {"beat_scheduler": "celery.beat:PersistentScheduler"}
    assert of("6.2", conf=foreign, schedule=EACH_MINUTE)[0] == "FAIL"
    assert of("6.2", recorded=False)[0] == "FAIL"


@pytest.mark.parametrize(
    ("code", "verdict", "shown"),
    [
        (reads_some, "PASS", "limit() at "),
        (loads, "FAIL", "all of it at once"),
        (nothing, "N/A", "reads no rows"),
    ],
)
def test_inputs_come_in_pieces(code: Callable[..., Any], verdict: str, shown: str) -> None:
    found, evidence = of("6.3", code)
    assert (found, shown in evidence) == (verdict, True), evidence


def test_memory_is_measured_and_bounded() -> None:
    assert of("6.4", memory_limit=2**28)[0] == of("6.4", conf={"worker_max_memory_per_child": 300_000})[0] == "PASS"
    assert of("6.4")[0] == "PARTIAL"
    assert of("6.4", memory_limit=2**28, conf={"worker_pool": "threads"})[0] == "FAIL"
    assert of("6.4", memory_limit=2**28, recorded=False)[0] == "FAIL"
    assert of("6.4", conf={"worker_max_memory_per_child": 300_000}, recorded=False)[0] == "PARTIAL"


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (iterates, "PASS"),
        (looks, "PASS"),
        (goes_through_batches, "PASS"),
        (loops, "FAIL"),
        (nothing, "N/A"),
    ],
)
def test_a_long_loop_asks_whether_to_go_on(code: Callable[..., Any], verdict: str) -> None:
    assert of("6.5", code)[0] == verdict


def test_nobody_answers_a_loop_that_asks_without_a_record() -> None:
    assert of("6.5", iterates, recorded=False)[0] == "PARTIAL"


def test_work_is_done_by_workers() -> None:
    assert of("6.6")[0] == "UNKNOWN"  # which workers live, the ledger knows
    assert of("6.6", conf={"task_always_eager": True})[0] == "FAIL"


def test_what_computes_keeps_nobody_from_going_on() -> None:
    assert of("6.7")[0] == "UNKNOWN"  # which processes live, the ledger knows
    assert of("6.7", conf={"worker_pool": "solo"})[0] == "FAIL"


def test_what_hangs_is_killed_with_what_it_has_started() -> None:
    assert of("6.8")[0] == of("6.8", forks_briefly)[0] == "PASS"
    assert of("6.8", conf={"worker_pool": "threads"})[0] == "FAIL"
    verdict, evidence = of("6.8", forks)
    assert (verdict, "`subprocess.run(…)` at " in evidence) == ("FAIL", True)
    app = new_app()
    add_task(app).time_limit = None  # behind the back of what gives each task one
    assert said("6.8", app)[0] == "FAIL"


def test_code_that_cannot_be_read_is_not_judged() -> None:
    made: dict[str, Any] = {}
    exec("def written(self): pass", made)  # code without a file
    for line in ("6.3", "6.5", "6.8"):
        assert of(line, made["written"])[0] == "UNKNOWN"
