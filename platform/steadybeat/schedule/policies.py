"""Policies: what becomes of a schedule's fires, beside when they are due."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import lru_cache
from typing import Any

from steadybeat.errors import did_you_mean
from steadybeat.expectation import Expectation
from steadybeat.monitor import Monitor
from steadybeat.schedule.rule import refused

CATCH_UP = ("latest", "all", "none")
OVERLAP = ("skip", "queue_one", "queue_all", "cancel_running", "allow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """The policies of a schedule; made by `policies` or `policies_from_json`.

    Attributes:
        jitter: A fire is due up to this much later than its nominal time, always the same for one fire.
        catch_up: Of the fires that no scheduler was there for, ``all`` are made up for, the ``latest``, or ``none``.
        catch_up_window: No fire older than this is made up for.
        catch_up_limit: No more than so many are made up for, the latest; None: as many as there are.
        overlap: What becomes of a fire while a run of the schedule has not ended. ``skip``: it is skipped.
            ``queue_one``: it waits for its turn, unless another waits already. ``queue_all``: it waits.
            ``cancel_running``: the run is cancelled, and the fire follows. ``allow``: both run.
        start_deadline: A fire that could not start within this after it was due is skipped; None: never too late.
        pause_after_failures: After so many dead runs in a row the schedule is paused; None: never.
        fire_limit: So many fires are dispatched, and then no more; None: without end.
        late_after: A fire that has not begun so long after it was due is late, and people are told; None: as the
            settings say.
        failures_before_alert: So many dead runs in a row until people are told; None: one.
        expect: What a run that succeeds must have done, such as ``items > 0``; None: whatever it did.
        heartbeat: The monitor elsewhere that is told of its runs, as a URL; ``off``: none, whatever the settings say.
    """

    jitter: timedelta = timedelta()
    catch_up: str = "latest"
    catch_up_window: timedelta = timedelta(hours=1)
    catch_up_limit: int | None = None
    overlap: str = "skip"
    start_deadline: timedelta | None = None
    pause_after_failures: int | None = None
    fire_limit: int | None = None
    late_after: timedelta | None = None
    failures_before_alert: int | None = None
    expect: str | None = None
    heartbeat: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the policies as JSON data: the first four always, the others where they are set."""
        data: dict[str, Any] = {}
        for name in POLICIES:
            value = getattr(self, name)
            if isinstance(value, timedelta):
                data[f"{name}_seconds"] = value.total_seconds()
            elif value is not None:
                data[name] = value
        return data


POLICIES = tuple(spec.name for spec in fields(Policies))
"""The names of the policies, as they stand beside ``schedule=``."""

LONGEST = timedelta(days=3660)
"""No duration of a policy is longer: added to a date it would leave the calendar."""

MOST = 2**31 - 1
"""No count of a policy is greater."""

_DURATIONS = ("jitter", "catch_up_window", "start_deadline", "late_after")
_COUNTS = ("catch_up_limit", "pause_after_failures", "fire_limit", "failures_before_alert")
_TEXTS = ("expect", "heartbeat")
_WORDS = {"catch_up": CATCH_UP, "overlap": OVERLAP}


def policies(options: Mapping[str, Any]) -> Policies:
    """Return the policies that options of a task or of an entry mean; None stands for the default.

    Args:
        options: By name; others than those of `Policies` are left alone.

    Raises:
        ScheduleError: Names the option, its value and the way out.
    """
    given = {name: options[name] for name in POLICIES if options.get(name) is not None}
    for name, value in given.items():
        _check(name, value)
    if "expect" in given:
        Expectation.read(given["expect"])
    if "heartbeat" in given:
        Monitor.read(given["heartbeat"])
    return Policies(**given)


def _check(name: str, value: Any) -> None:
    if name in _WORDS and value not in _WORDS[name]:
        words = _WORDS[name]
        raise refused(name, value, f"must be one of {', '.join(words)}.{did_you_mean(str(value), words)}")
    if name in _DURATIONS and (not isinstance(value, timedelta) or value < timedelta()):
        raise refused(name, value, "must be a timedelta of zero or more, such as timedelta(minutes=1).")
    if name in _DURATIONS and value > LONGEST:
        raise refused(name, value, f"must be {LONGEST.days} days at the most; leave it out for no limit.")
    if name in _COUNTS and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise refused(name, value, "must be a count of one or more.")
    if name in _COUNTS and value > MOST:
        raise refused(name, value, f"must be {MOST} at the most; leave it out for no limit.")
    if name in _TEXTS and not (isinstance(value, str) and value.strip()):
        raise refused(name, value, "must be a text; leave it out for none.")


def policies_from_json(data: Mapping[str, Any]) -> Policies:
    """Return the policies that `Policies.to_json` wrote; equal ones are one object."""
    return _read(tuple(sorted(data.items())))


@lru_cache(maxsize=4096)
def _read(items: tuple[tuple[str, Any], ...]) -> Policies:
    given: dict[str, Any] = {}
    for key, value in items:
        name = key.removesuffix("_seconds")
        if name in POLICIES and value is not None:
            given[name] = timedelta(seconds=value) if name in _DURATIONS else value
    return Policies(**given)
