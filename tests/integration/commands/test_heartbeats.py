from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from steadybeat import cron, rrule
from steadybeat.ledger import Ledger
from steadybeat.ledger.monitors import Noted
from tests.integration.commands.shop import MakeApp, Run, refusal, said
from tests.receivers import cronitor as cronitors
from tests.receivers import healthchecks
from tests.receivers.cronitor import Cronitor
from tests.receivers.healthchecks import Healthchecks
from tests.receivers.server import Said

DIGEST = "shop.mail.digest"
SECRET = "0f2a7c11-0000-4000-8000-000000000000"
WHY = ("--reason", "new schedules")


@pytest.fixture
def hc() -> Iterator[Healthchecks]:
    with Healthchecks() as server:
        yield server


@pytest.fixture
def app(make_app: MakeApp, hc: Healthchecks) -> Any:
    return make_app(
        rule=cron("0 6 * * *", tz="Europe/Riga"),
        steadybeat_heartbeat_url=hc.of_all,
        steadybeat_heartbeat_api_key=healthchecks.API_KEY,
        steadybeat_heartbeat_api_url=hc.url,
    )


@pytest.fixture(autouse=True)
def _deployed(run: Run, app: Any) -> None:
    run("schedules", "apply", app=app)


def add(run: Run, name: str, heartbeat: str, *rule: str) -> None:
    rule = rule or ("--cron", "0 7 * * *")
    found = run("schedules", "add", name, "--task", DIGEST, *rule, "--heartbeat", heartbeat, *WHY)
    assert found.exit_code == 0, found.output


def test_sync_makes_checks_with_schedule_zone_and_grace_and_changes_them(
    run: Run, hc: Healthchecks, book: Ledger
) -> None:
    (made,) = said(run("heartbeats", "sync", *WHY, "--json"))["monitors"]
    check = hc.checks["shop-mail-digest"]
    wanted = {"name": DIGEST, "schedule": "0 6 * * *", "tz": "Europe/Riga", "grace": 960, "channels": "*"}
    assert wanted.items() <= check.settings.items()
    assert (made["verb"], made["host"]) == ("made", "127.0.0.1")
    check.settings["channels"] = "one that a person chose"
    assert said(run("heartbeats", "sync", *WHY, "--json"))["monitors"][0]["verb"] == "changed"
    assert check.settings["channels"] == "one that a person chose"
    assert book.monitors.all()[0].synced == made["told"]
    noted = book.history.operations(DIGEST, limit=5)
    assert [(each["what"], each["reason"]) for each in noted] == [("heartbeats sync", "new schedules")] * 2


def test_a_dry_run_tells_nobody(run: Run, hc: Healthchecks) -> None:
    (row,) = said(run("heartbeats", "sync", "--dry-run", "--json"))["monitors"]
    assert row["verb"] == "would be told"
    assert row["told"]["schedule"] == "0 6 * * *"
    assert not hc.asked


def test_sync_says_what_is_left_out_and_why(run: Run, hc: Healthchecks) -> None:
    add(run, "own", f"healthchecks+{hc.url}/{SECRET}")
    add(run, "plain", f"{hc.url}/{{schedule}}/{{event}}")
    add(run, "crons", "sentry:")
    add(run, "shop.mail:digest", hc.of_all)
    add(run, "quiet", "off")
    add(run, "monthly", hc.of_all, "--rrule", "FREQ=MONTHLY;BYDAY=2FR", "--dtstart", "2026-01-09T06:00", "--tz", "UTC")
    add(run, "elsewhere", "cronitor+https://cronitor.invalid/p/key/{schedule}")
    rows = {each["schedule"]: each for each in said(run("heartbeats", "sync", *WHY, "--json"))["monitors"]}
    assert "quiet" not in rows
    assert {name: row["verb"] for name, row in rows.items()} == {
        DIGEST: "made",
        "crons": "left out",
        "elsewhere": "left out",
        "monthly": "made",
        "own": "left out",
        "plain": "left out",
        "shop.mail:digest": "left out",
    }
    for name, why in {
        "own": "by its UUID",
        "plain": "by hand",
        "crons": "each check-in",
        "shop.mail:digest": f"{DIGEST} has the same name",
        "monthly": "hears of failures only: a recurrence of RFC 5545",
        "elsewhere": "the key is of healthchecks",
    }.items():
        assert why in rows[name]["reason"]
    assert SECRET not in run("heartbeats", "sync", *WHY).output


def test_sync_fails_where_the_monitor_refuses(run: Run, hc: Healthchecks) -> None:
    hc.worse = [Said(403, b"no room")]
    found = run("heartbeats", "sync", *WHY, "--json")
    (row,) = said(found, exit_code=1)["monitors"]
    assert (row["verb"], row["reason"]) == ("failed", "answered 403: wrong key, or no room for another: no room")


def test_sync_wants_a_reason_and_a_key(make_app: MakeApp, run: Run, hc: Healthchecks) -> None:
    assert "--reason" in refusal(run("heartbeats", "sync"))
    keyless = make_app(steadybeat_heartbeat_url=hc.of_all)
    (row,) = said(run("heartbeats", "sync", *WHY, "--json", app=keyless))["monitors"]
    assert row["reason"] == "steadybeat_heartbeat_api_key is empty"


