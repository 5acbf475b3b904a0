"""Healthchecks: its ping API and its checks, as hc/api/urls.py and hc/api/views.py of healthchecks/healthchecks do.

/<uuid>[/start|/fail|/log|/<exit status>]                 404 where no check has it
/<ping key>/<slug>[/…]?create=1                           404 or, with create, 201
?rid=<uuid>                                               400 where it is none
POST /api/v3/checks/  X-Api-Key                           201 or 200; 400 names the field; 401
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from cronsim import CronSim, CronSimError

from tests.receivers.server import Asked, Receiver, Said

PING_KEY = "pingkey4711pingkey4711"
API_KEY = "k" * 32

_ACTIONS = ("start", "fail", "log")


class Ping(NamedTuple):
    """What a check was told."""

    action: str
    rid: str | None
    exit_status: int | None
    body: str


@dataclass
class Check:
    """One check, as far as pings change it (Check.ping in hc/api/models.py)."""

    slug: str
    code: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "new"
    settings: dict[str, Any] = field(default_factory=lambda: {"timeout": 86400, "grace": 3600})
    pings: list[Ping] = field(default_factory=list)
    started_at: datetime | None = None
    started_rid: str | None = None
    last_duration: timedelta | None = None

    def ping(self, ping: Ping) -> None:
        """Take a ping: durations are between a start and an end of the same rid."""
        now = datetime.now(UTC)
        self.pings.append(ping)
        if ping.action == "start":
            self.started_at, self.started_rid = now, ping.rid
        elif ping.action in ("success", "fail"):
            self.last_duration = None
            if self.started_at is not None and self.started_rid == ping.rid:
                self.last_duration, self.started_at = now - self.started_at, None
            elif ping.action == "fail" or ping.rid is None:
                self.started_at = None
            self.status = "down" if ping.action == "fail" else "up"

    @property
    def actions(self) -> list[str]:
        """What it was told, in order."""
        return [ping.action for ping in self.pings]


class Healthchecks(Receiver):
    """One project of Healthchecks.

    Args:
        body_limit: So many bytes of a body are kept.
    """

    def __init__(self, body_limit: int = 100_000) -> None:
        super().__init__()
        self.body_limit = body_limit
        self.checks: dict[str, Check] = {}

    @property
    def of_all(self) -> str:
        """The setting with which it is told of all schedules."""
        return f"healthchecks+{self.url}/{PING_KEY}/{{schedule}}"

    def check(self, slug: str) -> Check:
        """Make a check, or return the one of this slug."""
        return self.checks.setdefault(slug, Check(slug))

    def answer(self, asked: Asked) -> Said:
        """Answer as Healthchecks does."""
        if asked.path == "/api/v3/checks/":
            return self._upsert(asked)
        parts = asked.path.strip("/").split("/")
        if parts[0] == PING_KEY:
            return self._ping_by_slug(asked, parts[1], parts[2:])
        found = [check for check in self.checks.values() if check.code == parts[0]]
        return self._ping(asked, found[0], parts[1:]) if found else Said(404, b"not found")

    def _ping_by_slug(self, asked: Asked, slug: str, rest: list[str]) -> Said:
        if slug != slug.lower():
            return Said(400, b"invalid url format")
        is_new = slug not in self.checks
        if is_new and asked.query.get("create") != ["1"]:
            return Said(404, b"not found")
        said = self._ping(asked, self.check(slug), rest)
        return said._replace(status=201, body=b"Created") if is_new and said.status == 200 else said

    def _ping(self, asked: Asked, check: Check, rest: list[str]) -> Said:
        action, status = rest[0] if rest else "success", None
        if action.isdecimal():
            status = int(action)
            action = "fail" if status else "success"
        elif action not in (*_ACTIONS, "success"):
            return Said(404, b"not found")
        rid = asked.query.get("rid", [None])[0]
        if (status is not None and status > 255) or (rid is not None and not _is_uuid(rid)):
            return Said(400, b"invalid uuid format")
        check.ping(Ping(action, rid, status, asked.body[: self.body_limit].decode()))
        return Said(200, b"OK", {"Ping-Body-Limit": str(self.body_limit)})

    def _upsert(self, asked: Asked) -> Said:
        if asked.headers.get("X-Api-Key") != API_KEY:
            return Said(401, b'{"error": "wrong api key"}')
        spec = json.loads(asked.body)
        wrong = _wrong(spec)
        if wrong:
            return Said(400, json.dumps({"error": f"json validation error: {wrong}"}).encode())
        is_new = spec["slug"] not in self.checks
        check = self.check(spec["slug"])
        if "schedule" in spec:
            check.settings.pop("timeout", None)
        check.settings |= {name: value for name, value in spec.items() if name != "unique"}
        return Said(201 if is_new else 200, json.dumps(check.settings).encode())


def _wrong(spec: dict[str, Any]) -> str:
    """Return what Spec of hc/api/views.py has against a check."""
    for name in ("timeout", "grace"):
        if name in spec and not (isinstance(spec[name], int) and 60 <= spec[name] <= 31_536_000):
            return f"{name} is too large or too small"
    if not re.fullmatch(r"[a-z0-9-_]{0,100}", spec.get("slug", "")):
        return "slug does not match pattern"
    if len(spec.get("name", "")) > 100 or len(spec.get("schedule", "")) > 100:
        return "name or schedule is too long"
    if "schedule" in spec:
        try:
            next(CronSim(spec["schedule"], datetime(2000, 1, 1, tzinfo=UTC)))
        except (CronSimError, StopIteration):
            return "schedule is not a valid cron or OnCalendar expression"
    return ""


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
