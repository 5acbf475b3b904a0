"""The tables of a report, as the text and the mail lay them out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from steadybeat.alerts.report import Report, ScheduleDay, Unfired
from steadybeat.alerts.report_words import ROWS, surprise_words
from steadybeat.rules import RULES
from steadybeat.wording import length

STATE_TONES: Mapping[str, str] = {
    "missed": "bad",
    "skipped": "warn",
    "coalesced": "warn",
    "waiting": "info",
    "expected": "info",
}
SEVERITY_TONES: Mapping[str, str] = {"critical": "bad", "error": "bad", "warning": "warn", "info": "info"}


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a table: its text, its tone where it has one, and a sentence below it."""

    text: str
    tone: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A table with a title. The first column names what a row is about; `right` are those that hold numbers.

    Attributes:
        more: What is not shown, in words.
        look: The sub-command that looks closer.
    """

    title: str
    columns: Sequence[str]
    right: frozenset[int]
    rows: Sequence[Sequence[Cell]]
    more: str = ""
    look: str = ""


def sections(report: Report) -> list[Section]:
    """Return the tables of a report that have something to say."""
    found = (
        _alerts(report),
        _failed(report),
        _without_run(report),
        _letters(report),
        _late(report),
        _slow(report),
        _schedules(report),
        _others(report),
        _clocks(report),
    )
    return [each for each in found if each.rows]


def _alerts(report: Report) -> Section:
    rows = []
    for each in report.alerts:
        rule = RULES.get(each["rule"])
        state = "resolved" if each["resolved_at"] else "acknowledged" if each["acknowledged_at"] else "open"
        tone = {"open": "bad", "acknowledged": "warn", "resolved": "good"}[state]
        until = each["resolved_at"] or report.made_at
        rows.append([
            Cell(f"{rule.title if rule else each['rule']}: {each['subject']}", detail=each["summary"]),
            Cell(state, tone),
            Cell(each["severity"], SEVERITY_TONES.get(each["severity"], "dim")),
            Cell(_clock(each["opened_at"], report)),
            Cell(length(until - each["opened_at"])),
        ])  # fmt: skip
    opened = sum(report.day.since <= each["opened_at"] < report.day.until for each in report.alerts)
    return _section(
        f"Alerts ({opened:,} opened)", ("alert", "state", "severity", "since", "lasts"), {4}, rows, "alerts list"
    )


def _failed(report: Report) -> Section:
    found = sorted((each for each in report.schedules if each.dead_count), key=lambda each: -each.dead_count)
    rows = [
        [
            Cell(each.name, detail=each.error or ""),
            Cell(f"{each.dead_count:,}", "bad"),
            Cell(f"{each.fire_count:,}"),
            Cell(each.severity, SEVERITY_TONES.get(each.severity, "dim")),
            Cell(each.dead_run or ""),
        ]
        for each in found
    ]
    return _section("Failed", ("schedule", "failed", "fires", "severity", "last run"), {1, 2}, rows, "dead list")


def _without_run(report: Report) -> Section:
    order = ("missed", "skipped", "coalesced", "waiting", "expected")
    found = sorted(report.unfired, key=lambda each: (order.index(each.state), -each.count, each.schedule))
    rows = [
        [
            Cell(each.schedule, detail=each.reason),
            Cell(each.state, STATE_TONES[each.state]),
            Cell((each.cause or "").replace("_", " ")),
            Cell(f"{each.count:,}"),
            Cell(_span(each, report)),
        ]
        for each in found
    ]
    return _section("Fires without a run", ("schedule", "state", "cause", "fires", "when"), {3}, rows, "runs why")


def _letters(report: Report) -> Section:
    rows = [
        [
            Cell(each["schedule"] or each["task"], detail=each["reason"]),
            Cell(f"{each['new_count']:,}", "bad" if each["new_count"] else ""),
            Cell(f"{each['waiting_count']:,}"),
            Cell(length(report.made_at - each["oldest_at"])),
        ]
        for each in report.letters
    ]
    return _section(
        "Dead letters that wait for a person", ("schedule or task", "new", "waiting", "oldest"), {1, 2, 3}, rows,
        "dead list",
    )  # fmt: skip


def _late(report: Report) -> Section:
    found = sorted((each for each in report.schedules if each.latest), key=lambda each: -(each.latest or timedelta()))
    rows = [
        [
            Cell(each.name),
            Cell(f"{each.late_count:,}", "warn"),
            Cell(length(each.latest)),
            Cell(_clock(each.latest_at, report)),
        ]
        for each in found
    ]
    return _section("Late", ("schedule", "late fires", "latest by", "its fire"), {1, 2}, rows, "runs why")


def _slow(report: Report) -> Section:
    found = sorted((each for each in report.schedules if each.longest), key=lambda each: -(each.longest or timedelta()))
    return _section(
        "Slowest runs",
        ("schedule", "took", "usually", "ratio", "run"),
        {1, 2, 3},
        [[*_took(each), Cell(each.longest_run or "")] for each in found[:5]],
        "runs show",
    )


def _took(each: ScheduleDay) -> list[Cell]:
    took, usual = each.longest or timedelta(), each.usual
    ratio = took / usual if usual else None
    tone = "" if ratio is None or ratio < 2 else "warn" if ratio < 5 else "bad"
    said = "" if ratio is None else f"{ratio:.1f} times" if ratio < 10 else f"{ratio:,.0f} times"
    return [Cell(each.name), Cell(length(took)), Cell(length(usual)), Cell(said, tone)]


def _schedules(report: Report) -> Section:
    found = sorted(
        (each for each in report.schedules if each.fire_count),
        key=lambda each: (-(each.dead_count + each.states.get("missed", 0)), -each.fire_count, each.name),
    )
    rows = [
        [
            Cell(each.name),
            Cell(f"{each.fire_count:,}"),
            Cell(f"{each.succeeded_count:,}"),
            _number(each.dead_count, "bad"),
            _number(each.states.get("missed", 0), "bad"),
            _number(each.states.get("skipped", 0) + each.states.get("coalesced", 0), "warn"),
            _number(each.retry_count),
            _number(each.item_count),
        ]
        for each in found
    ]
    columns = ("schedule", "fires", "succeeded", "failed", "missed", "skipped", "retries", "items")
    return _section("Schedules", columns, {*range(1, 8)}, rows, "schedules list")


def _others(report: Report) -> Section:
    rows = [
        [
            Cell(each.task),
            Cell(f"{each.run_count:,}"),
            Cell(f"{each.succeeded_count:,}"),
            _number(each.dead_count, "bad"),
            _number(each.open_count, "info"),
            _number(each.retry_count),
            _number(each.item_count),
            Cell(length(each.longest)),
        ]
        for each in report.others
    ]
    columns = ("task", "runs", "succeeded", "dead", "not ended", "retries", "items", "longest")
    return _section("Runs of no schedule", columns, {*range(1, 8)}, rows, "runs list")


def _clocks(report: Report) -> Section:
    names: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for name, surprise in report.surprises:
        names[surprise_words(surprise)].append(name)
    rows = [
        [Cell(day), Cell(_named(found)), Cell(said, detail=f"{clocks[0].upper()}{clocks[1:]}.")]
        for (day, said, clocks), found in names.items()
    ]
    columns = ("day", "schedule", "what happens")
    return _section("Changes of the clocks ahead", columns, set(), rows, "schedules explain")


def _section(title: str, columns: Sequence[str], right: set[int], rows: Sequence[Sequence[Cell]], look: str) -> Section:
    left = len(rows) - ROWS
    more = f"and {left:,} more" if left > 0 else ""
    shown = [n for n in range(len(columns)) if any(row[n].text for row in rows)]
    return Section(
        title,
        [columns[n] for n in shown],
        frozenset(at for at, n in enumerate(shown) if n in right),
        [[row[n] for n in shown] for row in rows[:ROWS]],
        more,
        look,
    )


def _number(number: int, tone: str = "") -> Cell:
    return Cell(f"{number:,}", tone) if number else Cell("")


def _clock(at: datetime | None, report: Report) -> str:
    """Return an instant by the clock of the report's zone, with its date where that is another day."""
    if at is None:
        return ""
    local = at.astimezone(ZoneInfo(report.day.tz))
    if local.date() == report.day.date:
        return f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"
    return f"{local:%Y-%m-%d %H:%M}"


def _span(each: Unfired, report: Report) -> str:
    first, last = _clock(each.first_at, report), _clock(each.last_at, report)
    return first if first == last else f"{first} to {last}"


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
