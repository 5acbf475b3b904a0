"""The words of a report: its verdict, its figures and what belongs below its tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from steadybeat.alerts.report import NOBODY, Report, ScheduleDay, Unfired
from steadybeat.schedule.surprises import Surprise
from steadybeat.wording import count

TONES = ("good", "info", "warn", "bad", "dim")

ROWS = 15
"""A section shows so many rows; how many more there are is said."""

TIMES = 4
"""So many readings of a clock are said one by one."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, what it counts, and its tone."""

    count: int
    word: str
    tone: str


def owner_of(report: Report) -> str:
    """Return who is told."""
    return report.owner or NOBODY


def title(report: Report) -> str:
    """Return what a report is called, which is the subject of its mail, with the verdict's gist."""
    return f"Daily report of {owner_of(report)}, {report.day.date}: {_gist(report)}"


def long_day(report: Report) -> str:
    """Return the day of a report in words: ``Friday, 27 November 2026 (Europe/Berlin)``."""
    day = report.day
    return f"{day.date:%A}, {day.date.day} {day.date:%B %Y} ({day.tz})"


def severity(report: Report) -> str:
    """Return how bad a day was, as notices say it."""
    return {"bad": "error", "warn": "warning"}.get(verdict(report)[1], "info")


def verdict(report: Report) -> tuple[str, str]:
    """Return how a day was in one sentence, and its tone."""
    total = report.total("fire_count")
    dead, missed, skipped = report.total("dead_count"), report.in_state("missed"), report.in_state("skipped")
    alerts = sum(each["resolved_at"] is None for each in report.alerts)
    letters = sum(each["new_count"] for each in report.letters)
    others = sum(each.dead_count for each in report.others)
    wrong = [count(dead, "fire") + " failed"] if dead else []
    wrong += [f"{missed:,} {'was' if missed == 1 else 'were'} missed"] if missed else []
    wrong += [count(others, "run") + " of no schedule died"] if others else []
    wrong += [count(letters, "dead letter") + " came in"] if letters and not dead and not others else []
    wrong += [count(alerts, "alert") + f" {'is' if alerts == 1 else 'are'} open"] if alerts else []
    if wrong:
        of_all = f" Of {count(total, 'fire')}, {report.total('succeeded_count'):,} succeeded." if total else ""
        return f"{_listed(wrong)}.{of_all}", "bad" if dead or missed or others or alerts else "warn"
    if not total:
        runs = sum(each.run_count for each in report.others)
        return (
            (f"Nothing was due by schedule; {count(runs, 'run')} had other causes.", "good")
            if runs
            else (
                "Nothing was due.",
                "dim",
            )
        )
    if report.total("succeeded_count") == total:
        return f"{'The one fire' if total == 1 else f'All {total:,} fires'} succeeded.", "good"
    rest = [count(skipped, "fire") + f" {'was' if skipped == 1 else 'were'} skipped"] if skipped else []
    said = f", and {_listed(rest)}" if rest else ""
    return f"Nothing failed: {report.total('succeeded_count'):,} of {count(total, 'fire')} succeeded{said}.", "good"


def figures(report: Report) -> list[Figure]:
    """Return what stands at the top: every fire in exactly one of them, those at 0 left out but for the first two."""
    others = report.in_state("skipped", "coalesced")
    unsettled = report.in_state("expected", "waiting") + report.total("open_count") + _unseen(report)
    found = [
        Figure(report.total("succeeded_count"), "succeeded", "good"),
        Figure(report.total("dead_count"), "failed", "bad"),
        Figure(report.in_state("missed"), "missed", "bad"),
        Figure(others, "skipped", "warn"),
        Figure(report.total("cancelled_count"), "cancelled", "dim"),
        Figure(unsettled, "not ended yet", "info"),
    ]
    return [figure for n, figure in enumerate(found) if figure.count or n < 2]


def notes(report: Report) -> list[str]:
    """Return sentences that belong below the tables."""
    said = []
    if report.left_out:
        days = ", ".join(f"{each}" for each in report.left_out)
        said.append(f"No report was sent for {days}: nobody was there to send it; alerts report --day makes it.")
    paused = [each for each in report.schedules if each.paused]
    said += [f"{each.name} is {each.paused}." for each in paused[:ROWS]]
    if len(paused) > ROWS:
        said.append(f"{len(paused) - ROWS} more schedules are paused.")
    return said


def surprise_words(surprise: Surprise) -> tuple[str, str, str]:
    """Return the day of a surprise, what becomes of the schedule, and what the clocks do."""
    zone = ZoneInfo(surprise.zone)
    walls = _times([f"{wall:%H:%M}" for wall in surprise.walls])
    many = len(surprise.walls) > 1
    fires = [at.astimezone(zone) for at in surprise.fires]
    if surprise.kind == "skipped":
        said = f"{walls} {'do' if many else 'does'} not exist, and {'are' if many else 'is'} left out"
    elif surprise.kind == "shifted":
        instead = _times([f"{at:%H:%M}" for at in fires])
        said = f"{walls} {'do' if many else 'does'} not exist: due at {instead} instead"
    else:
        times = "twice" if len(fires) == 2 else count(len(fires), "time")
        said = f"{walls} {'come' if many else 'comes'} twice: due {times}"
        if len(fires) <= TIMES:
            said += ", at " + " and ".join(f"{at:%H:%M%z}" for at in fires)
    low, high = sorted([surprise.before, surprise.after])
    way = "forward" if surprise.after == high else "back"
    return (
        f"{low:%a} {low:%Y-%m-%d}",
        said,
        f"{surprise.zone} goes {way} from {surprise.before:%H:%M} to " + (f"{surprise.after:%H:%M}"),
    )


def _gist(report: Report) -> str:
    said, _ = verdict(report)
    return said.partition(".")[0]


def _unseen(report: Report) -> int:
    """Return how many fires were sent and have no run that is on record, or none any more."""
    with_runs = sum(report.total(f"{name}_count") for name in ("succeeded", "dead", "open", "cancelled"))
    return max(0, report.in_state("dispatched") - with_runs)


def _times(said: Sequence[str]) -> str:
    return _listed(said) if len(said) <= TIMES else f"{said[0]} to {said[-1]} ({len(said)} times)"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def document(report: Report) -> dict[str, Any]:
    """Return a report as data, for JSON: instants aware, durations as timedelta, its own words beside them."""
    return {
        "owner": report.owner,
        "day": report.day.date.isoformat(),
        "tz": report.day.tz,
        "since": report.day.since,
        "until": report.day.until,
        "verdict": verdict(report)[0],
        "severity": severity(report),
        "fires": {figure.word.replace(" ", "_"): figure.count for figure in figures(report)},
        "schedules": list(_documents(report)),
        "unfired": [{name: getattr(each, name) for name in Unfired.__slots__} for each in report.unfired],
        "dead_letters": [dict(each) for each in report.letters],
        "other_runs": [{name: getattr(each, name) for name in type(each).__slots__} for each in report.others],
        "alerts": [dict(each) for each in report.alerts],
        "clock_changes": [
            {
                "schedule": name,
                "kind": each.kind,
                "zone": each.zone,
                "at": each.at,
                "walls": [wall.isoformat() for wall in each.walls],
                "fires": list(each.fires),
            }
            for name, each in report.surprises
        ],
        "left_out": [each.isoformat() for each in report.left_out],
    }


def _documents(report: Report) -> Iterator[dict[str, Any]]:
    for each in report.schedules:
        yield {name: getattr(each, name) for name in ScheduleDay.__slots__} | {"fire_count": each.fire_count}
