"""The page that is opened first: is everything all right?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from steadybeat.ledger.glance import MOST_WAITING
from steadybeat.pages import parts
from steadybeat.pages.ahead import ahead_of
from steadybeat.pages.asked import Asked
from steadybeat.pages.markup import Html, tag
from steadybeat.pages.page import Page
from steadybeat.pages.standing import Queue, Standing, Trouble, by_role, by_severity, counted, queues_of

ROWS = 8
"""So many rows of one kind are shown; where there are more, a page has them."""

INSTANCES = 50
"""So many instances are shown one by one, those that fell silent first."""

REMEMBERED = timedelta(hours=1)
"""For so long an instance is shown that fell silent."""


class Overview(Page):
    """Is everything all right?"""

    path = r"/overview"
    name = "overview"
    tab = "overview"
    template = "overview.html"

    def look(self, asked: Asked) -> Mapping[str, Any]:
        """Return how everything stands."""
        glance, platform = self.book.glance, self.book.watched_platform
        settings = self.capp.steadybeat.settings
        leading, instances = platform.leading(), platform.instances(REMEMBERED)
        scheduled, paused = glance.schedules()
        ahead = ahead_of(self.application)
        stands = Standing(
            now=leading.now,
            settings=settings,
            leading=leading,
            instances=instances,
            acting=glance.acting_watchdog(),
            queues=queues_of(glance.waiting(), glance.canaries(), instances),
            overdue=glance.overdue(settings.missed_seconds),
            missed=glance.missed(),
            late=glance.late(settings.late_seconds),
            dead=glance.dead(),
            failing=glance.failing(),
            outbox=glance.outbox(),
            alerts=glance.alerts(ROWS),
        )
        return {
            "stands": stands,
            "troubles": stands.troubles,
            "now": leading.now,
            "scheduled": scheduled,
            "paused": paused,
            "herd": ahead.look(self.book, leading.now),
            "counted_at": ahead.counted_at,
            "running": sorted(self.book.gauges.rows("running"), key=lambda row: (-row.n, row.service)),
            "severities": by_severity(self.book.gauges.rows("alerts")),
            "roles": by_role(instances),
            "instances": sorted(instances, key=lambda each: bool(each.alive))[:INSTANCES],
            "rows": ROWS,
            "counted": counted,
            "most_waiting": MOST_WAITING,
            "linked": self._linked,
            "told": self._told,
            "queue_state": queue_state,
            "beats": [each for each in stands.alive("beat") if str(each.id) != str(_leader(self.book, stands))],
        }

    def _told(self, trouble: Trouble) -> Html:
        """Return a trouble as a sentence, that leads to the page which tells more of it."""
        if trouble.page is None:
            return tag("a", trouble.text, href=f"#{trouble.card}")
        name, named, values = trouble.page
        return self._linked(trouble.text, name, *named, **values)

    def _linked(self, text: Any, page: str, *named: Any, **values: Any) -> Html:
        """Return a text that leads to a page."""
        return tag("a", text, href=self.link(page, *named, **values))


def _leader(book: Any, stands: Standing) -> str | None:
    latest = book.leaderships.latest() if stands.leads else []
    return latest[0].instance if latest else None


def queue_state(stands: Standing, queue: Queue) -> Html:
    """Return how a queue stands, as a label."""
    if queue.waiting_count and not queue.worker_count and not queue.may_be_more:
        return parts.state("error", said="no worker")
    if stands.is_silent(queue):
        return parts.state("warning", said="silent")
    if not queue.worker_count and not queue.may_be_more:
        return parts.state("info", said="no worker")
    return parts.state("done", said="consumed") if queue.worker_count else tag("span", "unknown", class_="sb-muted")
