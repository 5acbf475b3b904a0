"""What the tests of alerts share: an app with channels, findings, and rows that become older."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from celery import Celery

import steadybeat
from steadybeat.alerts import Alerts
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import Finding

ALL = ("failed", "missed", "no_consumer", "never_started", "paused", "worker_silent")


class Told:
    """An installation that tells people.

    Args:
        ledger_url: Of a ledger of its own.
        channels: Names and URLs.
        routes: As in the settings.
        settings: Other ones.
    """

    def __init__(
        self,
        ledger_url: str,
        channels: Mapping[str, str],
        routes: Sequence[Mapping[str, Any]] = (),
        **settings: Any,
    ) -> None:
        self.app = Celery("shop", set_as_current=False)
        self.app.conf.update(
            steadybeat_database_url=ledger_url, steadybeat_alert_channels=dict(channels),
            steadybeat_alert_routes=list(routes), steadybeat_alert_timeout_seconds=2,
            **{f"steadybeat_{name}": value for name, value in settings.items()},
        )  # fmt: skip
        steadybeat.install(self.app)
        self.alerts = Alerts(self.app)
        self.ledger: Ledger = self.app.steadybeat.ledger

    def passes(self, *findings: Finding, judged: Sequence[str] = ALL) -> None:
        """One pass of the watchdog that finds this, and what it does for those who are told."""
        self.alerts.take(findings, judged)
        self.alerts.work()

    def age(self, seconds: float) -> None:
        """Let time pass for every alert and every notice."""
        for table, columns in {
            "alerts": ("since", "opened_at", "reopened_at", "resolved_at", "told_at", "escalate_at"),
            "notices": ("created_at", "publish_at", "tried_at", "sent_at"),
            "silences": ("created_at", "begins_at", "ends_at"),
        }.items():
            sets = ", ".join(f"{name} = {name} - make_interval(secs => {seconds})" for name in columns)
            self.ledger.database.execute(sa.text(f"UPDATE steadybeat.{table} SET {sets}"))

    def notices(self, columns: str = "kind, channel") -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.rows(f"SELECT {columns} FROM steadybeat.notices ORDER BY id")]

    def events(self, alert: int) -> list[tuple[str, str | None]]:
        return [(each["what"], each["text"]) for each in self.ledger.alerts.events(alert)]

    def rows(self, statement: str) -> list[Any]:
        return self.ledger.database.execute(sa.text(statement))

    def close(self) -> None:
        self.ledger.database.close()
        self.app.close()


def failed(subject: str = "royalties", **facts: Any) -> Finding:
    """A schedule whose last runs are dead."""
    given = {"summary": "Its last 3 runs are dead.", "schedule": subject, "owner": "payments", "service": "royalties"}
    return Finding(rule="failed", subject=subject, **(given | facts))
