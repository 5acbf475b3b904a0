"""The pages of fan-outs: how far each is, and tenant by tenant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from steadybeat.errors import EditConflict
from steadybeat.fanout.order import id_of, id_range, place_of
from steadybeat.ledger.fan_out_lists import COUNTED_COUNT
from steadybeat.operating import rerun
from steadybeat.operating.fanned import fan_out_of, pace_of
from steadybeat.pages import pieces
from steadybeat.pages.asked import Asked
from steadybeat.pages.page import Change, NotFound, Page
from steadybeat.pages.run import run_of
from steadybeat.telemetry.redaction import redact_text

ROWS = 25
TENANTS = 50
STATES = ("failed", "running", "waiting", "cancelled", "succeeded", "skipped")
_DRAWN = ("succeeded", "failed", "running", "waiting", "cancelled", "skipped")
_MEANT = {"failed": ["dead"], "waiting": ["waiting", "enqueued"]}
_COLOURS = {"failed": "dead", "running": "running", "waiting": "waiting", "cancelled": "cancelled",
            "succeeded": "succeeded", "skipped": "superseded"}  # fmt: skip


class FanOuts(Page):
    """Fan-outs, the newest first."""

    path = r"/fan-outs"
    name = "fan_outs"
    tab = "fan_outs"
    template = "fan_outs.html"

    def look(self, asked: Asked) -> Mapping[str, Any]:
        """Return a page of fan-outs, each with how far it is."""
        lists = self.book.fan_out_lists
        only_open = asked.one_of("which", ("open",)) == "open"
        behind = pieces.place(asked)
        if behind is not None:
            behind = behind[0], pieces.id_of(behind[1])
        found = lists.newest(task=asked.maybe("task"), only_open=only_open, behind=behind, limit=ROWS + 1)
        rows, last = found[:ROWS], found[ROWS - 1] if len(found) > ROWS else None
        wanted = [row["run"] for row in rows if _told(row) is None and (row["total_count"] or 0) <= COUNTED_COUNT]
        counted = lists.counts(wanted)
        return {
            "rows": [row | {"counts": _told(row) or _sums(counted.get(row["run"]))} for row in rows],
            "more": last and pieces.cursor(last["begun_at"], last["run"]),
            "bar": bar_of,
            "pieces": pieces,
        }


class FanOut(Page):
    """One fan-out, tenant by tenant."""

    path = r"/fan-out/([^/]+)"
    name = "fan_out"
    tab = "fan_outs"
    template = "fan_out.html"

    def look(self, asked: Asked) -> Mapping[str, Any]:
        """Return how far a fan-out is, and a page of its tenants, those that failed first."""
        book, now, own = self.book, datetime.now(UTC), pieces.id_of(asked.parts[0])
        told = book.overview.fan_out(own)
        found = fan_out_of(book, own)
        if told is None or found is None:
            raise NotFound(f"Run {own} has not fanned out, or that is not on record any more.")
        counts = found["counts"]
        state = asked.one_of("state", (*STATES, "all")) or ("failed" if counts["failed"] else "all")
        tenant = asked.maybe("tenant")
        rows, more = self._tenants(told, state, counts, asked.maybe("after"), tenant)
        return {
            "own": own,
            "told": told,
            "fan_out": found,
            "counts": counts,
            "bar": bar_of(counts),
            "pace": pace_of(found, now),
            "abort_reason": redact_text(found["abort_reason"] or ""),
            "run": book.story.run(own),
            "state": state,
            "states": ("all", *STATES),
            "rows": rows,
            "more": more,
            "pieces": pieces,
        }

    def _tenants(
        self, told: Mapping[str, Any], state: str, counts: Mapping[str, int], after: str | None, tenant: str | None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Return a page of tenants, and behind which the next page begins."""
        run, begun_at = told["run"], told["begun_at"]
        if tenant is not None:
            return self._one(run, begun_at, told["seed"], tenant), None
        limit = TENANTS + 1
        if state == "skipped":
            found = self.book.overview.skipped(run, after=after, limit=limit)
            return found[:TENANTS], found[TENANTS - 1]["tenant"] if len(found) == limit else None
        meant = None if state == "all" else _MEANT.get(state, [state])
        behind = pieces.id_of(after) if after else None
        found = self.book.fan_out_lists.tenants(
            run, id_range(begun_at), states=meant, count=counts.get(state, 0), after=behind, limit=limit
        )
        return found[:TENANTS], found[TENANTS - 1]["run"] if len(found) == limit else None

    def _one(self, run: str, begun_at: datetime, seed: str, tenant: str) -> list[dict[str, Any]]:
        one = self.book.story.run(id_of(run, begun_at, place_of(seed, tenant), tenant))
        if one is not None:
            return [one | {"run": str(one["id"])}]
        if not self.book.overview.is_skipped(run, tenant):
            return []
        nothing = dict.fromkeys(("run", "started_at", "finished_at", "error"))
        reason = "left out by its policy"
        return [
            {**nothing, "tenant": tenant, "state": "skipped", "reason": reason, "in_line": False, "attempt_count": 0}
        ]


class FanOutRerun(Change):
    """A fan-out goes on with tenants that failed, or were cancelled with it."""

    path = r"/fan-out/([^/]+)/rerun"
    name = "fan_out_rerun"

    def change(self, asked: Asked, reason: str) -> tuple[str, str]:
        """Put them in line again."""
        run = run_of(self.book, asked.parts[0])
        only = [asked.one_of("only", ("failed", "cancelled")) or "failed"]
        number = rerun.go_on(self.book, run, only, by=asked.person.name, reason=reason)
        text = rerun.told_of_tenants(str(run["id"]), only, number)
        if not number:
            raise EditConflict(text, run=str(run["id"]))
        return text, self.link("fan_out", run["id"])


def bar_of(counts: Mapping[str, int]) -> Any:
    """Return how many tenants are how far, as a bar and in words."""
    return pieces.bar([(word, _COLOURS[word], counts.get(word, 0)) for word in _DRAWN], label="Tenants")


def _sums(by_state: Mapping[str, int] | None) -> dict[str, int] | None:
    """Return how many tenants are how far, by what their runs' states are; None where that was not counted."""
    if by_state is None:
        return None
    return {word: sum(by_state.get(each, 0) for each in _MEANT.get(word, [word])) for word in STATES}


def _told(row: Mapping[str, Any]) -> dict[str, int] | None:
    """Return what a fan-out that is over has said of its tenants, if it has."""
    result = row["result"]
    if row["ended_at"] is None or not isinstance(result, Mapping):
        return None
    found = {word: result.get(word) for word in STATES}
    if not all(isinstance(number, int) for number in (found["succeeded"], found["failed"])):
        return None
    return {word: number for word, number in found.items() if isinstance(number, int)}
