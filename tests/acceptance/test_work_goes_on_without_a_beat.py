"""Promise: retries, delays and rescue need no Beat; any number of watchdogs see to them, each thing once."""

from __future__ import annotations

from tests.acceptance.installation import Shop
from tests.eventually import eventually


def test_two_watchdogs_send_a_retry_and_rescue_a_run_once(shop: Shop) -> None:
    first, dogs = shop.worker("orders"), [shop.watchdog(), shop.watchdog()]
    assert all(dog.ready() for dog in dogs)
    assert first.ready()
    retried = shop.send("orders.flaky", "letter", failures=1)
    rescued = shop.send("orders.pack", "parcel", gate="parcel")
    eventually(lambda: shop.starts("parcel"))

    first.kill("SIGKILL")
    second = shop.worker("orders")
    assert second.ready()
    eventually(lambda: len(shop.starts("parcel")) == 2)
    shop.open("parcel")

    eventually(lambda: shop.run(retried).state == shop.run(rescued).state == "succeeded")
    shop.settle()
    assert [len(shop.effects(name)) for name in ("letter", "parcel")] == [1, 1]
    assert shop.outcomes(rescued) == ["lost", "succeeded"]
    assert shop.run(rescued).rescue_count == 1
