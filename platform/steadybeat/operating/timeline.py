"""Timeline: what became of one run, event by event, from its nominal time to its outcome. Pure: facts come in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from steadybeat.telemetry.redaction import redact_text
from steadybeat.wording import count, distance, headline, length, moment

_ONE_STATEMENT = timedelta(milliseconds=5)
_RETRIED = ("retried", "snoozed", "interrupted")
_ENDINGS = {
    "retried": "failed, another follows",
    "interrupted": "was interrupted",
    "lost": "was lost with its worker",
    "timed_out": "took too long",
    "cancelled": "was cancelled",
}
_REASONS = {
    "retry": "the next attempt is sent",
    "rescue": "it is sent again, since the last message was lost",
    "delayed": "it is sent when its time has come",
    "rerun": "it is sent again, because somebody asked for it",
    "transactional": "it is sent, as the transaction that made it says",
    "callback": "it is sent, as it follows another run",
    "lock": "it asks for its lock again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known about a run.

    Attributes:
        run: As `whole` returns it.
        around: As `Around.of` returns it.
        fire: The fire's row, if it is of one.
        operations: What people did to it.
        now: Aware.
    """

    run: Mapping[str, Any]
    around: Mapping[str, Any]
    fire: Mapping[str, Any] | None = None
    operations: Sequence[Mapping[str, Any]] = ()
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a run, or is to happen.

    Attributes:
        at: When.
        what: In a few words: ``Attempt 2 failed``.
        text: Why, or how, as a sentence; nothing secret.
        who: An instance, or a person.
        state: How it is coloured, a state or an outcome.
        error: An exception with its stack; nothing secret.
        lasted: How long what ended then had taken.
        is_ahead: Whether it is to happen.
        run: The run that it is about, if that is another.
    """

    at: datetime
    what: str
    text: str = ""
    who: str = ""
    state: str = "expected"
    error: str = ""
    lasted: timedelta | None = None
    is_ahead: bool = False
    run: str = ""
    order: int = field(default=5, repr=False)


def events(facts: Facts) -> list[Event]:
    """Return what became of a run, and what is to, in the order of time."""
    parts = (_of_fire, _of_sending, _of_attempts, _of_progress, _of_effects, _of_others, _of_people, _of_end, _ahead)
    found = [event for part in parts for event in part(facts)]
    end = facts.run["finished_at"]
    # What one statement writes has instants of its own, a few microseconds apart.
    together = {event.at for event in found if end is not None and abs(event.at - end) < _ONE_STATEMENT}
    at_the_end = dict.fromkeys(together, end)
    return sorted(found, key=lambda event: (event.is_ahead, at_the_end.get(event.at, event.at), event.order, event.at))


def standing(facts: Facts) -> list[str]:
    """Return where a run is now, and for what it waits, as sentences."""
    run = facts.run
    said = {"enqueued": _on_its_queue, "running": _at_work, "waiting": _waiting}.get(run["state"])
    if said is None:
        because = f": {redact_text(run['reason'])}" if run["reason"] else ""
        tries = count(run["attempt_count"], "attempt")
        how = {"succeeded": "It succeeded", "dead": "It has given up, and waits for a person"}
        words = how.get(run["state"], "It was cancelled, and nothing more becomes of it")
        return [f"{words}, after {tries}{because}."]
    sentences = said(facts)
    if run["cancel_requested_at"]:
        sentences.append(f"Its end was asked for: {redact_text(run['cancel_reason'] or '')}.")
    return sentences


def named(row: Mapping[str, Any]) -> str:
    """Return what an instance is called, where that is still known."""
    if row.get("host"):
        return f"{row['host']}:{row['pid']}"
    return str(row["instance"]) if row.get("instance") else ""


def pace(run: Mapping[str, Any], now: datetime) -> str:
    """Return how fast a run is, and when it is expected to be done, as far as that is known; else empty."""
    done, total, began = run["items_done"], run["items_total"], _latest_start(run)
    if not done or began is None or run["progressed_at"] is None:
        return ""
    took = (run["progressed_at"] - began).total_seconds()
    if took <= 0:
        return ""
    rate = done / took
    said = f"{rate:,.0f} a second" if rate >= 9.5 else f"{rate:,.1f} a second" if rate >= 0.95 else ""
    said = said or f"{rate * 60:,.1f} a minute"
    if total is None or run["state"] != "running" or done >= total:
        return said
    left = timedelta(seconds=min((total - done) / rate, 365 * 86_400.0))
    return f"{said}, {length(left)} left, until {moment(run['progressed_at'] + left)}"


def _latest_start(run: Mapping[str, Any]) -> datetime | None:
    return run["attempts"][0]["started_at"] if run["attempts"] else None


def _of_fire(facts: Facts) -> Iterator[Event]:
    run, fire = facts.run, facts.fire
    if run["scheduled_for"] is None:
        return
    text = f"The schedule {run['schedule']} is due then."
    yield Event(at=run["scheduled_for"], what="Nominal time", text=text, order=0)
    if fire is None:
        return
    jitter = fire["due_at"] - fire["scheduled_for"]
    if jitter:
        yield Event(at=fire["due_at"], what="Due", text=f"{length(jitter)} of jitter after its nominal time.", order=1)
    if fire["dispatched_at"]:
        asked = {
            "trigger": "A person triggered it.",
            "backfill": "It was backfilled.",
            "resume": "A resume made it up.",
        }
        late = fire["dispatched_at"] - fire["due_at"]
        said = [asked.get(fire["asked"] or "", "The Beat that leads sent it.")]
        said += [f"{length(late)} after it was due."] if late >= timedelta(seconds=1) else []
        who = f"term {fire['term']}" if fire["term"] is not None else ""
        yield Event(
            at=fire["dispatched_at"], what="Dispatched", text=" ".join(said), who=who, state="dispatched", order=3
        )


def _of_sending(facts: Facts) -> Iterator[Event]:
    run, around = facts.run, facts.around
    why = "Its fire was written ahead." if run["schedule"] and not run["rerun_of"] else "A program called it."
    other = ""
    if run["rerun_of"]:
        why, other = "It is a rerun.", str(run["rerun_of"])
    elif run["of_fan_out"]:
        why, other = f"It is the share of tenant {run['tenant']} in a fan-out.", str(run["of_fan_out"])
    elif run["parent_id"]:
        caller = (around["parent"] or {}).get("task")
        why, other = f"{caller or 'Another run'} called it.", str(run["parent_id"])
    text = f"{why} It is for queue {run['queue']}."
    yield Event(at=run["enqueued_at"], what="On record", text=text, state="enqueued", run=other, order=2)


def _of_attempts(facts: Facts) -> Iterator[Event]:
    for attempt in facts.run["attempts"]:
        n, who = attempt["number"], named(attempt)
        text = "Its worker took the lease of the run."
        yield Event(at=attempt["started_at"], what=f"Attempt {n} began", text=text, who=who, state="running", order=4)
        if attempt["finished_at"] is None:
            continue
        outcome = attempt["outcome"] or "lost"
        why = attempt["reason"] or headline(attempt["error"])
        memory = attempt["peak_memory_bytes"]
        said = [redact_text(why).rstrip(".") + "."] if why else []
        said += ["It is tried again."] if outcome in _RETRIED and not why else []
        said += [f"Its process needed {memory / 2**20:,.0f} MiB at the most."] if memory else []
        yield Event(
            at=attempt["finished_at"],
            what=f"Attempt {n} {_ended(outcome)}",
            text=" ".join(said),
            who=who,
            state=outcome,
            error=redact_text(attempt["error"] or ""),
            lasted=attempt["finished_at"] - attempt["started_at"],
            order=6,
        )


def _ended(outcome: str) -> str:
    return _ENDINGS.get(outcome, outcome)


def _of_progress(facts: Facts) -> Iterator[Event]:
    run = facts.run
    if run["items_done"] is None or run["progressed_at"] is None:
        return
    total = f" of {run['items_total']:,}" if run["items_total"] is not None else ""
    yield Event(at=run["progressed_at"], what="Progress", text=f"{run['items_done']:,}{total} items were done.",
                state="running", order=5)  # fmt: skip


def _of_effects(facts: Facts) -> Iterator[Event]:
    key = facts.run["key"]
    if key is not None and key["state"] == "done":
        own = str(key["run"]) == str(facts.run["id"])
        text = "It is on record under the idempotency key, and does not happen again."
        other = "" if own else str(key["run"])
        what = "Effect" if own else "Effect, in another run"
        yield Event(at=key["changed_at"], what=what, text=text, state="done", run=other, order=7)
    for step in facts.run["steps"]:
        state = {"done": "done", "confirmed": "done", "unknown": "failed"}.get(step["state"], "waiting")
        text = {"unknown": "The other side has not said whether it happened.", "pending": "It was about to be sent.",
                "sent": "It was sent; the answer is not on record."}.get(step["state"], "")  # fmt: skip
        yield Event(
            at=step["changed_at"], what=f"Step {step['step']}: {step['state']}", text=text, state=state, order=5
        )


def _of_others(facts: Facts) -> Iterator[Event]:
    for each in facts.run["duplicates"]:
        text = f"{each['cause'].replace('_', ' ')}: {redact_text(each['detail'])}."
        yield Event(at=each["seen_at"], what="A duplicate was turned away", text=text, who=str(each["instance"] or ""),
                    state="skipped")  # fmt: skip
    for each in facts.around["reruns"]:
        again = each["idempotency_key"] != facts.run["idempotency_key"]
        text = "With a key of its own: the effect may happen a second time." if again else "With the same key."
        yield Event(at=each["enqueued_at"], what="Rerun", text=text, run=str(each["id"]), state=each["state"], order=8)
    for each in facts.around["alerts"]:
        yield Event(at=each["opened_at"], what=f"Alert {each['id']}: {each['rule']}",
                    text=redact_text(each["summary"]), state=each["severity"], order=8)  # fmt: skip


def _of_people(facts: Facts) -> Iterator[Event]:
    for each in facts.operations:
        yield Event(at=each["at"], what=each["what"].capitalize(), text=redact_text(each["reason"]), who=each["who"],
                    state="acknowledged", order=6)  # fmt: skip
    run = facts.run
    if run["cancel_requested_at"]:
        text = redact_text(run["cancel_reason"] or "")
        yield Event(at=run["cancel_requested_at"], what="Its end was asked for", text=text, state="cancelled", order=6)


def _of_end(facts: Facts) -> Iterator[Event]:
    run = facts.run
    if run["finished_at"] is None:
        return
    what = {"dead": "Dead letter", "succeeded": "Succeeded"}.get(run["state"], "Cancelled")
    text = redact_text(run["reason"] or "")
    took = run["finished_at"] - (run["scheduled_for"] or run["enqueued_at"])
    yield Event(at=run["finished_at"], what=what, text=text, state=run["state"], lasted=took, order=9)


def _ahead(facts: Facts) -> Iterator[Event]:
    run, lease, now = facts.run, facts.around["lease"], facts.now
    if run["finished_at"] is not None:
        return
    for each in facts.around["outbox"]:
        if each["publish_at"] > now:
            text = f"{_REASONS[each['reason']].capitalize()}."
            yield Event(at=each["publish_at"], what="Next message", text=text, state="waiting", is_ahead=True)
    limits = (
        ("lease_until", lease, "Lease ends", "Whoever works on it then has lost it, and it is rescued."),
        ("next_rescue_at", lease, "Sent again", "If no attempt has begun by then."),
        ("terminate_at", lease, "Its process is ended", "If its work has not stopped by itself."),
        ("deadline", run, "Deadline", "No attempt begins later."),
        ("retry_until", run, "Last retry", "No attempt begins later."),
    )
    for name, row, what, text in limits:
        if row.get(name) is not None and row[name] > now:
            yield Event(at=row[name], what=what, text=text, is_ahead=True)


def _on_its_queue(facts: Facts) -> list[str]:
    run, lease = facts.run, facts.around["lease"]
    because = f": {redact_text(run['reason'])}" if run["reason"] else ""
    since = run["enqueued_at"]
    said = [f"It waits on queue {run['queue']} for a worker, {distance(since, facts.now)} on record{because}."]
    workers = lease.get("consumer_count") or 0
    if workers:
        said.append(f"{count(workers, 'worker consumes', 'workers consume')} from that queue.")
    else:
        said.append("No worker that is alive consumes from that queue.")
    if run["delivery_no"] > 1:
        said.append(f"It is its {run['delivery_no']}. delivery.")
    return said


def _at_work(facts: Facts) -> list[str]:
    run, lease = facts.run, facts.around["lease"]
    who = named(lease) or "an instance that is not known any more"
    said = [f"Attempt {run['attempt_count']} is at work on {who}, under fence {lease.get('fence')}."]
    if lease.get("lease_until") is not None:
        said.append(f"Its lease ends at {moment(lease['lease_until'])}, {distance(lease['lease_until'], facts.now)}.")
    if lease.get("is_alive"):
        said.append(f"Its instance gives signs of life; the last one holds until {moment(lease['expires_at'])}.")
    else:
        said.append("Its instance gives no sign of life: the run is rescued as soon as that is certain.")
    return said


def _waiting(facts: Facts) -> list[str]:
    run, now = facts.run, facts.now
    said = [f"It waits: {redact_text(run['reason'])}." if run["reason"] else "It waits."]
    if run["in_line"]:
        said.append("It is in line: its fan-out has room for so many tenants at a time.")
    for holder in facts.around["holders"]:
        said.append(f"Run {holder['run']} took {holder['name']} last, at {moment(holder['taken_at'])}.")
    again = run["not_before"]
    if again is not None and again > now:
        said.append(f"It goes on at {moment(again)}, {distance(again, now)}.")
    elif facts.around["outbox"]:
        said.append("Its message is sent within seconds, by a Beat or the watchdog.")
    return said
