"""Sentry Crons: check-ins from where runs are worked on, with all that the monitor is to know.

sentry-sdk's own check-ins for Celery begin when a message is sent, so that waiting counts as running, and a retry is
an error; they stay off (`crashes`).

Source: https://develop.sentry.dev/sdk/telemetry/check-ins/ (payload, ``monitor_config``), Sentry's
src/sentry/monitors/validators.py and constants.py (ranges) and sentry_sdk/crons/api.py (`capture_checkin`).
"""

from __future__ import annotations

from math import ceil
from typing import Any

from steadybeat.telemetry.heartbeats.cadence import MINUTE, cadence
from steadybeat.telemetry.heartbeats.heartbeat import Heartbeat, Watched, slug

SLUG_LIMIT = 50
"""DEFAULT_SLUG_MAX_LENGTH of Sentry; a check-in under a longer one is dropped."""

LONGEST_MINUTES = 40_320
"""MAX_MARGIN of Sentry."""

LONGEST_RUN_MINUTES = 10_080
"""MAX_TIMEOUT of Sentry."""

PER_MINUTE_COUNT = 6
"""Check-ins of one monitor in a minute: "Rate Limits" of https://docs.sentry.io/product/crons/getting-started/http/."""

_STATUS = {"start": "in_progress", "success": "ok", "fail": "error"}


def check_in(heartbeat: Heartbeat, watched: Watched, grace_seconds: float) -> dict[str, Any] | None:
    """Return the arguments of `sentry_sdk.crons.capture_checkin`; None for what is not told.

    The id of the run is that of its check-in: each attempt begins the same one again, so that its time is counted
    anew, and only the end of the run closes it.
    """
    config, _ = told(watched, grace_seconds)
    status = _STATUS.get(heartbeat.event)
    if status is None or config is None or heartbeat.run is None:
        return None
    return {
        "monitor_slug": slug(heartbeat.schedule, SLUG_LIMIT),
        "check_in_id": heartbeat.run.replace("-", ""),
        "status": status,
        "duration": heartbeat.duration_seconds,
        "monitor_config": config,
    }


def told(watched: Watched, grace_seconds: float) -> tuple[dict[str, Any] | None, str]:
    """Return what a monitor is to know of its schedule, or None and why nothing is told of it."""
    known = cadence(watched.spec).without_combinations()
    if known.why_not:
        return None, known.why_not
    schedule: dict[str, Any] = {"type": "crontab", "value": "".join(known.expressions)}
    if known.every_minutes is not None:
        schedule = {"type": "interval", "value": known.every_minutes, "unit": "minute"}
    return {
        "schedule": schedule,
        "timezone": known.tz,
        "checkin_margin": _minutes(grace_seconds + watched.jitter_seconds, LONGEST_MINUTES),
        "max_runtime": _minutes(watched.time_limit_seconds, LONGEST_RUN_MINUTES),
        "failure_issue_threshold": 1,
        "recovery_threshold": 1,
    }, ""


def _minutes(seconds: float, longest: int) -> int:
    return min(longest, max(1, ceil(seconds / MINUTE)))
