"""Why: what became of a fire, in sentences. Pure: facts come in, an answer goes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from steadybeat.commands.output import count, distance, length, moment, nominal
from steadybeat.commands.schedules import due_at
from steadybeat.operating.clocks import on_that_day
from steadybeat.schedule import Rule
from steadybeat.schedule.rule import EPOCH, MICROSECOND
from steadybeat.wording import headline

LATE = timedelta(seconds=10)
"""A fire may wait this long past its due time before that is a finding; a failover takes less."""

NO_EFFECT = frozenset({
    "not a fire", "before", "retired", "unrecorded", "unwritten", "overdue", "skipped", "missed", "coalesced",
    "superseded", "dead", "cancelled",
})  # fmt: skip
"""Verdicts on a fire that has no effect and, as things stand, gets none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known about a fire.

    Attributes:
        schedule: The schedule's row.
        rule: Its present rule.
        at: The instant that is asked for, UTC.
        now: When it is asked.
        fire: The fire's row, if there is one.
        run: The fire's run with its attempts, if there is one.
        reruns: Runs that a person made of that run, and of those, oldest first.
        key: The processed key of the fire.
        horizon: How far ahead fires are written.
        retention: How long what has ended is kept.
        beat_count: Beats that are alive.
        on_record: Fires on record next to an instant that is none by the present rule.
        doubt: Why nobody takes the run from its queue, in sentences, if so.
    """

    schedule: Mapping[str, Any]
    rule: Rule
    at: datetime
    now: datetime
    fire: Mapping[str, Any] | None = None
    run: Mapping[str, Any] | None = None
    reruns: Sequence[Mapping[str, Any]] = ()
    key: Mapping[str, Any] | None = None
    horizon: timedelta = timedelta(minutes=1)
    retention: timedelta = timedelta(days=30)
    beat_count: int = 0
    on_record: Sequence[datetime] = ()
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a fire.

    Attributes:
        verdict: In a word or two: ``expected``, ``succeeded``, one of `NO_EFFECT` …
        sentences: The same in full.
        effect_at: When its effect happened, if it has.
        due_at: When it is or was due; None for what is no fire.
        nearest: The fires next to it, where it is none.
    """

    verdict: str
    sentences: list[str]
    effect_at: datetime | None = None
    due_at: datetime | None = None
    nearest: list[datetime] = field(default_factory=list)

    @property
    def is_finding(self) -> bool:
        """Whether the fire has no effect, and none is on its way."""
        return self.effect_at is None and self.verdict in NO_EFFECT


def answer(facts: Facts) -> Answer:
    """Return what became of a fire."""
    if facts.run is not None:
        return _of_run(facts, facts.run)
    if facts.fire is not None:
        return _of_fire(facts, facts.fire)
    return _unrecorded(facts)


def neighbours(rule: Rule, at: datetime) -> tuple[datetime | None, datetime | None]:
    """Return the last fire of a rule before an instant, since 1970, and the first after it."""
    before, width = None, timedelta(minutes=1)
    while before is None:
        start = max(EPOCH, at - width) if at - EPOCH > width else EPOCH
        for before in rule.between(start, at - MICROSECOND):  # noqa: B007 - the last one is wanted
            pass
        if start == EPOCH:
            break
        width *= 4
    return before, rule.next_after(at)


def is_fire(rule: Rule, at: datetime) -> bool:
    """Return whether a rule is due at exactly this instant."""
    return rule.next_after(at - MICROSECOND) == at


# A fire that is not on record


def _unrecorded(facts: Facts) -> Answer:
    schedule, at = facts.schedule, facts.at
    if not is_fire(facts.rule, at):
        return _no_fire(facts)
    due = _due(facts)
    effect_at, effect = _effect(facts)
    retired_at, expected_until = schedule["retired_at"], schedule["expected_until"]
    if retired_at is not None and at > min(retired_at, expected_until):
        text = f"The schedule was retired at {moment(retired_at)}: the code no longer has it."
        if at <= retired_at:
            text += f" Until then no scheduler had written fires after {moment(expected_until)}."
        return Answer("retired", [text], due_at=due)
    if at > expected_until:
        return _unwritten(facts, due)
    if at < schedule["created_at"]:
        text = f"It is older than the schedule, which exists since {moment(schedule['created_at'])}."
        return Answer("before", [text, *effect], effect_at, due)
    if at < facts.now - facts.retention:
        text = f"It is no longer on record: fires are kept for {length(facts.retention)}."
        return Answer("unrecorded", [text, *effect], effect_at, due)
    text = (
        "It is not on record. The present rule has it, but the schedule had another rule then, or was retired:"
        f" it was defined last at {moment(schedule['updated_at'])}."
    )
    return Answer("unrecorded", [text, *effect], effect_at, due)


