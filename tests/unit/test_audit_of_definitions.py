"""Section 1 of the audit: of each line a task that passes, and one that does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests
import sqlalchemy as sa
from celery.exceptions import DuplicateTaskNameWarning
from celery.schedules import crontab

from steadybeat import cron, every, rrule
from steadybeat.errors import ScheduleWarning
from tests.audited import add_task, ask, new_app, said
from tests.unit.coding import Program, program

__all__ = ["program"]

NOON = cron("0 12 * * *", tz="Europe/Riga")


def answer(line: str, conf: dict[str, Any] | None = None, **options: Any) -> tuple[str, str]:
    """Return what a line says of one task with these options."""
    app = new_app(**(conf or {}))
    add_task(app, **options)
    return said(line, app)


def test_a_name_that_is_defined_twice_is_no_name(program: Program) -> None:
    module = program("""
        import steadybeat
        app.conf.steadybeat_database_url = "postgresql://127.0.0.1:1/nowhere"
        app.conf.steadybeat_redis_url = "redis://127.0.0.1:1/0"
        steadybeat.install(app)

        @app.task(name="shop.till.settle")
        def settle():
            "Pay what is owed."

        @app.task(name="shop.till.settle")
        def settle_again():
            "Pay what is owed, again."

        @app.task
        def count():
            "Count what is in the till."
    """)
    with pytest.warns(DuplicateTaskNameWarning):
        verdict, evidence = said("1.1", module.app)
    assert verdict == "FAIL"
    assert "defined 2 times" in evidence
    assert "tasks.py:11" in evidence
    assert "tasks.py:15" in evidence
    verdict, evidence = said("1.1", module.app, f"{module.__name__}.count")
    assert verdict == "PASS"
    assert "of its module and function" in evidence


def test_a_name_of_the_program_that_was_started_is_not_stable() -> None:
    app = new_app()
    add_task(app, "__main__.settle")
    add_task(app, "shop.till.settle")

    assert said("1.1", app, "__main__.settle")[0] == "FAIL"
    assert said("1.1", app) == ("PASS", "shop.till.settle (name=)")


def test_words_say_what_a_schedule_means_and_a_part_of_a_recurrence_rule_is_none() -> None:
    assert answer("1.2", schedule=NOON) == ("PASS", "shop.till.settle: At 12:00 every day (Europe/Riga)")
    fridays = rrule("FREQ=MONTHLY;BYDAY=2FR", dtstart=datetime(2026, 1, 9, 9, tzinfo=UTC))
    verdict, evidence = answer("1.2", schedule=fridays)
    assert verdict == "PARTIAL"
    assert evidence.startswith("not all of it is words: Every month, BYDAY=")
    assert answer("1.2") == ("N/A", "it has no schedule")


def test_a_time_zone_is_a_place_or_utc() -> None:
    assert answer("1.3", schedule=NOON) == ("PASS", "shop.till.settle: tz=Europe/Riga")
    assert answer("1.3", schedule=every(timedelta(hours=1))) == ("PASS", "shop.till.settle: counted in UTC")
    assert answer("1.3", schedule=crontab(hour=3, minute=0)) == (
        "PASS",
        "shop.till.settle: UTC (timezone is unset)",
    )
    assert answer("1.3", {"timezone": "Europe/Riga"}, schedule=crontab(hour=3, minute=0)) == (
        "PASS",
        "shop.till.settle: Europe/Riga (timezone= of the configuration)",
    )
    assert answer("1.3", schedule=cron("0 12 * * *", tz="EST"))[0] == "PARTIAL"
    clock = crontab(hour=3, minute=0, nowfun=lambda: datetime.now(UTC))
    assert answer("1.3", schedule=clock)[0] == "FAIL"
    assert answer("1.3")[0] == "N/A"


def test_a_time_that_clocks_skip_wants_a_policy() -> None:
    with pytest.warns(ScheduleWarning):
        verdict, evidence = answer("1.4", schedule=cron("30 3 * * *", tz="Europe/Riga"))
    assert (verdict, "03:30 lies in the hours in which clocks are changed" in evidence) == ("FAIL", True)
    verdict, evidence = answer("1.4", schedule=cron("30 3 * * *", tz="Europe/Riga", dst="skip"))
    assert verdict == "PASS"
    assert evidence.startswith("shop.till.settle: At 03:30 every day (Europe/Riga), ")
    assert answer("1.4", schedule=NOON)[0] == "PASS"
    nightly = rrule("FREQ=DAILY", dtstart=datetime(2026, 1, 1, 3, 30, tzinfo=ZoneInfo("Europe/Riga")))
    verdict, evidence = answer("1.4", schedule=nightly)
    assert (verdict, "03:30 Europe/Riga is " in evidence) == ("FAIL", True)
    assert answer("1.4")[0] == "N/A"


def test_a_purpose_is_a_sentence() -> None:
    def well(self: Any) -> None:
        """Pay what is owed, once a day."""

    def bare(self: Any) -> None: ...

    def short(self: Any) -> None:
        """Settle."""

    assert answer("1.5", code=well) == ("PASS", "docstring: Pay what is owed, once a day.")
    assert answer("1.5", code=bare)[0] == "FAIL"
    assert answer("1.5", code=short) == ("PARTIAL", "docstring: 'Settle.'")


def test_a_time_limit_counts_where_the_pool_keeps_it() -> None:
    assert answer("1.6", time_limit=60, soft_time_limit=50) == (
        "PASS",
        "time_limit=60 s, soft_time_limit=50 s; worker_pool='prefork' keeps them",
    )
    assert answer("1.6", {"worker_pool": "threads"})[0] == "FAIL"
    app = new_app()
    add_task(app).time_limit = None  # behind the back of what gives each task one
    assert said("1.6", app)[0] == "FAIL"


def test_a_memory_limit_is_that_of_the_task_or_of_its_process() -> None:
    assert answer("1.7", memory_limit=256 * 2**20)[0] == "PASS"
    assert answer("1.7", {"worker_max_memory_per_child": 300_000})[0] == "PASS"
    assert answer("1.7")[0] == "FAIL"
    assert answer("1.7", {"worker_pool": "threads"}, memory_limit=256 * 2**20)[0] == "FAIL"
    assert answer("1.7", memory_limit=256 * 2**20, recorded=False)[0] == "FAIL"  # nobody measures it


@pytest.mark.parametrize(
    ("options", "verdict", "shown"),
    [
        ({"max_retries": 5, "retry_backoff": 10}, "PASS", "max_retries=5, pauses from 10 s on, each twice"),
        ({"max_retries": None, "retry_for": timedelta(hours=6), "retry_backoff": 10}, "PASS", "retry_for=6:00:00"),
        ({"retry_kwargs": {"max_retries": 4, "countdown": 9}}, "PASS", "max_retries=4, a pause of 9 s"),
        ({"max_retries": 0}, "PASS", "max_retries=0: it is not tried again"),
        ({"max_retries": 5}, "PARTIAL", "by default: retry_backoff="),
        ({}, "PARTIAL", "by default: max_retries=, retry_backoff="),
        ({"recorded": False}, "FAIL", "an error ends it"),
        ({"recorded": False, "autoretry_for": (OSError,), "retry_backoff": 2}, "PASS", "max_retries=3"),
        ({"recorded": False, "autoretry_for": (OSError,)}, "PARTIAL", "retry_backoff=None"),
    ],
)
def test_a_retry_policy_is_stated(options: dict[str, Any], verdict: str, shown: str) -> None:
    found, evidence = answer("1.8", **options)
    assert found == verdict
    assert shown in evidence


def pays(self: Any) -> None:
    requests.post("https://bank.example", timeout=5)


def reads(self: Any) -> None:
    sa.create_engine("postgresql://").connect().execute(sa.text("SELECT id FROM sales"))


def test_what_its_code_needs_is_declared() -> None:
    assert answer("1.9")[0] == "N/A"
    assert answer("1.9", code=reads)[0] == "FAIL"
    assert answer("1.9", code=pays)[0] == "FAIL"
    assert answer("1.9", code=pays, depends_on=["bank"]) == ("PASS", "depends_on=['bank']")
    verdict, evidence = answer("1.9", code=pays, depends_on=["postgres"])
    assert (verdict, "`requests.post(…)` at " in evidence) == ("PARTIAL", True)


@pytest.mark.parametrize(("needed", "server"), [("postgres", "Postgres at"), ("redis", "Redis at")])
def test_what_does_not_answer_from_here_is_not_known(needed: str, server: str) -> None:
    app = new_app()
    add_task(app, depends_on=[needed, "bank"])

    found = ask("1.9", app)

    assert found.verdict == "UNKNOWN"
    assert server in found.evidence
    assert "STEADYBEAT_DATABASE_URL" in found.remedy
