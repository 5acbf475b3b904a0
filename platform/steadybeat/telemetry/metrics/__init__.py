"""Metrics: what Prometheus is told, on one endpoint for each worker with its pool, each Beat and each watchdog.

table       every metric: its name, what it says, its labels
counting    what the rest of the platform calls; it does nothing while metrics are off
recording   how what is counted gets into prometheus_client
forking     how the processes of a pool count into one endpoint
facts       what is read now and then instead of counted
serving     the endpoint

Nothing here asks Postgres or Redis, and prometheus_client is imported only where ``steadybeat_metrics_address`` says
that metrics are served.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from steadybeat.settings import Settings
from steadybeat.telemetry.metrics import table
from steadybeat.telemetry.metrics.counting import OTHERS, State, count, observe, raise_to, show
from steadybeat.telemetry.metrics.facts import Facts, Sample

if TYPE_CHECKING:
    from steadybeat.telemetry.metrics.serving import Endpoint

__all__ = ["OTHERS", "Facts", "Sample", "begin", "count", "is_on", "observe", "raise_to", "show", "table", "tell"]

_endpoints: list[Endpoint] = []
"""The one of this process, or of the one that it was forked from."""


def begin(settings: Settings, role: str, *, pooled: bool = False) -> Endpoint | None:
    """Count and serve from now on, unless this process does already; return the endpoint, or None where there is none.

    A process that was forked from one that serves, such as the Beat within a worker (``worker -B``), counts into the
    endpoint of that one.

    Args:
        settings: `metrics_address`, `metrics_schedules_count` and `health_folder` are used.
        role: ``worker``, ``beat`` or ``watchdog``.
        pooled: Whether attempts are made in processes that are forked from this one.

    Raises:
        ConfigurationError: Nobody can listen at `metrics_address`.
    """
    if not settings.metrics_address:
        return None
    from steadybeat.telemetry.metrics.serving import Endpoint

    for endpoint in _endpoints:
        if endpoint.pid != os.getpid() and State.recorder is None:
            endpoint.join(role)
        return endpoint
    _endpoints.append(Endpoint(settings, role, pooled=pooled))
    return _endpoints[0]


def tell() -> None:
    """Log where this process serves, once its log is set up."""
    for endpoint in _endpoints:
        endpoint.tell()


def end() -> None:
    """Count and serve no more."""
    while _endpoints:
        _endpoints.pop().end()


def is_on() -> bool:
    """Whether this process counts."""
    return State.recorder is not None
