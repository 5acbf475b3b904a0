"""Rules from JSON, as the ledger keeps them. Rules that are stored alike are one object."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

from steadybeat.errors import ScheduleError, did_you_mean
from steadybeat.schedule.bounds import limited, starting, until
from steadybeat.schedule.combination import any_of
from steadybeat.schedule.exclusion import without
from steadybeat.schedule.interval import every
from steadybeat.schedule.moment import once
from steadybeat.schedule.recurrence import rrule
from steadybeat.schedule.rule import MICROSECOND, Rule, refused
from steadybeat.schedule.wallclock import make
from steadybeat.schedule.windows import Dates, Window, window
from steadybeat.schedule.zones import zone_of


def from_json(data: Mapping[str, Any]) -> Rule:
    """Return the rule that `Rule.to_json` wrote; equal data give the same object. It warns of nothing.

    Raises:
        ScheduleError: The type is unknown, a key is missing or unknown, or a value is wrong.
    """
    try:
        text = json.dumps(data)
    except (TypeError, ValueError) as error:
        raise refused("rule", data, f"is no JSON ({error}).") from error
    return _rule(text)


@lru_cache(maxsize=16384)
def _rule(text: str) -> Rule:
    found = _read(json.loads(text))
    if not isinstance(found, Rule):
        raise refused("rule", json.loads(text), f"type must be {_KNOWN}.")
    return found


def _read(data: Any) -> Rule | Window:
    kind = data.get("type") if isinstance(data, Mapping) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise refused("rule", data, f"type must be {_KNOWN}.")
    required, optional, read = _KINDS[kind]
    _check_keys(data, required, optional)
    try:
        return read(data)
    except ScheduleError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise refused("rule", data, f"{_EXPECTED[kind]}.") from error


def _rule_in(data: Mapping[str, Any]) -> Rule:
    found = _read(data["rule"])
    if not isinstance(found, Rule):
        raise refused("rule", data["rule"], f"type must be {_KNOWN}.")
    return found


def _every(data: Mapping[str, Any]) -> Rule:
    anchor = data.get("anchor")
    interval = timedelta(seconds=data["seconds"], microseconds=data.get("microseconds", 0))
    return every(interval, anchor=None if anchor is None else datetime.fromisoformat(anchor))


def _rrule(data: Mapping[str, Any]) -> Rule:
    start = datetime.fromisoformat(data["dtstart"])
    return rrule(data["rule"], dtstart=start.replace(tzinfo=zone_of(data["tz"])))


def _any_of(data: Mapping[str, Any]) -> Rule:
    return any_of(*(_rule_in({"rule": each}) for each in data["rules"]))


def _excluding(data: Mapping[str, Any]) -> Rule:
    what = tuple(_read(each) for each in data["what"])
    if not what:
        raise ValueError
    return without(_rule_in(data), what)


def _dates(data: Mapping[str, Any]) -> Window:
    zone_of(data["tz"])
    found = tuple(sorted({date.fromisoformat(day) for day in data["dates"]}))
    if not found:
        raise ValueError
    return Dates(found, data["tz"])


_INSTANT = "a time such as '2026-01-01T00:00:00Z'"
_EXPECTED = {
    "every": f"seconds must be a number, anchor null or {_INSTANT}",
    "rrule": "dtstart must be a time such as '2026-01-05T06:00:00'",
    "any_of": "rules must be a list of rules",
    "excluding": "what must be a list of dates, windows and rules",
    "dates": "dates must be a list of dates such as '2026-12-25'",
    "limited": "count must be a number",
    "following": "microseconds must be a number",
    "cron": "expression and tz must be texts",
    "window": "begin and end must be texts",
    **dict.fromkeys(("once", "starting", "until"), f"at must be {_INSTANT}"),
    "period": f"begin and end must be {_INSTANT}",
}
_KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Callable[[Mapping[str, Any]], Rule | Window]]] = {
    "cron": (
        ("expression", "tz"),
        ("mode", "dst"),
        lambda data: make(data["expression"], data["tz"], data.get("mode", "or"), data.get("dst")),
    ),
    "every": (("seconds",), ("microseconds", "anchor"), _every),
    "once": (("at",), (), lambda data: once(datetime.fromisoformat(data["at"]))),
    "rrule": (("rule", "dtstart", "tz"), (), _rrule),
    "any_of": (("rules",), (), _any_of),
    "excluding": (("rule", "what"), (), _excluding),
    "limited": (("rule", "count"), (), lambda data: limited(_rule_in(data), data["count"])),
    "starting": (("rule", "at"), (), lambda data: starting(_rule_in(data), datetime.fromisoformat(data["at"]))),
    "until": (("rule", "at"), (), lambda data: until(_rule_in(data), datetime.fromisoformat(data["at"]))),
    "dates": (("dates", "tz"), (), _dates),
    "window": (("begin", "end", "tz"), (), lambda data: window(data["begin"], data["end"], tz=data["tz"])),
    "period": (
        ("begin", "end"),
        (),
        lambda data: window(datetime.fromisoformat(data["begin"]), datetime.fromisoformat(data["end"])),
    ),
    "following": (
        ("rule", "microseconds"),
        (),
        lambda data: window(_rule_in(data), data["microseconds"] * MICROSECOND),
    ),
}
_KNOWN = "'cron', 'every', 'once', 'rrule', 'any_of', 'excluding', 'limited', 'starting' or 'until'"


def _check_keys(data: Mapping[str, Any], required: tuple[str, ...], optional: tuple[str, ...]) -> None:
    for key in required:
        if key not in data:
            raise refused("rule", data, f"{key!r} is missing.")
    known = ("type", *required, *optional)
    for key in data:
        if key not in known:
            raise refused("rule", data, f"{key!r} is not known.{did_you_mean(key, known)}")
