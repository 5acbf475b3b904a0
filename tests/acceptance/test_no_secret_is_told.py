"""Promise: what is secret in arguments, URLs and errors is in no line, metric, alert, page, report or answer."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.acceptance.installation import Shop
from tests.eventually import eventually
from tests.receivers.web import WebReceiver

SECRET = "hunter2"
BANK = f"https://shop:{SECRET}@bank.example/accounts"


def test_a_secret_in_arguments_urls_and_errors_is_told_to_nobody(
    ledger_url: str, redis_url: str, open_shop: Callable[..., Shop]
) -> None:
    with WebReceiver() as people:
        shop = open_shop(
            ledger_url,
            redis_url,
            STEADYBEAT_ALERT_CHANNELS=json.dumps({"ops": people.channel(SECRET)}),
            STEADYBEAT_LOG_LINES_COUNT="100",
            STEADYBEAT_METRICS_ADDRESS="127.0.0.1:0",
            STEADYBEAT_METRICS_SECONDS="1",
            STEADYBEAT_WATCH_SECONDS="0.5",
        )
        shop.celery("schedules", "apply")
        flower, worker, watchdog = shop.flower(), shop.worker("orders"), shop.watchdog()
        assert all(node.ready() for node in (flower, worker, watchdog))

        run = shop.send("orders.invoice", BANK, token=SECRET)
        eventually(lambda: shop.run(run).state == "dead" and people.taken)
        eventually(lambda: "dead_letter" in watchdog.metrics().text)
        eventually(lambda: "bank.example" in flower.page(f"/task/{run}"))

        (alert,) = shop.rows("SELECT id FROM steadybeat.alerts")
        told = {
            "messages": json.dumps([each.document for each in people.taken]),
            "metrics": worker.metrics().text + watchdog.metrics().text,
            "flower": "".join(flower.page(path) for path in (f"/task/{run}", "/tasks", "/workers")),
            "lines": "".join(node.logs() for node in (worker, watchdog, flower)),
            "runs": shop.celery("runs", "show", run) + shop.celery("runs", "list", "--json"),
            "dead": shop.celery("dead", "list") + shop.celery("dead", "show", run),
            "alerts": shop.celery("alerts", "show", str(alert.id)) + shop.celery("alerts", "list", "--json", code=1),
            "report": shop.celery("alerts", "report", "--day", f"{shop.run(run).finished_at:%Y-%m-%d}"),
        }
        assert "bank.example" in told["messages"]
        assert "bank.example" in told["lines"]
        assert [where for where, text in told.items() if SECRET in text] == []
