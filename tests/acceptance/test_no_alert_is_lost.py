"""Promise: whatever becomes of the watchdog that tells people, everything they are to be told arrives, in its order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from steadybeat.ledger.rows import Finding
from tests.acceptance.installation import Shop
from tests.eventually import eventually
from tests.integration.telling import Told
from tests.receivers.web import WebReceiver

COUNT = 8


@pytest.fixture
def slack() -> Iterator[WebReceiver]:
    with WebReceiver() as receiver:
        yield receiver


def test_a_watchdog_that_could_tell_nobody_does_not_start_and_says_which_channel_is_wrong(
    ledger_url: str, redis_url: str, open_shop: Callable[..., Shop]
) -> None:
    shop = open_shop(ledger_url, redis_url)
    code, said = shop.run_celery("watchdog", STEADYBEAT_ALERT_CHANNELS='{"ops": "slak://hidden"}')
    (line,) = said.splitlines()
    assert (code, line.startswith("Error: steadybeat_alert_channels: channel 'ops': ")) == (2, True)
    assert "slack://…" in line
    assert "hidden" not in line


def test_a_watchdog_killed_while_it_tells_people_loses_no_alert(
    ledger_url: str, redis_url: str, open_shop: Callable[..., Shop], slack: WebReceiver
) -> None:
    shop = open_shop(
        ledger_url, redis_url, STEADYBEAT_ALERT_CHANNELS=json.dumps({"slack": slack.channel()}),
        STEADYBEAT_ALERT_STORM_COUNT="100", STEADYBEAT_ALERT_TIMEOUT_SECONDS="0.5", STEADYBEAT_WATCH_SECONDS="0.5",
    )  # fmt: skip
    found = [Finding(rule="failed", subject=f"s{n:02}", summary="Its last runs are dead.") for n in range(COUNT)]
    earlier = Told(ledger_url, {"slack": slack.channel()}, alert_storm_count=100)
    earlier.alerts.take(found, ["failed"])  # nothing of it is so: the watchdog will find that it is over
    earlier.close()

    slack.hang()
    first = shop.watchdog()
    eventually(lambda: shop.rows("SELECT FROM steadybeat.notices WHERE try_count > 0"))
    first.kill("SIGKILL")
    slack.go_on()
    shop.watchdog()

    def all_arrived() -> bool:
        waiting = "SELECT FROM steadybeat.notices WHERE sent_at IS NULL AND given_up_at IS NULL"
        over = "SELECT FROM steadybeat.alerts WHERE rule = 'failed' AND state = 'resolved'"
        return len(shop.rows(over)) == COUNT and not shop.rows(waiting)

    eventually(all_arrived)
    for finding in found:
        titles = [title for title in slack.titles if title.endswith(finding.subject)]
        opened, resolved = (f"[{mark}] schedule fails: {finding.subject}" for mark in ("error", "resolved"))
        assert titles in ([opened, resolved], [opened, opened, resolved])
    assert len(slack.titles) <= 2 * COUNT + 1
