"""Burying: what becomes of dead letters that a person decides about: tried again, or ended for good."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kombu.exceptions import OperationalError

from steadybeat.delivery.patience import patience
from steadybeat.errors import BrokerUnavailable
from steadybeat.ledger import Ledger
from steadybeat.telemetry.redaction import redact_text
from steadybeat.wording import moment

SHOWN_BYTES = 4096
"""So many bytes of a foreign message are shown."""


@dataclass(slots=True)
class Decision:
    """What becomes of dead letters.

    Attributes:
        what: ``requeued`` or ``discarded``.
        done: Ids of those that are.
        left: Those that are not: ``id``, ``verdict`` and ``text``.
        more: Whether others fit as well.
    """

    what: str
    done: list[str] = field(default_factory=list)
    left: list[dict[str, str]] = field(default_factory=list)
    more: bool = False

    def leave(self, name: str, verdict: str, text: str) -> None:
        """Leave a dead letter as it is."""
        self.left.append({"id": name, "verdict": verdict, "text": text})

    @property
    def is_finding(self) -> bool:
        """Whether one is left that still has no effect."""
        return any(each["verdict"] != "done" for each in self.left)


def decide_runs(
    book: Ledger,
    decision: Decision,
    runs: Sequence[str],
    by: Mapping[str, str] | None,
    *,
    tell: Callable[[int], None] = lambda _: None,
) -> None:
    """Decide about dead runs.

    Args:
        book: The ledger.
        decision: What becomes of them; it is added to.
        runs: Their ids.
        by: ``who`` decides, and for what ``reason``; None: only what would become of them is wanted.
        tell: Is called with how many were decided about, again and again.
    """
    dead = book.dead
    standing = dead.standing(runs)
    wanted = []
    for run in runs:
        verdict, text = _why_not(standing[run], decision.what)
        if verdict:
            decision.leave(run, verdict, text)
        else:
            wanted.append(run)
    if by is not None:
        change = dead.requeue if decision.what == "requeued" else dead.discard
        changed = {*change(wanted, **by, tell=tell)}
        for run in wanted:
            if run not in changed:
                decision.leave(run, "open", f"Run {run} is not dead any more: somebody was quicker.")
        wanted = [run for run in wanted if run in changed]
    decision.done += wanted


def _why_not(now: dict[str, Any], what: str) -> tuple[str, str]:
    """Return why a run is left as it is, a word and a sentence; both are empty where it is not."""
    run = now["id"]
    if now["state"] != "dead":
        return "open", f"Run {run} is no dead letter: it is {now['state']}."
    if what == "discarded":
        return "", ""
    if now["effect_at"] is not None:
        at, by = moment(now["effect_at"]), now["effect_run"]
        return "done", f"Nothing to do for run {run}: the effect happened at {at} in run {by}."
    if now["open_run"] is None:
        return "", ""
    other, state = now["open_run"], now["open_state"]
    if now["was_rerun"]:
        return "open", f"Run {run} was rerun as {other}, which is {state}."
    return "open", f"Run {other} has the idempotency key of run {run}, and has not ended: it is {state}."


def decide_message(app: Any, decision: Decision, number: int, by: Mapping[str, str] | None) -> None:
    """Decide about a foreign message, as `decide_runs` about runs.

    Raises:
        BrokerUnavailable: Redis does not answer; the message is kept.
    """
    book, name = Ledger.of(app), f"foreign:{number}"
    verdict, text = _why_not_message(book, number, decision.what)
    if not verdict and by is not None and not _act(app, book, number, decision.what, by):
        verdict, text = "gone", f"Message {name} is not kept any more: somebody was quicker."
    if verdict:
        decision.leave(name, verdict, text)
    else:
        decision.done.append(name)


def _why_not_message(book: Ledger, number: int, what: str) -> tuple[str, str]:
    name, found = f"foreign:{number}", book.dead.foreign(number)
    if found is None:
        return "gone", f"Message {name} is not kept, or not any more."
    if found["run_state"] == "dead":
        return "of_run", f"Message {name} is that of run {found['run']}, a dead letter: name that."
    if what == "requeued" and found["queue"] == "?":
        return "no_queue", f"Message {name} does not say which queue it lay on; discard it, and have it sent again."
    return "", ""


def _act(app: Any, book: Ledger, number: int, what: str, by: Mapping[str, str]) -> bool:
    if what == "discarded":
        return book.dead.throw_away(number, **by)

    def put_back(queue: str, raw: bytes) -> None:
        opened = app.connection_for_write(transport_options=patience())
        with opened as connection, connection._reraise_as_library_errors():
            connection.default_channel.put_back(queue, raw)

    try:
        return book.dead.give_back(number, put_back, **by)
    except OperationalError as error:
        raise BrokerUnavailable(f"Redis does not answer: {error}. Message foreign:{number} is kept.") from error


def raw_text(raw: bytes) -> str:
    """Return the beginning of some bytes as text: what cannot be printed is escaped, what is secret is hidden."""
    text = raw[:SHOWN_BYTES].decode("utf-8", "backslashreplace")
    escaped = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    left = len(raw) - SHOWN_BYTES
    return redact_text(escaped) + (f" … and {left} more bytes" if left > 0 else "")
