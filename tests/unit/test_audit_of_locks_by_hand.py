"""What the audit says of locks that a task takes by itself, where the platform does not guard its runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from tests.audited import add_task, new_app, said

client = Redis()
database: Any = None


def work() -> None:
    """Do what the lock is for."""


def careful(self: Any) -> None:
    with client.lock("careful", timeout=30, blocking_timeout=5):
        work()


def renewed(self: Any) -> None:
    lock = client.lock("renewed", timeout=5)
    if not lock.acquire(blocking=False):
        return
    try:
        work()
        lock.extend(5)
    finally:
        lock.release()


def endless(self: Any) -> None:
    if not client.set("endless", "1", nx=True):
        return
    work()
    client.delete("endless")


def too_short(self: Any) -> None:
    if not client.set("too-short", "1", nx=True, ex=10):
        return
    try:
        work()
    finally:
        client.delete("too-short")


def too_long(self: Any) -> None:
    if client.set("too-long", "1", nx=True, ex=86_400):
        work()


def unlooked(self: Any) -> None:
    client.set("unlooked", "1", nx=True, ex=60)
    work()


def silent(self: Any) -> None:
    lock = client.lock("silent", timeout=30)
    lock.acquire()
    try:
        work()
    finally:
        try:  # noqa: SIM105 - what the test is about
            lock.release()
        except Exception:  # noqa: BLE001 - the same
            pass


def of_postgres(self: Any) -> None:
    with database.begin() as db:
        db.execute("SELECT pg_advisory_xact_lock(7)")
        work()


def shared_one(self: Any) -> None:
    with client.lock("report", timeout=30):
        work()


def shared_other(self: Any) -> None:
    with client.lock("report", timeout=30):
        work()


def of_account(self: Any, account: int) -> None:
    with client.lock(f"account:{account}", timeout=30):
        work()


EVERY = (
    careful,
    renewed,
    endless,
    too_short,
    too_long,
    unlooked,
    silent,
    of_postgres,
    shared_one,
    shared_other,
    of_account,
)


@pytest.fixture(scope="module")
def app() -> Any:
    app = new_app()
    for code in EVERY:
        add_task(app, f"shop.till.{code.__name__}", code=code, recorded=False, time_limit=20, soft_time_limit=15)
    return app


@pytest.mark.parametrize(
    ("line", "code", "verdict", "shown"),
    [
        ("2.1", careful, "PASS", "looks whether it got it"),
        ("2.1", unlooked, "FAIL", "whether it got it or not"),
        ("2.2", careful, "PASS", "one for all of its runs"),
        ("2.2", of_account, "PASS", "of what it works on"),
        ("2.2", shared_one, "FAIL", "is also that of shop.till.shared_other"),
        ("2.3", careful, "PASS", "lasts 30 s, time_limit=20 s"),
        ("2.3", renewed, "PASS", "is extended"),
        ("2.3", endless, "PASS", "never lapses"),
        ("2.3", too_short, "FAIL", "lasts 10 s, time_limit=20 s"),
        ("2.4", careful, "PASS", "by its with"),
        ("2.4", too_short, "PASS", "by its finally"),
        ("2.4", endless, "FAIL", "only where nothing is raised"),
        ("2.4", unlooked, "PARTIAL", "lapses after 60 s"),
        ("2.5", renewed, "PASS", "is extended"),
        ("2.5", careful, "N/A", "longer than time_limit"),
        ("2.5", endless, "N/A", "never lapses"),
        ("2.5", too_short, "FAIL", "nothing extends it"),
        ("2.6", careful, "PASS", "waits for 5 s"),
        ("2.6", renewed, "PASS", "does not go on"),
        ("2.6", unlooked, "FAIL", "nobody looks"),
        ("2.7", careful, "PARTIAL", "nobody is alerted"),
        ("2.7", silent, "FAIL", "is swallowed"),
        ("2.8", careful, "PASS", "the error ends the attempt"),
        ("2.9", careful, "PASS", "only who took it"),
        ("2.9", too_short, "FAIL", "also where it has lapsed"),
        ("2.10", careful, "N/A", "no quorum"),
        ("2.11", careful, "FAIL", "at commit"),
        ("2.11", of_postgres, "PASS", "ends with the transaction"),
        ("7.5", careful, "PASS", "lapses after 30 s"),
        ("7.5", of_postgres, "PASS", "ends with the connection"),
        ("7.5", endless, "FAIL", "never lapses"),
        ("7.5", too_long, "FAIL", "blocks for 86400 s"),
    ],
)
def test_a_lock_of_its_own_is_worth_what_its_code_says(
    app: Any, line: str, code: Callable[..., Any], verdict: str, shown: str
) -> None:
    found, evidence = said(line, app, f"shop.till.{code.__name__}")

    assert (found, shown in evidence) == (verdict, True), evidence
    if line != "2.10":
        assert "test_audit_of_locks_by_hand.py:" in evidence
