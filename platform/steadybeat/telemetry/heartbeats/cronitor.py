"""Cronitor.

Source: https://cronitor.io/docs/telemetry-api (state, series, metric, host, message, status_code) and
https://cronitor.io/docs/monitor-api (PUT of monitors), as cronitor/monitor.py of cronitorio/cronitor-python sends
them.
"""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from steadybeat.telemetry.heartbeats.cadence import Cadence, cadence
from steadybeat.telemetry.heartbeats.heartbeat import Heartbeat, Request, Watched, slug

KEY_LIMIT = 128
MESSAGE_LIMIT = 2000
"""Characters of a message: "message" of the Telemetry API."""

PER_MINUTE_COUNT = 300
"""Five a second of one monitor: "Rate Limits" of the Telemetry API."""

API_URLS = {"cronitor.link": "https://cronitor.io"}
"""Where monitors are made, where that is another host than the one that is told."""

STATES = {"start": "run", "success": "complete", "fail": "fail"}


def request(url: str, heartbeat: Heartbeat) -> Request | None:
    """Return what tells a monitor of a heartbeat; None for what it knows no state for, a ``log``.

    The run is the ``series``, so that a ``run`` and its ``complete`` or ``fail`` belong together.
    """
    state = STATES.get(heartbeat.event)
    if state is None:
        return None
    parts = urlsplit(url.replace("{schedule}", quote(slug(heartbeat.schedule, KEY_LIMIT))))
    fields = [("state", state), ("host", socket.gethostname())]
    fields += [("series", heartbeat.run)] if heartbeat.run else []
    fields += [("metric", metric) for metric in _metrics(heartbeat)]
    fields += [("status_code", str(heartbeat.status))] if heartbeat.status is not None else []
    fields += [("message", heartbeat.text[:MESSAGE_LIMIT])] if heartbeat.text else []
    query = "&".join(filter(None, (parts.query, urlencode(fields))))
    return Request("GET", urlunsplit((parts.scheme, parts.netloc, parts.path, query, "")))


def _metrics(heartbeat: Heartbeat) -> list[str]:
    found = []
    if heartbeat.duration_seconds is not None:
        found.append(f"duration:{heartbeat.duration_seconds:.3f}")
    if heartbeat.items_count is not None:
        found.append(f"count:{heartbeat.items_count}")
    if heartbeat.event != "start":
        found.append(f"error_count:{int(heartbeat.event == 'fail')}")
    return found


def told(watched: Watched, grace_seconds: float) -> tuple[dict[str, Any], str]:
    """Return what a monitor is to know of its schedule, and why it cannot know when it is due, if it cannot."""
    known = _plain(cadence(watched.spec))
    monitor: dict[str, Any] = {
        "type": "job",
        "key": slug(watched.schedule, KEY_LIMIT),
        "name": watched.schedule[:100],
        "grace_seconds": round(grace_seconds + watched.jitter_seconds),
        "assertions": [f"metric.duration < {round(watched.time_limit_seconds)} seconds"],
    }
    if known.every_minutes is not None:
        monitor["schedule"] = f"every {known.every_minutes} minutes"
    elif known.expressions:
        several = len(known.expressions) > 1
        monitor |= {"schedules": [*known.expressions]} if several else {"schedule": known.expressions[0]}
        monitor["timezone"] = known.tz
    return monitor, known.why_not


def _plain(known: Cadence) -> Cadence:
    """Return what it can be told of; its documentation says nothing of ``L`` and ``#``."""
    for expression in known.expressions:
        day, _, weekday = expression.split()[2:]
        if "L" in day or "L" in weekday or "#" in weekday:
            return Cadence(why_not="its cron expression has L or #, which Cronitor does not promise to read")
    return known


def provisioning(api_url: str, api_key: str, monitors: Sequence[dict[str, Any]]) -> Request:
    """Return what makes monitors, or changes those of the same keys."""
    login = base64.b64encode(f"{api_key}:".encode()).decode()
    return Request(
        "PUT",
        f"{api_url.rstrip('/')}/api/monitors",
        json.dumps({"monitors": [*monitors]}).encode(),
        {"Authorization": f"Basic {login}", "Content-Type": "application/json"},
    )
