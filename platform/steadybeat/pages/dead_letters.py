"""The pages of dead letters: by what they died of, those of one group, and messages that nobody could read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from steadybeat.errors import ConfigurationError, EditConflict
from steadybeat.ledger import Ledger
from steadybeat.ledger.dead_groups import GROUPED_COUNT
from steadybeat.ledger.run_search import words_of_error
from steadybeat.operating.burying import Decision, decide_message, decide_runs, raw_text
from steadybeat.pages import pieces
from steadybeat.pages.asked import Asked
from steadybeat.pages.page import Change, NotFound, Page
from steadybeat.pages.person import Role
from steadybeat.pages.runs import known_tasks
from steadybeat.telemetry.redaction import redact_text
from steadybeat.wording import count

ROWS = 50
FOREIGN = 20
MOST = 1_000
"""So many dead letters are decided about at a time."""
SHOWN = 20
"""So many of them are named before."""
_HEAD_LIMIT = 200


class DeadLetters(Page):
    """Dead letters by what they died of."""

    path = r"/dead-letters"
    name = "dead_letters"
    tab = "dead_letters"
    template = "dead_letters.html"

    def look(self, asked: Asked) -> Mapping[str, Any]:
        """Return the groups of the newest dead letters, and messages that nobody could read."""
        book, now, error = self.book, datetime.now(UTC), asked.maybe("error")
        groups = book.dead_groups.groups(
            task=asked.maybe("task"),
            service=asked.maybe("service"),
            since=pieces.past(asked, "since", now),
            until=pieces.past(asked, "until", now),
            words=error and words_of_error(error),
        )
        before = asked.count("foreign", 0, most=2**62) if asked.text("foreign") else None
        narrowed = any(asked.values.get(name) for name in ("task", "service", "since", "until", "error"))
        foreign = [] if narrowed else book.dead_groups.foreign(before=before, limit=FOREIGN + 1)
        known = known_tasks(self)
        return {
            "groups": groups,
            "all": groups[0] if groups else None,
            "foreign": foreign[:FOREIGN],
            "more_foreign": foreign[FOREIGN - 1]["id"] if len(foreign) > FOREIGN else None,
            "tasks": [row["task"] for row in known][:500],
            "services": sorted({row["service"] for row in known}),
            "narrowed": narrowed,
            "most": GROUPED_COUNT,
            "pieces": pieces,
        }


class DeadGroup(Page):
    """The dead letters of one group."""

    path = r"/dead-letters/of/([^/]+)"
    name = "dead_group"
    tab = "dead_letters"
    template = "dead_group.html"

    def look(self, asked: Asked) -> Mapping[str, Any]:
        """Return a page of them."""
        task, head = asked.parts[0], asked.text("head", longest=_HEAD_LIMIT)
        behind = pieces.place(asked)
        if behind is not None:
            behind = behind[0], pieces.id_of(behind[1])
        found = self.book.dead_groups.letters(task, head, behind=behind, limit=ROWS + 1)
        if not found:
            raise NotFound("There are no such dead letters: they were requeued or discarded meanwhile, or never were.")
        rows, last = found[:ROWS], found[ROWS - 1] if len(found) > ROWS else None
        return {
            "task": task,
            "head": head,
            "rows": rows,
            "more": last and pieces.cursor(last["enqueued_at"], last["id"]),
            "pieces": pieces,
        }


class PreviewRequeue(Change):
    """What would become of the dead letters of a group. It changes nothing."""

    path = r"/dead-letters/requeue/preview"
    name = "dead_requeue_preview"
    what = "requeue"

    def change(self, asked: Asked, reason: str) -> Mapping[str, Any]:
        """Return which they are, and which would be left."""
        task, head = _group(asked)
        found = self.book.dead_groups.letters(task, head, limit=MOST + 1)
        runs = [str(row["id"]) for row in found[:MOST]]
        decision = decided(self.book, self.what, runs, None)
        return {
            "template": "dead_preview.html",
            "tab": "dead_letters",
            "what": self.what,
            "task": task,
            "head": head,
            "rows": {str(row["id"]): row for row in found},
            "decision": decision,
            "more": len(found) > MOST,
            "most": MOST,
            "shown": SHOWN,
            "pieces": pieces,
        }


class PreviewDiscard(PreviewRequeue):
    """The same before they are ended for good."""

    path = r"/dead-letters/discard/preview"
    name = "dead_discard_preview"
    role = Role.ADMIN
    what = "discard"


class Requeue(Change):
    """Dead letters get another attempt, as the preview has shown them."""

    path = r"/dead-letters/requeue"
    name = "dead_requeue"
    what = "requeue"

    def change(self, asked: Asked, reason: str) -> tuple[str, str]:
        """Do it for those that the preview has named and that are still dead."""
        task, head = _group(asked)
        named = [pieces.id_of(each) for each in asked.values.get("runs", "").split()]
        runs = [*dict.fromkeys(named)]
        if not 1 <= len(runs) <= MOST:
            raise ConfigurationError(f"runs: must be 1 to {MOST:,} ids, as the preview names them.", name="runs")
        by = {"who": asked.person.name, "reason": reason}
        decision = decided(self.book, self.what, runs, by)
        if not decision.done:
            raise EditConflict(f"None of the {len(runs):,} was {decision.what}. {decision.left[0]['text']}")
        return self._said(decision, task, head, len(runs)), self.link("dead_letters")

    def _said(self, decision: Decision, task: str, head: str, previewed: int) -> str:
        said = [f"{count(len(decision.done), 'dead letter')} of {previewed:,} {decision.what}."]
        if decision.left:
            said.append(f"{len(decision.left):,} changed since the preview and were left: {decision.left[0]['text']}")
        left = self.book.dead_groups.letters(task, head, limit=MOST + 1)
        new = len({str(row["id"]) for row in left} - {*decision.done, *(each["id"] for each in decision.left)})
        if new:
            said.append(f"{'More than ' if new > MOST else ''}{min(new, MOST):,} of the group were not in the preview.")
        return " ".join(said)


class Discard(Requeue):
    """Dead letters are ended for good, as the preview has shown them."""

    path = r"/dead-letters/discard"
    name = "dead_discard"
    role = Role.ADMIN
    what = "discard"


class ForeignMessage(Page):
    """A message that nobody could read."""

    path = r"/dead-letters/message/(\d+)"
    name = "dead_message"
    tab = "dead_letters"
    template = "dead_message.html"

    def look(self, asked: Asked) -> Mapping[str, Any]:
        """Return it, in a form that does no harm."""
        found = self.book.dead.foreign(pieces.number(asked.parts[0]))
        if found is None:
            raise NotFound(f"Message {asked.parts[0]} is not kept, or not any more.")
        raw = bytes(found["raw"])
        return {
            "message": found,
            "reason": redact_text(found["reason"]),
            "raw": raw_text(raw),
            "size": len(raw),
            "pieces": pieces,
        }


class RequeueMessage(Change):
    """A message that nobody could read is put back on its queue, as it was."""

    path = r"/dead-letters/message/(\d+)/requeue"
    name = "dead_message_requeue"
    what = "requeued"

    def change(self, asked: Asked, reason: str) -> tuple[str, str]:
        """Do it."""
        number, decision = pieces.number(asked.parts[0]), Decision(self.what)
        decide_message(self.capp, decision, number, {"who": asked.person.name, "reason": reason})
        if decision.left:
            raise EditConflict(decision.left[0]["text"])
        return f"Message {number} was {decision.what}.", self.link("dead_letters")


class DiscardMessage(RequeueMessage):
    """A message that nobody could read is thrown away."""

    path = r"/dead-letters/message/(\d+)/discard"
    name = "dead_message_discard"
    role = Role.ADMIN
    what = "discarded"


def decided(book: Ledger, what: str, runs: list[str], by: Mapping[str, str] | None) -> Decision:
    """Return what becomes of dead runs.

    Args:
        book: The ledger.
        what: ``requeue`` or ``discard``.
        runs: Their ids; those that are not on record any more are left.
        by: Who decides, and why; None: nothing is changed.
    """
    decision = Decision({"requeue": "requeued", "discard": "discarded"}[what])
    known = book.dead.standing(runs)
    for run in runs:
        if run not in known:
            decision.leave(run, "gone", f"Run {run} is not on record any more.")
    decide_runs(book, decision, [run for run in runs if run in known], by)
    return decision


def _group(asked: Asked) -> tuple[str, str]:
    task, head = asked.text("task"), asked.text("head", longest=_HEAD_LIMIT)
    if not task:
        raise ConfigurationError("task: is empty. A group is named by its task and the head of its error.", name="task")
    return task, head
