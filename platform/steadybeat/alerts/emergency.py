"""Emergency: the ledger is away, and people are told all the same, straight through the channels of the routes.

What was told is remembered in this process alone: of several watchdogs each tells once.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from steadybeat.alerts.channels import THREAD, Post
from steadybeat.alerts.routes import Routes
from steadybeat.alerts.wording import Links, Story, message
from steadybeat.ledger.alerts import AlertRow
from steadybeat.ledger.rows import Finding

logger = logging.getLogger(__name__)

REMINDER = timedelta(hours=1)
"""As long as it goes on, people are told again after this."""

PAUSE = timedelta(seconds=30)
"""Between two tries where no channel took it."""


class Emergency:
    """Tells people of what the ledger cannot keep.

    Args:
        send: Sends a message through a channel; returns what went wrong, or None.
        routes: Who is told.
        links: Where messages point to.
        now: The clock.
    """

    def __init__(
        self,
        send: Callable[[str, Post], str | None],
        routes: Routes,
        links: Links,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._send = send
        self._routes = routes
        self._links = links
        self._now = now
        self._threads: list[threading.Thread] = []
        self._finding: Finding | None = None
        self._began_at: datetime | None = None
        self._next_at: datetime | None = None
        self._told: set[str] = set()

    def __call__(self, finding: Finding | None) -> None:
        """Tell people what is so, once and again each hour; or, where it is over, that.

        It returns at once: messages go out in threads of their own.

        Args:
            finding: What is so; None: nothing any more.
        """
        if finding is None:
            self._over()
            return
        now = self._now()
        if self._finding is None:
            logger.error("alert opened", extra={"rule": finding.rule, "subject": finding.subject})
        self._finding, self._began_at = finding, self._began_at or finding.since or now
        way = self._routes.way(finding)
        if way.to and (self._next_at is None or now >= self._next_at) and way.held_until(now, finding.severity) is None:
            self._next_at = now + REMINDER
            post = self._post("opened", finding, now)
            for channel in way.to:
                self._in_thread(channel, functools.partial(self._tell, [channel, *way.fallbacks], post, self._told))

    def _over(self) -> None:
        finding, told, threads = self._finding, self._told, self._threads
        if finding is None:
            return
        post = self._post("resolved", finding, self._now())
        self._finding = self._began_at = self._next_at = None
        self._told, self._threads = set(), []
        logger.warning("alert resolved", extra={"rule": finding.rule, "subject": finding.subject})
        if self._routes.way(finding).recovery:
            self._in_thread("recovery", functools.partial(self._tell_after, threads, told, post))

    def _in_thread(self, name: str, act: Callable[[], object]) -> None:
        thread = threading.Thread(target=act, name=f"{THREAD}{name}", daemon=True)
        self._threads = [each for each in self._threads if each.is_alive()] + [thread]
        thread.start()

    def _tell(self, channels: list[str], post: Post, told: set[str]) -> None:
        """Tell people through the first channel that takes it; try again soon where none does."""
        taken = self._try(channels, post)
        if taken is not None:
            told.add(taken)
        elif not told and self._told is told:
            self._next_at = self._now() + PAUSE

    def _tell_after(self, threads: list[threading.Thread], told: set[str], post: Post) -> None:
        """Tell those who were told, once that has ended."""
        for thread in threads:
            thread.join()
        for channel in sorted(told):
            self._try([channel], post)

    def _try(self, channels: list[str], post: Post) -> str | None:
        for channel in channels:
            error = self._send(channel, post)
            if error is None:
                return channel
            logger.warning("notice not sent", extra={"channel": channel, "error": error})
        return None

    def _post(self, kind: str, finding: Finding, now: datetime) -> Post:
        since = self._began_at or now
        alert = AlertRow(
            id=0,
            rule=finding.rule,
            subject=finding.subject,
            severity=finding.severity,
            owner=finding.owner,
            service=finding.service,
            summary=finding.summary,
            error=finding.error,
            since=since,
            opened_at=since,
            last_seen_at=now,
        )
        said = message(Story(kind=kind, alerts=[alert], now=now), self._links)
        key = f"steadybeat-{self._links.app}-{finding.rule}-{finding.subject}"
        return Post(
            kind=kind,
            severity=finding.severity,
            title=said.title,
            body=said.body,
            key=key,
            markdown=said.markdown,
            html=said.html,
            short=said.short,
        )
