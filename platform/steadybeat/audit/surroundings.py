"""Surroundings: what stands around the tasks, each thing read once: configuration, settings, routes, the ledger."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from steadybeat.address import Address
from steadybeat.errors import LedgerError

if TYPE_CHECKING:
    from steadybeat.alerts.routes import Routes

_Answer = TypeVar("_Answer")


class Surroundings:
    """What stands around the tasks of an app.

    Args:
        app: A Celery app on which steadybeat is installed, with its tasks imported.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.conf = app.conf
        self.settings = app.steadybeat.settings
        self.now = datetime.now(UTC)
        self._asked: dict[str, tuple[Any, str]] = {}

    @functools.cached_property
    def why_no_ledger(self) -> str:
        """Why the ledger cannot be asked, in one line; empty where it can."""
        try:
            self.app.steadybeat.ledger.require_schema()
        except LedgerError as error:
            return error.message
        return ""

    def ledger(self, name: str, ask: Callable[[Any], _Answer]) -> _Answer | None:
        """Return what the ledger answers, asked once per audit; None where it does not answer.

        Args:
            name: Of the question.
            ask: Called with the ledger.
        """
        if self.why_no_ledger:
            return None
        if name not in self._asked:
            try:
                self._asked[name] = ask(self.app.steadybeat.ledger), ""
            except LedgerError as error:
                self._asked[name] = None, error.message
        return self._asked[name][0]

    @functools.cached_property
    def why_no_broker(self) -> str:
        """Why the broker cannot be reached, in one line; empty where it can."""
        shown = Address.read(self.conf.broker_url, "broker_url", self.conf.broker_transport_options).shown
        with self.app.connection_for_read() as connection:
            try:
                connection.ensure_connection(max_retries=1, timeout=2, interval_start=0, interval_step=0)
            except Exception as error:  # noqa: BLE001 - each transport has errors of its own
                return f"Redis at {shown} does not answer: {str(error).partition(chr(10))[0].rstrip('.')}"
        return ""

    @functools.cached_property
    def routes(self) -> Routes:
        """Who is told of what."""
        from steadybeat.alerts.routes import Routes

        return Routes.read(self.settings.alert_routes, tuple(self.settings.alert_channels))
