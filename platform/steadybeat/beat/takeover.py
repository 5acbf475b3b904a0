"""Takeover: what RedBeat has in Redis, and what becomes of each entry in the ledger.

Read are the keys that `projection` describes, and ``redbeat::statics``: a set of the names that came from some
program's `beat_schedule`. Nothing is written here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.utils.time import delta_resolution
from redbeat.schedulers import RedBeatSchedulerEntry, ensure_conf
from redis.exceptions import RedisError

from steadybeat.beat.definitions import definition, entries, time_zone
from steadybeat.beat.meaning import Note, notes
from steadybeat.beat.projection import get_redis
from steadybeat.errors import BrokerUnavailable, ConfigurationError
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import ScheduleRow
from steadybeat.schedule import Every, Rule, as_rule, every, from_json
from steadybeat.schedule.rule import MICROSECOND, iso

TAKEN, PRESENT, LEFT = "taken over", "in the ledger", "left"

# As RedBeat behaves: however late, the last fire that was due is made up for, and runs may overlap.
_POLICIES = {"catch_up": "latest", "catch_up_window": timedelta(days=366), "overlap": "allow"}
_LOOKS_BACK = (timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=366), timedelta(days=36600))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An entry of RedBeat, and what becomes of it.

    Attributes:
        name: Of the schedule; the key in Redis where that is all that can be read.
        verdict: ``taken over``, ``in the ledger`` (it is there already), or ``left`` (it is not taken over).
        reason: Why it is left.
        row: What is taken over.
        since: Fires after this instant are the ledger's business.
        notes: What is to be known about it.
        needs_person: It is left although it was at work: somebody must do something.
    """

    name: str
    verdict: str
    reason: str = ""
    row: ScheduleRow | None = None
    since: datetime | None = None
    notes: tuple[Note, ...] = ()
    needs_person: bool = False


@dataclass(frozen=True, slots=True)
class _Stored:
    """What Redis has of an entry: texts, or the error with which Redis refused."""

    key: str
    definition: Any
    meta: Any


def plain_lock(app: Any) -> timedelta | None:
    """Return for how long yet a Beat without steadybeat holds the lock of the schedules, or None if none does.

    Both take the same key. A lock that lasts longer than ours, or that is held while no Beat of ours is alive, is
    not ours.

    Raises:
        BrokerUnavailable: Redis does not answer.
    """
    key = ensure_conf(app).lock_key
    try:
        left = get_redis(app).pttl(key) if key else -2
    except RedisError as error:
        raise BrokerUnavailable(f"Redis does not answer: {error}") from error
    if left == -2:
        return None
    lasts = timedelta(days=36500) if left < 0 else timedelta(milliseconds=left)
    ours = timedelta(seconds=app.steadybeat.settings.leader_lock_seconds)
    alive = any(instance.role == "beat" for instance in Ledger.of(app).live_instances())
    return None if alive and lasts <= ours else lasts


def survey(app: Any, now: datetime) -> list[Found]:
    """Return what RedBeat has in Redis and what becomes of it, by name; the ledger's own projection is left out.

    Args:
        app: The Celery app, its tasks imported.
        now: Aware.

    Raises:
        BrokerUnavailable: Redis does not answer.
        LedgerUnavailable: Postgres does not.
    """
    present = {row.name for row in Ledger.of(app).schedules.all()}
    stored, statics = _read(app)
    code = dict(entries(app))
    found = [_judge(app, each, present, code, statics, now) for each in stored]
    return sorted(found, key=lambda each: each.name)


def _read(app: Any) -> tuple[list[_Stored], set[str]]:
    conf = ensure_conf(app)
    try:
        client = get_redis(app)
        keys = client.zrange(conf.schedule_key, 0, -1)
        statics = {str(name) for name in client.smembers(conf.statics_key)}
        with client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hmget(key, "definition", "meta", "steadybeat_revision")
            answers = pipe.execute(raise_on_error=False)
    except RedisError as error:
        raise BrokerUnavailable(f"Redis does not answer: {error}") from error
    stored = []
    for key, answer in zip(keys, answers, strict=True):
        text, meta, revision = (answer, None, None) if isinstance(answer, Exception) else answer
        if revision is None:
            stored.append(_Stored(str(key).removeprefix(conf.key_prefix), text, meta))
    return stored, statics


def _judge(
    app: Any, stored: _Stored, present: Collection[str], code: dict[str, Any], statics: Collection[str], now: datetime
) -> Found:
    try:
        entry = _decoded(stored.definition)
        name = str(entry["name"])
    except Exception as error:  # noqa: BLE001 - whatever is in Redis, the other entries go on
        reason = f"cannot be read ({type(error).__name__}: {error}); delete it, or put it right with RedBeat's tools"
        return Found(name=stored.key, verdict=LEFT, reason=reason, needs_person=True)
    if name in present:
        return Found(name=name, verdict=PRESENT)
    if not entry.get("enabled", True):
        return Found(name=name, verdict=LEFT, reason="it is disabled")
    if str(entry["task"]).startswith("celery.") and name not in code:
        reason = "it is Celery's own; if your result backend keeps what has expired, write it into beat_schedule"
        return Found(name=name, verdict=LEFT, reason=reason)
    if name in statics and name not in code:
        reason = "it came from a beat_schedule that this program does not have; `schedules apply` of the one that has"
        return Found(name=name, verdict=LEFT, reason=f"{reason} brings it in")
    try:
        last = _last_run_at(stored.meta)
        found = _from_code(app, name, code[name]) if name in code else _from_entry(app, name, entry, last)
    except ConfigurationError as error:
        reason = str(error).removeprefix(f"schedule {name!r}: ")
        return Found(name=name, verdict=LEFT, reason=reason, needs_person=True)
    return _continued(found, last, now)


