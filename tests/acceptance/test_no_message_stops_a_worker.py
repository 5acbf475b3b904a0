"""Promise: no message stops a worker, and none that cannot be read is thrown away."""

from __future__ import annotations

import base64
import json
import pickle
import uuid
from typing import Any

from tests.acceptance.eventually import eventually
from tests.acceptance.installation import Shop

BODY = json.dumps([["a parcel"], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]).encode()


def message(body: bytes = BODY, *, without: str = "", **changed: Any) -> bytes:
    """Return a message as kombu writes it, with some of its parts changed or left out."""
    run = str(uuid.uuid4())
    headers = {"lang": "py", "task": "shop.orders.pack", "id": run, "root_id": run, "retries": 0, "eta": None}
    headers |= {"expires": None, "timelimit": [None, None], "argsrepr": "()", "kwargsrepr": "{}", "origin": "a test"}
    delivery = {"exchange": "", "routing_key": "orders"}
    properties = {"correlation_id": run, "delivery_mode": 2, "delivery_info": delivery, "priority": 0}
    properties |= {"body_encoding": "base64", "delivery_tag": str(uuid.uuid4())}
    whole: dict[str, Any] = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": properties,
    }
    for part, value in changed.items():
        name = part.replace("_", "-") if part.startswith("content") else part
        holder = whole if name in whole else properties if name in properties else headers
        holder[name] = value
    for holder in (whole, headers, properties):
        holder.pop(without, None)
    return json.dumps(whole).encode()


UNREADABLE = {
    "no JSON": b"garbage",
    "no text": b"\xff\xfe\x00",
    "nothing": b"",
    "a number": b"5",
    "null": b"null",
    "a list": b"[]",
    "another's object": b'{"order": 17}',
    "nested too deeply": b"[" * 200_000,
    "no properties": message(without="properties"),
    "no delivery tag": message(without="delivery_tag"),
    "no delivery info": message(without="delivery_info"),
    "no headers": message(without="headers"),
    "headers that are a list": message(headers=[]),
    "a body that is a number": message(body_encoding=None, body=None) and message(body_encoding="utf-8", body=5)
    if False
    else message(without="body").replace(b'"content-encoding"', b'"body": 5, "content-encoding"'),
}

UNTAKEABLE = {
    "no id": message(without="id"),
    "no task": message(without="task"),
    "an unknown task": message(task="shop.orders.unheard_of"),
    "a task that is a list": message(task=["shop.orders.pack"]),
    "an id that is a number": message(id=5),
    "an id that is no UUID": message(id="parcel"),
    "a body that is not JSON": message(b"[[1, 2"),
    "a body that is not base64": message(without="body").replace(
        b'"content-encoding"', b'"body": "@", "content-encoding"'
    ),
    "a body that is a number": message(b"5"),
    "a body that is too short": message(b"[[]]"),
    "arguments that are a number": message(b"[5, {}, {}]"),
    "keywords that are a list": message(b"[[], [1], {}]"),
    "an embed that is a number": message(b'[["a parcel"], {}, 5]'),
    "pickle": message(pickle.dumps([["a parcel"], {}, {}]), content_type="application/x-python-serialize"),
    "YAML": message(b"- [a parcel]\n- {}\n- {}\n", content_type="application/x-yaml"),
    "a content type that is a number": message(content_type=5),
    "an unknown encoding": message(content_encoding="klingon"),
    "an unknown body encoding": message(body_encoding="rot13"),
    "an unknown compression": message(compression="application/x-rot13"),
    "an eta that is no time": message(eta="tomorrow"),
    "an expiry that is no time": message(expires="soon"),
    "retries that are a word": message(retries="many"),
    "a time limit that is a word": message(timelimit="short"),
    "a delivery number that is a word": message(steadybeat_delivery="first"),
    "a delivery tag that is a list": message(delivery_tag=[1]),
}


def test_what_cannot_be_read_is_kept_as_it_was_and_the_worker_goes_on(shop: Shop) -> None:
    worker = shop.worker("orders", concurrency=1)
    assert worker.ready()
    pid = worker.pid
    for raw in UNREADABLE.values():
        shop.redis.lpush("orders", raw)
    run = shop.send("orders.pack", "parcel")

    eventually(lambda: shop.run(run).state == "succeeded")
    eventually(lambda: len(kept(shop)) == len(UNREADABLE))
    assert {name for name, raw in UNREADABLE.items() if raw not in kept(shop)} == set()
    assert worker.status == "running"
    assert worker.pid == pid
    assert shop.redis.llen("orders") == shop.redis.hlen("unacked") == 0


def test_what_no_task_can_take_is_kept_and_the_worker_goes_on(shop: Shop) -> None:
    worker = shop.worker("orders", concurrency=1)
    assert worker.ready()
    for raw in UNTAKEABLE.values():
        shop.redis.lpush("orders", raw)
    run = shop.send("orders.pack", "parcel")

    eventually(lambda: shop.run(run).state == "succeeded")
    eventually(lambda: shop.redis.llen("orders") == shop.redis.hlen("unacked") == 0)
    assert len(shop.effects("parcel")) == 1
    print(
        "\n".join(
            str(r)
            for r in shop.rows("SELECT reason, convert_from(raw,'UTF8') FROM steadybeat.foreign_messages order by id")
        )
    )
    print("\n".join(str(r) for r in shop.rows("SELECT task,state,reason FROM steadybeat.runs order by id")))
    assert len(kept(shop)) == len(UNTAKEABLE)
    assert not shop.effects("a parcel")
    assert worker.status == "running"


def kept(shop: Shop) -> list[bytes]:
    return [bytes(row.raw) for row in shop.rows("SELECT raw FROM steadybeat.foreign_messages")]
