"""Leading: what the Beat that leads does. Expect fires, decide what becomes of them, dispatch, mark."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from kombu import Queue

from steadybeat.beat.projection import Definition, Projection, SteadyEntry
from steadybeat.errors import LedgerUnavailable
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import FireRow
from steadybeat.locks import Leadership
from steadybeat.schedule import fire_key, from_json, jitter, run_id

logger = logging.getLogger(__name__)

_BATCH = 500
_LATE = timedelta(seconds=10)
"""A fire later than this was missed by every scheduler, and is made up for as its schedule says. Sooner is on time:
a failover takes less."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a fire: ``dispatched``, or a state with its reason."""

    state: str
    reason: str | None = None


_DISPATCH = Decision("dispatched")


def decide(fire: FireRow, definition: Definition, now: datetime, under_way: Collection[datetime]) -> Decision:
    """Return what becomes of a due fire. Pure.

    Args:
        fire: The fire.
        definition: Its schedule.
        now: Aware.
        under_way: The fires of the schedule whose runs have not ended. If this one is among them, an earlier leader
            sent it and did not live to mark it: that is decided.
    """
    if fire.scheduled_for in under_way:
        return _DISPATCH
    policies = definition.row.policies
    late = now - fire.due_at
    if late > _LATE:
        window = timedelta(seconds=policies["catch_up_window_seconds"])
        if late > window:
            return Decision("missed", f"no scheduler was there, and it is older than its catch-up window of {window}")
        if policies["catch_up"] == "none":
            return Decision("missed", "no scheduler was there, and it is not made up for (catch_up=none)")
        if policies["catch_up"] == "latest":
            following = definition.rule.next_after(fire.scheduled_for)
            if following is not None and _due(definition, following) <= now:
                return Decision(
                    "coalesced", f"no scheduler was there, and the fire of {following.isoformat()} was due too"
                )
    if under_way and policies["overlap"] == "skip":
        return Decision("skipped", "the run of an earlier fire has not ended (overlap=skip)")
    return _DISPATCH


def _due(definition: Definition, scheduled_for: datetime) -> datetime:
    width = timedelta(seconds=definition.row.policies["jitter_seconds"])
    return jitter(definition.row.name, scheduled_for, width, definition.rule) if width else scheduled_for


