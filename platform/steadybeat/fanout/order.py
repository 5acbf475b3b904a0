"""Order: in which order tenants have their turn. Pure.

It is that of a hash of the seed and the tenant's name: the same for everybody who knows the seed, whatever order
tenants come in, and another one for each fan-out, so that no tenant always comes last.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256

_DIGITS = 9


def place_of(seed: str, tenant: str) -> str:
    """Return where a tenant stands in the order of a seed: nine hexadecimal digits, which sort as they count."""
    return sha256(f"{seed}:{tenant}".encode()).hexdigest()[:_DIGITS]


def fraction_of(place: str) -> float:
    """Return a place as a number of at least 0 and less than 1."""
    return int(place, 16) / 16**_DIGITS


def shuffled(tenants: Iterable[str], seed: str) -> list[str]:
    """Return tenants in the order in which a fan-out with this seed begins with them.

    Args:
        tenants: Their names, as `runs show` has them.
        seed: As `runs show` has it.
    """
    return sorted(tenants, key=lambda tenant: place_of(seed, tenant))


def seed_of(run: str) -> str:
    """Return the seed of a run that says none: the same for each of its attempts."""
    return sha256(run.encode()).hexdigest()[:8]


def id_of(run: str, begun_at: datetime, place: str, tenant: str) -> str:
    """Return the id of a tenant's run, a UUID of version 8: the same each time that it is asked for.

    It begins with a time, as all ids do; then comes the tenant's place, so that ids sort as the tenants have their
    turn, and then what tells it from the run of the same tenant in another fan-out.

    Args:
        run: The fan-out's own id.
        begun_at: When the fan-out began.
        place: The tenant's.
        tenant: Its name.
    """
    time = f"{_milliseconds(begun_at):012x}"
    own = sha256(f"{run}:{tenant}".encode()).hexdigest()[:_DIGITS]
    return f"{time[:8]}-{time[8:]}-8{place[:3]}-8{place[3:6]}-{place[6:]}{own}"


def id_range(begun_at: datetime) -> tuple[str, str]:
    """Return the lowest id that a run of a fan-out may have, and the lowest that is too high for one.

    Args:
        begun_at: When the fan-out began.
    """
    begun = _milliseconds(begun_at)
    low, high = (f"{milliseconds:012x}{'0' * 20}" for milliseconds in (begun, begun + 1))
    return low, high


def _milliseconds(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)
