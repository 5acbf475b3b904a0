"""Patience: how long those who do several things in turn wait for a Redis that accepts and never answers."""

from __future__ import annotations

from typing import Any

PATIENCE_SECONDS = 1.0


def patience(seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
    """Return kombu's transport options with which a connection's default channel gives up after one try.

    kombu tries twice, and so does redis-py each time: a server that hangs would take four times as long.

    Args:
        seconds: How long to connect may take, and how long an answer.
    """
    return {"socket_timeout": seconds, "socket_connect_timeout": seconds, "max_retries": 0}
