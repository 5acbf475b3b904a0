"""Ahead: the second of the next day in which most schedules are due.

It follows from all rules, which takes longer than a page may: it is counted in a thread, and kept for a while.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from steadybeat.errors import SteadybeatError
from steadybeat.operating.herds import Fullest, Kind, fullest
from steadybeat.schedule import from_json

HOURS = timedelta(hours=24)
"""So far ahead it is looked, unless very many fires are due."""

MOST = 300_000
"""So many seconds of all rules together are looked at."""

KEPT = timedelta(minutes=2)
"""For so long nobody counts again."""

PATIENCE_SECONDS = 0.1
"""For so long a page waits for the count; where that takes longer, it shows the one before, or that it is coming."""

_log = structlog.get_logger(__name__)


class Ahead:
    """What was counted last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counting: threading.Thread | None = None
        self._counted: tuple[datetime, Fullest] | None = None

    def look(self, book: Any, now: datetime) -> Fullest | None:
        """Return the fullest second; None: it is being counted for the first time.

        Args:
            book: The ledger.
            now: Aware.
        """
        with self._lock:
            thread = self._counting
            if thread is None and self._is_old(now):
                thread = threading.Thread(target=self._count, args=(book,), name="herd ahead", daemon=True)
                self._counting = thread
                thread.start()
        if thread is not None:
            thread.join(PATIENCE_SECONDS)
        return None if self._counted is None else self._counted[1]

    @property
    def counted_at(self) -> datetime | None:
        """When it was counted last; None: never yet."""
        return None if self._counted is None else self._counted[0]

    def _is_old(self, now: datetime) -> bool:
        if self._counted is None:
            return True
        at, found = self._counted
        return now - at > KEPT or (found.at is not None and found.at < now)

    def _count(self, book: Any) -> None:
        now = datetime.now(UTC)
        try:
            self._counted = now, fullest(_kinds(book), now, now + HOURS, MOST)
        except SteadybeatError as error:
            _log.warning("next herd not counted", error=str(error))
        finally:
            self._counting = None


def _kinds(book: Any) -> list[Kind]:
    found = []
    for row in book.glance.rules():
        try:
            rule = from_json(row["spec"])
        except SteadybeatError:  # what a schedule's own page says
            continue
        if not rule.unbound:
            jitter = timedelta(seconds=row["jitter_seconds"])
            found.append(Kind(rule=rule, jitter=jitter, count=row["n"], about=row["service"]))
    return found


def ahead_of(application: Any) -> Ahead:
    """Return what the pages of one Flower have counted."""
    found: Ahead = application.settings.setdefault("steadybeat_ahead", Ahead())
    return found
