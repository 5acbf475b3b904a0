"""Promise: the daily report can be asked for at any time, as text, as a mail, as data, and be sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import TaskRow
from tests.eventually import eventually
from tests.integration.commands.shop import MakeApp, Run
from tests.integration.mailserver import MailServer, mail_server
from tests.integration.records import alive, claim, recorded


@pytest.fixture
def today(book: Ledger) -> str:
    tasks = [
        TaskRow(name="shop.mail.digest", service="mail", owner="post"),
        TaskRow(name="shop.billing.charge", service="billing", owner="payments-team"),
    ]
    book.tasks.describe(tasks, ["mail", "billing"])
    for task, count in (("shop.billing.charge", 2), ("shop.mail.digest", 1)):
        for _ in range(count):
            run = recorded(book, task=task)
            fence = claim(book, run, alive(book)).fence
            assert book.runs.finish(run.id, fence, result=None)
    return f"{datetime.now(UTC).date()}"


def test_a_report_of_each_owner_is_printed(run: Run, today: str) -> None:
    answer = run("alerts", "report", "--day", today)
    assert answer.exit_code == 0
    first, second = answer.stdout.split("\n\n\n")
    assert first.startswith("DAILY REPORT of payments-team\n")
    assert "Nothing was due by schedule; 2 runs had other causes." in first
    assert second.startswith("DAILY REPORT of post\n")


def test_a_report_is_data_and_a_mail_as_well(run: Run, today: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    answer = run("alerts", "report", "--owner", "post", "--day", today, "--html", file, "--json")
    (report,) = json.loads(answer.stdout)
    assert (report["owner"], report["day"], report["tz"]) == ("post", today, "UTC")
    assert report["other_runs"][0]["run_count"] == 1
    assert file.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--day", "someday"), "--day someday: must be a date such as 2026-11-27."),
        (("--owner", "paymentsteam"), "Did you mean 'payments-team'?"),
        (("--html", "all.html"), "give --owner, one of payments-team, post."),
    ],
)
def test_what_is_asked_for_wrongly_is_refused(run: Run, today: str, arguments: tuple[str, ...], said: str) -> None:
    given = arguments if "--day" in arguments else (*arguments, "--day", today)
    answer = run("alerts", "report", *given)
    assert answer.exit_code == 2
    assert said in answer.stderr


def test_where_nothing_is_known_it_is_said(run: Run) -> None:
    answer = run("alerts", "report")
    assert (answer.exit_code, answer.stdout) == (
        0,
        "There is nothing to report: no task, schedule, run or alert is known.\n",
    )


def told(server: MailServer) -> Any:
    url = f"mailto://127.0.0.1:{server.port}?from=beat@shop.example&to=team@shop.example"
    routes = [{"owner": "payments-*", "to": ["mail"], "report": ["mail"]}, {"to": ["mail"]}]
    return {"steadybeat_alert_channels": {"mail": url}, "steadybeat_alert_routes": routes}


def part(message: EmailMessage, kind: str) -> str:
    found = message.get_body((kind,))
    assert found is not None
    return str(found.get_content())


def test_a_report_arrives_as_a_mail_of_two_parts(run: Run, make_app: MakeApp, today: str) -> None:
    with mail_server() as server:
        app = make_app(**told(server))
        answer = run("alerts", "report", "--day", today, "--send", app=app)
        assert "The report of payments-team is sent to 1 channel: mail." in answer.stderr
        assert 'The report of post goes nowhere: no route of theirs says "report".' in answer.stderr
        app.steadybeat.alerts.deliver(timedelta(seconds=10))
        eventually(lambda: len(server.taken) == 1)
    (message,) = server.taken
    verdict = "Nothing was due by schedule; 2 runs had other causes"
    assert message["Subject"] == f"Daily report of payments-team, {today}: {verdict}"
    assert message["To"] == "team@shop.example"
    assert "payments-team</h1>" in part(message, "html")

    assert "2 runs had other causes" in part(message, "plain")


def test_the_pass_that_tells_people_of_alerts_sends_the_reports_that_are_due(
    run: Run, make_app: MakeApp, today: str
) -> None:
    with mail_server() as server:
        app = make_app(**told(server), steadybeat_report_at="00:00 UTC")
        eventually(lambda: app.steadybeat.alerts.work() or len(server.taken) == 1)
        app.steadybeat.alerts.work()
    (message,) = server.taken
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    assert message["Subject"].startswith(f"Daily report of payments-team, {yesterday}")


def test_a_report_that_cannot_be_written_stops_nothing_else(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, today: str
) -> None:
    app = make_app(steadybeat_report_at="00:00 UTC")
    alerts = app.steadybeat.alerts
    alerts.reports.send_due = lambda *_: 1 / 0
    alerts.work()
    eventually(lambda: "reports not written" in caplog.text)
    assert not alerts.reports.are_due(datetime.now(UTC))
