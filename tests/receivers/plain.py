"""Plain: any address that is glad to be asked."""

from __future__ import annotations

from tests.receivers.server import Asked, Receiver, Said


class Plain(Receiver):
    """Answers whatever is asked."""

    def answer(self, asked: Asked) -> Said:
        """Answer 200."""
        return Said(200)
