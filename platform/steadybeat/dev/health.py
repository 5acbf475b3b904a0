"""Is it well? One question for each kind of process of the local stack."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request

from steadybeat.dev.process import Process
from steadybeat.errors import SteadybeatError
from steadybeat.ledger import Instance, Ledger
from steadybeat.settings import Settings

REMEMBER_SECONDS = 0.5
TIMEOUT_SECONDS = 2.0


class Roster:
    """Which Beats and workers of this machine give signs of life, as the ledger has it.

    Args:
        database_url: Postgres of the ledger.
    """

    def __init__(self, database_url: str) -> None:
        self._ledger = Ledger(
            Settings(database_url=database_url, ledger_timeout_seconds=TIMEOUT_SECONDS, ledger_pool_count=1)
        )
        self._host = socket.gethostname()
        self._instances: list[Instance] = []
        self._read_at = float("-inf")

    def holds(self, process: Process) -> bool:
        """Whether the ledger has an unexpired row of this very process."""
        now = time.monotonic()
        if now - self._read_at > REMEMBER_SECONDS:
            try:
                self._instances = self._ledger.live_instances()
            except SteadybeatError:
                self._instances = []
            self._read_at = now
        return any(each.pid == process.pid and each.host == self._host for each in self._instances)

    def close(self) -> None:
        """Close the connection to Postgres."""
        self._ledger.database.close()


def http_answers(url: str) -> bool:
    """Return whether a web server answers at `url`, whatever it says."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS):  # noqa: S310 - a URL of our own
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False
