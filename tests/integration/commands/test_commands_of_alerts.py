from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from celery.bin.celery import celery
from click.shell_completion import ShellComplete

from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import Finding
from tests.integration.commands.shop import MakeApp, Run, refusal, said
from tests.integration.telling import failed
from tests.receivers.server import Said
from tests.receivers.web import WebReceiver

BECAUSE = ("--reason", "the bank is down")


@pytest.fixture
def slack() -> Iterator[WebReceiver]:
    with WebReceiver() as receiver:
        yield receiver


@pytest.fixture
def app(make_app: MakeApp, slack: WebReceiver) -> Any:
    routes = [
        {"owner": "payments", "to": ["slack"], "escalate": [{"after": "15m", "to": ["ops"]}], "continue": True},
        {"severity": "error", "to": ["ops"]},
    ]
    channels = {"slack": slack.channel("hush-hush-token"), "ops": slack.channel("ops")}
    return make_app(
        steadybeat_alert_channels=channels, steadybeat_alert_routes=routes, steadybeat_alert_timeout_seconds=2,
        steadybeat_runbooks_url="https://runbooks.example/", steadybeat_celery_app="shop.main",
    )  # fmt: skip


def found(app: Any, *findings: Finding) -> list[int]:
    """The numbers of what is open after a pass that finds this."""
    app.steadybeat.alerts.take(findings, ["failed", "paused"])
    return [alert.id for alert in Ledger.of(app).alerts.find()]


def operations_of(book: Ledger) -> list[tuple[str, str, str]]:
    rows = book.database.execute(sa.text("SELECT what, target, reason, who FROM steadybeat.operations ORDER BY id"))
    assert all("@" in row.who for row in rows)
    return [(row.what, row.target, row.reason) for row in rows]


def test_what_is_open_is_listed_and_is_a_finding(run: Run, app: Any) -> None:
    assert run("alerts", "list").stdout == "Nothing is wrong.\n"
    found(app, failed(summary="token=hunter2"), failed("mail", owner="post", severity="critical"))
    lines = run("alerts", "list", "--owner", "payments").stdout.splitlines()
    assert lines[0].split() == ["ALERT", "SEVERITY", "STATE", "RULE", "SUBJECT", "OWNER", "SINCE", "SEEN", "SUMMARY"]
    assert lines[1].endswith("token=***")
    listed = said(run("alerts", "list", "--json"), 1)
    assert {(each["subject"], each["severity"], each["seen_count"]) for each in listed} == {
        ("mail", "critical", 1), ("royalties", "error", 1)
    }  # fmt: skip
    assert run("alerts", "list", "--service", "nobodys").stdout == "No such alerts.\n"
    assert "Did you mean 'failed'?" in refusal(run("alerts", "list", "--rule", "faild"))


def test_an_alert_is_shown_with_its_history_and_who_was_told(run: Run, app: Any) -> None:
    (number,) = found(app, failed(error="boom"))
    app.steadybeat.alerts.work()
    shown = said(run("alerts", "show", number, "--json"))
    assert [event["what"] for event in shown["events"]] == ["opened", "told", "told"]
    assert {(each["channel"], each["sent_at"] is not None) for each in shown["notices"]} == {
        ("slack", True), ("ops", True)
    }  # fmt: skip
    assert shown["links"] == {"runbook": "https://runbooks.example/failed.md"}
    text = run("alerts", "show", number).stdout
    assert "look closer" in text
    assert "celery -A shop.main runs why royalties last" in text
    assert refusal(run("alerts", "show", 99)).startswith("ALERT=99: there is no such alert.")


