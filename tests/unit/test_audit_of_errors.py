"""Section 5 of the audit: of each line a task that passes, and one that does not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from redis import Redis

from steadybeat import Permanent, Snooze, every
from tests.audited import ROUTED, add_task, new_app, said

logger = logging.getLogger(__name__)
engine: Any = None
other: Any = None
client = Redis()
EACH_MINUTE = every(timedelta(minutes=1))


def nothing(self: Any) -> None:
    """Do nothing."""


def threads(self: Any) -> None:
    threading.Thread(target=nothing).start()


def swallows(self: Any) -> None:
    try:
        nothing(self)
    except Exception:  # noqa: BLE001 - what the test is about
        logger.warning("it failed")


def suppresses(self: Any) -> None:
    with suppress(Exception):
        nothing(self)


def suppresses_one(self: Any) -> None:
    with suppress(FileNotFoundError):
        nothing(self)


def logs_only(self: Any) -> None:
    try:
        nothing(self)
    except Exception:
        logger.exception("it failed")


def raises(self: Any) -> None:
    try:
        nothing(self)
    except Exception as error:
        logger.info("it failed")
        raise RuntimeError("it failed") from error


def loops(self: Any) -> None:
    for number in range(100):
        with engine.begin() as db:
            db.execute(sa.text("DELETE FROM old WHERE id = :id"), {"id": number})


def iterates(self: Any) -> None:
    for number in self.iterate(range(100), checkpoint=lambda number: number):
        with engine.begin() as db:
            db.execute(sa.text("DELETE FROM old WHERE id = :id"), {"id": number})


def steps(self: Any) -> None:
    for number in range(100):
        with self.exactly_once(step=f"{number}") as db:
            db.execute(sa.text("DELETE FROM old WHERE id = :id"), {"id": number})


def sends(self: Any) -> None:
    for number in range(100):
        other.apply_async((number,))


def looks(self: Any) -> None:
    for number in range(100):
        if self.should_stop:
            break
        other.apply_async((number,))


def fans_out(self: Any) -> Any:
    return self.fan_out(other, tenants=[1, 2])


def retries(self: Any) -> None:
    raise self.retry(countdown=60, max_retries=None)


def snoozes(self: Any) -> None:
    raise Snooze(timedelta(minutes=1))


def forgets_its_lock(self: Any) -> None:
    if client.set("till", "1", nx=True, ex=60):
        nothing(self)


def of(line: str, code: Callable[..., Any] = nothing, conf: dict[str, Any] | None = None, **options: Any) -> Any:
    """Return what a line says of one task with this code."""
    app = new_app(**(conf or {}))
    add_task(app, code=code, **options)
    return said(line, app)


def test_an_error_is_taken_around_the_task_and_around_the_scheduler() -> None:
    verdict, evidence = of("5.1", schedule=EACH_MINUTE)
    assert verdict == "PASS"
    assert "SteadyScheduler tries a publish again" in evidence
    assert "steadybeat_crash_count=3" in evidence
    foreign = {"beat_scheduler": "celery.beat:PersistentScheduler"}
    assert of("5.1", conf=foreign)[0] == "PASS"  # nothing of it is scheduled
    assert of("5.1", conf=foreign, schedule=EACH_MINUTE)[0] == "FAIL"
    assert of("5.1", recorded=False)[0] == "FAIL"
    verdict, evidence = of("5.1", threads)
    assert (verdict, "`threading.Thread" in evidence) == ("PARTIAL", True)


def test_an_error_is_logged_with_its_stack() -> None:
    assert of("5.2")[0] == of("5.2", raises)[0] == of("5.2", logs_only)[0] == "PASS"
    assert of("5.2", suppresses_one)[0] == "PASS"
    assert of("5.2", swallows)[0] == "FAIL"
    verdict, evidence = of("5.2", suppresses)
    assert (verdict, evidence.startswith("suppress(Exception) at ")) == ("FAIL", True)
    assert of("5.2", throws=(KeyError,)) == ("PARTIAL", "throws=(KeyError): these are logged without their stack")
    assert of("5.2", conf={"worker_hijack_root_logger": False})[0] == "PARTIAL"
    assert of("5.2", recorded=False)[0] == "FAIL"


def test_an_error_that_is_swallowed_is_told_to_nobody() -> None:
    assert of("5.3", swallows, ROUTED)[0] == of("5.3", logs_only, ROUTED)[0] == "FAIL"
    assert of("5.3", suppresses, ROUTED)[0] == "FAIL"
    assert of("5.3", raises)[0] == "FAIL"  # there is no way to anybody
    verdict, evidence = of("5.3", raises, ROUTED, owner="payments-team")
    assert verdict == "UNKNOWN"  # whether a watchdog lives, the ledger knows
    assert evidence.startswith("dead_letter (error) → payments")
    assert of("5.3", raises, ROUTED, schedule=EACH_MINUTE)[1].startswith("failed (error) → oncall")


@pytest.mark.parametrize(
    ("code", "verdict", "shown"),
    [
        (iterates, "PASS", "shows how far it is"),
        (steps, "PASS", "keeps each round: `self.exactly_once(…)`"),
        (sends, "PASS", "keeps each round: `other.apply_async(…)`"),
        (fans_out, "PASS", "each tenant has a run of its own"),
        (loops, "FAIL", "nothing says how far it came"),
        (nothing, "N/A", "no loop"),
    ],
)
def test_how_far_it_came_is_on_record(code: Callable[..., Any], verdict: str, shown: str) -> None:
    found, evidence = of("5.4", code)
    assert (found, shown in evidence) == (verdict, True), evidence


def test_what_is_not_recorded_has_no_progress_on_record() -> None:
    assert of("5.4", iterates, recorded=False)[0] == "FAIL"


def test_retries_have_an_end() -> None:
    assert of("5.5", max_retries=5)[0] == "PASS"
    assert of("5.5", max_retries=None, retry_for=timedelta(hours=6)) == (
        "PASS",
        "retry_for=6:00:00; steadybeat_crash_count=3 bounds deaths of its worker",
    )
    assert "a Snooze (" in of("5.5", snoozes)[1]
    verdict, evidence = of("5.5", retries)
    assert (verdict, "`self.retry(max_retries=None)` at " in evidence) == ("FAIL", True)
    app = new_app()
    add_task(app).max_retries = None  # behind the back of what refuses it
    assert said("5.5", app)[0] == "FAIL"


@pytest.mark.parametrize(
    ("options", "verdict", "shown"),
    [
        ({"retry_backoff": 10}, "PASS", "retry_backoff=10 s, doubled each time"),
        ({}, "PASS", "steadybeat_retry_backoff_seconds=1 s"),
        ({"retry_backoff": 10, "retry_jitter": False}, "PARTIAL", "retry_jitter=False"),
        ({"retry_kwargs": {"countdown": 60}}, "FAIL", "pauses do not grow"),
        ({"conf": {"steadybeat_retry_backoff_seconds": 0}}, "FAIL", "tried again at once"),
        ({"code": retries}, "FAIL", "`self.retry(countdown=60)` at "),
        ({"recorded": False, "autoretry_for": (OSError,)}, "FAIL", "retry_backoff=None"),
        ({"max_retries": 0}, "N/A", "not tried again"),
    ],
)
def test_pauses_grow_and_differ(options: dict[str, Any], verdict: str, shown: str) -> None:
    found, evidence = of("5.6", **options)
    assert (found, shown in evidence) == (verdict, True), evidence


def test_errors_are_told_apart_by_asking_what_becomes_of_some() -> None:
    told = "ConnectionError: retry, IntegrityError: dead, Permanent: dead, ZeroDivisionError: retry"
    assert of("5.7") == ("PASS", f"asked what becomes of errors: {told}")
    verdict, evidence = of("5.7", autoretry_for=(Exception,))
    assert (verdict, "IntegrityError: autoretry_for has it" in evidence) == ("FAIL", True)
    assert of("5.7", autoretry_for=(Exception,), classify=_by_kind)[0] == "PASS"
    assert of("5.7", autoretry_for=(KeyError,))[0] == "FAIL"
    assert of("5.7", recorded=False)[0] == "FAIL"
    assert of("5.7", max_retries=0)[0] == "N/A"


def _by_kind(error: Exception) -> type[Permanent] | None:
    return Permanent if isinstance(error, sa.exc.IntegrityError) else None


def test_dead_letters_are_those_of_recorded_runs() -> None:
    assert of("5.8")[0] == "UNKNOWN"  # whether the ledger has its tables, the ledger knows
    assert of("5.8", recorded=False)[0] == "FAIL"


def test_a_worker_that_ends_lets_work_hand_over() -> None:
    assert of("5.9")[0] == of("5.9", iterates)[0] == of("5.9", looks)[0] == "PASS"
    verdict, evidence = of("5.9", loops)
    assert (verdict, "does not ask whether its worker ends" in evidence) == ("PARTIAL", True)
    assert of("5.9", conf={"worker_soft_shutdown_timeout": 0})[0] == "FAIL"
    assert of("5.9", conf={"steadybeat_stop_grace_seconds": 10})[0] == "FAIL"  # 8 s, and twice 5 s for the ledger
    assert of("5.9", conf={"steadybeat_stop_grace_seconds": 30})[0] == "PASS"
    assert of("5.9", recorded=False)[0] == "FAIL"


def test_what_was_not_done_is_gone_on_with() -> None:
    assert of("5.10")[0] == "UNKNOWN"  # whether somebody looks, the ledger knows
    assert of("5.10", acks_late=False) == ("FAIL", "acks_late=False: its message is gone before its end is on record")
    assert of("5.10", conf={"task_reject_on_worker_lost": False})[0] == "FAIL"
    assert of("5.10", recorded=False)[0] == "FAIL"


def test_nothing_stays_locked() -> None:
    assert of("5.11")[0] == of("5.11", lock=True)[0] == "PASS"
    assert of("5.11", lock=True)[1].startswith("lock and lease are given back")
    assert of("5.11", forgets_its_lock)[0] == "PARTIAL"
    assert of("5.11", forgets_its_lock, recorded=False)[0] == "PARTIAL"
    assert of("5.11", recorded=False)[0] == "FAIL"
