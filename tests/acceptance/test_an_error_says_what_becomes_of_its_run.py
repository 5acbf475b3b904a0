"""Promise: what an error means decides what becomes of its run, and the run says so."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.acceptance.installation import Shop
from tests.acceptance.nodes import WorkerNode
from tests.eventually import eventually


@pytest.fixture
def worker(shop: Shop) -> WorkerNode:
    """A worker of a shop, beside a process that relays."""
    worker, watchdog = shop.worker("billing", concurrency=4), shop.watchdog()
    assert worker.ready()
    assert watchdog.ready()
    return worker


@pytest.fixture
def bank() -> Iterator[tuple[str, list[datetime]]]:
    """The address of a server that twice asks to be asked later, in seconds and by an instant; and that instant."""
    asks, told = iter(["2", "an instant"]), list[datetime]()

    class Bank(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            later = next(asks, None)
            if later == "an instant":
                told.append((datetime.now(UTC) + timedelta(seconds=3)).replace(microsecond=0))
                later = f"{told[0]:%a, %d %b %Y %H:%M:%S} GMT"
            self.send_response(429 if later else 200)
            if later:
                self.send_header("Retry-After", later)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Bank) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", told
        server.shutdown()


def test_a_task_says_what_becomes_of_its_run(shop: Shop, worker: WorkerNode) -> None:
    runs = {
        "transient": shop.send("errors.billing.say", "transient", "transient", 2),
        "too often": shop.send("errors.billing.say", "too often", "transient", 3),
        "permanent": shop.send("errors.billing.say", "permanent", "permanent", 1),
        "snooze": shop.send("errors.billing.say", "snooze", "snooze", 4),
        "snooze to the deadline": shop.send(
            "errors.billing.say", "snooze to the deadline", "snooze", 99, options={"expires": 1.5}
        ),
        "cancel": shop.send("errors.billing.say", "cancel", "cancel", 1, options={"idempotency_key": "withdrawn"}),
        "permanent, autoretry_for": shop.send("errors.billing.say_behind_autoretry", "p", "permanent", 1),
        "snooze, autoretry_for": shop.send("errors.billing.say_behind_autoretry", "s", "snooze", 4),
        "classified": shop.send("errors.billing.classified", "classified", "the card is stolen"),
        "not classified": shop.send("errors.billing.classified", "not classified", "the card is wet"),
    }
    shop.settle()

    assert {name: (shop.run(run).state, *shop.outcomes(run)) for name, run in runs.items()} | {
        "snooze to the deadline": ...
    } == {
        "transient": ("succeeded", "retried", "retried", "succeeded"),
        "too often": ("dead", "retried", "retried", "failed"),
        "permanent": ("dead", "failed"),
        "snooze": ("succeeded", *["snoozed"] * 4, "succeeded"),
        "snooze to the deadline": ...,
        "cancel": ("cancelled", "cancelled"),
        "permanent, autoretry_for": ("dead", "failed"),
        "snooze, autoretry_for": ("succeeded", *["snoozed"] * 4, "succeeded"),
        "classified": ("dead", "failed"),
        "not classified": ("succeeded", "retried", "succeeded"),
    }
    assert {name: shop.run(run).reason for name, run in runs.items() if shop.run(run).state != "succeeded"} | {
        "snooze to the deadline": ...
    } == {
        "too often": "Transient: the bank is busy; no retry is left (max_retries=2)",
        "permanent": "Permanent: the card is stolen",
        "snooze to the deadline": ...,
        "cancel": "the order was withdrawn",
        "permanent, autoretry_for": "Permanent: the card is stolen",
        "classified": "ValueError: the card is stolen; the task's classifier says Permanent",
    }
    expired = shop.run(runs["snooze to the deadline"])
    assert expired.state == "cancelled"
    assert "deadline" in expired.reason
    assert [each.retries for each in shop.effects("snooze")] == [0]
    assert [shop.run(runs[name]).retry_count for name in ("snooze", "transient")] == [0, 2]

    again = shop.send("errors.billing.say", "after cancel", "cancel", 0, options={"idempotency_key": "withdrawn"})
    eventually(lambda: shop.run(again).state == "succeeded")

    assert worker.said("run snoozed", run_id=runs["snooze"], reason="snoozed for 0.3 s: the bank is closed")
    shown = json.loads(shop.celery("runs", "show", runs["transient"], "--json"))
    assert shown["attempts"][0]["reason"] == "retry in 0.3 s: Transient: the bank is busy"


def test_a_server_that_asks_to_be_asked_later_is(
    shop: Shop, worker: WorkerNode, bank: tuple[str, list[datetime]]
) -> None:
    url, told = bank
    run = shop.send("errors.billing.fetch", "fetched", url)
    eventually(lambda: shop.run(run).state == "succeeded")
    assert shop.outcomes(run) == ["retried", "retried", "succeeded"]
    ended = shop.rows(
        "SELECT reason, started_at, lead(started_at) OVER (ORDER BY number) - finished_at AS pause"
        " FROM steadybeat.attempts WHERE run = CAST(:run AS uuid) ORDER BY number",
        run=run,
    )
    assert ended[0].pause >= timedelta(seconds=2)
    assert ended[2].started_at >= told[0]
    reason = "retry in 2 s: HTTPError: HTTP Error 429: Too Many Requests (HTTP 429, Retry-After)"
    assert ended[0].reason == reason
    assert worker.said("run retried", run_id=run, reason=reason)


def test_celerys_own_options_keep_their_meaning(shop: Shop, worker: WorkerNode) -> None:
    had = shop.send("errors.billing.listed", "had", "OSError")
    excepted = shop.send("errors.billing.listed", "excepted", "ConnectionError")
    not_had = shop.send("errors.billing.listed", "not had", "KeyError")
    given_up = shop.send("errors.billing.gives_up_early", "given up")
    eventually(lambda: shop.run(had).state == "waiting")
    eventually(lambda: all(shop.run(run).finished_at for run in (excepted, not_had, given_up)))

    assert shop.run(had).reason == "retry in 180 s: OSError: no answer (autoretry_for has it)"
    assert shop.run(excepted).reason == "ConnectionError: no answer; dont_autoretry_for has it"
    assert shop.run(not_had).reason == "KeyError: 'no answer'; autoretry_for does not have it"
    assert shop.run(given_up).reason == "ValueError: not yet; no retry is left"
    assert shop.outcomes(given_up) == ["retried", "failed"]


def test_no_attempt_begins_too_late(shop: Shop, worker: WorkerNode) -> None:
    bounded, lost = shop.send("errors.billing.bounded", "bounded"), shop.send("errors.billing.bounded_and_lost", "lost")
    soon = datetime.now(UTC) + timedelta(seconds=60)
    late = shop.send("errors.billing.listed", "late", "OSError", options={"expires": soon})
    slow, too_slow = shop.send("errors.billing.deaf", "slow"), shop.send("errors.billing.stone_deaf")
    shop.settle()

    assert {shop.run(run).state for run in (bounded, lost, late)} == {"dead"}
    assert all(shop.run(run).reason.endswith("when retry_for has passed") for run in (bounded, lost))
    assert shop.run(late).reason.startswith("OSError: no answer; no attempt may begin after")
    assert shop.run(late).reason.endswith("when its deadline has passed")
    assert (shop.outcomes(lost), shop.outcomes(late)) == (["lost"], ["failed"])
    begun = shop.rows(
        "SELECT max(started_at) - min(started_at) AS took, count(*) FROM steadybeat.attempts"
        " WHERE run = CAST(:run AS uuid)",
        run=bounded,
    )[0]
    assert begun.count > 1
    assert begun.took <= timedelta(seconds=5)

    assert (shop.run(slow).state, *shop.outcomes(slow)) == ("succeeded", "timed_out", "succeeded")
    assert (shop.run(too_slow).state, *shop.outcomes(too_slow)) == ("dead", "timed_out")
    assert shop.run(too_slow).reason == "time limit of 2 s exceeded; no retry is left (max_retries=0)"