def test_sync_of_one_schedule_leaves_the_others(run: Run, hc: Healthchecks) -> None:
    add(run, "other", hc.of_all)
    run("heartbeats", "sync", "--schedule", "other", *WHY)
    assert {*hc.checks} == {"other"}
    assert "has no monitor. Did you mean" in refusal(run("heartbeats", "sync", "--schedule", "othr", *WHY))


def test_monitors_of_cronitor_are_told_together(make_app: MakeApp, run: Run) -> None:
    with Cronitor() as cronitor:
        settings = {
            "steadybeat_heartbeat_url": cronitor.of_all,
            "steadybeat_heartbeat_api_key": cronitors.API_KEY,
            "steadybeat_heartbeat_api_url": cronitor.url,
        }
        app = make_app(**settings)
        (row,) = said(run("heartbeats", "sync", *WHY, "--json", app=app))["monitors"]
        assert row["verb"] == "changed"
        assert cronitor.monitors["shop-mail-digest"]["schedule"] == "0 6 * * *"
        found = said(run("heartbeats", "test", DIGEST, "--json", app=app))
        assert [each["taken"] for each in found] == [True, True]
        assert [each["state"] for each in cronitor.events["shop-mail-digest"]] == [["run"], ["complete"]]


def test_trying_a_monitor_says_what_it_answers(run: Run, hc: Healthchecks) -> None:
    run("heartbeats", "sync", *WHY)
    found = said(run("heartbeats", "test", "--json"))
    assert [(each["event"], each["taken"], each["status"]) for each in found] == [
        ("start", True, 200),
        ("success", True, 200),
    ]
    assert hc.checks["shop-mail-digest"].status == "up"
    assert "All were taken." in run("heartbeats", "test", DIGEST).output


def test_trying_one_that_refuses_ends_with_1(run: Run, hc: Healthchecks) -> None:
    url = f"healthchecks+{hc.url}/{SECRET}"
    found = run("heartbeats", "test", "--url", url, "--json")
    assert {each["error"] for each in said(found, exit_code=1)} == {"answered 404: no such check"}
    assert "2 heartbeats were not taken." in run("heartbeats", "test", "--url", url).output
    assert "--url=" in refusal(run("heartbeats", "test", "--url", "nonsense"))


def test_trying_without_a_monitor_is_refused(make_app: MakeApp, run: Run) -> None:
    assert "No schedule has a monitor" in refusal(run("heartbeats", "test", app=make_app()))


def test_a_list_says_how_each_monitor_stands(run: Run, hc: Healthchecks, book: Ledger) -> None:
    add(run, "own", f"healthchecks+{hc.url}/{SECRET}")
    now = datetime.now(UTC)
    book.monitors.note(Noted(name=DIGEST, kind="healthchecks", error="answered 500", at=now))
    book.monitors.note(Noted(name="own", kind="healthchecks", error=None, at=now))
    digest, own = sorted(said(run("heartbeats", "list", "--json")), key=lambda each: str(each["schedule"]) != DIGEST)
    assert (digest["state"], digest["error"], digest["expects"]) == (
        "failing", "answered 500", "0 6 * * * (Europe/Riga)",
    )  # fmt: skip
    assert (own["state"], own["host"]) == ("fine", "127.0.0.1")
    text = run("heartbeats", "list").output
    assert "failing" in text
    assert SECRET not in text


def test_the_platforms_own_monitor_is_listed_and_tried(make_app: MakeApp, run: Run, hc: Healthchecks) -> None:
    app = make_app(steadybeat_platform_heartbeat_url=f"healthchecks+{hc.url}/{hc.check('platform').code}")
    (row,) = said(run("heartbeats", "list", "--json", app=app))
    assert (row["schedule"], row["state"]) == ("platform", "never")
    assert [each["taken"] for each in said(run("heartbeats", "test", "--json", app=app))] == [True, True]


@pytest.mark.parametrize("command", [("list",), ("list", "--json"), ("show", "own"), ("show", "own", "--json")])
def test_no_command_shows_the_address_of_a_monitor(run: Run, hc: Healthchecks, command: tuple[str, ...]) -> None:
    add(run, "own", f"healthchecks+{hc.url}/{SECRET}")
    add(run, "own", f"healthchecks+{hc.url}/{SECRET}", "--cron", "0 8 * * *")
    shown = run("schedules", *command).output
    assert "own" in shown
    assert SECRET not in shown


def test_a_deploy_shows_no_address(make_app: MakeApp, run: Run, hc: Healthchecks) -> None:
    for rule in (cron("0 5 * * *"), rrule("FREQ=DAILY", dtstart=datetime(2026, 1, 1, tzinfo=UTC))):
        app = make_app(rule=rule)
        app.conf.beat_schedule = {
            "own": {"task": DIGEST, "schedule": rule, "heartbeat": f"healthchecks+{hc.url}/{SECRET}"}
        }
        shown = run("schedules", "apply", "--dry-run", app=app).output
        shown += run("schedules", "apply", "--json", app=app).output
        assert "127.0.0.1" in shown
        assert SECRET not in shown
