"""Heartbeat: what a monitor is told, and of which schedule."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any, NamedTuple

EVENTS = ("start", "success", "fail", "log")

TEXT_LIMIT = 16_000
"""Characters of a text that go to a monitor at the most. Healthchecks keeps 100 kB, and says so where it is less."""

_ODD = re.compile(r"[^a-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """One thing that a monitor is told.

    Attributes:
        event: ``start`` of an attempt, ``success`` or ``fail`` of the run, or ``log``: something of interest, which
            changes nothing about how the schedule stands.
        schedule: Whose.
        run: Its id, the same in all that is told of one run.
        text: What there is to say: for people.
        status: As a program would have ended: 0, 1, 124 (timed out), 128 and the signal (killed).
        duration_seconds: How long the last attempt took.
        items_count: How many items it processed.
    """

    event: str
    schedule: str
    run: str | None = None
    text: str = ""
    status: int | None = None
    duration_seconds: float | None = None
    items_count: int | None = None

    def pack(self) -> bytes:
        """Return it as bytes, for the way from a pool's process to its worker."""
        return json.dumps(asdict(replace(self, text=self.text[:TEXT_LIMIT]))).encode()

    @classmethod
    def unpack(cls, data: bytes) -> Heartbeat:
        """Return what `pack` has packed.

        Raises:
            ValueError: It is something else.
            TypeError: It is something else.
        """
        return cls(**json.loads(data))


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A schedule as its monitor is to know it.

    Attributes:
        schedule: Its name.
        heartbeat: Its own policy; None: as the settings say.
        spec: Its rule as JSON.
        jitter_seconds: A fire may begin so much later than its nominal time.
        time_limit_seconds: So long an attempt may take.
    """

    schedule: str
    heartbeat: str | None = None
    spec: Mapping[str, Any] | None = None
    jitter_seconds: float = 0.0
    time_limit_seconds: float = 600.0


class Request(NamedTuple):
    """What is asked of a monitor over HTTP."""

    method: str
    url: str
    body: bytes | None = None
    headers: Mapping[str, str] = {}


def slug(name: str, limit: int) -> str:
    """Return a name as monitors want it: of ``a-z``, ``0-9``, ``_`` and ``-``, and no longer than `limit`.

    What is cut ends with a part of its own hash, so that two long names stay two.
    """
    plain = _ODD.sub("-", name.lower()).strip("-") or "schedule"
    if plain.isdecimal():
        plain = f"schedule-{plain}"
    if len(plain) <= limit:
        return plain
    return f"{plain[: limit - 9]}-{sha256(name.encode()).hexdigest()[:8]}"
