"""Which fire: names and ids that every process computes alike from (schedule, `scheduled_for`)."""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from steadybeat.schedule.rule import EPOCH, MICROSECOND, Rule, iso, refused, utc

MILLISECOND = timedelta(milliseconds=1)
ENTROPY_BYTES = 10


def fire_key(schedule_name: str, scheduled_for: datetime) -> str:
    """Return the identity of a fire: ``<schedule>@<nominal time>``, such as ``settle@2026-01-01T06:00:00Z``.

    Args:
        schedule_name: Name of the schedule.
        scheduled_for: Aware, in any time zone; microseconds are written only where there are some.

    Raises:
        ScheduleError: The name is empty, or the time has no time zone.
    """
    if not isinstance(schedule_name, str) or not schedule_name:
        raise refused("schedule_name", schedule_name, "must be the name of a schedule.")
    return f"{schedule_name}@{iso(utc('scheduled_for', scheduled_for))}"


def run_id(schedule_name: str, scheduled_for: datetime) -> str:
    """Return the id of the run that a fire causes: the same wherever and whenever it is computed.

    A UUID of version 8 (RFC 9562) that sorts by time: its first 48 bits are the nominal time in milliseconds
    since 1970, the others come from the SHA-256 of the fire's key.

    Args:
        schedule_name: Name of the schedule.
        scheduled_for: Aware, in any time zone, not before 1970.

    Raises:
        ScheduleError: The name is empty, the time has no time zone, or lies before 1970.
    """
    digest = sha256(fire_key(schedule_name, scheduled_for).encode()).digest()
    return _uuid("scheduled_for", scheduled_for, digest[:ENTROPY_BYTES], version=8)


def new_run_id(now: datetime, entropy: bytes) -> str:
    """Return the id of a run that is no fire: a UUID of version 7 (RFC 9562), which sorts by time as well.

    Args:
        now: Aware, in any time zone, not before 1970.
        entropy: Ten random bytes.

    Raises:
        ScheduleError: The time has no time zone or lies before 1970, or the bytes are not ten.
    """
    if not isinstance(entropy, bytes) or len(entropy) != ENTROPY_BYTES:
        raise refused("entropy", entropy, f"must be {ENTROPY_BYTES} bytes, such as os.urandom({ENTROPY_BYTES}).")
    return _uuid("now", now, entropy, version=7)


def jitter(schedule_name: str, scheduled_for: datetime, width: timedelta, rule: Rule) -> datetime:
    """Return when a fire is due: its nominal time and a delay in [0, `width`), a hash of its key.

    The delay stays below the distance to the rule's next fire, however wide the jitter: fires keep their order.

    Args:
        schedule_name: Name of the schedule.
        scheduled_for: Aware, in any time zone: the nominal time.
        width: Zero or more; zero means no delay.
        rule: The rule of the schedule.

    Returns:
        Aware UTC.

    Raises:
        ScheduleError: The width is negative or no timedelta, the name is empty, or the time has no time zone.
    """
    if not isinstance(width, timedelta) or width < timedelta(0):
        raise refused("jitter", width, "must be a timedelta of zero or more, such as timedelta(minutes=1).")
    digest = sha256(f"jitter:{fire_key(schedule_name, scheduled_for)}".encode()).digest()
    nominal = utc("scheduled_for", scheduled_for)
    following = rule.next_after(nominal)
    room = width if following is None else min(width, following - nominal)
    share = int.from_bytes(digest[:8], "big")
    return nominal + (share * (room // MICROSECOND) >> 64) * MICROSECOND


def _uuid(name: str, instant: datetime, noise: bytes, *, version: int) -> str:
    milliseconds = (utc(name, instant) - EPOCH) // MILLISECOND
    if milliseconds < 0:
        raise refused(name, instant, "must not be before 1970.")
    bits = milliseconds << 80 | int.from_bytes(noise, "big")
    bits = bits & ~(0xF << 76) | version << 76
    bits = bits & ~(0b11 << 62) | 0b10 << 62
    return str(UUID(int=bits))
