"""Promise: monitors elsewhere know of every scheduled run how it ended, whoever has seen that, under one run id."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from steadybeat.schedule import run_id
from tests.acceptance.installation import Shop
from tests.acceptance.project.timetable import ASKED
from tests.eventually import eventually
from tests.receivers.healthchecks import Healthchecks
from tests.receivers.sentry import Sentry

AT = datetime(2026, 1, 1, tzinfo=UTC)
BY = {"who": "ann", "reason": "a customer waits"}


@pytest.fixture
def hc() -> Iterator[Healthchecks]:
    with Healthchecks() as server:
        for name in ASKED:
            server.check(name)
        yield server


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    with Sentry() as server:
        yield server


def ask(shop: Shop, *names: str) -> None:
    for name in names:
        assert shop.interventions.ask(name, [AT], kind="trigger", **BY)


def ended(hc: Healthchecks, name: str) -> bool:
    return hc.checks[name].status in ("up", "down")


def test_a_monitor_hears_of_starts_successes_and_failures_and_of_what_came_between(
    shop: Shop, hc: Healthchecks, sentry: Sentry
) -> None:
    shop.env["STEADYBEAT_HEARTBEAT_URL"] = hc.of_all
    shop.env["STEADYBEAT_SENTRY_DSN"] = sentry.dsn
    first, beat = shop.worker("orders"), shop.beat()
    assert first.ready()
    assert beat.ready()
    shop.deploy(*ASKED)

    ask(shop, "well", "flaky", "refused", "dropped", "quiet", "crons")
    eventually(lambda: len(shop.starts("dropped")) == 1)
    shop.open("dropped")
    eventually(lambda: all(ended(hc, name) for name in ("well", "flaky", "refused", "dropped")))

    assert hc.checks["well"].actions == ["start", "success"]
    assert hc.checks["well"].last_duration is not None
    assert hc.checks["flaky"].actions == ["start", "log", "start", "success"]
    assert "retry in" in hc.checks["flaky"].pings[1].body
    assert hc.checks["refused"].actions == ["start", "fail"]
    assert "this order cannot be packed" in hc.checks["refused"].pings[1].body
    assert hc.checks["dropped"].actions == ["start", "log", "start", "success"]
    assert "signal 9" in hc.checks["dropped"].pings[1].body

    eventually(lambda: len(sentry.check_ins) == 3)
    assert [each["status"] for each in sentry.check_ins] == ["in_progress", "in_progress", "ok"]
    assert {each["check_in_id"] for each in sentry.check_ins} == {run_id("crons", AT).replace("-", "")}
    assert sentry.check_ins[0]["monitor_config"]["schedule"]["type"] == "interval"

    # A whole worker is killed: somebody else sees that, and another attempt ends the same run.
    ask(shop, "held")
    eventually(lambda: shop.starts("held") and hc.checks["held"].pings)
    first.kill("SIGKILL")
    second = shop.worker("orders")
    assert second.ready()
    shop.open("held")
    eventually(lambda: ended(hc, "held"))
    shop.settle()

    held = hc.checks["held"]
    assert [action for action in held.actions if action != "log"] == ["start", "start", "success"]
    assert any("its worker was lost" in ping.body for ping in held.pings)
    assert held.last_duration is not None
    assert len(shop.effects("held")) == 1
    for name in ASKED:
        assert {ping.rid for ping in hc.checks[name].pings} <= {run_id(name, AT)}
    assert not hc.checks["quiet"].pings
    assert len(shop.effects("quiet")) == 1


def test_a_monitor_that_hangs_keeps_no_run_and_no_worker_from_ending(shop: Shop, hc: Healthchecks) -> None:
    hc.hang()
    shop.env["STEADYBEAT_HEARTBEAT_URL"] = hc.of_all
    shop.env["STEADYBEAT_HEARTBEAT_TIMEOUT_SECONDS"] = "60"
    worker, beat = shop.worker("orders"), shop.beat()
    assert worker.ready()
    assert beat.ready()
    shop.deploy(*ASKED)

    ask(shop, "well", "flaky", "refused")
    eventually(lambda: len(shop.effects("well")) == len(shop.effects("flaky")) == 1)
    shop.settle()
    worker.kill("SIGTERM")
    eventually(lambda: worker.container.process.status == "exited")
    assert not hc.asked
