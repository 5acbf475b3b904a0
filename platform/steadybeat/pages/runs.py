"""The page that finds runs: by task, service, state, tenant, key, time, and what went wrong."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from steadybeat.errors import ConfigurationError
from steadybeat.ledger.run_search import Place
from steadybeat.ledger.search import Wanted
from steadybeat.ledger.tables import RUN_STATES
from steadybeat.pages import pieces
from steadybeat.pages.asked import Asked
from steadybeat.pages.page import Page

ROWS = 50
KEPT_SECONDS = 60.0
SUGGESTED = 500
"""So many names of tasks are offered while one is typed."""
TIMES = (("1h", "1 hour"), ("1d", "1 day"), ("7d", "7 days"), ("", "any time"))


class Runs(Page):
    """Runs, the newest first."""

    path = r"/runs"
    name = "runs"
    tab = "runs"
    template = "runs.html"

    def look(self, asked: Asked) -> Mapping[str, Any]:
        """Return one page of the runs that are asked for."""
        wanted = wanted_of(asked, datetime.now(UTC))
        behind = pieces.place(asked)
        found = self.book.search.find(wanted, behind=behind and Place(behind[0], pieces.id_of(behind[1])), limit=ROWS)
        more = found.more and pieces.cursor(found.more.at, found.more.run)
        known = known_tasks(self)
        return {
            "rows": found.rows,
            "more": None if found.reached else more,
            "reached": found.reached,
            "further": asked.address(after=more) if found.reached else "",
            "states": RUN_STATES,
            "times": TIMES,
            "tasks": [row["task"] for row in known][:SUGGESTED],
            "services": sorted({row["service"] for row in known}),
            "narrowed": any(asked.values.get(name) for name in wanted_names()),
            "retention": timedelta(seconds=self.book.settings.retention_seconds),
            "pieces": pieces,
        }


def known_tasks(page: Page) -> list[dict[str, Any]]:
    """Return the tasks that are offered while a name is typed, each with its service, as they were a minute ago."""
    kept = getattr(page.application, "steadybeat_tasks", None)
    if kept is None or time.monotonic() - kept[0] > KEPT_SECONDS:
        kept = (time.monotonic(), page.book.search.tasks())
        page.application.steadybeat_tasks = kept
    found: list[dict[str, Any]] = kept[1]
    return found


def wanted_names() -> tuple[str, ...]:
    """Return what may be asked for, as it stands in an address."""
    return ("task", "service", "schedule", "state", "tenant", "fan_out", "key", "since", "until", "error")


def wanted_of(asked: Asked, now: datetime) -> Wanted:
    """Return which runs are asked for.

    Raises:
        ConfigurationError: Something in the address is wrong.
    """
    since, until = pieces.past(asked, "since", now), pieces.past(asked, "until", now)
    if since is not None and until is not None and since > until:
        raise ConfigurationError("since: is later than until; nothing lies between the two.", name="since")
    fan_out = asked.maybe("fan_out")
    return Wanted(
        task=asked.maybe("task"),
        service=asked.maybe("service"),
        schedule=asked.maybe("schedule"),
        state=asked.one_of("state", RUN_STATES),
        tenant=asked.maybe("tenant"),
        fan_out=fan_out and pieces.id_of(fan_out),
        key=asked.text("key", longest=500) or None,
        since=since,
        until=until,
        error=asked.maybe("error"),
    )
