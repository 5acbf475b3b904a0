"""The life of an alert: open, acknowledged, resolved."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from steadybeat.ledger.rows import Finding


class Alerts:
    """Takes what the watchdog finds, and tells people of it.

    Args:
        app: A Celery app on which steadybeat is installed.
    """

    def __init__(self, app: Any) -> None:
        self._platform = app.steadybeat

    def take(self, findings: Sequence[Finding], judged: Collection[str]) -> None:
        """Open alerts for findings, count those that go on, and resolve what is not found any more.

        Args:
            findings: All that is so and should not be.
            judged: Rules that were evaluated; alerts of other rules stay as they are.
        """

    def work(self) -> None:
        """Escalate what nobody has acknowledged, and send what is due, in bounded time."""

    def emergency(self, finding: Finding | None) -> None:
        """Tell people that the ledger is away, without it; once, and again each hour.

        Args:
            finding: What is so; None: the ledger is back.
        """
