"""Promise: losing Postgres for a while loses no fire, and nothing runs unguarded meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from steadybeat.dev.servers import PostgresServer
from steadybeat.ledger import Ledger
from steadybeat.settings import Settings
from tests.acceptance.installation import Shop
from tests.acceptance.project.timetable import AUDIT, CHARGE, TICK
from tests.eventually import eventually


@pytest.fixture
def own_postgres(servers_folder: Path, tmp_path: Path) -> Iterator[PostgresServer]:
    """A Postgres that this test may break."""
    with PostgresServer(servers_folder / tmp_path.name, durable=False) as server:
        yield server


@pytest.fixture
def shop(own_postgres: PostgresServer, redis_url: str, open_shop: Callable[..., Shop]) -> Shop:
    ledger = Ledger(Settings(database_url=own_postgres.url))
    ledger.upgrade()
    ledger.database.close()
    return open_shop(own_postgres.url, redis_url)


def test_everything_waits_for_postgres_and_then_happens_once(shop: Shop, own_postgres: PostgresServer) -> None:
    worker, beat, watchdog = shop.worker(concurrency=2), shop.beat(), shop.watchdog()
    since = shop.deploy("tick")
    assert worker.ready()
    assert beat.ready()
    assert watchdog.ready()
    eventually(lambda: shop.fired("tick", since))
    begun = [shop.send("orders.pack", f"begun {number}", gate="parcels") for number in range(2)]
    eventually(lambda: shop.starts("begun 0") and shop.starts("begun 1"))
    waiting = [shop.send("orders.pack", f"waiting {number}") for number in range(4)]

    own_postgres.stop()
    eventually(lambda: worker.said("worker paused: the ledger is away") and beat.said("beat waits"))
    eventually(lambda: watchdog.said("watchdog waits"))
    shop.open("parcels")
    eventually(lambda: worker.said("ledger away", again_in=2.0))  # by now every lease has lapsed
    assert not any(shop.starts(f"waiting {number}") for number in range(4))
    own_postgres.start()

    eventually(lambda: worker.said("worker resumed: the ledger answers") and beat.said("beat goes on"))
    eventually(lambda: watchdog.said("watchdog goes on"))
    shop.keeps_its_promise({"tick": TICK}, since)
    names = [*(f"begun {number}" for number in range(2)), *(f"waiting {number}" for number in range(4))]
    assert {name: len(shop.effects(name)) for name in names} == dict.fromkeys(names, 1)
    assert {shop.run(run).state for run in (*begun, *waiting)} == {"succeeded"}
    assert worker.status == beat.status == watchdog.status == "running"


def test_a_pool_process_that_dies_while_postgres_is_away_is_known_to_be_dead_when_it_is_back(
    shop: Shop, own_postgres: PostgresServer
) -> None:
    worker, watchdog = shop.worker("orders", concurrency=1), shop.watchdog()
    assert worker.ready()
    assert watchdog.ready()
    run = shop.send("orders.pack", "parcel", gate="parcel")
    eventually(lambda: shop.starts("parcel"))

    own_postgres.stop()
    os.kill(shop.starts("parcel")[0]["pid"], signal.SIGKILL)
    eventually(lambda: worker.said("outcome not recorded", run_id=run))
    own_postgres.start()
    shop.open("parcel")

    eventually(lambda: shop.run(run).state == "succeeded")
    shop.settle()
    assert len(shop.effects("parcel")) == 1
    assert shop.outcomes(run) == ["lost", "succeeded"]


def test_a_worker_that_can_give_no_sign_of_life_takes_no_work_until_it_can(shop: Shop) -> None:
    worker, watchdog = shop.worker("orders"), shop.watchdog()
    assert worker.ready()
    assert watchdog.ready()

    shop.rows("ALTER TABLE steadybeat.instances RENAME TO moved")
    eventually(lambda: worker.said("worker paused: no sign of life can be given"))
    run = shop.send("orders.pack", "parcel")
    shop.rows("ALTER TABLE steadybeat.moved RENAME TO instances")

    eventually(lambda: shop.run(run).state == "succeeded")
    assert worker.said("worker resumed: the ledger answers")
    shop.settle()
    assert len(shop.starts("parcel")) == len(shop.effects("parcel")) == 1


def test_no_fire_is_lost_in_an_outage_of_twenty_seconds(shop: Shop, own_postgres: PostgresServer) -> None:
    worker, beats = shop.worker(concurrency=2), [shop.beat(), shop.beat()]
    since = shop.deploy("tick", "charge", "count")
    assert all(node.ready() for node in (worker, *beats))
    eventually(lambda: shop.fired("tick", since) and shop.starts("count"))

    own_postgres.stop()
    back_at = datetime.now(UTC) + timedelta(seconds=20)
    eventually(
        lambda: worker.said("worker paused: the ledger is away") and any(beat.said("beat waits") for beat in beats)
    )
    started = len(shop.starts("count"))
    eventually(lambda: datetime.now(UTC) >= back_at)
    assert len(shop.starts("count")) == started
    own_postgres.start()

    eventually(lambda: any(at > back_at for at in shop.fired("tick", since)))
    shop.keeps_its_promise({"tick": TICK, "charge": CHARGE, "count": AUDIT}, since)
    assert [node.status for node in (worker, *beats)] == ["running"] * 3
