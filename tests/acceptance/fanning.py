"""What tests of fan-outs ask of an installation of the shop."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.acceptance.installation import Shop
from tests.eventually import eventually

PRESENCE = """
    CREATE TABLE public.presence (
        id bigserial PRIMARY KEY, place text NOT NULL, run_id uuid NOT NULL, pid int NOT NULL,
        came_at timestamptz NOT NULL DEFAULT clock_timestamp(), left_at timestamptz
    )
"""
_EFFECTS = "SELECT name, at FROM public.effects WHERE name ~ :pattern ORDER BY at"
_TENANTS = "SELECT * FROM steadybeat.runs WHERE fan_out = CAST(:run AS uuid) ORDER BY id"
_MOST_AT_ONCE = """
    SELECT max(count) AS most FROM (
        SELECT count(*) FROM public.presence came
          JOIN public.presence there ON there.place = came.place
               AND there.came_at <= came.came_at
               AND coalesce(there.left_at, CAST(:killed_at AS timestamptz), 'infinity') > came.came_at
         WHERE came.place = :place
         GROUP BY came.id) counted
"""


def letters(shop: Shop, name: str, count: int, *, plan: dict[str, Any] | None = None, **each: Any) -> str:
    """Have letters written to so many tenants, and return the run that fans out."""
    return shop.send("mail.letters", name, count, plan=plan or {}, **each)


def written(shop: Shop, name: str) -> list[int]:
    """Return the tenants that have had their letter, in the order of that, once for each time."""
    return [int(row.name.rpartition(" ")[2]) for row in shop.rows(_EFFECTS, pattern=f"^{name} [0-9]+$")]


def told(shop: Shop, name: str) -> list[str]:
    """Return what is said of a fan-out when it is over, once for each time."""
    return [row.name.partition(": ")[2] for row in shop.rows(_EFFECTS, pattern=f"^{name} is over")]


def begun(shop: Shop, name: str) -> list[str]:
    """Return the runs that have begun, once for each time."""
    return [each["run"] for each in shop.starts(name)]


def tenants(shop: Shop, run: str) -> dict[str, Any]:
    """Return the runs of a fan-out by their tenants, in the order of their turn."""
    return {row.tenant: row for row in shop.rows(_TENANTS, run=run)}


def states(shop: Shop, run: str) -> Counter[str]:
    """Return how many runs of a fan-out are in which state."""
    return Counter(row.state for row in tenants(shop, run).values())


def over(shop: Shop, run: str) -> bool:
    """Return whether a fan-out is over."""
    return shop.run(run).finished_at is not None


def ended(shop: Shop, run: str) -> dict[str, Any]:
    """Wait for the end of a fan-out, and of everything else; return its result."""
    eventually(lambda: over(shop, run))
    shop.settle()
    result: dict[str, Any] = shop.run(run).result
    return result


def most_at_once(shop: Shop, name: str, killed_at: Any = None) -> int:
    """Return how many letters of a fan-out were being written at a time, at the most.

    Args:
        shop: Whose.
        name: Of the fan-out.
        killed_at: When whoever has not said so must have stopped.
    """
    return int(shop.rows(_MOST_AT_ONCE, place=name, killed_at=killed_at)[0].most or 0)
