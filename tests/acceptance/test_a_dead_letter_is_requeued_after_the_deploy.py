"""Promise: what no worker could take is a dead letter, and is done under its old id when it is requeued later."""

from __future__ import annotations

import json
import uuid

from tests.acceptance.installation import Shop
from tests.eventually import eventually


def test_what_no_worker_could_take_is_listed_and_done_after_the_deploy(shop: Shop) -> None:
    old, watchdog = shop.worker("orders"), shop.watchdog()
    assert old.ready()
    assert watchdog.ready()
    run = shop.send("orders.wrap", "of a caller")
    with shop.caller.connection_for_write() as connection:  # a message of a program without steadybeat
        headers = {"lang": "py", "task": "shop.orders.wrap", "id": str(uuid.uuid4())}
        body = [["of another program"], {}, {}]
        connection.Producer().publish(body, serializer="json", exchange="", routing_key="orders", headers=headers)
        connection.Producer().publish("garbage", serializer="json", exchange="", routing_key="orders")

    def letters() -> dict[str, str]:
        return {each["id"]: each["reason"] for each in json.loads(shop.celery("dead", "list", "--json"))}

    eventually(lambda: len(letters()) == 3)
    found = letters()
    assert found.pop(run) == "unknown task 'shop.orders.wrap'"
    message, garbage = sorted(found, key=lambda name: found[name] == "not a task message")
    assert found == {message: "unknown task 'shop.orders.wrap'", garbage: "not a task message"}

    old.kill("SIGTERM")
    new = shop.worker("orders", SHOP_WRAPS="1")
    assert new.ready()
    eventually(lambda: old.status == "exited")  # until then it takes messages, and knows the task no better
    said = shop.celery("dead", "requeue", "--error", "unknown task", "--reason", "deployed", "--json")
    assert set(json.loads(said)["requeued"]) == {run, message}
    assert "was discarded" in shop.celery("dead", "discard", garbage, "--reason", "nobody's")

    eventually(lambda: shop.effects("of a caller") and shop.effects("of another program"))
    shop.settle()
    assert [str(each.run_id) for each in shop.effects("of a caller")] == [run]
    assert [str(each.run_id) for each in shop.effects("of another program")] == [headers["id"]]
    assert letters() == {}
    noted = {row.what for row in shop.rows("SELECT what FROM steadybeat.operations")}
    assert noted == {"dead requeue", "dead discard"}
