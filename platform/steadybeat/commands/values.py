"""Values: what stands behind an option, read: durations, instants, JSON."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)([dhms]))")
_LONG_AGO = re.compile(r"(\d+(\.\d+)?[dhms])+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Nothing:
    """What ``none`` stands for: that a policy is to have no limit any more."""

    def __repr__(self) -> str:
        return "none"


NOTHING = Nothing()


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """A duration: ``90``, ``90s``, ``5m``, ``1h30m``, ``2d``; a number alone is seconds.

    Args:
        or_none: Whether ``none`` will do.
    """

    name = "duration"

    def __init__(self, *, or_none: bool = False) -> None:
        self._or_none = or_none

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a timedelta, or `NOTHING`.

        Raises:
            BadParameter: It is none.
        """
        if isinstance(value, timedelta | Nothing):
            return value
        text = value.strip().lower()
        if text == "none" and self._or_none:
            return NOTHING
        parts = _DURATION.findall(text)
        if re.fullmatch(r"\d+(\.\d+)?", text):
            parts = [(text, "s")]
        elif not parts or "".join(number + unit for number, unit in parts) != text:
            self.fail(f"{value!r} is no duration; write one such as 90s, 5m, 1h30m or 2d.", param, ctx)
        try:
            return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
        except OverflowError:
            self.fail(f"{value!r} is too long.", param, ctx)


class Number(click.ParamType):  # type: ignore[type-arg]
    """A count of one or more, or ``none``."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return an int, or `NOTHING`.

        Raises:
            BadParameter: It is none.
        """
        if isinstance(value, int | Nothing):
            return value
        if value.strip().lower() == "none":
            return NOTHING
        if not value.strip().isdecimal() or int(value) < 1:
            self.fail(f"{value!r} is no count; write a number from 1 on, or none.", param, ctx)
        return int(value)


class Text(click.ParamType):  # type: ignore[type-arg]
    """A text, or ``none``."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the text, or `NOTHING`."""
        return NOTHING if isinstance(value, str) and value.strip().lower() == "none" else value


class Instant(click.ParamType):  # type: ignore[type-arg]
    """An instant with its time zone, such as ``2026-11-22T06:00:00Z``."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the instant, aware, in the time zone that it was given in.

        Raises:
            BadParameter: It is none, or has no time zone.
        """
        if isinstance(value, datetime):
            return value
        at = when(value)
        if at is None:
            self.fail(f"{value!r} is no instant; write one such as {datetime.now(UTC):%Y-%m-%dT%H}:00Z.", param, ctx)
        if at.utcoffset() is None:
            self.fail(f"{value!r} has no time zone; for UTC write {at.isoformat()}Z.", param, ctx)
        return at


class Past(click.ParamType):  # type: ignore[type-arg]
    """An instant that has passed, or how long ago: ``2026-11-22T06:00:00Z``, ``90m``, ``2d``."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the instant, aware.

        Raises:
            BadParameter: It is none, has no time zone, or lies ahead.
        """
        if isinstance(value, datetime):
            return value
        now = datetime.now(UTC)
        if _LONG_AGO.fullmatch(value.strip().lower()):
            ago = Duration().convert(value, param, ctx)
            return now - ago if ago < now - _EPOCH else _EPOCH
        at = Instant().convert(value, param, ctx)
        if at > now:
            self.fail(
                f"{value!r} lies ahead; write an instant that has passed, or how long ago, such as 2h.", param, ctx
            )
        return at


class Json(click.ParamType):  # type: ignore[type-arg]
    """A JSON document of one kind.

    Args:
        kind: ``list`` or ``dict``.
        example: One that will do.
    """

    name = "json"

    def __init__(self, kind: type, example: str) -> None:
        self._kind, self._example = kind, example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return what the document holds.

        Raises:
            BadParameter: It is no JSON, or of another kind.
        """
        if isinstance(value, self._kind):
            return value
        try:
            found = json.loads(value)
        except ValueError as error:
            self.fail(f"{value!r} is no JSON ({error}); write it such as '{self._example}'.", param, ctx)
        if not isinstance(found, self._kind):
            self.fail(f"{value!r} is another kind of JSON; write it such as '{self._example}'.", param, ctx)
        return found


def when(text: str) -> datetime | None:
    """Return the time that a text names, from 1970 on, or None; it has a time zone only where the text has."""
    try:
        at = datetime.fromisoformat(text.strip())
        year = at.astimezone(UTC).year if at.utcoffset() is not None else at.year
    except (ValueError, OverflowError):
        return None
    return at if 1970 <= year < 9999 else None
