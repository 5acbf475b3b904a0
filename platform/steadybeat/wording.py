"""Wording: how instants, durations, counts and errors are said to people, on a terminal and in a mail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def moment(at: datetime | None) -> str:
    """Return an instant to the second: ``2026-11-22 06:00:00Z``; empty for None."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def nominal(at: datetime | None) -> str:
    """Return the nominal time of a fire, exactly: with a fraction where it has one."""
    if at is None or not at.microsecond:
        return moment(at)
    return moment(at).removesuffix("Z") + f".{at.microsecond:06}".rstrip("0") + "Z"


def length(duration: timedelta | None) -> str:
    """Return a duration in at most two units: ``40 ms``, ``1.5 s``, ``2 min``, ``3 h 12 min``; empty for None."""
    if duration is None:
        return ""
    seconds = max(0.0, duration.total_seconds())
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms" if seconds else "0 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def distance(at: datetime, now: datetime) -> str:
    """Return how far an instant is from now, to the second: ``in 3 h 12 min``, ``2 min ago``, ``now``."""
    seconds = round((at - now).total_seconds())
    if not seconds:
        return "now"
    rounded = length(timedelta(seconds=abs(seconds))).replace(".0 s", " s")
    return f"in {rounded}" if seconds > 0 else f"{rounded} ago"


def one_line(text: str, *, strip: bool = True) -> str:
    """Return text that cannot move the cursor or break a line, whatever an error message holds."""
    clean = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(clean.split()) if strip else clean


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its word: ``1 fire``, ``2,000 fires``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def headline(error: str | None) -> str:
    """Return what an error with its stack says happened: the first line after the stack."""
    lines = [line for line in (error or "").splitlines() if line.strip()]
    frames = [n for n, line in enumerate(lines) if line.startswith("  File ")]
    after = [line for line in lines[frames[-1] :] if not line.startswith(" ")] if frames else lines
    return after[0].strip() if after else ""
