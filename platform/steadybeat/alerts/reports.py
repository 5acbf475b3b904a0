"""Reports: made for every owner, and sent once a day, whoever is there to do it.

The duty ``report`` says up to which day reports are written, and the key of a notice,
``report/<owner>/<day>/<channel>``, that there is one of it. Whoever dies in the middle leaves the rest to the next,
who writes what is not written yet and nothing twice.

After an outage the reports of the last `MADE_UP_FOR` days are sent, each of its own day: the ledger knows all of it
still. Older ones are left out, and the first that is sent says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from steadybeat.alerts.report import NOBODY, Day, Gathering, Report
from steadybeat.alerts.report_html import as_html
from steadybeat.alerts.report_text import as_text
from steadybeat.alerts.report_words import severity, title, verdict
from steadybeat.ledger import Ledger
from steadybeat.schedule.zones import reading
from steadybeat.settings import report_time

logger = logging.getLogger(__name__)

MADE_UP_FOR = 3
"""After an outage the reports of so many days are sent, the last of them that of yesterday."""

DUTY = "report"

Channels = Callable[[str | None], Sequence[str]]
"""Returns the names of the channels that an owner's report goes to; of none where it goes nowhere."""


class Reports:
    """Makes reports, and has them sent.

    Args:
        ledger: The ledger.
        instance: Of this process.
        app: What stands behind ``celery -A`` in the commands that a report names.
    """

    def __init__(self, ledger: Ledger, instance: str, app: str = "tasks") -> None:
        self._ledger, self._instance, self._app = ledger, instance, app
        told = report_time(ledger.settings.report_at)
        self.tz = "UTC" if told is None else told[1]
        self._time = None if told is None else told[0]
        self._rest_until: datetime | None = None

    def owners(self) -> list[str | None]:
        """Return everybody who has a report, by name, and last None for what has no owner."""
        return [*self._ledger.reporting.owners(), None]

    def of(self, day: Day, owners: Sequence[str | None], now: datetime) -> list[Report]:
        """Return the reports of a day; that of what has no owner only where it says something.

        Args:
            day: The day.
            owners: Whose; None: of what has no owner.
            now: Aware.

        Raises:
            LedgerUnavailable: Postgres does not answer.
        """
        gathering = Gathering(self._ledger, day, self._app)
        found = [gathering.report(owner, now) for owner in owners]
        return [report for report in found if report.owner is not None or not report.is_empty]

    def are_due(self, now: datetime) -> bool:
        """Return whether reports may be due that this process knows nothing of."""
        return self._time is not None and (self._rest_until is None or now >= self._rest_until)

    def send_due(self, now: datetime, channels: Channels) -> int:
        """Write the notices of every report that is due and not written yet; return how many were.

        It costs nothing until the next is due, and one statement where another process was quicker.

        Args:
            now: Aware.
            channels: Returns where an owner's report goes.

        Raises:
            LedgerUnavailable: Postgres does not answer; what is written stays, and the rest follows next time.
        """
        if not self.are_due(now):
            return 0
        last = Day.before(now, self.tz).date
        if now < self._due_at(last):
            last -= timedelta(days=1)
        done_at = self._ledger.duties.done_at(DUTY)
        written = 0
        if done_at is None or done_at < self._due_at(last):
            days, left_out = self._days(done_at, last)
            if left_out:
                logger.warning("reports left out", extra={"days": [f"{each}" for each in left_out]})
            for number, day in enumerate(days):
                written += self._send(Day(day, self.tz), now, channels, left_out if number == 0 else ())
                self._ledger.duties.done(DUTY, self._instance, self._due_at(day))
        self._rest_until = self._due_at(last + timedelta(days=1))
        return written

    def rest(self, pause: timedelta) -> None:
        """Write none for a while: something is wrong with them, and what else is to be done must not wait for that."""
        self._rest_until = datetime.now(UTC) + pause

    def send(self, report: Report, channels: Sequence[str], key: str | None = None) -> int:
        """Write the notices of one report; return how many were not written yet.

        Args:
            report: The report.
            channels: Where it goes.
            key: What there is one of in each channel; None: it is sent however often it was.
        """
        notice = as_notice(report)
        tell = self._ledger.reporting.tell
        return sum(tell(key and f"{key}/{channel}", channel, notice) for channel in dict.fromkeys(channels))

    def _send(self, day: Day, now: datetime, channels: Channels, left_out: Sequence[date]) -> int:
        gathering, written = Gathering(self._ledger, day, self._app), 0
        for owner in self.owners():
            key = f"report/{owner or NOBODY}/{day.date}"
            wanted = list(dict.fromkeys(channels(owner)))
            told = self._ledger.reporting.told([f"{key}/{channel}" for channel in wanted])
            missing = [channel for channel in wanted if f"{key}/{channel}" not in told]
            if not missing:
                continue
            report = gathering.report(owner, now, left_out)
            if owner is not None or not report.is_empty:
                written += self.send(report, missing, key)
        return written

    def _days(self, done_at: datetime | None, last: date) -> tuple[list[date], list[date]]:
        """Return the days whose reports are to be sent, and those that are left out."""
        if done_at is None:
            return [last], []
        days: list[date] = []
        day = last
        while self._due_at(day) > done_at and len(days) < 366:
            days.append(day)
            day -= timedelta(days=1)
        days.reverse()
        return days[-MADE_UP_FOR:], days[:-MADE_UP_FOR]

    def _due_at(self, day: date) -> datetime:
        """Return when the report of a day is due: at its time of the day after."""
        assert self._time is not None
        return reading(self.tz, datetime.combine(day + timedelta(days=1), self._time))


def as_notice(report: Report) -> dict[str, Any]:
    """Return a report as what people are sent: ``severity``, ``title``, ``body``, ``html`` and ``facts``."""
    said, text = verdict(report)[0], as_text(report)
    facts = {"owner": report.owner, "day": f"{report.day.date}", "tz": report.day.tz}
    return {
        "severity": severity(report),
        "title": title(report),
        "body": text,
        "html": as_html(report),
        "facts": {**facts, "markdown": f"{said}\n```\n{text}```", "short": f"{title(report)}."},
    }


def day_of(text: str | None, tz: str, now: datetime | None = None) -> Day:
    """Return the day that is written as ``2026-11-27``; yesterday without a text.

    Raises:
        ValueError: It is no date.
    """
    if text is None:
        return Day.before(now or datetime.now(UTC), tz)
    return Day(date.fromisoformat(text), tz)
