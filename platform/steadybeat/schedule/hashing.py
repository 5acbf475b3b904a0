"""``H`` in a cron expression: a number that the schedule's name chooses, so that a fleet spreads by itself.

The number of a field is the SHA-256 of ``<field>:<name>``, such as ``minute:settle``, its first eight bytes as one
big-endian number, modulo how many values there are to choose from; ``H/15`` chooses where the steps begin, among the
first fifteen. It never changes: fires would move.
"""

from __future__ import annotations

import re
from hashlib import sha256

from steadybeat.schedule.fields import FIELDS, Field

HASHED = re.compile(r"(?:^|[ ,])H(?![A-Z])")
"""Where an expression has an ``H``; THU has none."""

_TERM = re.compile(r"H(?:\(([^()]+)\))?(?:/(\d+))?")


def has_hash(text: str) -> bool:
    """Return whether an expression, or one field of it, has an ``H``."""
    return "H" in text and HASHED.search(text) is not None


def readable(field: Field, text: str) -> bool:
    """Return whether every part of a field that has an ``H`` can be read."""
    return all(_choices(field, term) is not None for term in text.split(",") if has_hash(term))


def bound(expression: str, name: str) -> str:
    """Return an expression with a number, or a list of numbers, in the place of every ``H``.

    Args:
        expression: Five fields in capitals.
        name: Of the schedule.
    """
    return " ".join(_bound(field, text, name) for field, text in zip(FIELDS, expression.split(), strict=True))


def _bound(field: Field, text: str, name: str) -> str:
    terms = []
    for term in text.split(","):
        found = _choices(field, term)
        if found is None:
            terms.append(term)
            continue
        values, step = found
        number = int.from_bytes(sha256(f"{field.name}:{name}".encode()).digest()[:8], "big")
        chosen = values[number % min(step, len(values)) :: step] if step else [values[number % len(values)]]
        terms += map(str, chosen)
    return ",".join(terms)


def _choices(field: Field, term: str) -> tuple[list[int], int] | None:
    """Return the values that an ``H`` may stand for, and its step (0 if it has none), or None if it cannot be read."""
    found = _TERM.fullmatch(term)
    if found is None:
        return None
    numbers = field.numbers(found[1] or field.hashed)
    step = int(found[2] or 0)
    if not numbers or not all(isinstance(number, int) for number in numbers) or (found[2] and not step):
        return None
    return sorted(numbers), step


def words(field: Field, text: str) -> str:
    """Return a field that has an ``H`` in words, such as ``a minute of 0-29`` or ``every 15th minute``."""
    said = []
    for term in text.split(","):
        found = _TERM.fullmatch(term)
        if found is None:
            said.append(f"{field.name} {term}")
        elif found[2]:
            part = f" of {found[1]}" if found[1] else ""
            said.append(f"every {found[2]}{_ordinal(int(found[2]))} {field.name}{part}")
        else:
            article = "an" if field.name == "hour" else "a"
            said.append(f"{article} {field.name} of {found[1] or field.hashed}")
    return " and ".join(said)


def _ordinal(number: int) -> str:
    return "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
