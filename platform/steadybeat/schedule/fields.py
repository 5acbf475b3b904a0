"""The five fields of a cron expression, as cronsim reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cronsim import CronSim, CronSimError

from steadybeat.errors import did_you_mean
from steadybeat.schedule.rule import EPOCH, refused

MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One of the five fields: its name, its values, where cronsim and Celery keep them, and what ``H`` stands for."""

    name: str
    cronsim: str
    celery: str
    low: int
    count: int
    values: str
    hashed: str

    def numbers(self, text: str) -> set[Any] | None:
        """Return what cronsim reads in a field, or None if it refuses; ``L`` and ``#`` are no whole numbers."""
        parts = ["*"] * len(FIELDS)
        parts[FIELDS.index(self)] = text
        try:
            found = getattr(CronSim(" ".join(parts), EPOCH), self.cronsim)
        except CronSimError:
            return None
        if self.celery == "day_of_week":
            return {number % 7 if isinstance(number, int) else number for number in found}
        return {number if number >= 0 else str(number) for number in found}


FIELDS = (
    Field("minute", "minutes", "minute", 0, 60, "0-59", "0-59"),
    Field("hour", "hours", "hour", 0, 24, "0-23", "0-23"),
    Field("day of month", "days", "day_of_month", 1, 31, "1-31, L (last day), LW (last weekday)", "1-28"),
    Field("month", "months", "month_of_year", 1, 12, "1-12, JAN-DEC", "1-12"),
    Field("day of week", "weekdays", "day_of_week", 0, 7, "0-7, SUN-SAT, 5L (last Friday), 5#2 (second Friday)", "0-6"),
)


def written_out(expression: object) -> str:
    """Return an expression with its short form written out."""
    if not isinstance(expression, str):
        raise refused("expression", expression, "must be a text such as '0 6 * * *'.")
    written = expression.strip()
    if written.startswith("@"):
        if written.lower() not in MACROS:
            nearest = did_you_mean(written.lower(), MACROS) or f" Write one of {', '.join(MACROS)}."
            raise refused("expression", expression, f"there is no such short form.{nearest}")
        written = MACROS[written.lower()]
    return written


@lru_cache(maxsize=8192)
def allowed(field: Field, text: str) -> bool:
    """Return whether cronsim can read a field."""
    return field.numbers(text) is not None


def both_days_restricted(fields: Sequence[str]) -> bool:
    """Return whether the five fields restrict both day of month and day of week, so that the mode matters."""
    return not fields[2].startswith("*") and not fields[4].startswith("*")


def of_fixed_time(fields: Sequence[str]) -> bool:
    """Return whether the five fields name a time of day: neither minute nor hour starts with ``*``."""
    return not fields[0].startswith("*") and not fields[1].startswith("*")