def test_whoever_answers_is_on_record_and_an_answer_counts_once(run: Run, app: Any, book: Ledger) -> None:
    one, other = sorted(found(app, failed(), failed("mail")))
    assert said(run("alerts", "ack", one, *BECAUSE, "--json")) == {
        "dry_run": False, "acknowledged": [one], "left": [],
    }  # fmt: skip
    assert said(run("alerts", "ack", one, *BECAUSE, "--json"), 1)["left"] == [{"id": one, "state": "acknowledged"}]
    assert run("alerts", "list", "--state", "acknowledged").exit_code == 0
    assert run("alerts", "resolve", one, other, *BECAUSE).stdout == f"Alerts {one}, {other} are resolved.\n"
    assert run("alerts", "resolve", one, *BECAUSE).stdout == f"Alert {one} is resolved already.\n"
    assert run("alerts", "list").exit_code == 0
    assert [each["id"] for each in said(run("alerts", "list", "--all", "--json"))] == [other, one]
    assert operations_of(book) == [
        ("alerts ack", str(one), "the bank is down"),
        ("alerts resolve", str(one), "the bank is down"),
        ("alerts resolve", str(other), "the bank is down"),
    ]


def test_a_silence_is_made_listed_and_taken_back(run: Run, app: Any, book: Ledger) -> None:
    assert run("alerts", "silences").stdout == "No silences.\n"
    made = said(run("alerts", "silence", "--owner", "pay*", "--for", "2h", *BECAUSE, "--json"))
    assert datetime.fromisoformat(made["ends_at"]) > datetime.now(UTC) + timedelta(minutes=119)
    assert run("alerts", "silences").stdout.splitlines()[1].split()[1:3] == ["owner", "pay*"]
    found(app, failed())
    app.steadybeat.alerts.work()
    assert book.notices.due() == []
    ended = run("alerts", "unsilence", made["id"], "--reason", "quicker")
    assert ended.stdout == f"Silence {made['id']} is over.\n"
    assert said(run("alerts", "unsilence", made["id"], "--reason", "quicker", "--json"), 1)["ended"] is False
    assert len(said(run("alerts", "silences", "--all", "--json"))) == 1
    found(app, failed())
    assert set(book.notices.due()) == {"slack", "ops"}
    assert [what for what, _, _ in operations_of(book)] == ["alerts silence", "alerts unsilence"]
    later = said(
        run("alerts", "silence", "--rule", "*", "--for", "1h", "--from", "2040-01-01T00:00Z", *BECAUSE, "--json")
    )
    assert later["begins_at"] == "2040-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["silence", "--for", "2h", *BECAUSE], "silence: nothing says of what; give --rule"),
        (["silence", "--rule", "*", "--for", "0s", *BECAUSE], "--for=0s: must end in the future"),
        (["silence", "--rule", "*", "--for", "1h", "--from", "2020-01-01T00:00Z", *BECAUSE], "--for=3600s: must end"),
        (["ack", "1", "--reason", " "], "--reason=' ': must say why"),
        (["ack", "17", *BECAUSE], "ALERT=17: there is no such alert."),
        (["test", "slak"], "CHANNEL='slak': there is no such channel. Did you mean 'slack'?"),
        (["test", "--rule", "faild"], "--rule='faild': there is no such rule. Did you mean 'failed'?"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(run: Run, given: list[str], line: str) -> None:
    assert refusal(run("alerts", *given)).startswith(line)


def test_a_dry_run_says_which_way_something_would_take(run: Run, slack: WebReceiver) -> None:
    way = said(run("alerts", "test", "--owner", "payments", "--severity", "error", "--dry-run", "--json"))
    assert (way["routes"], way["to"], way["fallbacks"]) == ([1, 2], ["slack", "ops"], [])
    assert way["escalate"] == [{"after_seconds": 900.0, "to": ["ops"]}]
    assert "if nobody answers  after 15 min ops" in run("alerts", "test", "--owner", "payments", "--dry-run").stdout
    nobody = run("alerts", "test", "--owner", "nobody", "--severity", "info", "--dry-run")
    assert (nobody.exit_code, nobody.stdout) == (
        1, "No route fits, or there is no channel: nobody would be told.\n"
    )  # fmt: skip
    assert slack.taken == []


def test_a_test_message_says_what_came_back_and_never_the_url(run: Run, book: Ledger, slack: WebReceiver) -> None:
    slack.worse = [Said(500)]
    failed_to = said(run("alerts", "test", "slack", "--json"), 1)["sent"]
    slack.worse = []
    assert (failed_to[0]["channel"], failed_to[0]["sent"]) == ("slack", False)
    assert "500" in failed_to[0]["error"]
    assert "hush" not in str(failed_to)
    (sent,) = said(run("alerts", "test", "slack", "--json"))["sent"]
    assert (sent["sent"], sent["error"]) == (True, None)
    assert slack.titles == ["[test] steadybeat: shop"]
    assert run("alerts", "test").exit_code == 0
    assert operations_of(book)[0] == ("alerts test", "slack", "a test message")
    assert book.notices.failing() == []


def test_a_wrong_url_is_refused_without_being_shown(make_app: MakeApp, run: Run) -> None:
    app = make_app(steadybeat_alert_channels={"ops": "nosuch://hush-hush@example"})
    line = refusal(run("alerts", "test", "--dry-run", app=app))
    assert line.startswith("steadybeat_alert_channels: channel 'ops': Apprise does not take its URL")
    assert "hush" not in line


def test_what_is_resolved_long_ago_is_pruned_with_what_was_told_of_it(app: Any, book: Ledger, run: Run) -> None:
    found(app, failed(), failed("mail"))
    said(run("alerts", "silence", "--owner", "x", "--for", "1s", *BECAUSE, "--json"))
    app.steadybeat.alerts.work()
    found(app, failed("mail"))
    app.steadybeat.alerts.work()
    for table, columns in {
        "alerts": ("resolved_at",), "notices": ("sent_at",), "silences": ("begins_at", "ends_at")
    }.items():  # fmt: skip
        sets = ", ".join(f"{name} = {name} - interval '40 days'" for name in columns)
        book.database.execute(sa.text(f"UPDATE steadybeat.{table} SET {sets}"))
    pruned = book.prune()
    assert (pruned["alerts"], pruned["silences"]) == (1, 1)
    assert pruned["alert_events"] >= 3
    assert pruned["notices"] >= 3
    assert [alert.subject for alert in book.alerts.find(everything=True)] == ["mail"]


def test_the_tab_key_offers_alerts_channels_and_silences(run: Run, app: Any) -> None:
    (number,) = found(app, failed())
    made = said(run("alerts", "silence", "--owner", "x", "--for", "1h", *BECAUSE, "--json"))
    complete = ShellComplete(celery, {"default_map": {"app": app}}, "celery", "_CELERY_COMPLETE")

    def press(*words: str) -> list[str]:
        return [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]

    for verb in ("show", "ack", "resolve"):
        assert press("alerts", verb, "") == [str(number)]
    assert press("alerts", "test", "s") == ["slack"]
    assert press("alerts", "unsilence", "") == [str(made["id"])]
    assert press("alerts", "list", "--rule", "fai") == ["failed"]


def test_a_dry_run_says_which_alerts_are_meant(run: Run, app: Any) -> None:
    one, other = sorted(found(app, failed(), failed("mail", owner="post")))
    assert said(run("alerts", "ack", one, "--dry-run", "--json"))["acknowledged"] == [one]
    run("alerts", "ack", one, *BECAUSE)
    answer = said(run("alerts", "ack", one, other, "--dry-run", "--json"), 1)
    assert answer == {"dry_run": True, "acknowledged": [other], "left": [{"id": one, "state": "acknowledged"}]}
    assert said(run("alerts", "resolve", one, other, "--dry-run", "--json"))["resolved"] == [one, other]
    silence = ("alerts", "silence", "--owner", "pos?", "--for", "2h")
    assert said(run(*silence, "--dry-run", "--json"))["alerts"] == [other]
    assert run("alerts", "silences").stdout == "No silences.\n"
    assert said(run(*silence, *BECAUSE, "--json"))["alerts"] == [other]
