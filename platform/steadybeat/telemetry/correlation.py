"""What joins the runs of one cause: an id that goes from a caller to its task and on to each of its sub-tasks.

It travels as the message header ``steadybeat_correlation_id`` (text, normally 32 hexadecimal digits, lives as long
as the message) and stands among the bound facts as ``correlation_id``.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from steadybeat.telemetry.facts import bind, bound, clear_run

HEADER = "steadybeat_correlation_id"

LENGTH_LIMIT = 128
"""Characters of an id that are kept: it may come from a stranger's HTTP header."""


def current() -> str | None:
    """Return the correlation id of the run or the block that is being worked on."""
    return bound().get("correlation_id")


def new() -> str:
    """Return an id that nobody has used."""
    return uuid4().hex


@contextmanager
def correlation(correlation_id: str | None = None) -> Iterator[str]:
    """Let all tasks that are sent, and all lines that are logged in the block share one correlation id.

    Args:
        correlation_id: The id, such as the one of a web request; a new one by default.

    Returns:
        The id in use.
    """
    chosen = clean(correlation_id) or new()
    token = bind({**bound(), "correlation_id": chosen})
    try:
        yield chosen
    finally:
        clear_run(token)


def stamp(headers: MutableMapping[str, Any]) -> str:
    """Put the correlation id into a message's headers, unless one is there.

    Args:
        headers: Headers of the message; changed in place.

    Returns:
        The id that the message carries now: its own, else the current one, else a new one.
    """
    given = clean(headers.get(HEADER))
    if given is None:
        given = current() or new()
        headers[HEADER] = given
    return given


def of_request(request: Any) -> str:
    """Return the correlation id of a Celery request (`task.request`): its header's, else the current one, else new.

    An eager call has no message: its headers are one level deeper, and it belongs to whoever called it.
    """
    given = clean(request.get(HEADER))
    if given is None and request.headers:
        given = clean(request.headers.get(HEADER))
    return given or current() or new()


def clean(value: object) -> str | None:
    """Return an id as it may be used, or None if `value` is none."""
    if not isinstance(value, str):
        return None
    return value.strip()[:LENGTH_LIMIT] or None
