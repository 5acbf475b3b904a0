"""Promise: a report says in one sentence how a day was, reads well on a terminal, and is a sound mail."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from steadybeat.alerts.report import AHEAD, Day, OtherRuns, Report, ScheduleDay, Unfired, coming
from steadybeat.alerts.report_html import DARK, LIGHT, as_html
from steadybeat.alerts.report_sections import ROWS, sections
from steadybeat.alerts.report_text import as_text
from steadybeat.alerts.report_words import document, figures, notes, severity, title, verdict
from steadybeat.commands.output import as_json
from steadybeat.schedule.wallclock import make

DAY = Day(date(2026, 10, 9), "Europe/Berlin")
MADE_AT = datetime(2026, 10, 10, 5, tzinfo=UTC)
EMPTY = Report(owner="payments", day=DAY, made_at=MADE_AT)
WITHOUT_END = ("meta", "br", "img", "link", "hr", "input")


def at(hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 10, 9, hour, minute, tzinfo=UTC)


def a_schedule(name: str = "s", **facts: Any) -> ScheduleDay:
    return ScheduleDay(**{"name": name, "task": name, "severity": "error", **facts})


def an_alert(**facts: Any) -> dict[str, Any]:
    given = {"id": 1, "rule": "failed", "subject": "s", "severity": "critical", "summary": "3 runs are dead."}
    given |= {"opened_at": at(9), "acknowledged_at": None, "acknowledged_by": None, "resolved_at": None}
    return {**given, "seen_count": 1, "reopened_count": 0, **facts}


ONE = a_schedule(states={"dispatched": 1}, succeeded_count=1)
MANY = "3 fires failed, 4 were missed, 2 runs of no schedule died and 1 alert is open."
CLOCKS = [("mail", make("30 2 * * *", "Europe/Berlin", dst="twice").to_json())]
GOOD = replace(EMPTY, schedules=[a_schedule(states={"dispatched": 288}, succeeded_count=288)])
FULL = replace(
    EMPTY,
    schedules=[
        a_schedule(
            "retry <b>cards</b> & more",
            states={"dispatched": 285, "skipped": 3},
            succeeded_count=281,
            dead_count=3,
            open_count=1,
            longest=timedelta(minutes=4),
            longest_run="019a1b7e-6c00-8d2f-9a3b-0c1d2e3f4a5b",
            usual=timedelta(seconds=9),
            error='ValueError: <script>alert("x")</script> ' + "long " * 200,
            paused="paused by anna: the bank is away",
        ),
        a_schedule("x" * 200, states={"dispatched": 20, "missed": 4}, succeeded_count=20),
        *(a_schedule(f"s{n}", states={"dispatched": 1}, succeeded_count=1) for n in range(20)),
    ],
    unfired=[
        Unfired(
            schedule="x" * 200, state="missed", cause="window", count=4, first_at=at(1), last_at=at(4), reason="too old"
        )
    ],
    letters=[
        {"task": "t", "schedule": None, "new_count": 3, "waiting_count": 11, "oldest_at": at(1), "reason": "it failed"}
    ],
    others=[OtherRuns(task="t", run_count=120_433, succeeded_count=120_431, dead_count=2)],
    alerts=[an_alert(), an_alert(rule="no_consumer", subject="orders", resolved_at=at(11))],
    surprises=coming(CLOCKS, DAY.until, DAY.until + AHEAD),
    left_out=[date(2026, 10, 8)],
)


@pytest.mark.parametrize(
    ("report", "said", "tone"),
    [
        (EMPTY, "Nothing was due.", "dim"),
        (GOOD, "All 288 fires succeeded.", "good"),
        (replace(EMPTY, schedules=[ONE]), "The one fire succeeded.", "good"),
        (
            replace(EMPTY, schedules=[a_schedule(states={"dispatched": 8, "skipped": 2}, succeeded_count=8)]),
            "Nothing failed: 8 of 10 fires succeeded, and 2 fires were skipped.",
            "good",
        ),
        (
            replace(EMPTY, schedules=[a_schedule(states={"missed": 1})]),
            "1 was missed. Of 1 fire, 0 succeeded.",
            "bad",
        ),
        (replace(EMPTY, alerts=[an_alert()]), "1 alert is open.", "bad"),
        (replace(EMPTY, others=[OtherRuns(task="t", run_count=2, succeeded_count=2)]),
         "Nothing was due by schedule; 2 runs had other causes.", "good"),
        (
            FULL,
            f"{MANY} Of 332 fires, 321 succeeded.",
            "bad",
        ),
    ],
)  # fmt: skip
def test_a_day_is_said_in_one_sentence(report: Report, said: str, tone: str) -> None:
    assert verdict(report) == (said, tone)


def test_each_fire_is_in_exactly_one_figure() -> None:
    for report in (GOOD, FULL):
        assert sum(figure.count for figure in figures(report)) == report.total("fire_count")
    assert [(figure.count, figure.word) for figure in figures(GOOD)] == [(288, "succeeded"), (0, "failed")]


def test_the_subject_of_the_mail_says_who_when_and_how_it_was() -> None:
    assert title(GOOD) == "Daily report of payments, 2026-10-09: All 288 fires succeeded"
    assert title(replace(EMPTY, owner=None)) == "Daily report of nobody, 2026-10-09: Nothing was due"
    assert [severity(report) for report in (EMPTY, GOOD, FULL)] == ["info", "info", "error"]


def test_a_day_is_one_of_its_zone_however_long_it_is() -> None:
    assert (DAY.since, DAY.until) == (datetime(2026, 10, 8, 22, tzinfo=UTC), datetime(2026, 10, 9, 22, tzinfo=UTC))
    autumn = Day(date(2026, 10, 25), "Europe/Berlin")
    assert autumn.until - autumn.since == timedelta(hours=25)
    assert Day.before(datetime(2026, 10, 9, 23, tzinfo=UTC), "Europe/Berlin") == DAY


def test_a_report_is_text_that_a_terminal_can_hold() -> None:
    for report in (EMPTY, GOOD, FULL):
        lines = as_text(report).splitlines()
        assert max(map(len, lines)) <= 120
        assert [line for line in lines if line != line.rstrip()] == []
    text = as_text(FULL)
    assert lines[:2] == ["DAILY REPORT of payments", "Friday, 9 October 2026 (Europe/Berlin)"]
    assert "and 7 more: celery -A tasks schedules list" in text
    assert "02:30 comes twice" in text
    assert "No report was sent for 2026-10-08" in text
    assert "is paused by anna: the bank is away." in text
    assert as_text(EMPTY).count("\n") == 6


def test_numbers_are_right_aligned_below_their_title() -> None:
    text = as_text(replace(EMPTY, others=[OtherRuns(task="t", run_count=7), OtherRuns(task="long", run_count=1_200)]))
    assert re.findall(r"^(TASK  .*|t  .*|long .*)$", text, re.MULTILINE) == [
        "TASK   RUNS  SUCCEEDED",
        "t         7          0",
        "long  1,200          0",
    ]


def test_a_section_without_rows_and_a_column_without_values_are_left_out() -> None:
    assert sections(EMPTY) == []
    assert [section.title for section in sections(GOOD)] == ["Schedules"]
    assert sections(GOOD)[0].columns == ["schedule", "fires", "succeeded"]
    assert all(len(section.rows) <= ROWS for section in sections(FULL))


class Mail(HTMLParser):
    """Reads a mail strictly: whatever opens is closed, and where texts and addresses stand is known."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in WITHOUT_END:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)