class Leader:
    """One term of leadership.

    Args:
        app: The Celery app.
        term: Its number.
        leadership: The lock; what it allows is asked before every publish.
        publish: RedBeat's way of sending an entry.
    """

    def __init__(self, app: Any, term: int, leadership: Leadership, publish: Callable[[SteadyEntry], Any]) -> None:
        self._app = app
        self._ledger = Ledger.of(app)
        self._leadership = leadership
        self._publish = publish
        self._projection = Projection(app)
        self._definitions: dict[str, Definition] = {}
        self._revision: int | None = None
        self._expected_until: dict[str, datetime] = {}
        self._unmarked: list[tuple[FireRow, str | None]] = []
        self._published: set[tuple[str, datetime]] = set()
        self._look_at = datetime.min.replace(tzinfo=UTC)
        self._warn_at = self._look_at
        self._strangers: frozenset[str] = frozenset()
        self.term = term

    def tick(self, poll: timedelta) -> timedelta:
        """Do what is due, and return after which pause the next tick is wanted, `poll` at the most.

        Raises:
            LedgerUnavailable: Nothing is lost; the next tick goes on from here.
        """
        self._mark()
        self._learn()
        now = datetime.now(UTC)
        self._expect(now)
        due = self._ledger.fires.due(now + poll, _BATCH)
        ready = [fire for fire in due if fire.due_at <= now]
        self._dispatch(ready, now)
        if len(ready) == _BATCH:
            return timedelta()
        coming = min((fire.due_at for fire in due if fire.due_at > now), default=now + poll)
        return max(timedelta(), min(coming - datetime.now(UTC), poll))

    def _learn(self) -> None:
        """Read the schedules again if any was changed, and write RedBeat's keys if those are not in step."""
        revision = self._ledger.schedules.revision()
        now = datetime.now(UTC)
        if revision != self._revision:
            rows = self._ledger.schedules.all()
            self._definitions = {row.name: Definition(row, from_json(row.spec)) for row in rows}
            self._expected_until = {row.name: row.expected_until or now for row in rows}
            self._revision = revision
            self._declare(row.service for row in rows)
            self._account_for_retired()
            self._projection.write(self._definitions)
        elif now >= self._look_at:
            self._look_at = now + timedelta(seconds=5)
            if self._definitions and self._projection.lost():
                logger.warning("redis was emptied: schedules are written again")
                self._projection.write(self._definitions)
            if now >= self._warn_at:
                self._warn_at = now + timedelta(minutes=1)
                self._warn_of_strangers()

    def _warn_of_strangers(self) -> None:
        """Say, once for each, that what is saved with RedBeat's tools is not executed."""
        strangers = self._projection.strangers()
        for name in sorted(strangers - self._strangers):
            logger.warning(
                "an entry of redbeat is not executed: `schedules import --from redbeat` takes it over",
                extra={"schedule": name},
            )
        self._strangers = strangers

    def _declare(self, services: Iterable[str]) -> None:
        """Know the queues of services that the ledger has and this code does not: a release applies them first."""
        queues = self._app.amqp.queues
        for service in {*services} - {*queues}:
            queues.add(Queue(service, routing_key=service))

    def _account_for_retired(self) -> None:
        """Give a reason to the fires of retired schedules that were due while no scheduler wrote fires."""
        reason = "no scheduler was there, and the schedule was retired since"
        for row in self._ledger.schedules.left_over():
            assert row.expected_until is not None and row.retired_at is not None
            times = list(from_json(row.spec).between(row.expected_until, row.retired_at))
            fires = [
                FireRow(schedule=row.name, scheduled_for=at, due_at=at, state="missed", reason=reason) for at in times
            ]
            self._ledger.fires.expect(row.name, row.revision, row.retired_at, fires)

    def _expect(self, now: datetime) -> None:
        horizon = timedelta(seconds=self._ledger.settings.horizon_seconds)
        for name, definition in self._definitions.items():
            since = self._expected_until[name]
            if since >= now + horizon / 2:
                continue
            times, until = [], now + horizon
            for scheduled_for in definition.rule.between(since, until):
                times.append(scheduled_for)
                if len(times) == _BATCH:
                    until = scheduled_for
                    break
            fires = [FireRow(schedule=name, scheduled_for=at, due_at=_due(definition, at)) for at in times]
            self._ledger.fires.expect(name, definition.row.revision, until, fires)
            self._expected_until[name] = until

    def _dispatch(self, ready: Sequence[FireRow], now: datetime) -> None:
        under_way: dict[str, set[datetime]] = defaultdict(set)
        for schedule, scheduled_for in self._ledger.fires.under_way(fire.schedule for fire in ready) if ready else ():
            under_way[schedule].add(scheduled_for)
        fired: list[tuple[Definition, datetime]] = []
        try:
            for fire in ready:
                definition = self._definitions.get(fire.schedule)
                if definition is None:
                    continue  # its schedule was retired since; the same transaction superseded it
                if not self._still_leading():
                    return
                decision = decide(fire, definition, now, under_way[fire.schedule])
                if decision is _DISPATCH:
                    decision = self._send(fire, definition)
                    under_way[fire.schedule].add(fire.scheduled_for)
                    fired.append((definition, fire.scheduled_for))
                self._note(fire, decision)
        finally:
            self._mark()
            if fired:
                self._projection.fired(fired)

    def _send(self, fire: FireRow, definition: Definition) -> Decision:
        """Publish a fire, once per term."""
        identity = (fire.schedule, fire.scheduled_for)
        if identity in self._published:
            return _DISPATCH
        options = {
            "task_id": run_id(*identity),
            "idempotency_key": fire_key(*identity),
            "headers": {
                **(definition.row.options.get("headers") or {}),
                "steadybeat_schedule": fire.schedule,
                "steadybeat_scheduled_for": fire.scheduled_for.isoformat(),
                "periodic_task_name": fire.schedule,
            },
        }
        try:
            self._publish(SteadyEntry.of(self._app, definition, **options))
        except Exception as error:
            cause = error.__context__ or error
            if isinstance(cause, LedgerUnavailable):
                raise cause from None
            logger.exception("fire not sent", extra={"schedule": fire.schedule})
            return Decision("missed", f"it could not be sent: {type(cause).__name__}: {cause}")
        self._published.add(identity)
        return _DISPATCH

    def _note(self, fire: FireRow, decision: Decision) -> None:
        run = run_id(fire.schedule, fire.scheduled_for) if decision is _DISPATCH else None
        self._unmarked.append((replace(fire, state=decision.state, reason=decision.reason), run))
        log = logger.info if decision is _DISPATCH else logger.warning
        facts = {"schedule": fire.schedule, "scheduled_for": fire.scheduled_for.isoformat(), "term": self.term}
        log(f"fire {decision.state}", extra={**facts, "reason": decision.reason, "run_id": run})

    def _mark(self) -> None:
        """Mark what was decided; what cannot be marked now is marked at the next tick, and not sent again."""
        if self._unmarked:
            self._ledger.fires.mark(self.term, self._unmarked)
            self._published -= {(fire.schedule, fire.scheduled_for) for fire, _ in self._unmarked}
            self._unmarked = []

    def _still_leading(self) -> bool:
        return self._leadership.held and (self._leadership.fresh or self._leadership.hold())
