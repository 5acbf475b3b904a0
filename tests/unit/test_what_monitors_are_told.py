"""Promise: a monitor is told in its own words, and of a rule only what it can expect."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from steadybeat import any_of, cron, every, once, rrule
from steadybeat.errors import ConfigurationError
from steadybeat.monitor import Monitor, hidden, shown
from steadybeat.schedule import Rule
from steadybeat.schedule.policies import policies
from steadybeat.settings import Settings
from steadybeat.telemetry.heartbeats import Heartbeat, Watched, cadence, cronitor, healthchecks, plain, sentry_crons
from steadybeat.telemetry.heartbeats.heartbeat import slug
from steadybeat.telemetry.heartbeats.lanes import Addressed, Lane, Pace
from steadybeat.telemetry.redaction import redact

RUN = "019a1b7e-6c00-8d2f-9a3b-0c1d2e3f4a5b"
SECRET = "0f2a7c11-0000-4000-8000-000000000000"
PING = f"healthchecks+https://hc-ping.com/{SECRET}"
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def beat(event: str, **facts: Any) -> Heartbeat:
    return Heartbeat(event=event, schedule="tasks.royalties.settle", run=RUN, **facts)


def watched(rule: Rule, **facts: Any) -> Watched:
    return Watched(schedule="tasks.royalties.settle", spec=json.loads(json.dumps(rule.to_json())), **facts)


# Where heartbeats go


@pytest.mark.parametrize(
    ("text", "kind", "host"),
    [
        (PING, "healthchecks", "hc-ping.com"),
        ("healthchecks+http://hc.local:8000/ping/key/{schedule}", "healthchecks", "hc.local"),
        ("cronitor+https://cronitor.link/p/key/{schedule}?env=production", "cronitor", "cronitor.link"),
        ("sentry:", "sentry", ""),
        ("https://example.org/beat/{schedule}/{event}", "plain", "example.org"),
        ("off", "off", ""),
    ],
)
def test_a_monitor_is_one_text(text: str, kind: str, host: str) -> None:
    found = Monitor.read(text)
    assert (found.kind, found.host) == (kind, host)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hc-ping.com/secret-4711",
        "pagerduty+https://example.org/secret-4711",
        "https:///secret-4711",
        "https://user:secret-4711@example.org/beat",
        "healthchecks+https://hc-ping.com/",
        "cronitor+https://cronitor.link/p/secret-4711/{name}",
        "healthchecks+https://hc-ping.com/secret-4711/{event}",
        "https://example.org/secret 4711",
        "http://[::1/secret-4711",
        4711,
        None,
    ],
)
def test_what_names_no_monitor_is_refused_without_being_shown(text: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^heartbeat=.*(must be|has|names|is no)") as refused:
        Monitor.read(text)
    assert "secret" not in str(refused.value)


def test_a_schedules_monitor_is_checked_where_the_schedule_is_defined() -> None:
    assert policies({"heartbeat": PING}).heartbeat == PING
    with pytest.raises(ConfigurationError, match=r"heartbeat='https://example\.org/"):
        policies({"heartbeat": "https://user:word@example.org/x"})


@pytest.mark.parametrize("url", [PING, "https://example.org/beat/{event}"])
def test_the_monitor_of_all_schedules_tells_them_apart(url: str) -> None:
    with pytest.raises(ConfigurationError, match="would tell one monitor of every schedule") as refused:
        Settings(heartbeat_url=url)
    assert SECRET not in str(refused.value)
    assert Settings(heartbeat_url="sentry:").heartbeat_url == "sentry:"


@pytest.mark.parametrize("url", ["sentry:", "https://example.org/{schedule}"])
def test_the_platforms_monitor_is_one(url: str) -> None:
    with pytest.raises(ConfigurationError, match="must be the URL of one monitor"):
        Settings(platform_heartbeat_url=url)


def test_of_a_monitor_only_its_host_is_shown() -> None:
    assert Monitor.read(PING).shown == shown(PING) == "healthchecks+https://hc-ping.com/***"
    assert hidden({"overlap": "skip", "heartbeat": PING}) == {"overlap": "skip", "heartbeat": shown(PING)}
    assert SECRET not in str(redact({"policies": {"heartbeat": PING}, "heartbeat_url": PING}))
    assert shown("gibberish 4711") == "***"


# Healthchecks


@pytest.mark.parametrize(
    ("told", "path"),
    [
        (beat("start"), "/start"),
        (beat("success", status=0), ""),
        (beat("fail", status=124), "/124"),
        (beat("fail"), "/fail"),
        (beat("fail", status=999), "/fail"),
        (beat("log"), "/log"),
    ],
)
def test_healthchecks_is_told_of_each_event_at_its_own_address(told: Heartbeat, path: str) -> None:
    asked = healthchecks.request("https://hc-ping.com/key/{schedule}?create=1", told)
    parts = urlsplit(asked.url)
    assert (asked.method, parts.path) == ("POST", f"/key/tasks-royalties-settle{path}")
    assert parse_qs(parts.query) == {"create": ["1"], "rid": [RUN]}


def test_a_check_knows_when_its_schedule_is_due_and_how_long_it_may_take() -> None:
    rule = cron("0 6 * * MON", tz="Europe/Riga")
    check, why_not = healthchecks.told(watched(rule, jitter_seconds=60, time_limit_seconds=600), 300)
    assert not why_not
    assert check == {
        "name": "tasks.royalties.settle",
        "slug": "tasks-royalties-settle",
        "schedule": "0 6 * * MON",
        "tz": "Europe/Riga",
        "grace": 960,
        "unique": ["slug"],
    }


def test_a_check_of_an_interval_has_it_as_its_period() -> None:
    check, _ = healthchecks.told(watched(every(timedelta(minutes=5))), 300)
    assert check["timeout"] == 300
    assert "schedule" not in check
    often, _ = healthchecks.told(watched(every(timedelta(seconds=10)), time_limit_seconds=1), 0)
    assert (often["timeout"], often["grace"]) == (60, 60)


def test_a_check_of_a_rule_that_it_cannot_know_hears_of_failures_all_the_same() -> None:
    check, why_not = healthchecks.told(watched(once(NOW)), 300)
    assert check["timeout"] == healthchecks.LONGEST_SECONDS
    assert "once" in why_not


# Cronitor


@pytest.mark.parametrize(("event", "state"), [("start", "run"), ("success", "complete"), ("fail", "fail")])
def test_cronitor_is_told_a_state_and_which_run_it_is_of(event: str, state: str) -> None:
    told = beat(event, text="x" * 3000, status=1, duration_seconds=1.5, items_count=7)
    asked = cronitor.request("https://cronitor.link/p/key/{schedule}?env=test", told)
    assert asked is not None
    fields = parse_qs(urlsplit(asked.url).query)
    assert urlsplit(asked.url).path == "/p/key/tasks-royalties-settle"
    assert (fields["state"], fields["series"], fields["env"]) == ([state], [RUN], ["test"])
    assert {"duration:1.500", "count:7"} <= {*fields["metric"]}
    assert len(fields["message"][0]) == cronitor.MESSAGE_LIMIT
    assert ("error_count:1" in fields["metric"]) == (event == "fail")


def test_cronitor_is_told_of_nothing_that_it_has_no_state_for() -> None:
    assert cronitor.request("https://cronitor.link/p/key/{schedule}", beat("log")) is None


def test_a_monitor_of_cronitor_knows_several_expressions() -> None:
    monitor, why_not = cronitor.told(watched(any_of(cron("0 6 * * *"), cron("0 9 * * SAT"))), 300)
    assert not why_not
    assert (monitor["schedules"], monitor["timezone"]) == (["0 6 * * *", "0 9 * * SAT"], "UTC")
    monitor, _ = cronitor.told(watched(every(timedelta(seconds=90))), 300)
    assert monitor["schedule"] == "every 2 minutes"
    _, why_not = cronitor.told(watched(cron("0 6 L * *")), 300)
    assert "L" in why_not


# Sentry Crons


def test_a_check_in_brings_all_that_its_monitor_is_to_know() -> None:
    of = watched(cron("0 6 * * *", tz="Europe/Riga"), jitter_seconds=30, time_limit_seconds=90)
    told = sentry_crons.check_in(beat("fail", duration_seconds=2.0), of, 300)
    assert told == {
        "monitor_slug": "tasks-royalties-settle",
        "check_in_id": RUN.replace("-", ""),
        "status": "error",
        "duration": 2.0,
        "monitor_config": {
            "schedule": {"type": "crontab", "value": "0 6 * * *"},
            "timezone": "Europe/Riga",
            "checkin_margin": 6,
            "max_runtime": 2,
            "failure_issue_threshold": 1,
            "recovery_threshold": 1,
        },
    }


def test_sentry_counts_intervals_in_whole_minutes() -> None:
    told, _ = sentry_crons.told(watched(every(timedelta(seconds=61)), time_limit_seconds=10**9), 10**9)
    assert told is not None
    assert told["schedule"] == {"type": "interval", "value": 2, "unit": "minute"}
    assert (told["checkin_margin"], told["max_runtime"]) == (40_320, 10_080)


def test_sentry_is_told_nothing_of_a_rule_that_it_cannot_know() -> None:
    of = watched(rrule("FREQ=MONTHLY;BYDAY=2FR", dtstart=NOW))
    assert sentry_crons.check_in(beat("start"), of, 300) is None
    assert "RFC 5545" in sentry_crons.told(of, 300)[1]


# Plain


def test_a_plain_address_hears_of_every_event_where_it_has_a_place_for_it() -> None:
    asked = plain.request("https://example.org/{schedule}/{event}?of={run}", beat("fail", text="why"))
    assert asked is not None
    assert (asked.method, asked.body) == ("POST", b"why")
    assert asked.url == f"https://example.org/tasks-royalties-settle/fail?of={RUN}"


@pytest.mark.parametrize(("event", "is_told"), [("start", False), ("success", True), ("fail", False), ("log", False)])
def test_a_plain_address_without_a_place_hears_of_success_only(event: str, is_told: bool) -> None:
    assert (plain.request("https://example.org/4711", beat(event)) is not None) == is_told


# Names


def test_long_names_stay_apart_when_they_are_cut() -> None:
    one, other = (slug(f"{'tasks.' * 12}{name}", 50) for name in ("settle", "settles"))
    assert one != other
    assert {len(one), len(other)} == {50}
    assert slug("Tasks.Royalties:EU", 50) == "tasks-royalties-eu"
    assert slug("4711", 50) == "schedule-4711"
    assert slug("…", 50) == "schedule"


# Rules


@pytest.mark.parametrize(
    ("rule", "why_not"),
    [
        (cron("0 0 1 * MON", mode="and"), "both of its day fields"),
        (cron("30 2 * * *", tz="Europe/Riga", dst="skip"), "clocks go forward"),
        (once(NOW), "due once"),
        (rrule("FREQ=DAILY", dtstart=NOW), "RFC 5545"),
        (cron("0 6 * * *").starting(NOW).limited(10), "it ends"),
        (cron("0 6 * * *").until(NOW), "it ends"),
        (cron("0 6 * * *").excluding(NOW.date()), "leave out"),
        (cron("0 6 * * *").starting(NOW + timedelta(days=1)), "it begins at"),
        (cron("H 6 * * *"), "H is no number"),
        (any_of(cron("0 6 * * *"), every(timedelta(hours=1))), "an interval"),
        (any_of(cron("0 6 * * *"), cron("0 6 * * *", tz="Europe/Riga")), "several time zones"),
        (any_of(cron("0 6 * * *"), rrule("FREQ=DAILY", dtstart=NOW)), "RFC 5545"),
    ],
)
def test_a_rule_that_no_monitor_can_expect_says_why(rule: Rule, why_not: str) -> None:
    assert why_not in cadence(rule.to_json(), NOW).why_not


@pytest.mark.parametrize(
    ("rule", "expression"),
    [
        (cron("*/15 * * * *"), "*/15 * * * *"),
        (cron("0 6 * * THU#2"), "0 6 * * THU#2"),
        (cron("0 0 1 * MON"), "0 0 1 * MON"),
        (cron("30 2 * * *", tz="Europe/Riga", dst="twice"), "30 2 * * *"),
        (cron("30 2 * * *", dst="skip"), "30 2 * * *"),
        (cron("0 6 * * *").starting(NOW - timedelta(days=1)), "0 6 * * *"),
        (cron("H H * * *").named("tasks.royalties.settle"), None),
    ],
)
def test_a_rule_that_monitors_read_as_it_is_meant_is_told_as_it_is(rule: Rule, expression: str | None) -> None:
    found = cadence(rule.to_json(), NOW)
    assert not found.why_not
    assert expression is None or found.expressions == (expression,)


def test_a_combination_is_left_out_where_a_monitor_takes_one_expression() -> None:
    found = cadence(any_of(cron("0 6 * * *"), cron("0 9 * * SAT")).to_json(), NOW)
    assert len(found.expressions) == 2
    assert "combination" in found.without_combinations().why_not
    assert cadence(None).why_not


# What may be left out


def addressed(event: str, run: str | None, schedule: str = "a") -> Addressed:
    told = Heartbeat(event=event, schedule=schedule, run=run)
    return Addressed(told, Watched(schedule=schedule), Monitor.read(PING))


def test_a_monitor_that_fails_hears_later_only_how_things_stand() -> None:
    lane = Lane()
    lane.waiting.extend([
        addressed("start", "1"), addressed("success", "1"), addressed("start", "7", "b"), addressed("log", "2"),
        addressed("start", "2"), addressed("fail", "2"), addressed("success", None, "platform"),
        addressed("success", None, "platform"), addressed("log", "3"),
    ])  # fmt: skip
    for now in range(3):
        lane.failed(float(now), None)
    assert lane.is_failing
    assert [(each.heartbeat.schedule, each.heartbeat.run, each.heartbeat.event) for each in lane.waiting] == [
        ("b", "7", "start"), ("a", "2", "start"), ("a", "2", "fail"), ("platform", None, "success"),
    ]  # fmt: skip


def test_the_next_try_comes_twice_as_late_each_time_or_when_the_monitor_says() -> None:
    lane, pauses = Lane(), []
    for _ in range(9):
        lane.failed(100.0, None)
        pauses.append(lane.not_before - 100)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    lane.failed(100.0, 45.0)
    assert lane.not_before == 145
    lane.answered()
    assert not lane.is_failing


def test_no_more_is_sent_of_a_schedule_in_a_minute_than_its_monitor_takes_but_for_changes() -> None:
    pace = Pace()
    told = ["start", "success"] * 6 + ["start", "fail", "fail", "success"]
    sent = [event for second, event in enumerate(told) if pace.admits(event, "healthchecks", second)]
    assert sent == ["start", "success", "start", "success", "fail", "success"]
    assert pace.admits("start", "healthchecks", 100)
    unbounded = Pace()
    assert all(unbounded.admits("success", "plain", 0) for _ in range(100))
