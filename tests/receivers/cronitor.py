"""Cronitor: its Telemetry API, and PUT of monitors, as its documentation has them."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.receivers.server import Asked, Receiver, Said

API_KEY = "cronitorkey4711"
STATES = ("run", "complete", "fail", "ok")


class Cronitor(Receiver):
    """One account of Cronitor.

    Attributes:
        events: What each monitor was told, by its key: the fields of each event.
        monitors: What each was made as, by its key.
    """

    def __init__(self) -> None:
        super().__init__()
        self.events: dict[str, list[dict[str, list[str]]]] = {}
        self.monitors: dict[str, dict[str, Any]] = {}

    @property
    def of_all(self) -> str:
        """The setting with which it is told of all schedules."""
        return f"cronitor+{self.url}/p/{API_KEY}/{{schedule}}"

    def answer(self, asked: Asked) -> Said:
        """Answer as Cronitor does."""
        if asked.path == "/api/monitors" and asked.method == "PUT":
            login = base64.b64encode(f"{API_KEY}:".encode()).decode()
            if asked.headers.get("Authorization") != f"Basic {login}":
                return Said(403)
            given = json.loads(asked.body)["monitors"]
            if not all(each.get("key") and each.get("type") in ("job", "check", "heartbeat", "site") for each in given):
                return Said(400)
            self.monitors |= {each["key"]: each for each in given}
            return Said(200, asked.body)
        parts = asked.path.strip("/").split("/")
        if parts[:2] != ["p", API_KEY] or len(parts) != 3 or asked.query.get("state", ["ok"])[0] not in STATES:
            return Said(404)
        self.events.setdefault(parts[2], []).append(asked.query)
        return Said(200, b"OK")
