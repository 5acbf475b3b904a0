"""What services for messages to people have in common: they take a document of JSON, and say so."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from tests.receivers.server import Asked, Receiver, Said


class Received(NamedTuple):
    """A message: where it went, and the JSON of its body."""

    path: str
    document: dict[str, Any]


class WebReceiver(Receiver):
    """Takes messages.

    Attributes:
        taken: What it has answered with 200, the oldest first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[Received] = []

    def channel(self, path: str = "hook") -> str:
        """Return a URL of Apprise's that leads here."""
        return f"json://{self.address}/{path}"

    @property
    def titles(self) -> list[str]:
        """What the messages are called."""
        return [each.document["title"] for each in self.taken]

    def answer(self, asked: Asked) -> Said:
        """Keep a message; Slack says so in a word of its own."""
        self.taken.append(Received(asked.path, json.loads(asked.body)))
        return Said(200, b"ok" if asked.path.startswith("/services/") else b"{}")
