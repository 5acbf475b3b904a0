"""Leading: what the Beat that leads does. Learn, expect, build ahead, decide, send, mark."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from steadybeat.beat.deciding import DISPATCH, Decision, Standing, decide
from steadybeat.beat.expecting import Expectations
from steadybeat.beat.herd import Coming, Herd, Identity
from steadybeat.beat.learning import Learner
from steadybeat.beat.projection import SteadyEntry
from steadybeat.errors import BrokerUnavailable, LedgerUnavailable
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import FireRow
from steadybeat.locks import Leadership
from steadybeat.schedule import fire_key, run_id

logger = logging.getLogger(__name__)

BATCH = 500
_MARK_BATCH = 1000
_SLICE = timedelta(milliseconds=80)
"""How long one step of a tick may take that can be gone on with at the next tick."""


def _nothing(_point: str) -> None:
    """Do nothing at a named point."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a leader is given from outside.

    Attributes:
        publish: Sends an entry through a producer, as RedBeat does.
        ahead: Builds messages and sends them later.
        clock: The wall clock.
        passed: Is told of named points; a test that raises there ends the leader as a crash would.
    """

    publish: Callable[[SteadyEntry, Any], Any]
    ahead: Any
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    passed: Callable[[str], None] = _nothing


class Leader:
    """One term of leadership.

    Args:
        app: The Celery app.
        term: Its number.
        leadership: The lock; what it allows is asked before every batch that is sent.
        hooks: What it is given from outside.
    """

    def __init__(self, app: Any, term: int, leadership: Leadership, hooks: Hooks) -> None:
        self._app = app
        self._ledger = Ledger.of(app)
        self._leadership = leadership
        self._hooks = hooks
        self._learner = Learner(app, hooks.clock)
        self._definitions = self._learner.definitions
        self._expectations = Expectations(self._ledger, self._definitions)
        self._herd = Herd(self._ledger, self._definitions)
        self._unmarked: list[tuple[FireRow, str | None]] = []
        self._handled: set[Identity] = set()
        self.term = term

    def tick(self, poll: timedelta) -> timedelta:
        """Do what is due, and return after which pause the next tick is wanted, `poll` at the most.

        Raises:
            LedgerUnavailable: Nothing is lost; the next tick goes on from here.
        """
        self._mark()
        self._learn()
        now = self._hooks.clock()
        self._expect(now)
        self._hooks.passed("after expect")
        self._herd.read(now)
        self._dispatch([Coming(fire) for fire in self._ledger.fires.whose_turn(now, BATCH)])
        self._dispatch(self._herd.take_due(self._hooks.clock(), BATCH))
        self._dispatch(self._overlooked())
        self._build()
        if self._still_leading():
            self._learner.project(_SLICE)
        return self._pause(poll)

    def _pause(self, poll: timedelta) -> timedelta:
        now = self._hooks.clock()
        if self._unmarked or self._herd.has_unbuilt or self._expectations.is_due(now) or self._learner.busy:
            return timedelta()
        due = self._herd.next_due
        return poll if due is None else max(timedelta(), min(due - now, poll))

    def _learn(self) -> None:
        """Take in what was changed since the last tick."""
        changed = self._learner.learn(self._still_leading)
        for definition in changed.definitions:
            until = definition.row.expected_until or self._hooks.clock()
            self._expectations.add(definition, until)
        if changed.names:
            self._herd.forget(changed.names)
            self._herd.look_again(self._hooks.clock())

    def _expect(self, now: datetime) -> None:
        if self._expectations.is_due(now) and self._still_leading():
            earliest = self._expectations.write(now, _SLICE)
            if earliest is not None:
                self._herd.look_again(max(earliest, now))

    def _overlooked(self) -> list[Coming]:
        """Return fires that are due and were not seen coming: those of an outage, and those that people ask for."""
        now = self._hooks.clock()
        found = self._ledger.fires.due(now, BATCH + len(self._handled))
        new = [Coming(fire) for fire in found if (fire.schedule, fire.scheduled_for) not in self._handled]
        return [each for each in new if each.identity not in self._herd][:BATCH]

    # Building

    def _build(self) -> None:
        """Build messages that are not due yet, until something is."""
        end = self._hooks.clock() + _SLICE
        for batch in iter(lambda: [*islice(self._herd.unbuilt(), 50)], []):
            if not self._still_leading():
                return
            self._make(batch)  # what cannot be built is tried, and accounted for, when it is due
            now, due = self._hooks.clock(), self._herd.next_due
            if now > end or (due is not None and due <= now):
                return

    def _make(self, batch: Sequence[Coming]) -> list[tuple[Coming, Exception]]:
        """Build messages and put their runs on record; return those for which that was not possible, and why."""
        made, failed = [], []
        for each in batch:
            if each.fire.schedule not in self._definitions:
                continue
            try:
                made.append((each, self._hooks.ahead.build(self._sender(each))))
            except (LedgerUnavailable, BrokerUnavailable):
                raise
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one, the others are sent
                failed.append((each, error))
        self._hooks.ahead.record([(built, each.fire.due_at) for each, built in made])
        for each, built in made:
            each.built = built
        return failed

    def _sender(self, coming: Coming) -> Callable[[Any], Any]:
        fire, definition = coming.fire, self._definitions[coming.fire.schedule]
        options = {
            "task_id": run_id(fire.schedule, fire.scheduled_for),
            "idempotency_key": fire_key(fire.schedule, fire.scheduled_for),
            "retry": False,
            "headers": {
                **(definition.row.options.get("headers") or {}),
                "steadybeat_schedule": fire.schedule,
                "steadybeat_scheduled_for": fire.scheduled_for.isoformat(),
                "periodic_task_name": fire.schedule,
            },
        }
        entry = SteadyEntry.of(self._app, definition, **options)
        return lambda producer: self._hooks.publish(entry, producer)

    # Dispatching

    def _dispatch(self, due: Sequence[Coming]) -> None:
        """Decide what becomes of fires that are due, send those that are to run, and mark them all."""
        due = [each for each in due if each.fire.schedule in self._definitions]
        if not due:
            return
        ready, sent = self._decided(due), []
        try:
            for start in range(0, len(ready), BATCH):
                if not self._still_leading():
                    break
                sent += self._send(ready[start : start + BATCH])
        finally:
            for each in sent:
                self._note(each.fire, DISPATCH)
            self._learner.projection.fired(each.identity for each in sent)
            self._mark()

    def _decided(self, due: Sequence[Coming]) -> list[Coming]:
        """Return those of some fires that are to be sent; what becomes of the others is noted."""
        standings, ready, now = self._standings(due), [], self._hooks.clock()
        for each in due:
            definition, tally = self._definitions[each.fire.schedule], standings[each.fire.schedule]
            standing = tally.of(each.fire)
            decision = decide(each.fire, definition, now, standing)
            tally.count(each.fire, decision)
            if decision is DISPATCH:
                ready.append(each)
                continue
            self._note(each.fire, decision)
            if decision.state == "waiting" and definition.policies.overlap == "cancel_running":
                self._cancel(standing.under_way)
        return ready

    def _send(self, batch: Sequence[Coming]) -> list[Coming]:
        """Send fires; return those that were."""
        for each, error in self._make([each for each in batch if each.built is None]):
            logger.error("fire not sent", extra={"schedule": each.fire.schedule}, exc_info=error)
            reason = f"it could not be sent: {type(error).__name__}: {error}"
            self._note(each.fire, Decision("missed", "unsendable", reason))
        ready = [each for each in batch if each.built is not None]
        self._hooks.ahead.send([each.built for each in ready])
        self._hooks.passed("after publish")
        return ready

    def _standings(self, due: Sequence[Coming]) -> dict[str, Tally]:
        """Return how the schedules of some fires stand; only those are asked for that it matters to."""
        definitions = {each.fire.schedule: self._definitions[each.fire.schedule] for each in due}
        tallies = {
            name: Tally(definition.row.fire_count + self._learner.counted[name])
            for name, definition in definitions.items()
        }
        names = [name for name, definition in definitions.items() if definition.policies.overlap != "allow"]
        if names:
            for name, scheduled_for, run in self._ledger.fires.under_way(names, self._hooks.clock()):
                tallies[name].runs[run] = scheduled_for
            for name, count in self._ledger.fires.queued(names).items():
                tallies[name].queued_count = count
        return tallies

    def _cancel(self, runs: Collection[str]) -> None:
        """Ask for the end of runs, so that a fire can take their turn."""
        running = self._ledger.cancelling.request(list(runs), "a later fire takes its turn (overlap=cancel_running)")
        if running:
            self._hooks.ahead.revoke(running)

    # Marking

    def _note(self, fire: FireRow, decision: Decision) -> None:
        run = run_id(fire.schedule, fire.scheduled_for) if decision is DISPATCH else None
        marked = replace(fire, state=decision.state, cause=decision.cause, reason=decision.reason)
        self._unmarked.append((marked, run))
        self._handled.add((fire.schedule, fire.scheduled_for))
        log = logger.info if decision is DISPATCH else logger.warning
        facts = {"schedule": fire.schedule, "scheduled_for": fire.scheduled_for.isoformat(), "term": self.term}
        log(f"fire {decision.state}", extra={**facts, "reason": decision.reason, "run_id": run})

    def _mark(self) -> None:
        """Mark what was decided; what cannot be marked now is marked at the next tick, and not sent again."""
        if self._unmarked:
            self._hooks.passed("before mark")
        while self._unmarked:
            batch = self._unmarked[:_MARK_BATCH]
            counting = {fire.schedule for fire, _ in batch if self._counts(fire.schedule)}
            self._ledger.fires.mark(self.term, batch, counting)
            self._learner.counted.update(
                fire.schedule for fire, run in batch if run is not None and fire.schedule in counting
            )
            del self._unmarked[: len(batch)]
            self._handled -= {(fire.schedule, fire.scheduled_for) for fire, _ in batch}

    def _counts(self, name: str) -> bool:
        definition = self._definitions.get(name)
        return definition is not None and definition.policies.fire_limit is not None

    def _still_leading(self) -> bool:
        return self._leadership.held and (self._leadership.fresh or self._leadership.hold())


class Tally:
    """How a schedule stands, kept up to date while its fires are decided.

    Args:
        fire_count: Its fires that were dispatched, where it counts them.
    """

    def __init__(self, fire_count: int) -> None:
        self.runs: dict[str, datetime] = {}
        self.queued_count = 0
        self._fire_count = fire_count
        self._decided: list[str] = []

    def of(self, fire: FireRow) -> Standing:
        """Return how the schedule stands for one of its fires."""
        others = [run for run, scheduled_for in self.runs.items() if scheduled_for != fire.scheduled_for]
        # One that waits already has its turn now.
        queued = self.queued_count if fire.state == "expected" else 0
        return Standing([*others, *self._decided], queued, self._fire_count)

    def count(self, fire: FireRow, decision: Decision) -> None:
        """Take a decision into account for the fires that follow."""
        if decision is DISPATCH:
            self._decided.append(f"{fire.scheduled_for}")
            self._fire_count += 1
        elif decision.state == "waiting" and fire.state == "expected":
            self.queued_count += 1
