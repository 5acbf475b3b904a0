"""Is it well? One question for each kind of process of the local stack."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from steadybeat.dev.process import Process
from steadybeat.settings import Settings
from steadybeat.telemetry import vitals

TIMEOUT_SECONDS = 2.0


def pulse_beats(settings: Settings, role: str) -> Callable[[Process], bool]:
    """Return the question whether a process of ours shows that it does its work.

    Args:
        settings: `health_folder` says where it shows that.
        role: ``worker``, ``beat`` or ``watchdog``.
    """

    def beats(process: Process) -> bool:
        mine = [vital for vital in vitals(settings, role) if vital.pid == process.pid]
        return any(vital.is_well(time.monotonic()) for vital in mine)

    return beats


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


def port_answers(port: int) -> bool:
    """Return whether something takes connections on a port of this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS):
            return True
    except OSError:
        return False
