"""The statements that every run passes have a connection of their own, which may be in use, broken, or the parent's."""

from __future__ import annotations

import os
import signal
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from steadybeat.errors import LedgerUnavailable
from steadybeat.ledger import Ledger
from steadybeat.ledger.connection import sql
from steadybeat.ledger.prepared import Prepared
from steadybeat.ledger.rows import NewRun
from steadybeat.settings import Settings

BACKEND = Prepared(sql("SELECT pg_backend_pid() AS pid -- who serves us\n, CAST(:reason AS text) AS said"))
SLOW = Prepared(sql("SELECT pg_sleep(:pause_seconds) AS nothing"))


def backend(ledger: Ledger) -> int:
    return int(ledger.database.execute(BACKEND, {"reason": "x"})[0].pid)


@contextmanager
def alarm_after(seconds: float) -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise InterruptedError("the soft time limit")

    former = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


def test_values_that_are_missing_or_odd_arrive_as_they_are(ledger: Ledger) -> None:
    for said in (None, "", "it's 100 % :fine -- really", "Ω"):
        assert ledger.database.execute(BACKEND, {"reason": said})[0].said == said


def test_a_thread_that_finds_the_connection_in_use_takes_another(ledger: Ledger) -> None:
    own = backend(ledger)
    slow = threading.Thread(target=ledger.database.execute, args=(SLOW, {"pause_seconds": 1.0}))
    slow.start()
    others = {backend(ledger) for _ in range(20)}
    slow.join()
    assert others != {own}
    assert backend(ledger) == own


def test_a_connection_that_broke_in_between_is_replaced_unnoticed(ledger: Ledger, ledger_url: str) -> None:
    own = backend(ledger)
    with psycopg.connect(ledger_url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", (own,))
    assert backend(ledger) != own


def test_an_interrupted_statement_leaves_its_answer_to_nobody(ledger: Ledger) -> None:
    own = backend(ledger)
    with alarm_after(0.2), pytest.raises(InterruptedError):
        ledger.database.execute(SLOW, {"pause_seconds": 3.0})
    assert backend(ledger) != own


def test_a_statement_that_takes_too_long_counts_as_unanswered(ledger_url: str) -> None:
    ledger = Ledger(Settings(database_url=ledger_url, ledger_timeout_seconds=0.2))
    with pytest.raises(LedgerUnavailable, match="statement timeout"):
        ledger.database.execute(SLOW, {"pause_seconds": 3.0})
    assert backend(ledger)
    ledger.database.close()


def test_a_server_that_is_not_there_is_named() -> None:
    ledger = Ledger(Settings(database_url="postgresql://postgres@127.0.0.1:1/nothing"))
    with pytest.raises(LedgerUnavailable, match=r"127\.0\.0\.1:1/nothing does not answer"):
        backend(ledger)


def test_what_is_refused_shows_no_values(ledger: Ledger) -> None:
    refused = Prepared(sql("SELECT CAST(:reason AS integer) AS number"))
    with pytest.raises(Exception, match="InvalidTextRepresentation") as caught:
        ledger.database.execute(refused, {"reason": "secret"})
    assert "parameters" not in str(caught.value)
    assert backend(ledger)


def test_a_forked_process_has_a_connection_of_its_own(ledger: Ledger) -> None:
    own = backend(ledger)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, str(backend(ledger)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = int(os.read(reading, 100))
    assert theirs != own
    assert backend(ledger) == own


def test_a_process_holds_no_more_connections_than_it_may(ledger_url: str) -> None:
    ledger = Ledger(Settings(database_url=ledger_url, ledger_pool_count=2))
    threads = [threading.Thread(target=ledger.database.execute, args=(SLOW, {"pause_seconds": 0.1})) for _ in range(8)]
    for thread in threads:
        thread.start()
    with psycopg.connect(ledger_url) as admin:
        held = admin.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = 'steadybeat' AND datname = current_database()"
        ).fetchone()
    for thread in threads:
        thread.join()
    ledger.database.close()
    assert held is not None
    assert held[0] <= 2


@pytest.fixture
def often_interrupted() -> Iterator[None]:
    """Threads that take turns after a few instructions."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def test_threads_that_come_first_together_share_one_engine(ledger_url: str, often_interrupted: None) -> None:
    ledger = Ledger(Settings(database_url=ledger_url))
    together, opened = threading.Barrier(8), []

    def come() -> None:
        together.wait()
        opened.append(ledger.database.engine)

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [ledger.database.engine] * 8


def test_a_run_that_was_recorded_comes_back_from_its_claim_as_it_was(ledger: Ledger) -> None:
    run, instance = str(uuid.uuid4()), str(uuid.uuid4())
    ledger.runs.record(
        NewRun(id=run, task="a.b", service="a", queue="a", idempotency_key="k", message={"headers": {}}, body="[]")
    )
    claim = ledger.runs.claim(run, delivery_no=1, instance=instance, time_limit_seconds=1.0, crash_limit=3)
    assert (claim.verdict, claim.idempotency_key, claim.attempt, claim.scheduled_for) == ("claimed", "k", 1, None)


YIELDS = """
    CREATE SEQUENCE public.tries;
    CREATE FUNCTION public.give_way() RETURNS bigint LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('public.tries') = 1 THEN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END IF;
        RETURN currval('public.tries');
    END $$;
"""
GIVE_WAY = sql("SELECT public.give_way() AS tries")


@pytest.mark.parametrize("statement", [GIVE_WAY, Prepared(GIVE_WAY)], ids=["through the engine", "prepared"])
def test_a_statement_that_postgres_ended_for_the_sake_of_another_is_sent_again(
    ledger: Ledger, ledger_url: str, statement: object
) -> None:
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        connection.execute(YIELDS)
    assert ledger.database.execute(statement, {})[0].tries == 2