@pytest.mark.parametrize("report", [EMPTY, GOOD, FULL])
def test_the_mail_is_sound_and_loads_nothing(report: Report) -> None:
    mail = Mail(as_html(report))
    assert mail.open == []
    assert not {"img", "link", "script", "iframe"} & {*mail.tags}
    assert [value for name, value in mail.attributes if name in ("src", "href", "background")] == []
    assert "url(" not in as_html(report)
    assert ("lang", "en") in mail.attributes
    assert mail.tags.count("h1") == 1
    assert mail.tags.count("th") == mail.attributes.count(("scope", "col"))


def test_whatever_stands_in_names_and_errors_is_text_in_the_mail() -> None:
    mail = Mail(as_html(FULL))
    assert "b" not in mail.tags
    assert "retry <b>cards</b> & more" in mail.texts
    assert any('<script>alert("x")</script>' in text for text in mail.texts)


def test_a_colour_never_stands_alone_and_can_be_read_in_the_light_and_in_the_dark() -> None:
    def brightness(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    for tones in (LIGHT, DARK):
        for ink, paper, _ in tones.values():
            low, high = sorted([brightness(ink), brightness(paper)])
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper)
    words = [cell.text for section in sections(FULL) for row in section.rows for cell in row if cell.tone]
    assert all(words)


def test_a_report_is_data_as_well() -> None:
    data = as_json(document(FULL))
    assert (data["owner"], data["day"], data["tz"], data["since"]) == (
        "payments",
        "2026-10-09",
        "Europe/Berlin",
        "2026-10-08T22:00:00Z",
    )
    assert data["fires"] == {"succeeded": 321, "failed": 3, "missed": 4, "skipped": 3, "not_ended_yet": 1}
    assert data["clock_changes"][0]["kind"] == "doubled"
    assert data["schedules"][0]["longest"] == 240.0
    assert notes(FULL)[0].startswith("No report was sent for 2026-10-08")
