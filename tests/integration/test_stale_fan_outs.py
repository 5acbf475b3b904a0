"""What an attempt comes to that has lost its run, and goes on to write tenants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Ignore

import steadybeat
from steadybeat.errors import StaleAttempt
from steadybeat.fanout.order import id_range
from tests.integration.attempting import attempt

TENANTS = ["ann", "bob", "cem"]


@pytest.fixture
def app(ledger_url: str, redis_url: str) -> Iterator[Any]:
    app: Any = Celery("shop", set_as_current=False)
    app.conf.update(steadybeat_database_url=ledger_url, steadybeat_redis_url=redis_url)
    steadybeat.install(app)

    @app.task(name="shop.mail.letter")
    def letter(tenant: str) -> None:
        """What it does is of no interest here."""

    @app.task(name="shop.mail.letters", bind=True)
    def letters(self: Any) -> None:
        """What it does is in each test."""

    yield app
    app.steadybeat.ledger.database.close()


def names(app: Any, run: str) -> list[str]:
    ledger = app.steadybeat.ledger
    ids = id_range(ledger.fan_outs.whole(run).begun_at)
    return sorted(each.tenant for each in ledger.fan_outs.tenants_left(run, ids, after=None, limit=100))


def taken_over(app: Any, run: str) -> None:
    """Let another attempt fan out to the end, while the first stands still."""
    with attempt(app.tasks["shop.mail.letters"], run) as later:
        later._task.fan_out("shop.mail.letter", TENANTS)
        with pytest.raises(Ignore):
            later.succeed(None, [])


def test_an_attempt_that_was_stopped_before_it_fans_out_does_not_hold_up_the_one_that_has(app: Any) -> None:
    letters = app.tasks["shop.mail.letters"]
    run = letters.apply_async().id
    with attempt(letters, run) as stopped:
        taken_over(app, run)
        with pytest.raises(StaleAttempt):
            stopped._task.fan_out("shop.mail.letter", [*TENANTS, "dov"])

    assert app.steadybeat.ledger.fan_outs.whole(run).written_at is not None
    assert names(app, run) == TENANTS


def test_an_attempt_that_was_stopped_while_it_fans_out_adds_nobody_afterwards(app: Any) -> None:
    letters = app.tasks["shop.mail.letters"]
    run = letters.apply_async().id

    def stopped_in_the_middle() -> Iterator[str]:
        yield "ann"
        taken_over(app, run)
        yield "dov"

    with attempt(letters, run) as stopped, pytest.raises(StaleAttempt):
        stopped._task.fan_out("shop.mail.letter", stopped_in_the_middle())

    assert app.steadybeat.ledger.fan_outs.whole(run).written_at is not None
    assert names(app, run) == TENANTS
