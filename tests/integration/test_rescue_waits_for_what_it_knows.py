"""When a rescuer believes that workers are gone: only what it has watched the ledger for."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from celery import Celery

import steadybeat
from steadybeat.delivery import Rescuer
from steadybeat.ledger import Ledger
from tests.integration.records import claim, recorded


class Clock:
    """Seconds that pass when they are told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def passes(ledger: Ledger, ledger_url: str, redis_url: str, clock: Clock) -> Iterator[Callable[[int], int]]:
    """Let seconds go by, with a pass at the end of each, and return how many runs were rescued."""
    app = Celery("rescuing", set_as_current=False)
    app.conf.update(steadybeat_database_url=ledger_url, steadybeat_redis_url=redis_url, steadybeat_lease_seconds=15)
    steadybeat.install(app)
    rescuer = Rescuer(app, clock)

    def go_by(seconds: int) -> int:
        found = 0
        for _ in range(seconds):
            clock.now += 1
            found += rescuer()
        return found

    yield go_by
    app.steadybeat.ledger.database.close()


def a_lost_run(ledger: Ledger) -> None:
    assert claim(ledger, recorded(ledger), str(uuid.uuid4())).verdict == "claimed"


def test_a_rescuer_that_is_new_watches_for_a_whole_lease_first(ledger: Ledger, passes: Callable[[int], int]) -> None:
    a_lost_run(ledger)
    assert passes(15) == 0
    assert passes(1) == 1


def test_a_rescuer_that_stood_still_knows_nothing_of_that_time(
    ledger: Ledger, passes: Callable[[int], int], clock: Clock
) -> None:
    assert passes(20) == 0
    a_lost_run(ledger)
    clock.now += 60
    assert passes(15) == 0
    assert passes(1) == 1
