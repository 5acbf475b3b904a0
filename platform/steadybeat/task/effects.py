"""Effects: what a task does to the world, once for each idempotency key."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from sqlalchemy import Connection, Engine

from steadybeat.task.facts import Facts
from steadybeat.task.steps import External, Step
from steadybeat.task.transactions import Effect

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

T = TypeVar("T")
S = TypeVar("S", bound="Session")


class Effects(Facts):
    """The part of `SteadyTask` that makes effects happen once."""

    app: Any
    name: str

    @overload
    def exactly_once(self, database: Engine | Connection | None = None, *, step: str = "") -> Effect[Connection]: ...
    @overload
    def exactly_once(self, database: S, *, step: str = "") -> Effect[S]: ...
    def exactly_once(self, database: Any = None, *, step: str = "") -> Effect[Any]:
        """Open a transaction, in a ``with`` statement; what is done in it is committed with the processed key.

        Where an earlier attempt has made the effect, the block ends at the first statement that it would execute,
        and the task goes on behind it; nothing of it is committed a second time. What stands in the block before the
        first statement runs in every attempt. What the task needs of it later is kept with it, as ``result`` of what
        this returns; its ``done`` says whether it has happened.

        In the ledger's database and without a step it is the last effect of a run: a later attempt that finds it made
        does not run the task's code at all, and succeeds with what was kept. In a service's own database, to which
        `steadybeat.install_processed_keys` gave its table, the fence is asked right before COMMIT, and a unique index
        lets no second one through. Called as a plain function, or in a thread that the task has begun, the block is
        an ordinary transaction.

        Args:
            database: A SQLAlchemy engine, connection or session of a Postgres, not inside of a transaction. The
                ledger's own unless given.
            step: The name of the effect, where a run has several: each has one of its own, the same in every attempt.

        Returns:
            The effect. Its block is given the session, or a connection. Between two statements no more than
            ``steadybeat_lease_seconds`` may pass.

        Raises:
            StaleAttempt: Another attempt holds the run; everything was rolled back.
            EffectRefused: It is inside of another effect, or could not happen once for another reason.
            LedgerUnavailable: Postgres does not answer; the next attempt finds out whether it had committed.
        """
        return Effect(self.app, self._attempt, database, step)

    def external(self, step: str, send: Callable[[str], T], *, resolve: Callable[[str], T | None]) -> T:
        """Have an effect outside of any database, and record how far it came.

        Before `send` is called the ledger says ``sent``; when it has returned, ``confirmed``, with what it returned.
        An attempt that finds ``confirmed`` gets that and sends nothing. Anything else between the two, an error or a
        death, leaves it unknown whether it happened: then `resolve` is asked before anything is sent again. Only
        `steadybeat.NotSent` spares the question.

        Called as a plain function, it just sends.

        Args:
            step: Its name, one of its own in this task, the same in every attempt.
            send: Does it. It gets a key to hand over to the other side, made of task, idempotency key and step: the
                same in every attempt, also of a rerun, and no other effect's.
            resolve: Asks the other side, by that key, what became of it: returns what `send` would have returned, or
                None if it did not happen. While it raises, nothing is sent.

        Returns:
            What `send` or `resolve` returned, in this or in an earlier attempt; it must be JSON.

        Raises:
            StaleAttempt: Another attempt holds the run.
            EffectRefused: It is inside of an `exactly_once` block, the name is taken, or the result is not JSON.
        """
        return External(self._attempt, step, f"{self.name}:{self.idempotency_key}").run(send, resolve)

    def step(self, step: str, function: Callable[[], T]) -> T:
        """Do a part of a run, and let later attempts go on with what it returned instead of doing it again.

        It is done again if the process dies before that is recorded: for what must happen once there are
        `exactly_once` and `external`.

        Args:
            step: Its name, one of its own in this task, the same in every attempt.
            function: Does it.

        Returns:
            What `function` returned, in this or in an earlier attempt; it must be JSON.

        Raises:
            StaleAttempt: Another attempt holds the run.
            EffectRefused: It is inside of an `exactly_once` block, the name is taken, or the result is not JSON.
        """
        return Step(self._attempt, step).run(function)
