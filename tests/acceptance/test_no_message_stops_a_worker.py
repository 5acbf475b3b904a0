"""Promise: no message stops a worker, and none that cannot be read is thrown away."""

from __future__ import annotations

import base64
import json
import pickle
import uuid
from typing import Any

from tests.acceptance.installation import Shop
from tests.eventually import eventually

BODY = json.dumps([["a parcel"], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]).encode()


def message(body: bytes = BODY, *, without: str = "", whole: dict[str, Any] | None = None, **changed: Any) -> bytes:
    """Return a message as kombu writes it, with some of its headers or properties changed, or one part left out.

    Args:
        body: What is sent as its body, in base64.
        without: A part, property or header to leave out.
        whole: Parts of the message itself to change.
        **changed: Properties or headers to change.
    """
    run = str(uuid.uuid4())
    headers = {"lang": "py", "task": "shop.orders.pack", "id": run, "root_id": run, "retries": 0, "eta": None}
    headers |= {"expires": None, "timelimit": [None, None], "argsrepr": "()", "kwargsrepr": "{}", "origin": "a test"}
    properties: dict[str, Any] = {"correlation_id": run, "delivery_mode": 2, "priority": 0, "body_encoding": "base64"}
    properties |= {"delivery_tag": str(uuid.uuid4()), "delivery_info": {"exchange": "", "routing_key": "orders"}}
    for name, value in changed.items():
        (properties if name in properties else headers)[name] = value
    parts: dict[str, Any] = {"content-encoding": "utf-8", "content-type": "application/json"}
    parts |= {"body": base64.b64encode(body).decode(), "headers": headers, "properties": properties, **(whole or {})}
    for holder in (parts, headers, properties):
        holder.pop(without, None)
    return json.dumps(parts).encode()


UNREADABLE = {
    "no JSON": b"garbage",
    "no text": b"\xff\xfe\x00",
    "another encoding": message().decode().encode("utf-16"),
    "nothing": b"",
    "a number": b"5",
    "null": b"null",
    "a list": b"[]",
    "another's object": b'{"order": 17}',
    "nested too deeply": b"[" * 200_000,
    "a type that cannot be decoded": message(when={"__type__": "uuid", "__value__": "tomorrow"}),
    "no properties": message(without="properties"),
    "no delivery tag": message(without="delivery_tag"),
    "a delivery tag that is a list": message(delivery_tag=[1]),
    "no delivery info": message(without="delivery_info"),
    "a routing key that is a number": message(delivery_info={"exchange": "", "routing_key": 5}),
    "no headers": message(without="headers"),
    "headers that are a list": message(whole={"headers": []}),
    "a body that is a number": message(whole={"body": 5}),
    "a body that is not base64": message(whole={"body": "abc"}),
    "an unknown body encoding": message(body_encoding="rot13"),
    "a body encoding that is a number": message(body_encoding=5),
}

UNTAKEABLE = {
    "no id": message(without="id"),
    "an id that is a number": message(id=5),
    "an id that is no UUID": message(id="parcel"),
    "no task": message(without="task"),
    "an unknown task": message(task="shop.orders.unheard_of"),
    "an unknown task with a NUL in its name": message(
        task="shop\0", delivery_info={"exchange": "", "routing_key": "\0"}
    ),
    "a task that is a list": message(task=["shop.orders.pack"]),
    "no body": message(without="body"),
    "a body that is not JSON": message(b"[[1, 2"),
    "a body that is not text": message(b"\xff\xfe"),
    "a number for a body": message(b"5"),
    "a body that is too short": message(b"[[]]"),
    "arguments that are a number": message(b"[5, {}, {}]"),
    "arguments that are a text": message(b'["a parcel", {}, {}]'),
    "keywords that are a list": message(b"[[], [1], {}]"),
    "what follows that is a number": message(b'[["a parcel"], {}, 5]'),
    "pickle": message(pickle.dumps([["a parcel"], {}, {}]), whole={"content-type": "application/x-python-serialize"}),
    "YAML": message(b"- [a parcel]\n- {}\n- {}\n", whole={"content-type": "application/x-yaml"}),
    "a content type that is a number": message(whole={"content-type": 5}),
    "an unknown compression": message(compression="application/x-rot13"),
    "a compression that is not": message(compression="application/x-gzip"),
    "an eta that is no time": message(eta="tomorrow"),
    "an eta that is a list": message(eta=[]),
    "an expiry that is no time": message(expires="soon"),
    "retries that are a word": message(retries="many"),
    "a time limit that is a word": message(timelimit="short"),
    "a delivery number that is a word": message(steadybeat_delivery="first"),
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
    eventually(lambda: shop.redis.llen("orders") == shop.redis.hlen("unacked") == 0)


def test_what_no_task_can_take_is_kept_and_the_worker_goes_on(shop: Shop) -> None:
    worker = shop.worker("orders", concurrency=1)
    assert worker.ready()
    for raw in UNTAKEABLE.values():
        shop.redis.lpush("orders", raw)
    run = shop.send("orders.pack", "parcel")

    eventually(lambda: shop.run(run).state == "succeeded")
    eventually(lambda: shop.redis.llen("orders") == shop.redis.hlen("unacked") == 0)
    assert len(shop.effects("parcel")) == 1
    found = [(whole.get("body"), whole["headers"]) for whole in map(json.loads, kept(shop))]
    sent = {name: json.loads(raw) for name, raw in UNTAKEABLE.items()}
    assert {name for name, whole in sent.items() if (whole.get("body"), whole["headers"]) not in found} == set()
    assert len(found) == len(sent)
    assert not shop.effects("a parcel")
    assert worker.status == "running"


def kept(shop: Shop) -> list[bytes]:
    return [bytes(row.raw) for row in shop.rows("SELECT raw FROM steadybeat.foreign_messages")]