def _no_fire(facts: Facts) -> Answer:
    sentences = [f"That is no fire of this schedule. Its rule: {facts.rule.explain()}."]
    sentences += on_that_day(facts.rule, facts.at)
    nearest = _nearest(facts)
    if nearest:
        sentences.append(f"Nearest: {' and '.join(nominal(each) for each in nearest)}.")
    others = [each for each in facts.on_record if each not in nearest]
    if others:
        sentences.append(f"By another rule it had fires at {' and '.join(nominal(each) for each in others)}.")
    if facts.schedule["retired_at"] is not None:
        sentences.append(f"The schedule was retired at {moment(facts.schedule['retired_at'])}.")
    return Answer("not a fire", sentences, nearest=nearest)


def _nearest(facts: Facts) -> list[datetime]:
    """Return the fires before and after an instant by the present rule, as long as the schedule was there."""
    end = facts.schedule["retired_at"]
    found = [each for each in neighbours(facts.rule, facts.at) if each is not None]
    return [each for each in found if end is None or each <= end]


def _pause(facts: Facts) -> list[str]:
    row = facts.schedule
    if row["paused_at"] is None:
        return []
    by = f"{row['paused_by']} at {moment(row['paused_at'])}: {row['paused_reason']}"
    return [f"The schedule is paused by {by}. Unless it is resumed before, this fire is skipped."]


def _unwritten(facts: Facts, due: datetime) -> Answer:
    if facts.at > facts.now:
        sentences = [
            f"It lies ahead: it is due at {moment(due)}, {distance(due, facts.now)}, if the schedule stays as it is.",
            f"Fires are written {length(facts.horizon)} ahead.",
            *_pause(facts),
            *on_that_day(facts.rule, facts.at),
        ]
        return Answer("ahead", sentences, due_at=due)
    written = moment(facts.schedule["expected_until"])
    text = f"It was due at {moment(due)}, {distance(due, facts.now)}, but fires are written only up to {written}."
    sentences = [text, _beats(facts)]
    return Answer("unwritten" if facts.now - due > LATE else "ahead", sentences, due_at=due)


def _beats(facts: Facts) -> str:
    if facts.beat_count:
        alive = count(facts.beat_count, "Beat is", "Beats are")
        return f"{alive} alive; a scheduler that leads goes on from there."
    return "No Beat is alive: start one with `celery -A … beat`. It goes on from there."


# A fire on record


def _of_fire(facts: Facts, fire: Mapping[str, Any]) -> Answer:
    effect_at, effect = _effect(facts)
    state, due = fire["state"], fire["due_at"]
    if state == "dispatched":
        sentences = [
            _dispatched(fire),
            f"The run is no longer on record: runs that ended well are kept for {length(facts.retention)}.",
        ]
        return Answer("dispatched", [*sentences, *effect], effect_at, due)
    if state not in ("expected", "waiting"):
        return Answer(state, [f"It was {state}: {fire['reason']}.", *_instead(facts, state), *effect], effect_at, due)
    waits = [f"It waits: {fire['reason']}."] if state == "waiting" else []
    if due > facts.now:
        jitter = due - facts.at
        later = f" ({length(jitter)} of jitter)" if jitter else ""
        text = f"It is expected: due at {moment(due)}{later}, {distance(due, facts.now)}."
        return Answer(state, [text, *waits, *_pause(facts)], due_at=due)
    sentences = [f"It was due at {moment(due)}, {distance(due, facts.now)}, and is not dispatched yet.", *waits]
    if facts.now - due <= LATE:
        return Answer(state, sentences, due_at=due)
    return Answer("overdue", [*sentences, _beats(facts)], due_at=due)


def _instead(facts: Facts, state: str) -> list[str]:
    """Return what a schedule has instead of a fire that was superseded."""
    if state != "superseded" or facts.schedule["retired_at"] is not None:
        return []
    if is_fire(facts.rule, facts.at):
        return ["Its present rule has this time as well."]
    said = [f"Its present rule, since {moment(facts.schedule['updated_at'])}: {facts.rule.explain()}."]
    nearest = _nearest(facts)
    return said + ([f"Nearest by that: {' and '.join(nominal(each) for each in nearest)}."] if nearest else [])


def _dispatched(fire: Mapping[str, Any] | None) -> str:
    if fire is None or fire["dispatched_at"] is None:
        return "It was dispatched."
    late = fire["dispatched_at"] - fire["due_at"]
    delay = f", {length(late)} after it was due" if late >= timedelta(seconds=1) else ""
    return f"It was dispatched at {moment(fire['dispatched_at'])}{delay}, as run {fire['run_id']}."


def _due(facts: Facts) -> datetime:
    return due_at(facts.schedule["name"], facts.at, facts.schedule["policies"], facts.rule)


def _effect(facts: Facts) -> tuple[datetime | None, list[str]]:
    """Return when the effect happened and the sentence that says so, if it has."""
    return _effect_of(facts.key)


def _effect_of(key: Mapping[str, Any] | None) -> tuple[datetime | None, list[str]]:
    if key is None or key["state"] != "done":
        return None, []
    return key["changed_at"], [f"Its effect happened at {moment(key['changed_at'])}, in run {key['run']}."]


