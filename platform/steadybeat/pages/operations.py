"""The page of what people did: who, what, to what, when and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steadybeat.pages.asked import Asked
from steadybeat.pages.page import Page

ROWS = 50


class Operations(Page):
    """What people did, the newest first."""

    path = r"/operations"
    name = "operations"
    tab = "operations"
    template = "operations.html"

    def look(self, asked: Asked) -> Mapping[str, Any]:
        """Return one page of what people did."""
        after = asked.count("after", 0, most=2**62) or None
        found = self.book.history.recent_operations(
            who=asked.maybe("who"), target=asked.maybe("target"), before=after, limit=ROWS + 1
        )
        return {"rows": found[:ROWS], "more": found[ROWS - 1]["id"] if len(found) > ROWS else None}
