"""Promise: what is to run later waits in the ledger, for a year if need be, whoever is killed meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.acceptance.installation import Shop
from tests.eventually import eventually


def test_delays_of_a_year_and_of_seconds_survive_the_death_of_all_processes(shop: Shop) -> None:
    nodes = [shop.worker("orders"), shop.watchdog()]
    assert all(node.ready() for node in nodes)
    now = datetime.now(UTC)
    year = shop.send("orders.pack", "in a year", options={"eta": now + timedelta(days=365)})
    soon = shop.send("orders.pack", "soon", options={"eta": now + timedelta(seconds=6)})
    stored = shop.run(year)
    row = shop.rows("SELECT * FROM steadybeat.outbox WHERE run = CAST(:run AS uuid)", run=year)
    assert (stored.state, row[0].publish_at) == ("waiting", now + timedelta(days=365))

    for node in nodes:
        node.kill("SIGKILL")
    nodes = [shop.worker("orders"), shop.watchdog()]
    assert all(node.ready() for node in nodes)

    eventually(lambda: shop.run(soon).state == "succeeded")
    assert shop.run(soon).started_at >= now + timedelta(seconds=6)
    assert shop.outcomes(soon) == ["succeeded"]
    assert len(shop.effects("soon")) == 1
    assert shop.run(year) == stored
    assert shop.rows("SELECT * FROM steadybeat.outbox WHERE run = CAST(:run AS uuid)", run=year) == row
    # A worker that was killed may have held the question whether it consumes; of the run nothing waits there.
    eventually(lambda: shop.redis.llen("orders") == 0)
    assert not any(year in str(message) for message in shop.redis.hvals("unacked"))
