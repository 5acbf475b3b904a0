"""Standing: how monitors stand, noted where that is new, and now and then where it is not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from steadybeat.telemetry.heartbeats.lanes import Addressed
from steadybeat.telemetry.heartbeats.telling import Note

NOTED_SECONDS = 300.0
AGAIN_SECONDS = 2.0

_log = logging.getLogger(__name__)


class Standing:
    """How the monitors stand that one process tells.

    Args:
        write: Writes it into the ledger; may raise.
        clock: Seconds that only go up.
    """

    def __init__(self, write: Callable[[Note], None], clock: Callable[[], float]) -> None:
        self._write = write
        self._clock = clock
        self._seen: dict[str, tuple[str, float]] = {}
        self._unwritten: dict[str, Note] = {}
        self._not_before = float("-inf")

    def see(self, addressed: Addressed, error: str) -> None:
        """Take note of how a monitor took a heartbeat: an empty `error` is well."""
        name, now = addressed.heartbeat.schedule, self._clock()
        known, at = self._seen.get(name, (None, float("-inf")))
        is_other = bool(known) != bool(error)
        if known is not None and not is_other and now < at + NOTED_SECONDS:
            return
        kind = addressed.monitor.kind
        if is_other:
            facts = {"schedule": name, "monitor": addressed.monitor.host or kind, "reason": error}
            _log.warning("heartbeat not taken" if error else "heartbeat taken again", extra=facts)
        self._seen[name] = (error, now)
        self._unwritten[name] = Note(name=name, kind=kind, error=error, at=datetime.now(UTC))

    def wait(self) -> float | None:
        """Return in how many seconds something is to be written, or None."""
        return max(0.0, self._not_before - self._clock()) if self._unwritten else None

    def write(self) -> None:
        """Write what is new; where the ledger is away, later."""
        now = self._clock()
        if now < self._not_before:
            return
        for name, note in [*self._unwritten.items()]:
            try:
                self._write(note)
            except Exception as error:  # noqa: BLE001 - it is written later
                self._not_before = now + AGAIN_SECONDS
                _log.debug("heartbeat not noted", extra={"error": str(error)})
                return
            del self._unwritten[name]
