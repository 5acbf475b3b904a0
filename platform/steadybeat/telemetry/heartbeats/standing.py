"""Standing: how monitors stand, noted where that is new, and now and then where it is not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from steadybeat.telemetry.heartbeats.lanes import Addressed
from steadybeat.telemetry.heartbeats.telling import Note

NOTED_SECONDS = 300.0
AGAIN_SECONDS = 2.0
WRITTEN_SECONDS = 1.0
"""What is new is written together, so often at the most: each time costs a commit."""

_log = logging.getLogger(__name__)


class Standing:
    """How the monitors stand that one process tells.

    Args:
        write: Writes it into the ledger; may raise.
        clock: Seconds that only go up.
    """

    def __init__(self, write: Callable[[Sequence[Note]], None], clock: Callable[[], float]) -> None:
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
        if not self._unwritten or now < self._not_before:
            return
        try:
            self._write([*self._unwritten.values()])
        except Exception as error:  # noqa: BLE001 - it is written later
            self._not_before = now + AGAIN_SECONDS
            _log.debug("heartbeats not noted", extra={"error": str(error)})
        else:
            self._unwritten.clear()
            self._not_before = now + WRITTEN_SECONDS
