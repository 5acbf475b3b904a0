"""Sentry's envelope endpoint: takes what the SDK sends, and keeps the items by their type.

Source: https://develop.sentry.dev/sdk/data-model/envelopes/
"""

from __future__ import annotations

import json
from typing import Any

from tests.receivers.server import Asked, Receiver, Said


class Sentry(Receiver):
    """Takes envelopes.

    Attributes:
        items: Of each type (``event``, ``check_in``, ``transaction`` …) what came in, in that order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, list[Any]] = {}

    @property
    def dsn(self) -> str:
        """Where reports go."""
        return f"http://publickey@{self.address}/1"

    @property
    def events(self) -> list[dict[str, Any]]:
        """The crash reports."""
        return self.items.get("event", [])

    @property
    def check_ins(self) -> list[dict[str, Any]]:
        """What Sentry Crons was told."""
        return self.items.get("check_in", [])

    def answer(self, asked: Asked) -> Said:
        """Keep an envelope's items: a line of JSON about each, and its payload."""
        _, _, rest = asked.body.partition(b"\n")
        while rest:
            head, _, rest = rest.partition(b"\n")
            if not head.strip():
                continue
            about = json.loads(head)
            length = about.get("length")
            payload, rest = (rest[:length], rest[length + 1 :]) if length is not None else rest.split(b"\n", 1)
            self.items.setdefault(about["type"], []).append(json.loads(payload))
        return Said(200)
