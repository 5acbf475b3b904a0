"""The page of all schedules: when each is due, what became of its last fires, and who answers for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from steadybeat.errors import ConfigurationError
from steadybeat.ledger.schedule_lists import SORTS, STATES, Chosen
from steadybeat.pages import fires
from steadybeat.pages.asked import Asked
from steadybeat.pages.coming import Coming, coming_of
from steadybeat.pages.page import Page
from steadybeat.schedules import MAKE_UP

ROWS = 50
ORDERS = {
    "name": "name",
    "next": "next fire",
    "service": "service",
    "owner": "owner",
    "failures": "failures",
    "changed": "changed last",
}
"""By what a list is ordered: all of `SORTS`, and what follows from rules."""
assert {*ORDERS} == {*SORTS, "next"}


class Schedules(Page):
    """All schedules."""

    path = r"/schedules"
    name = "schedules"
    tab = "schedules"
    template = "schedules.html"

    def look(self, asked: Asked) -> Mapping[str, Any]:
        """Return one page of the schedules that are asked for."""
        now = datetime.now(UTC)
        sort = asked.one_of("sort", [*ORDERS]) or "name"
        chosen = Chosen(
            service=asked.maybe("service"),
            owner=asked.maybe("owner"),
            task=asked.maybe("task"),
            state=asked.one_of("state", [*STATES]),
            part=asked.maybe("q"),
        )
        rows, more = self._by_next(asked, chosen, now) if sort == "next" else self._by_column(asked, chosen, sort)
        recent = self.book.schedule_lists.recent([row["name"] for row in rows], fires.STRIP)
        services, owners = self.book.schedule_lists.choices()
        return {
            "rows": [_shown(row, recent[row["name"]], coming_of(self.application), now) for row in rows],
            "more": more,
            "sort": sort,
            "orders": ORDERS,
            "states": [*STATES],
            "services": services,
            "owners": owners,
            "fires": fires,
            "make_up": MAKE_UP,
            "narrowed": any(asked.values.get(name) for name in ("service", "owner", "task", "state", "q")),
        }

    def _by_column(self, asked: Asked, chosen: Chosen, sort: str) -> tuple[list[dict[str, Any]], str | None]:
        behind = _place(asked)
        found = self.book.schedule_lists.page(chosen, sort=sort, behind=behind, limit=ROWS + 1)
        last = found[ROWS - 1] if len(found) > ROWS else None
        return found[:ROWS], last and json.dumps([last["place"], last["name"]])

    def _by_next(self, asked: Asked, chosen: Chosen, now: datetime) -> tuple[list[dict[str, Any]], str | None]:
        lists = self.book.schedule_lists
        order = coming_of(self.application).order(lists.revisions(chosen), now, lists.specs)
        behind = _place(asked)
        begin = 0
        if behind is not None:
            at, name = behind
            own = datetime.fromisoformat(at) if at else None
            after = (own is None, own or now, name)
            begin = next(
                (n for n, each in enumerate(order) if (each[1] is None, each[1] or now, each[0]) > after), len(order)
            )
        part = order[begin : begin + ROWS]
        more = None
        if len(order) > begin + ROWS:
            name, due = part[-1]
            more = json.dumps([due.isoformat() if due else "", name])
        return lists.named([name for name, _ in part]), more


def _place(asked: Asked) -> tuple[str, str] | None:
    """Return behind which row a page begins.

    Raises:
        ConfigurationError: It is no such thing.
    """
    text = asked.text("after", longest=500)
    if not text:
        return None
    try:
        place, name = json.loads(text)
        if not (isinstance(place, str) and isinstance(name, str) and "\x00" not in place + name):
            raise ValueError
        (place + name).encode()  # half a surrogate is no text
        if place and asked.values.get("sort") == "next" and datetime.fromisoformat(place).tzinfo is None:
            raise ValueError
    except (ValueError, TypeError):
        raise ConfigurationError(
            f"after={text[:60]!r}: is no place in this list. Begin at the first page.", name="after"
        ) from None
    return place, name


def _shown(row: dict[str, Any], recent: list[dict[str, Any]], coming: Coming, now: datetime) -> dict[str, Any]:
    rule = coming.rule(row["name"], row["revision"], row["spec"])
    last = recent[0] if recent else None
    return {
        **row,
        "rule": rule.explain(),
        "next": None if row["retired_at"] else coming.next(row["name"], row["revision"], row["spec"], now),
        "recent": recent,
        "last": last,
        "durations": fires.Durations.of(recent),
        "state": state_of(row),
    }


def state_of(row: Mapping[str, Any]) -> str:
    """Return how a schedule stands, in one word."""
    if row["retired_at"] is not None:
        return "retired"
    if row["paused_at"] is not None:
        return "paused"
    return "failing" if row["consecutive_failures"] else "active"
