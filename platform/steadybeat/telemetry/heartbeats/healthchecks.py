"""Healthchecks: hc-ping.com, or one of your own.

Source: https://healthchecks.io/docs/http_api/ (addresses, ``rid``, exit status, ``Ping-Body-Limit``) and
https://healthchecks.io/docs/api/ (checks), as hc/api/urls.py and hc/api/views.py of healthchecks/healthchecks read
them.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from steadybeat.telemetry.heartbeats.cadence import Cadence, cadence
from steadybeat.telemetry.heartbeats.heartbeat import Heartbeat, Request, Watched, slug

SLUG_LIMIT = 100
"""``[a-z0-9-_]``, 100 characters at the most: hc/api/views.py, Spec.slug."""

SHORTEST_SECONDS, LONGEST_SECONDS = 60, 31_536_000
"""Of a period and of a grace: hc/api/views.py, Spec.timeout and Spec.grace."""

EXPRESSION_LIMIT = 100
"""Characters of a cron expression: hc/api/views.py, Spec.schedule."""

PER_MINUTE_COUNT = 5
"""Heartbeats of one check in a minute that are always taken: "Rate Limits" of the Pinging API."""

API_URLS = {"hc-ping.com": "https://healthchecks.io"}
"""Where checks are made, where that is another host than the one that is told."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def request(url: str, heartbeat: Heartbeat) -> Request:
    """Return what tells a check of a heartbeat.

    ``/start``, nothing for a success, ``/log``, and the exit status of a failure (``/fail`` where there is none), with
    the run as ``rid``: so the duration is right whatever overlaps. The text goes into the body.
    """
    parts = urlsplit(url.replace("{schedule}", slug(heartbeat.schedule, SLUG_LIMIT)))
    endings = {"start": "/start", "success": "", "log": "/log", "fail": f"/{_status(heartbeat)}"}
    query = "&".join(filter(None, (parts.query, heartbeat.run and urlencode({"rid": heartbeat.run}))))
    path = parts.path.rstrip("/") + endings[heartbeat.event]
    address = urlunsplit((parts.scheme, parts.netloc, path, query, ""))
    return Request("POST", address, heartbeat.text.encode(), {"Content-Type": "text/plain; charset=utf-8"})


def _status(heartbeat: Heartbeat) -> str:
    return str(heartbeat.status) if heartbeat.status and 0 < heartbeat.status <= 255 else "fail"


def told(watched: Watched, grace_seconds: float) -> tuple[dict[str, Any], str]:
    """Return what a check is to know of its schedule, and why it cannot know when it is due, if it cannot.

    Such a check notices failures, and runs that do not end; its period is as long as one can be.

    Its grace bounds both how late a run begins and how long it takes from its start on (Check.going_down_after in
    hc/api/models.py): so it is the jitter, the grace and the time limit together.
    """
    name, known = slug(watched.schedule, SLUG_LIMIT), cadence(watched.spec).without_combinations()
    if known.expressions and len(known.expressions[0]) > EXPRESSION_LIMIT:
        known = Cadence(why_not=f"its cron expression has more than {EXPRESSION_LIMIT} characters")
    grace = _bounded(grace_seconds + watched.jitter_seconds + watched.time_limit_seconds)
    check: dict[str, Any] = {"name": watched.schedule[:100], "slug": name, "grace": grace, "unique": ["slug"]}
    if known.every_seconds is not None:
        check["timeout"] = _bounded(known.every_seconds)
    elif known.why_not:
        check["timeout"] = LONGEST_SECONDS
    else:
        check |= {"schedule": known.expressions[0], "tz": known.tz}
    return check, known.why_not


def provisioning(api_url: str, api_key: str, check: dict[str, Any]) -> Request:
    """Return what makes a check, or changes the one of the same slug: it answers 201 or 200.

    Args:
        api_url: Where it is made.
        api_key: What is shown there.
        check: What it is to know.
    """
    return Request(
        "POST",
        f"{api_url.rstrip('/')}/api/v3/checks/",
        json.dumps(check).encode(),
        {"X-Api-Key": api_key, "Content-Type": "application/json"},
    )


def can_be_provisioned(url: str) -> str:
    """Return why the check at an address cannot be made by its slug, or an empty text."""
    last = urlsplit(url).path.rstrip("/").rpartition("/")[2]
    if _UUID.fullmatch(last):
        return "its URL names a check by its UUID, which only the monitor itself can make"
    return ""


def slug_of(url: str, schedule: str) -> str:
    """Return the slug that an address ends with."""
    return urlsplit(url.replace("{schedule}", slug(schedule, SLUG_LIMIT))).path.rstrip("/").rpartition("/")[2]


def _bounded(seconds: float) -> int:
    return int(min(LONGEST_SECONDS, max(SHORTEST_SECONDS, round(seconds))))
