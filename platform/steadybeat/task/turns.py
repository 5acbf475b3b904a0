"""Turns: what an attempt holds while it works: the lock of its task, one of the places of its task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Never
from weakref import WeakKeyDictionary

from celery.exceptions import Ignore
from sqlalchemy import Connection

from steadybeat import telemetry
from steadybeat.channel import clients_of_locks
from steadybeat.errors import ConfigurationError, LockLost, Permanent, SteadybeatError
from steadybeat.ledger import Ledger
from steadybeat.locks import Holding, Place, Places, Quorum, RedisNode, Refusal, turns_of
from steadybeat.task.measuring import lock_failed
from steadybeat.task.outcomes import Outcomes
from steadybeat.telemetry import metrics

logger = telemetry.get_logger(__name__)

_of_apps: WeakKeyDictionary[Any, Places] = WeakKeyDictionary()


class Turns(Outcomes):
    """The part of an attempt that takes turns.

    After the claim, so that a duplicate, or what is not to run at all, takes no lock; and given back after the outcome
    is written, so that the next one sees it.
    """

    _holding: Holding | None = None

    def take_turns(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Take what the task has to hold, or give the claim back; this was no attempt then.

        Raises:
            Ignore: The run waits, or is cancelled.
            Permanent: The arguments do not say the name of the lock.
        """
        if self.claimed.effect_done:
            return
        try:
            turns = turns_of(self._task, args, kwargs)
        except ConfigurationError as error:
            raise Permanent(error.message) from error
        if not turns:
            return
        taken = _places(self._app).take(turns, run=self.run, fence=self.claimed.fence)
        if isinstance(taken, Refusal):
            self._refused(taken)
        self._holding = taken
        for place in taken.places:
            self._insist(partial(self._note, place), shielded=False)

    def _note(self, place: Place) -> None:
        self._ledger.turns.take(place.turn.kept_as, place.number, run=self.run, fence=self.claimed.fence)

    def leave_turns(self) -> None:
        """Give back what is held."""
        holding, self._holding = self._holding, None
        if holding is not None:
            _places(self._app).release(holding)

    @property
    def lock_is_lost(self) -> bool:
        """Whether something that is held may be somebody else's by now."""
        return self._holding is not None and self._holding.lost

    def require_turns(self, connection: Connection | None = None) -> None:
        """Refuse to commit an effect where somebody else has taken what was held.

        Args:
            connection: In the transaction of the effect, in the ledger's database: nobody takes it before that has
                ended. None where the effect is in another database.

        Raises:
            LockLost: Somebody has.
        """
        for place in self._holding.places if self._holding is not None else ():
            if connection is not None:
                still = self._is_still_ours(connection, place)
            else:
                with self._ledger.database.transaction() as own:
                    still = self._is_still_ours(own, place)
            if not still:
                raise LockLost(f"another run has taken {place.turn} since", lock=str(place.turn), run=self.run)

    def _is_still_ours(self, connection: Connection, place: Place) -> bool:
        return self._ledger.turns.still(
            connection, place.turn.kept_as, place.number, run=self.run, fence=self.claimed.fence
        )

    def _refused(self, refusal: Refusal) -> Never:
        """End a run that has never begun where its task says ``on_locked="skip"``; let any other wait."""
        if not refusal.is_unanswered:
            metrics.count(metrics.table.LOCK_WAITS, self._task.name)
        if self._task.on_locked == "skip" and self.claimed.attempt == 1:
            reason = f"skipped for {refusal.turn}: {refusal.reason}"
            self._end(reason, state="cancelled", outcome="cancelled")
            raise Ignore(reason)
        reason = f"waits for {refusal.turn}: {refusal.reason}"
        self._write(
            lambda: self._ledger.turns.wait(refusal.turn.kept_as, run=self.run, fence=self.claimed.fence, reason=reason)
        )
        self._log("waiting", reason=reason)
        raise Ignore(reason)


def give_back_left(request: Any) -> None:
    """Give back what a dead child held, which others would wait for until it lapses.

    Args:
        request: Celery's request, in the parent process; what became of the attempt is on record.
    """
    task, run = request.task, request.id
    try:
        turns = turns_of(task, request.args, request.kwargs)
        for left in _places(task.app).left_by(turns, run) if turns else ():
            if Ledger.of(task.app).runs.left_by(run, left.fence):
                _places(task.app).give_back(left)
    except SteadybeatError as error:
        logger.warning("lock not released: it lapses by itself", extra={"run_id": run, "error": str(error)})


def _places(app: Any) -> Places:
    """Return what gives out the places of an app, made when it is first asked for."""
    found = _of_apps.get(app)
    if found is None:
        nodes = [RedisNode(client, shown) for shown, client in clients_of_locks(app)]
        found = _of_apps[app] = Places(Quorum(nodes, app.steadybeat.settings.lease_seconds), failed=lock_failed)
    return found