# A fire that has a run


def _of_run(facts: Facts, run: Mapping[str, Any]) -> Answer:
    fire, verdict = facts.fire, str(run["state"])
    began = _dispatched(fire)
    if fire is not None and fire["state"] in NO_EFFECT:
        verdict, began = fire["state"], f"It was {fire['state']}: {fire['reason']}. Yet it has a run, {run['id']}."
    answer = of_run(run, facts.reruns, facts.key, facts.now, began=[began], verdict=verdict, doubt=facts.doubt)
    return replace(answer, due_at=None if fire is None else fire["due_at"])


def of_run(
    run: Mapping[str, Any],
    reruns: Sequence[Mapping[str, Any]],
    key: Mapping[str, Any] | None,
    now: datetime,
    *,
    began: Sequence[str] | None = None,
    verdict: str | None = None,
    doubt: str = "",
) -> Answer:
    """Return what became of a run, also of one that is no fire's.

    Args:
        run: With its attempts.
        reruns: Runs that a person made of it, and of those, oldest first.
        key: Its processed key.
        now: Aware.
        began: How it came to be, in sentences, where it is not the run itself that says so.
        verdict: What became of its fire, where that is another thing.
        doubt: Why nobody takes it from its queue, if so.
    """
    verdict = verdict or str(run["state"])
    sentences = [*(_sent(run) if began is None else began), *attempts(run), state_of(run, now)]
    sentences += [doubt] if doubt else []
    effect_at, effect = _effect_of(key)
    if run["state"] == "succeeded":
        effect_at = effect_at or run["finished_at"]
        effect = []
    for rerun in reruns:
        sentences.append(f"It was rerun as {rerun['id']}: {state_of(rerun, now)}")
        if rerun["state"] == "succeeded":
            effect_at, effect = effect_at or rerun["finished_at"], []
        if rerun["finished_at"] is None and verdict in NO_EFFECT:
            verdict = "rerun"
    sentences += effect
    if effect_at is None and verdict == "dead":
        sentences.append(f"To try again: celery -A … runs rerun {run['id']} --reason '…'")
    return Answer(verdict, sentences, effect_at)


def _sent(run: Mapping[str, Any]) -> list[str]:
    """Return where a run comes from that is no fire's."""
    sent = f"It was sent at {moment(run['enqueued_at'])} to queue {run['queue']}"
    sentences = [f"{sent}; no schedule has asked for it."]
    if run["rerun_of"]:
        sentences.append(f"It is a rerun of {run['rerun_of']}.")
    elif run["of_fan_out"]:
        sentences.append(f"It is the share of tenant {run['tenant']} in the fan-out {run['of_fan_out']}.")
    elif run["parent_id"]:
        sentences.append(f"Run {run['parent_id']} has sent it.")
    return sentences


def state_of(run: Mapping[str, Any], now: datetime) -> str:
    """Return the state of a run as a sentence."""
    state, tries = run["state"], count(run["attempt_count"], "attempt")
    because = f": {run['reason']}" if run["reason"] else ""
    if state == "succeeded":
        took = length(run["finished_at"] - run["started_at"]) if run["started_at"] else ""
        last = f" of {took}" if run["attempt_count"] == 1 else f", the last of {took}"
        return f"It succeeded at {moment(run['finished_at'])}, after {tries}{took and last}."
    if state == "dead":
        return f"It is dead since {moment(run['finished_at'])}, after {tries}{because}."
    if state == "cancelled":
        return f"It was cancelled at {moment(run['finished_at'])}{because}."
    if state == "running":
        return f"It is running: attempt {run['attempt_count']}, since {moment(run['started_at'])}."
    if state == "waiting" and run.get("has_fanned_out"):
        return f"It has begun, and {run['reason']}: celery -A … runs show {run['id']} says how far they are."
    if state == "waiting":
        again = run["not_before"]
        when = (
            f" at {moment(again)}, {distance(again, now)}"
            if again is not None and again > now
            else " as soon as it is sent"
        )
        return f"The next attempt follows{when}{because}."
    return f"It waits on queue {run['queue']} for a worker, since {moment(run['enqueued_at'])}{because}."


def attempts(run: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each attempt that ended other than well."""
    return [
        f"Attempt {attempt['number']}{where(attempt)}, {moment(attempt['started_at'])}: {_ended(attempt)}."
        for attempt in run["attempts"]
        if attempt["outcome"] not in (None, "succeeded")
    ]


def where(attempt: Mapping[str, Any]) -> str:
    """Return on which instance an attempt ran, if that is still known."""
    return f" on {attempt['host']}:{attempt['pid']}" if attempt["host"] else ""


def _ended(attempt: Mapping[str, Any]) -> str:
    outcome = attempt["outcome"].replace("_", " ")
    took = length(attempt["finished_at"] - attempt["started_at"])
    because = attempt.get("reason") or headline(attempt["error"])
    return f"{outcome} after {took}{because and f', {because}'}".rstrip(".")
