"""Leading: what the Beat that leads does. Learn, expect, build ahead, decide, send, mark."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from steadybeat.beat.deciding import DISPATCH, FREE, Decision, Standing, decide
from steadybeat.beat.expecting import Expectations
from steadybeat.beat.herd import Coming, Herd, Identity
from steadybeat.beat.learning import Learner
from steadybeat.beat.projection import Definition, SteadyEntry
from steadybeat.beat.standing import Standings
from steadybeat.errors import BrokerUnavailable, LedgerUnavailable
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import FireRow
from steadybeat.locks import Leadership
from steadybeat.schedule import fire_key, run_id
from steadybeat.telemetry import correlation, heartbeats, metrics

logger = logging.getLogger(__name__)

BATCH = 500
_MARK_BATCH = 1000
_TIME_TO_STOP = timedelta(seconds=2)
_BUILD_BATCH = 50
_SLICE = timedelta(milliseconds=150)
"""How long one part of a tick may take that can be gone on with at the next tick."""

_STEP = timedelta(milliseconds=60)
"""How long such a part may take beyond that, until it looks at the clock again."""


def _nothing(_point: str) -> None:
    """Do nothing at a named point."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a leader is given from outside.

    Attributes:
        publish: Sends an entry through a producer, as RedBeat does.
        ahead: Builds messages and sends them later.
        clock: The wall clock.
        alive: Is told that the leader goes on, within a tick that takes long.
        passed: Is told of named points; a test that raises there ends the leader as a crash would.
    """

    publish: Callable[[SteadyEntry, Any], Any]
    ahead: Any
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    alive: Callable[[], None] = lambda: None
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
        self._standings = Standings(self._ledger, self._definitions, self._learner.counted)
        self._unmarked: list[tuple[FireRow, str | None]] = []
        self._handled: set[Identity] = set()
        self._sent: list[tuple[Sequence[Coming], datetime]] = []
        self.term = term

    def tick(self, poll: timedelta) -> timedelta:
        """Do what is due, and return after which pause the next tick is wanted, `poll` at the most.

        Raises:
            LedgerUnavailable: Nothing is lost; the next tick goes on from here.
        """
        self._mark()
        self._learn()
        self._dispatch(self._herd.take_due(self._hooks.clock(), BATCH))
        self._expect()
        self._hooks.passed("after expect")
        self._herd.read(self._hooks.clock())
        self._dispatch([Coming(fire) for fire in self._ledger.fires.whose_turn(self._hooks.clock(), BATCH)])
        self._dispatch(self._overlooked())
        self._build()
        if not self._herd.has_unbuilt and self._time_left() and self._still_leading():
            self._learner.project(self._time_left())
        self._foresee(poll)
        return self._pause(poll)

    def _foresee(self, poll: timedelta) -> None:
        """Look up, once for the fires that are due next, what would take too long when they are."""
        now, due = self._hooks.clock(), self._herd.next_due
        until = now + 2 * poll  # with the next tick only, a herd's would not be done when it is due
        if due is not None and now + _STEP < due <= until and self._standings.foreseen_until < due:
            self._standings.foresee(self._herd.due_by(until), until, now)

    def _time_left(self) -> timedelta:
        """Return how long a step may take so that it does not make the next fire late; zero: not now."""
        due = self._herd.next_due
        left = _SLICE if due is None else min(_SLICE, due - self._hooks.clock() - _STEP)
        return max(timedelta(), left)

    def _pause(self, poll: timedelta) -> timedelta:
        now = self._hooks.clock()
        due = self._herd.next_due
        busy = self._herd.has_unbuilt or self._expectations.is_due(now) or self._learner.busy
        if busy and self._time_left():
            return timedelta()
        return poll if due is None else max(timedelta(), min(due - now, poll))

    def _learn(self) -> None:
        """Take in what was changed since the last tick."""
        changed = self._learner.learn(self._still_leading)
        for definition, until in changed.expected:
            self._expectations.add(definition, until)
        if changed.names:
            self._herd.forget(changed.names)
            self._herd.look_again(self._hooks.clock())

    def _expect(self) -> None:
        now = self._hooks.clock()
        if self._expectations.is_due(now) and self._time_left() and self._still_leading():
            earliest = self._expectations.write(now, self._time_left())
            if earliest is not None:
                self._herd.look_again(max(earliest, now))

    def _overlooked(self) -> list[Coming]:
        """Return fires that are due and were not seen coming: those of an outage, and those that people ask for."""
        now = self._hooks.clock()
        found = self._ledger.fires.due(now, BATCH + len(self._handled))
        new = [Coming(fire) for fire in found if (fire.schedule, fire.scheduled_for) not in self._handled]
        return [each for each in new if not self._herd.awaits(each.fire)][:BATCH]

    # Building

    def _build(self) -> None:
        """Build messages that are not due yet, until something is."""
        end = self._hooks.clock() + _SLICE
        while self._herd.has_unbuilt and self._time_left() and self._hooks.clock() < end and self._still_leading():
            # What cannot be built is tried, and accounted for, when it is due.
            self._make([*islice(self._herd.unbuilt(), _BUILD_BATCH)])

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
        run = run_id(fire.schedule, fire.scheduled_for)
        options = {
            "task_id": run,
            "idempotency_key": fire_key(fire.schedule, fire.scheduled_for),
            "retry": False,
            "headers": {
                correlation.HEADER: correlation.of_run(run),
                **(definition.row.options.get("headers") or {}),
                "steadybeat_schedule": fire.schedule,
                "steadybeat_scheduled_for": fire.scheduled_for.isoformat(),
                "periodic_task_name": fire.schedule,
                **({"steadybeat_asked": fire.asked} if fire.asked else {}),
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
        sent: list[Coming] = []
        gc.disable()  # a collection takes as long as sending thousands of messages
        try:
            ready = self._decided(due)
            for start in range(0, len(ready), BATCH):
                if not self._still_leading():
                    break
                sent += self._send(ready[start : start + BATCH])
        finally:
            gc.enable()
            for each in sent:
                self._note(each.fire, DISPATCH)
            self._standings.sent(each.fire.schedule for each in sent)
            self._learner.projection.fired(each.identity for each in sent)
            self._mark()
            self._measure()

    def _decided(self, due: Sequence[Coming]) -> list[Coming]:
        """Return those of some fires that are to be sent; what becomes of the others is noted."""
        tallies, ready, now = self._standings.tallies([each.fire for each in due]), [], self._hooks.clock()
        for each in due:
            definition, tally = self._definitions[each.fire.schedule], tallies.get(each.fire.schedule)
            standing = FREE if tally is None else tally.of(each.fire)
            decision = self._decide(each.fire, definition, now, standing)
            if tally is not None:
                tally.count(each.fire, decision)
            if decision is DISPATCH:
                ready.append(each)
                continue
            self._note(each.fire, decision)
            if decision.state == "waiting" and definition.policies.overlap == "cancel_running":
                self._cancel(standing.under_way)
        return ready

    def _decide(self, fire: FireRow, definition: Definition, now: datetime, standing: Standing) -> Decision:
        try:
            return decide(fire, definition, now, standing)
        except Exception as error:  # whatever is wrong with one, the others are sent
            logger.exception("fire not decided", extra={"schedule": fire.schedule})
            return Decision("missed", "undecidable", f"it could not be decided: {type(error).__name__}: {error}")

    def _send(self, batch: Sequence[Coming]) -> list[Coming]:
        """Send fires; return those that were."""
        for each, error in self._make([each for each in batch if each.built is None]):
            logger.error("fire not sent", extra={"schedule": each.fire.schedule}, exc_info=error)
            reason = f"it could not be sent: {type(error).__name__}: {error}"
            self._note(each.fire, Decision("missed", "unsendable", reason))
        ready = [each for each in batch if each.built is not None]
        self._hooks.ahead.send([each.built for each in ready])
        self._sent.append((ready, self._hooks.clock()))
        self._hooks.passed("after publish")
        return ready

    def _cancel(self, runs: Collection[str]) -> None:
        """Ask for the end of runs, so that a fire can take their turn."""
        reason = "a later fire takes its turn (overlap=cancel_running)"
        self._ledger.cancelling.request(list(runs), reason, terminate_after=_TIME_TO_STOP)

    # Marking

    def _note(self, fire: FireRow, decision: Decision) -> None:
        marked = replace(fire, state=decision.state, cause=decision.cause, reason=decision.reason)
        self._unmarked.append((marked, run_id(fire.schedule, fire.scheduled_for)))
        self._handled.add((fire.schedule, fire.scheduled_for))

    def _mark(self) -> None:
        """Mark what was decided; what cannot be marked now is marked at the next tick, and not sent again."""
        if self._unmarked:
            self._hooks.passed("before mark")
        taken_back: list[tuple[FireRow, str | None]] = []
        try:
            while self._unmarked:
                batch = self._unmarked[:_MARK_BATCH]
                taken_back += self._mark_some(batch)
                del self._unmarked[: len(batch)]
                self._still_leading()  # renews the lock: a herd takes longer than a tick should
        finally:
            self._unmarked += taken_back

    def _mark_some(self, batch: Sequence[tuple[FireRow, str | None]]) -> list[tuple[FireRow, str | None]]:
        """Mark fires; return those that somebody is just taking back, which are marked later."""
        counting = {fire.schedule for fire, _ in batch if self._counts(fire.schedule)}
        done = self._ledger.fires.mark(self.term, batch, counting)
        for fire, run in batch:
            identity = fire.schedule, fire.scheduled_for
            if identity in done:
                self._handled.discard(identity)
                if fire.state == "dispatched" and fire.schedule in counting:
                    self._learner.counted[fire.schedule] += 1
                self._tell(fire, run)
        return [(fire, run) for fire, run in batch if (fire.schedule, fire.scheduled_for) not in done]

    def _measure(self) -> None:
        """Count how late fires were sent, after all of them were: it takes as long as sending some of them."""
        sent, self._sent = self._sent, []
        if not metrics.is_on():
            return
        for batch, at in sent:
            for fire in (each.fire for each in batch if each.fire.asked is None):
                late = max(0.0, (at - fire.due_at).total_seconds())
                metrics.observe(metrics.table.FIRE_LATE, value=late)
                metrics.count(metrics.table.SCHEDULE_LATE, fire.schedule, by=late)

    def _tell(self, fire: FireRow, run: str | None) -> None:
        metrics.count(metrics.table.FIRES, fire.schedule, fire.state, fire.cause or "")
        facts = {"schedule": fire.schedule, "scheduled_for": fire.scheduled_for, "term": self.term}
        if fire.schedule in self._definitions:
            row = self._definitions[fire.schedule].row
            facts |= {"task": row.task, "service": row.service}
        if fire.state == "dispatched" and run is not None:
            logger.info("fire dispatched", extra={**facts, "run_id": run, "correlation_id": correlation.of_run(run)})
        else:
            logger.warning(f"fire {fire.state}", extra={**facts, "reason": fire.reason})
            said = f"fire of {fire.scheduled_for.isoformat()} {fire.state}: {fire.reason}"
            heartbeats.tell(heartbeats.Heartbeat(event="log", schedule=fire.schedule, run=run, text=said))

    def _counts(self, name: str) -> bool:
        definition = self._definitions.get(name)
        return definition is not None and definition.policies.fire_limit is not None

    def _still_leading(self) -> bool:
        self._hooks.alive()
        return self._leadership.held and (self._leadership.fresh or self._leadership.hold())
