"""What the watchdog hands its findings to, and what people answer."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from steadybeat.alerts.channels import Channels
from steadybeat.alerts.delivering import Delivering
from steadybeat.alerts.emergency import Emergency
from steadybeat.alerts.life import Life
from steadybeat.alerts.routes import Routes
from steadybeat.alerts.wording import Links
from steadybeat.ledger.rows import Finding

WORK = timedelta(seconds=3)
"""How long `Alerts.work` waits for channels; what they have not answered by then goes on beside it."""


class Alerts:
    """Takes what is found wrong, and tells people of it.

    Args:
        app: A Celery app on which steadybeat is installed.

    Raises:
        ConfigurationError: A route is wrong; names it, the field and the way out.

    Attributes:
        routes: Who is told of what.
        channels: The ways to people.
        links: Where messages point to.
    """

    def __init__(self, app: Any) -> None:
        self._platform = app.steadybeat
        settings = self._platform.settings
        self.channels = Channels(settings.alert_channels, timedelta(seconds=settings.alert_timeout_seconds))
        self.routes = Routes.read(settings.alert_routes, self.channels.names)
        self.links = Links.of(settings, self._platform.name)
        self._emergency = Emergency(self.channels.send, self.routes, self.links)

    @functools.cached_property
    def life(self) -> Life:
        """What becomes of alerts."""
        return Life(self._platform.ledger.alerts, self.routes, self.links, self._platform.settings)

    @functools.cached_property
    def deliver(self) -> Delivering:
        """Sends what is due, when called."""
        return Delivering(self._platform.ledger.notices, self.channels, self._platform.name)

    def check(self) -> None:
        """Refuse channels whose URLs Apprise does not take; routes were read when this was made.

        Raises:
            ConfigurationError: Names the channel; its URL stays unsaid.
        """
        self.channels.check()

    def take(self, findings: Sequence[Finding], judged: Collection[str]) -> None:
        """Open alerts for findings, count those that go on, resolve what is gone, and write what people are told.

        Args:
            findings: All that is so and should not be.
            judged: Rules that were evaluated; alerts of other rules stay as they are.

        Raises:
            LedgerUnavailable: Postgres does not answer: nothing was taken, or all of it; taking it again does no harm.
        """
        self.life.take(findings, judged, self.deliver.failing)

    def work(self) -> None:
        """Tell the next ones of what nobody has acknowledged, and send what is due, in a few seconds at the most.

        Raises:
            LedgerUnavailable: Postgres does not answer: what was to be sent is sent later.
        """
        self.life.escalate(self.deliver.failing)
        self.deliver(WORK)
        findings = self.deliver.findings()
        if findings or self._platform.ledger.alerts.find(rule="channel_failing", limit=1):
            self.life.take(findings, {"channel_failing"}, self.deliver.failing)

    def emergency(self, finding: Finding | None) -> None:
        """Tell people that the ledger is away, without it: once, and again each hour.

        Args:
            finding: What is so; None: the ledger answers again, which is told to those who were told.
        """
        self._emergency(finding)
