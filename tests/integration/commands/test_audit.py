"""`audit` as it is asked for on the command line: scores, documents, exit codes; with and without servers."""

from __future__ import annotations

from typing import Any

import pytest

from steadybeat.audit import LINES, SECTIONS
from steadybeat.audit.checking import check, checks
from tests.integration.commands.shop import MakeApp, Run, refusal, said

AWAY = {
    "steadybeat_database_url": "postgresql://127.0.0.1:1/nowhere",
    "steadybeat_redis_url": "redis://127.0.0.1:1/0",
}
FIELDS = ["line", "text", "subject", "service", "verdict", "evidence", "remedy"]
COUNTS = ["PASS", "PARTIAL", "FAIL", "UNKNOWN", "N/A"]
OF_THE_LEDGER = {"3.11", "3.12", "3.13", "5.8", "5.10", "6.2", "6.6", "6.7"}
"""What only the ledger knows of a task."""


def findings(run: Run, *options: str, **app: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = said(run("audit", "--json", *options, **app))["findings"]
    return found


def test_every_line_is_asked_of_every_task(run: Run) -> None:
    document = said(run("audit", "--json"))

    assert [*document] == ["app", "made_at", "score", "counts", "sections", "services", "tasks", "findings", "broken"]
    assert document["broken"] == []
    assert [each["section"] for each in document["sections"]] == [*SECTIONS]
    assert [each["service"] for each in document["services"]] == ["billing", "mail"]
    tasks = ["shop.billing.charge", "shop.billing.report", "shop.mail.digest"]
    assert [each["task"] for each in document["tasks"]] == tasks
    asked = [(each["subject"], each["line"]) for each in document["findings"]]
    assert asked == [(task, line) for task in tasks for line in checks()]
    for each in document["findings"]:
        assert [*each] == FIELDS
        assert each["text"] == LINES[each["line"]].text
        assert each["evidence"]
        assert bool(each["remedy"]) == (each["verdict"] in {"FAIL", "PARTIAL", "UNKNOWN"}), each
    assert [*document["counts"]] == COUNTS
    assert sum(document["counts"].values()) == len(asked)
    passed, left_out = document["counts"]["PASS"], document["counts"]["N/A"]
    assert document["score"] == round(100 * passed / (len(asked) - left_out), 1)


def test_without_servers_it_answers_and_says_what_it_could_not_look_at(run: Run, make_app: MakeApp) -> None:
    away = make_app(**AWAY)

    found = findings(run, app=away)

    assert {each["line"] for each in found if each["verdict"] == "UNKNOWN"} >= OF_THE_LEDGER
    for each in found:
        if each["line"] in OF_THE_LEDGER:
            assert each["verdict"] == "UNKNOWN"
            assert "127.0.0.1:1/nowhere does not answer" in each["evidence"]
            assert "STEADYBEAT_DATABASE_URL" in each["remedy"]
    of_code = {each["line"]: each["verdict"] for each in found if each["subject"] == "shop.mail.digest"}
    assert of_code["1.2"] == of_code["1.6"] == of_code["2.1"] == of_code["5.7"] == "PASS"
    assert (of_code["1.5"], of_code["1.7"]) == ("FAIL", "FAIL")
    assert run("audit", app=away).exit_code == 0


def test_only_the_ledger_is_missed_where_it_is_away(run: Run, make_app: MakeApp) -> None:
    beside = {(each["subject"], each["line"]): each["verdict"] for each in findings(run)}
    away = {(each["subject"], each["line"]): each["verdict"] for each in findings(run, app=make_app(**AWAY))}

    assert {verdict for asked, verdict in away.items() if beside[asked] != verdict} == {"UNKNOWN"}


def test_a_service_or_a_task_is_asked_alone(run: Run) -> None:
    assert {each["subject"] for each in findings(run, "--service", "mail")} == {"shop.mail.digest"}
    assert {each["subject"] for each in findings(run, "--task", "shop.billing.charge")} == {"shop.billing.charge"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--service", "mial"), "--service='mial': there is no such service. Did you mean 'mail'?"),
        (("--task", "shop.mail.diges"), "--task='shop.mail.diges': there is no such task. Did you mean 'shop.mail.dig"),
        (("--min", "101"), "Invalid value for '--min'"),
        (("--json", "--html"), "--json, --markdown and --html: give one of them."),
        (("--live", "--min", "50"), "--live: leave --min, "),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_one_line(run: Run, options: tuple[str, ...], told: str) -> None:
    assert refusal(run("audit", *options)).startswith(told)


def test_a_score_below_the_least_is_a_finding(run: Run) -> None:
    score = said(run("audit", "--json"))["score"]

    assert 0 < score < 100
    assert run("audit", "--min", f"{score - 1:.1f}").exit_code == 0
    assert run("audit", "--min", f"{score + 1:.1f}").exit_code == 1
    assert said(run("audit", "--min", "100", "--json"), 1)["score"] == score


def test_a_check_that_fails_is_an_error_of_the_audit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("no")

    monkeypatch.setitem(check._found, "1.6", broken)
    document = said(run("audit", "--json"), 1)

    assert document["broken"] == ["1.6"]
    [found] = [each for each in document["findings"] if (each["line"], each["service"]) == ("1.6", "mail")]
    assert (found["verdict"], found["evidence"]) == ("UNKNOWN", "the check failed: ZeroDivisionError: no")
    shown = run("audit")
    assert (shown.exit_code, "The check of 1.6 failed: that is an error of the audit." in shown.stdout) == (1, True)


def test_a_person_gets_scores_and_what_is_to_be_mended(run: Run) -> None:
    shown = run("audit").stdout

    assert "SERVICE" in shown
    assert "Sections: 1 Job definition, 2 Locking" in shown
    assert "1.5 purpose documented" in shown
    assert "1.6 time limit set" not in shown  # it is, of all
    assert "Score: " in shown


def test_of_one_task_every_line_is_shown(run: Run) -> None:
    shown = run("audit", "--task", "shop.mail.digest").stdout

    for line in checks():
        assert f"{line} {LINES[line].text}" in shown


def test_a_page_and_a_comment_are_whole(run: Run) -> None:
    page, comment = run("audit", "--html"), run("audit", "--markdown")

    assert (page.exit_code, comment.exit_code) == (0, 0)
    assert page.stdout.startswith("<!DOCTYPE html>")
    assert page.stdout.rstrip().endswith("</html>")
    assert "<script" not in page.stdout
    assert "http" not in page.stdout.split("<body")[0]
    assert comment.stdout.startswith("# Audit of ")
    for task in ("shop.billing.charge", "shop.billing.report", "shop.mail.digest"):
        assert task in page.stdout
        assert task in comment.stdout
