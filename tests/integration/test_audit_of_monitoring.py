"""Section 3 of the audit, and what else it reads from the ledger: of each line what passes, and what does not."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from steadybeat import cron, every
from steadybeat.ledger import Ledger
from steadybeat.ledger.monitors import Noted
from steadybeat.task.describing import described
from tests.audited import ROUTED, add_task, new_app, said
from tests.integration.records import alive, claim, recorded

HOURLY = cron("0 * * * *", tz="UTC")
SETTLE, COUNT = "shop.till.settle", "shop.till.count"
MONITOR = "healthchecks+https://hc-ping.com/key/{schedule}"


class Shop:
    """An app with a task that is scheduled and one that is not, beside a ledger."""

    def __init__(self, ledger: Ledger, ledger_url: str) -> None:
        self.ledger = ledger
        self._url = ledger_url
        self.apps: list[Any] = []

    def app(self, conf: dict[str, Any] | None = None, **options: Any) -> Any:
        """Return the app, deployed; conf as given, and options of both tasks."""
        app = new_app(**{"steadybeat_database_url": self._url, **ROUTED, **(conf or {})})
        self.apps.append(app)
        told = {"owner": "payments-team", "time_limit": 60, "soft_time_limit": 50, **options}
        add_task(app, SETTLE, **{"schedule": HOURLY, **told})
        add_task(app, COUNT, **{name: value for name, value in told.items() if name != "schedule"})
        app.finalize()
        self.ledger.tasks.describe(described(app), ["till"])
        return app

    def live(self, role: str, count: int = 1, pid: int = 1) -> None:
        """Let so many processes of a role live."""
        for number in range(count):
            self.ledger.instances.sign_of_life(
                str(uuid.uuid4()), role=role, host=f"host-{number}", pid=pid, release="0"
            )

    def ran(self, name: str = COUNT, *, well: bool = True, **facts: Any) -> None:
        """Let a task have run once."""
        run = recorded(self.ledger, task=name, service="till", queue="till", correlation_id="c", **facts)
        fence = claim(self.ledger, run, alive(self.ledger)).fence
        if well:
            assert self.ledger.runs.finish(run.id, fence, result=None, next_runs=[])
        else:
            ended = {"state": "dead", "reason": "the bank is away", "error": "away", "outcome": "failed"}
            assert self.ledger.runs.give_up(run.id, fence=fence, **ended)


@pytest.fixture
def shop(ledger: Ledger, ledger_url: str) -> Iterator[Shop]:
    shop = Shop(ledger, ledger_url)
    yield shop
    for app in shop.apps:
        app.steadybeat.ledger.database.close()


def verdict(line: str, app: Any, name: str = SETTLE) -> str:
    return said(line, app, name)[0]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (MONITOR, ("PASS", "PASS", "PASS")),
        ("cronitor+https://cronitor.link/p/key/{schedule}", ("PASS", "PASS", "PASS")),
        ("https://beats.example/{schedule}/{event}", ("PASS", "PASS", "PASS")),
        ("https://beats.example/{schedule}", ("FAIL", "PASS", "FAIL")),
        ("sentry:", ("FAIL", "FAIL", "FAIL")),  # without a DSN
        ("", ("FAIL", "FAIL", "FAIL")),
    ],
)
def test_a_monitor_is_told_of_what_its_kind_can_hear(shop: Shop, url: str, expected: tuple[str, ...]) -> None:
    app = shop.app({"steadybeat_heartbeat_url": url})

    assert tuple(verdict(line, app) for line in ("3.1", "3.2", "3.3")) == expected
    assert [verdict(line, app, COUNT) for line in ("3.1", "3.2", "3.3")] == ["N/A"] * 3


def test_a_schedule_that_has_said_off_has_no_monitor(shop: Shop) -> None:
    app = shop.app({"steadybeat_heartbeat_url": MONITOR}, heartbeat="off")

    assert [verdict(line, app) for line in ("3.1", "3.2", "3.3", "3.4", "3.5")] == ["FAIL"] * 5
    assert "heartbeat= of shop.till.settle names no monitor" in said("3.1", app)[1]


def test_a_monitor_that_takes_nothing_is_none(shop: Shop) -> None:
    app = shop.app({"steadybeat_heartbeat_url": MONITOR})
    now = datetime.now(UTC)
    shop.ledger.monitors.note(Noted(name=SETTLE, kind="healthchecks", error=None, at=now - timedelta(hours=1)))

    assert verdict("3.2", app) == "PASS"
    assert "it took one at " in said("3.2", app)[1]
    shop.ledger.monitors.note(Noted(name=SETTLE, kind="healthchecks", error="404 Not Found", at=now))
    assert verdict("3.2", app) == verdict("3.5", app) == "FAIL"
    assert "404 Not Found" in said("3.2", app)[1]


@pytest.mark.parametrize(
    ("url", "schedule", "expected"),
    [
        (MONITOR, HOURLY, "PASS"),
        (MONITOR, HOURLY.until(datetime(2100, 1, 1, tzinfo=UTC)), "PARTIAL"),
        ("https://beats.example/{schedule}/{event}", HOURLY, "PARTIAL"),
        ("", HOURLY, "FAIL"),
    ],
)
def test_a_grace_is_what_the_monitor_was_told(shop: Shop, url: str, schedule: Any, expected: str) -> None:
    app = shop.app({"steadybeat_heartbeat_url": url}, schedule=schedule)

    assert verdict("3.4", app) == expected
    assert verdict("3.4", app, COUNT) == "N/A"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://hc-ping.com/one", "PASS"),
        ("http://127.0.0.1:8000/one", "FAIL"),
        ("http://localhost:8000/one", "FAIL"),
        ("http://redis.example/one", "FAIL"),
        ("", "FAIL"),
    ],
)
def test_a_monitor_beside_what_it_watches_sees_nothing(shop: Shop, url: str, expected: str) -> None:
    broker = {"broker_url": "redis://redis.example:6379/0"}
    app = shop.app({**broker, "steadybeat_platform_heartbeat_url": url}, heartbeat=url or None)

    assert verdict("3.5", app) == expected
    assert verdict("3.5", app, COUNT) == expected


WATCHED = ("2.7", "3.6", "3.7", "3.8", "3.10", "7.6")


@pytest.mark.parametrize("line", WATCHED)
def test_people_are_told_where_a_watchdog_lives_and_a_route_leads_to_somebody(shop: Shop, line: str) -> None:
    app, mute = shop.app(), shop.app({"steadybeat_alert_channels": {}, "steadybeat_alert_routes": []})

    assert verdict(line, app) == "PARTIAL"
    assert "no watchdog lives" in said(line, app)[1]
    shop.live("watchdog")
    assert verdict(line, app) == "PASS"
    assert "a watchdog lives: host-0:1" in said(line, app)[1]
    assert verdict(line, mute) == "FAIL"


@pytest.mark.parametrize("line", [each for each in WATCHED if each != "2.7"])
def test_a_task_without_schedules_is_told_of_as_well(shop: Shop, line: str) -> None:
    app = shop.app()
    shop.live("watchdog")

    assert verdict(line, app, COUNT) == ("N/A" if line == "3.6" else "PASS")


def test_a_route_that_only_takes_worse_things_takes_no_slow_run(shop: Shop) -> None:
    routes = [{"severity": "error", "to": ["payments"], "escalate": [{"after": "15m", "to": ["oncall"]}]}]
    app = shop.app({"steadybeat_alert_routes": routes})
    shop.live("watchdog")

    assert (verdict("3.7", app), verdict("3.8", app)) == ("PASS", "FAIL")
    assert "slower (warning) → nobody" in said("3.8", app)[1]


def test_a_floor_above_the_time_limit_lets_no_run_be_slow(shop: Shop) -> None:
    app = shop.app({"steadybeat_slower_seconds": 60})
    shop.live("watchdog")

    assert verdict("3.8", app) == "FAIL"


def test_alerts_go_to_the_owner_whom_the_deploy_has_written_down(shop: Shop) -> None:
    app, nobodys = shop.app(), shop.app(owner=None)
    everybodys = shop.app({"steadybeat_alert_routes": [{"to": ["oncall"]}]})

    assert verdict("3.9", everybodys) == "PARTIAL"
    assert verdict("3.9", nobodys) == "FAIL"
    assert verdict("3.9", app) == "PASS"
    shop.ledger.tasks.describe([], ["till"])
    assert verdict("3.9", app) == "FAIL"
    assert "steadybeat.tasks has owner=None" in said("3.9", app)[1]


@pytest.mark.parametrize(
    ("escalate", "expected"),
    [
        ([{"after": "15m", "to": ["oncall"]}], "PASS"),
        ([{"after": "15m", "to": ["payments"]}], "PARTIAL"),
        ([], "FAIL"),
    ],
)
def test_an_alert_that_nobody_answers_goes_to_somebody_else(
    shop: Shop, escalate: list[dict[str, Any]], expected: str
) -> None:
    app = shop.app({"steadybeat_alert_routes": [{"to": ["payments"], "escalate": escalate}]})
    shop.live("watchdog")

    assert verdict("3.10", app) == expected


OF_RUNS = ("3.11", "3.12", "3.13", "3.14")


@pytest.mark.parametrize("line", OF_RUNS)
def test_what_is_kept_of_runs_is_read_from_the_ledger(shop: Shop, line: str) -> None:
    app, past = shop.app(), shop.app(recorded=False)

    assert verdict(line, app) == "PASS"
    assert verdict(line, past, COUNT) == "FAIL"


def test_figures_are_those_of_the_runs_on_record(shop: Shop) -> None:
    app = shop.app()
    for _ in range(3):
        shop.ran()
    shop.ran(well=False)

    assert "its last 4 runs since " in said("3.11", app, COUNT)[1]
    assert "failure rate 25.0% (1 dead, 3 succeeded)" in said("3.13", app, COUNT)[1]
    assert " s of 3" in said("3.12", app, COUNT)[1]
    assert "4 of 4 with a correlation id" in said("3.14", app, COUNT)[1]
    assert "none of its runs has ended" in said("3.13", app, SETTLE)[1]


def test_a_run_that_nothing_joins_to_others_is_seen(shop: Shop) -> None:
    app = shop.app()
    shop.ran()
    run = recorded(shop.ledger, task=COUNT, service="till", queue="till")
    claim(shop.ledger, run, alive(shop.ledger))

    assert verdict("3.14", app, COUNT) == "PARTIAL"


def test_a_retention_that_holds_one_run_shows_no_trend(shop: Shop) -> None:
    monthly = cron("0 5 1 * *", tz="UTC")

    assert verdict("3.12", shop.app(schedule=monthly)) == "PARTIAL"
    assert verdict("3.12", shop.app({"steadybeat_retention_seconds": 100 * 86400.0}, schedule=monthly)) == "PASS"


def test_an_app_that_sends_past_the_ledger_has_no_common_view(shop: Shop) -> None:
    app = shop.app()
    app.amqp_cls = "celery.app.amqp:AMQP"
    with suppress(KeyError):
        del app.__dict__["amqp"]

    assert verdict("3.14", app) == "FAIL"


def test_another_beat_has_to_live_for_a_failover(shop: Shop) -> None:
    app = shop.app()

    assert verdict("7.4", app) == "FAIL"
    shop.live("beat")
    assert verdict("7.4", app) == "PARTIAL"
    shop.live("beat", count=2, pid=2)
    assert verdict("7.4", app) == "PASS"
    assert verdict("7.4", app, COUNT) == "N/A"


def test_a_worker_that_is_its_own_beat_cannot_be_added_alone(shop: Shop) -> None:
    app = shop.app()

    assert verdict("7.7", app) == "UNKNOWN"
    shop.live("worker", count=2)
    shop.live("beat", pid=2)
    assert verdict("7.7", app) == "PASS"
    shop.live("beat", pid=1)
    assert verdict("7.7", app) == "FAIL"
    assert "host-0:1" in said("7.7", app)[1]


def test_fences_and_instances_are_those_of_the_ledger(shop: Shop) -> None:
    app = shop.app()
    shop.ran()

    assert verdict("2.9", app) == verdict("7.3", app, COUNT) == "PASS"


def test_a_lock_whose_release_fails_is_counted_where_somebody_reads_it(shop: Shop) -> None:
    served = shop.app({"steadybeat_metrics_address": "127.0.0.1:9464"}, lock="till", on_locked="wait")
    app = shop.app(lock="till", on_locked="wait")
    shop.live("watchdog")

    assert verdict("2.7", served) == "PASS"
    assert verdict("2.7", app) == "PARTIAL"


@pytest.mark.parametrize("line", ["2.7", "2.9", "3.6", "3.9", "3.11", "3.13", "3.14", "7.3", "7.4", "7.6", "7.7"])
def test_without_the_ledger_it_is_not_known_and_the_way_to_know_is_said(line: str) -> None:
    app = new_app(**ROUTED)
    add_task(app, schedule=every(timedelta(hours=1)), owner="payments-team")

    assert verdict(line, app) == "UNKNOWN"
    assert "does not answer" in said(line, app)[1]


def test_of_several_schedules_the_one_that_nobody_hears_of_counts(shop: Shop) -> None:
    routes = [{"subject": "*:eu", "to": ["payments"], "escalate": [{"after": "15m", "to": ["oncall"]}]}]
    app = shop.app({"steadybeat_alert_routes": routes}, schedule=None, schedules={"eu": HOURLY, "us": HOURLY})
    add_task(app, "shop.till.pay", schedules={"eu": HOURLY}, owner="payments-team")
    shop.live("watchdog")

    assert verdict("3.6", app) == verdict("3.10", app) == "FAIL"
    assert verdict("3.6", app, "shop.till.pay") == "PASS"
