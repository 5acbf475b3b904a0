"""The last lines of the runs under way in this process, for the monitor that is told of a failure."""

from __future__ import annotations

import logging
from collections import deque

from steadybeat.telemetry.facts import bound
from steadybeat.telemetry.redaction import redact_text

COUNT = 40
RUN_COUNT = 200


class LastLines(logging.Handler):
    """Keeps the last lines of runs that have begun here and whose end a monitor is told of.

    A line is kept as its message; what else it has is not looked at.
    """

    def __init__(self) -> None:
        super().__init__()
        self._runs: dict[str, deque[str]] = {}

    def begin(self, run: str) -> None:
        """Keep the lines of a run from here on, and be where lines go."""
        root = logging.getLogger()
        if self not in root.handlers:
            root.addHandler(self)
        self._runs[run] = deque(maxlen=COUNT)
        if len(self._runs) > RUN_COUNT:
            self._runs.pop(next(iter(self._runs)), None)

    def __contains__(self, run: object) -> bool:
        return run in self._runs

    def end(self, run: str) -> str:
        """Return the last lines of a run, without secrets, and forget them."""
        return redact_text("\n".join(self._runs.pop(run, ())))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line if it is of such a run."""
        if not self._runs:
            return
        lines = self._runs.get(bound().get("run_id", ""))
        if lines is None or record.name == "steadybeat.run":
            return
        try:
            lines.append(f"{record.levelname.lower()} {record.getMessage()}"[:500])
        except Exception:  # noqa: BLE001 - wrong arguments of a log call; whoever writes the line says so
            lines.append(f"{record.levelname.lower()} {record.msg}"[:500])
