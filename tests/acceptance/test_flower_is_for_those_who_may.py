"""Promise: in Flower people look and change only what their role lets them, and what they change is on record."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import urllib3

from tests.acceptance.installation import Shop
from tests.acceptance.nodes import FlowerNode
from tests.eventually import eventually

ROLES = {"ann": "admin", "bob": "operator", "*": "viewer"}
USERS = {"FLOWER_BASIC_AUTH": "ann:pw,bob:pw,eve:pw", "STEADYBEAT_PAGE_ROLES": json.dumps(ROLES)}


def ask(flower: FlowerNode, path: str, user: str | None = None, method: str = "GET", **given: Any) -> tuple[int, str]:
    headers = urllib3.make_headers(basic_auth=f"{user}:pw") if user else {}
    answer = urllib3.request(
        method, f"{flower.url}{path}", headers={**headers, **given.pop("headers", {})}, redirect=False, **given
    )
    return answer.status, answer.data.decode(errors="replace")


@pytest.fixture
def flower(shop: Shop) -> FlowerNode:
    node = shop.flower(**USERS)
    assert node.ready()
    return node


def test_nobody_sees_a_page_or_a_metric_without_signing_in(flower: FlowerNode) -> None:
    assert ask(flower, "/operations")[0] == 401
    assert ask(flower, "/operations", "eve")[0] == 200
    assert ask(flower, "/metrics")[0] == 401
    assert "flower" in ask(flower, "/metrics", "eve")[1]
    assert ask(flower, "/healthcheck") == (200, "OK")


def test_metrics_are_open_only_on_purpose(shop: Shop) -> None:
    closed = shop.flower()
    opened = shop.flower(STEADYBEAT_PAGE_METRICS="open")
    assert closed.ready()
    assert opened.ready()
    assert ask(closed, "/metrics")[0] == 401
    assert ask(opened, "/metrics")[0] == 200


def test_flowers_own_controls_are_for_operators_and_those_of_workers_for_admins(shop: Shop, flower: FlowerNode) -> None:
    worker = shop.worker("orders")
    assert worker.ready()
    send = "/api/task/send-task/shop.orders.pack"
    body = json.dumps({"args": ["parcel"]})

    status, text = ask(flower, send, "eve", "POST", body=body)
    assert (status, "eve is a viewer" in text) == (403, True)
    assert ask(flower, send, "bob", "POST", body=body)[0] == 200
    eventually(lambda: shop.starts("parcel"))
    name, *_ = eventually(lambda: [*json.loads(ask(flower, "/api/workers?refresh=1", "eve")[1])])
    shutdown = f"/api/worker/shutdown/{name}"
    assert ask(flower, shutdown, "bob", "POST")[0] == 403
    assert ask(flower, shutdown, "ann", "POST")[0] == 200

    noted = "SELECT who, what, target FROM steadybeat.operations ORDER BY id"
    expected = [("bob", "flower POST", send), ("ann", "flower POST", shutdown)]
    eventually(lambda: [tuple(row) for row in shop.rows(noted)] == expected)
    listed = ask(flower, "/operations", "eve")[1]
    assert re.search(rf"bob</a></td>.*{re.escape(send)}", listed, re.DOTALL)


def test_a_read_only_flower_changes_nothing_for_anybody(shop: Shop) -> None:
    flower = shop.flower("--read_only", **USERS)
    assert flower.ready()
    status, text = ask(flower, "/api/task/send-task/shop.orders.pack", "ann", "POST", body="{}")
    assert (status, "--read_only" in text) == (403, True)
    assert "ann: admin, read-only" in ask(flower, "/operations", "ann")[1]


def test_pages_stand_below_a_prefix_and_the_stock_pages_stay(shop: Shop) -> None:
    flower = shop.flower("--url_prefix=/flower/", **USERS)
    eventually(lambda: "Visit me at" in flower.logs())
    status, page = ask(flower, "/flower/operations", "eve")
    assert status == 200
    for address in re.findall(r'(?:href|src)="([^"#]+)"', page):
        if not address.startswith("http"):
            assert address.startswith("/flower/"), address
            assert ask(flower, address, "eve")[0] == 200, address
    assert 'href="/flower/operations"' in ask(flower, "/flower/workers", "eve")[1]