def _decoded(text: Any) -> dict[str, Any]:
    if isinstance(text, Exception):
        raise text
    if not text:
        raise ValueError("it has no definition")
    entry = RedBeatSchedulerEntry.decode_definition(text)
    if not isinstance(entry, dict) or not isinstance(entry.get("task"), str) or not entry.get("name"):
        raise ValueError("it has no name or no task")
    return entry


def _last_run_at(meta: Any) -> datetime | None:
    """Return when RedBeat sent an entry last; None too where that cannot be read."""
    try:
        at = RedBeatSchedulerEntry.decode_meta(meta)["last_run_at"]
        return at.astimezone(UTC) if isinstance(at, datetime) and at.tzinfo else None
    except Exception:  # noqa: BLE001 - as if it had never been sent
        return None


def _from_code(app: Any, name: str, written: Any) -> Found:
    """Take over an entry that the code of this program defines: as the code says."""
    row = definition(app, name, written)
    if row is None:
        return Found(name=name, verdict=LEFT, reason="it is disabled in the code")
    note = Note("code", "as this program's code defines it")
    return Found(name=name, verdict=TAKEN, row=row, notes=(note, *notes_of_code(app, written, row)))


def notes_of_code(app: Any, written: Any, row: ScheduleRow) -> list[Note]:
    """Return what is to be known about a schedule that an app's code defines."""
    entry = dict(written)
    found = notes(entry["schedule"], from_json(row.spec), row.options, relative=bool(entry.get("relative")))
    if not isinstance(entry["schedule"], Rule) and entry.get("overlap") is None:
        said = "a fire is skipped while the run of an earlier one has not ended"
        found.append(Note("overlap", f'{said}; for Celery\'s way write overlap="allow"'))
    return found


def _from_entry(app: Any, name: str, entry: dict[str, Any], last: datetime | None) -> Found:
    theirs, options = entry.get("schedule"), dict(entry.get("options") or {})
    if isinstance(theirs, dict):
        kind = theirs.get("__type__") or "no known type"
        raise ConfigurationError(
            f"its schedule is of {kind}, which RedBeat cannot read; save it with cron(…) or every(…)."
        )
    rule = as_rule(theirs, tz=time_zone(app))
    if isinstance(rule, Every) and last is not None:
        rule = every(
            rule.interval, anchor=_due_after(app, last, rule.interval, bool(getattr(theirs, "relative", False)))
        )
    written = {key: entry.get(key) for key in ("task", "args", "kwargs")}
    row = definition(app, name, {**written, "options": options, "schedule": rule, **_POLICIES})
    assert row is not None
    return Found(
        name=name, verdict=TAKEN, row=replace(row, source="operator"), notes=tuple(notes(theirs, rule, row.options))
    )


def _due_after(app: Any, last: datetime, interval: timedelta, relative: bool) -> datetime:
    """Return when RedBeat would send an interval next, to the second."""
    due = last + interval
    if relative:
        due = delta_resolution(due.astimezone(app.timezone), interval)
    return due.replace(microsecond=0)


def _continued(found: Found, last: datetime | None, now: datetime) -> Found:
    """Say from where on the fires of an entry are the ledger's."""
    if found.row is None:
        return found
    rule = from_json(found.row.spec)
    owed = None if last is None else _latest(rule, last, now)
    if owed is None and rule.next_after(now) is None:
        return Found(name=found.name, verdict=LEFT, reason="it has no fire left")
    return replace(
        found,
        since=now if owed is None else owed - MICROSECOND,
        notes=(*found.notes, *_about_next(rule, last, owed, now)),
    )


def _about_next(rule: Rule, last: datetime | None, owed: datetime | None, now: datetime) -> Iterator[Note]:
    following = rule.next_after(now)
    if owed is not None:
        yield Note("next", f"RedBeat has not sent the fire of {iso(owed)}: it is made up for, once")
    elif last is None and following is not None:
        yield Note("next", f"it was never sent; RedBeat would have sent it at once, now it waits for {iso(following)}")


def _latest(rule: Rule, after: datetime, until: datetime) -> datetime | None:
    """Return the last fire in (`after`, `until`], or None."""
    for back in _LOOKS_BACK:
        start = max(after, until - back)
        latest = deque(rule.between(start, until), maxlen=1)
        if latest or start == after:
            return latest[0] if latest else None
    return None
