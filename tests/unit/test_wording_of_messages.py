from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from steadybeat.alerts.wording import Links, Story, closer, length, listed, message, ordinal
from steadybeat.ledger.alerts import AlertRow
from steadybeat.rules import RULES
from steadybeat.settings import Settings
from tests.documents import ROOT

NOW = datetime(2026, 11, 28, 6, 15, tzinfo=UTC)
RUN = "019a1b7e-6c00-8d2f-9a3b-0c1d2e3f4a5b"
GOOD = "019a1b7e-6c00-8d2f-9a3b-000000000000"
LINKS = Links(
    app="tasks", flower_url="https://flower.example", logs_url="https://logs.example/?q={run_id}&s={schedule}",
    runbooks_url="https://git.example/runbooks",
)  # fmt: skip


def alert(**facts: Any) -> AlertRow:
    given = {
        "id": 17, "rule": "failed", "subject": "tasks.royalties.settle", "severity": "critical", "owner": "payments",
        "service": "royalties", "schedule": "tasks.royalties.settle", "summary": "Its last 3 runs are dead.",
        "error": "ConnectionError: https://me:hunter2@bank.example\nhas gone", "last_good_run": GOOD,
        "since": NOW - timedelta(minutes=15), "opened_at": NOW - timedelta(minutes=14), "last_seen_at": NOW,
    }  # fmt: skip
    return AlertRow(**(given | facts))


def test_a_message_says_all_that_a_person_needs() -> None:
    good_at = {GOOD: NOW - timedelta(days=1)}
    said = message(Story(kind="opened", alerts=[alert(run=RUN)], now=NOW, last_good_at=good_at), LINKS)
    assert said.title == "[critical] schedule fails: tasks.royalties.settle"
    assert said.body.splitlines() == [
        "what: Its last 3 runs are dead.",
        "since: 2026-11-28 06:00:00Z, 15 min ago",
        "owner: payments",
        f"last good run: {GOOD}, 2026-11-27 06:15:00Z",
        "error: ConnectionError: https://me:***@bank.example has gone",
        f"look closer: celery -A tasks runs show {RUN}",
        "answer: celery -A tasks alerts ack 17 --reason …",
        "flower: https://flower.example/alert/17",
        f"logs: https://logs.example/?q={RUN}&s=tasks.royalties.settle",
        "runbook: https://git.example/runbooks/failed.md",
    ]
    assert f"look closer: `celery -A tasks runs show {RUN}`" in said.markdown
    assert '<a href="https://flower.example/alert/17">' in said.html
    assert said.short == f"{said.title}: Its last 3 runs are dead."


def test_the_guide_shows_a_message_as_it_is() -> None:
    story = Story(kind="opened", alerts=[alert(run=RUN)], now=NOW, last_good_at={GOOD: NOW - timedelta(days=1)})
    said = message(story, LINKS)
    assert f"{said.title}\n\n{said.body}" in (Path(ROOT) / "docs/alerts.md").read_text()


def test_an_end_says_how_long_it_lasted_and_who_said_so() -> None:
    over = alert(resolved_at=NOW)
    said = message(Story(kind="resolved", alerts=[over], now=NOW), LINKS)
    assert said.title == "[resolved] schedule fails: tasks.royalties.settle"
    assert said.body.startswith("what: it is over. It was: Its last 3 runs are dead.\nlasted: 15 min, from 2026-11-28")
    assert "error:" not in said.body
    assert "answer:" not in said.body
    by_hand = message(Story(kind="resolved", alerts=[over], now=NOW, who="ann@desk", reason="token=x"), LINKS)
    assert by_hand.body.startswith("what: it is over, resolved by ann@desk: token=***. It was: ")
    seen_to = message(Story(kind="acknowledged", alerts=[alert()], now=NOW, who="ann@desk", reason="on it"), LINKS)
    assert seen_to.body.startswith("what: acknowledged by ann@desk: on it. It is: ")


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        ("reopened", "[critical] again, schedule fails: tasks.royalties.settle"),
        ("worse", "[critical] worse, schedule fails: tasks.royalties.settle"),
        ("escalated", "[critical] nobody answers, schedule fails: tasks.royalties.settle"),
        ("acknowledged", "[acknowledged] schedule fails: tasks.royalties.settle"),
    ],
)
def test_a_title_says_why_people_hear_of_it(kind: str, title: str) -> None:
    assert message(Story(kind=kind, alerts=[alert()], now=NOW), LINKS).title == title


def test_a_cause_says_how_many_and_which_it_explains() -> None:
    many = [f"s{number}" for number in range(40)]
    said = message(Story(kind="opened", alerts=[alert(rule="no_consumer")], now=NOW, explains=many), LINKS)
    assert "explains: 40 others: s0, s1, " in said.body
    assert "s19 and 20 more" in said.body


def test_a_storm_says_which_and_whose() -> None:
    storm = [alert(id=number, subject=f"s{number}", owner=owner) for number, owner in enumerate(("a", None, "a"))]
    said = message(Story(kind="opened", alerts=storm, now=NOW), LINKS)
    assert said.title == "[critical] schedule fails: 3 schedules"
    assert "which: s0, s1, s2" in said.body
    assert "owners: a, nobody" in said.body
    assert "look closer: celery -A tasks alerts list --rule failed" in said.body


def test_what_others_wrote_cannot_break_out_of_its_line() -> None:
    hostile = alert(summary="a\nb\x1b[31m <script>", subject="x\ny", error=None)
    said = message(Story(kind="opened", alerts=[hostile], now=NOW), LINKS)
    assert said.title == "[critical] schedule fails: x y"
    assert said.body.startswith("what: a b [31m <script>\n")
    assert "<script>" not in said.html


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_a_command_that_looks_closer(rule: str) -> None:
    assert closer(alert(rule=rule, run=None, schedule=None, task=None), LINKS).startswith("celery -A tasks ")


def test_links_without_an_address_are_left_out() -> None:
    assert Links.of(Settings(), "shop").shown(alert()) == []
    assert Links.of(Settings(celery_app="shop.main"), "shop").command("alerts", "show", "a b") == (
        "celery -A shop.main alerts show 'a b'"
    )
    assert LINKS.shown(alert())[0] == ("flower", "https://flower.example/alert/17")


def test_durations_numbers_and_lists_are_short() -> None:
    lengths = [length(timedelta(seconds=each)) for each in (0, 59, 90, 3600, 11520, 180000)]
    assert lengths == ["0 s", "59 s", "2 min", "1 h", "3 h 12 min", "2 d 2 h"]
    assert [ordinal(each) for each in (1, 2, 3, 4, 11, 12, 22)] == ["1st", "2nd", "3rd", "4th", "11th", "12th", "22nd"]
    assert listed([str(each) for each in range(22)]).endswith("19 and 2 more")
