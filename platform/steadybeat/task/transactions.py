"""Transactions: an effect in a database, committed together with its processed key or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, event, text

from steadybeat.errors import EffectRefused, StaleAttempt, Transient
from steadybeat.ledger import Ledger
from steadybeat.ledger.keys import Found
from steadybeat.task.attempt import Attempt
from steadybeat.task.wording import kept

D = TypeVar("D")

_open: ContextVar[str | None] = ContextVar("steadybeat_open_effect", default=None)


def is_within_effect() -> bool:
    """Return whether the code that asks stands inside of an effect's block, or its transaction is being committed."""
    return _open.get() is not None


class _Over(BaseException):
    """Ends the block of an effect that has happened; no ``except Exception`` of a task stops it."""


class Effect(Generic[D]):
    """One effect of a run, for a ``with`` statement.

    Attributes:
        done: Whether it has happened: before this attempt came to it, or by now.
        result: What is kept with the effect, and given to attempts that find it done. It is set inside of the block,
            to anything that is JSON.
    """

    def __init__(self, app: Any, attempt: Attempt | None, database: Any, step: str) -> None:
        self.done = False
        self.result: Any = None
        self._ledger = Ledger.of(app)
        self._attempt = attempt
        self._database = database
        self._step = step
        self._said = f"exactly_once({f'step={step!r}' if step else ''})"
        self._found = Found()
        self._in_ledger = database is None
        self._block: AbstractContextManager[D] | None = None

    def __enter__(self) -> D:
        """Begin the transaction."""
        self._block = self._transaction()
        return self._block.__enter__()

    def __exit__(self, *error: Any) -> bool | None:
        """Commit, if the fence still matches; roll back after an error."""
        assert self._block is not None
        return self._block.__exit__(*error)

    @contextmanager
    def _transaction(self) -> Iterator[D]:
        attempt = self._attempt
        refuse_nesting(self._said)
        if attempt is not None:
            attempt.begin_step(self._step, self._said)
        token = _open.set(self._said)
        try:
            with self._begun() as (given, connection):
                if attempt is not None:
                    self._look(attempt, connection)
                if self.done:
                    with _over_at_once(connection):
                        yield given
                    given.rollback()
                else:
                    with self._no_other_commit(connection):
                        yield given
                        if attempt is not None:
                            self._keep(attempt, given, connection)
        finally:
            _open.reset(token)
        made, self.done = not self.done, True
        if attempt is not None:
            if made:
                attempt.reach("after_effect")
            attempt.end_step(self._step, last=self._in_ledger and not self._step)

    @contextmanager
    def _begun(self) -> Iterator[tuple[Any, Connection]]:
        """Yield what the block is given and the connection below it, inside of a transaction of the block's own."""
        given = self._database
        if given is None:
            with self._ledger.database.transaction() as connection:
                yield connection, connection
        elif isinstance(given, Engine):
            with given.begin() as connection:
                yield connection, self._checked(connection)
        elif isinstance(given, Connection) or _is_session(given):
            if given.in_transaction():
                raise EffectRefused(
                    f"{self._said}: this {type(given).__name__} is inside of a transaction already. The effect has a"
                    " transaction of its own: commit or roll back before, or give the engine."
                )
            with given.begin():
                yield given, self._checked(given if isinstance(given, Connection) else given.connection())
        else:
            raise EffectRefused(
                f"{self._said}: {type(given).__name__} is no database; give a SQLAlchemy Engine, Connection or"
                " Session, or nothing for the ledger's own."
            )

    def _checked(self, connection: Connection) -> Connection:
        if connection.dialect.name != "postgresql":
            raise EffectRefused(
                f"{self._said}: {connection.dialect.name} cannot hold processed keys; it must be a Postgres."
            )
        if getattr(connection.connection.driver_connection, "autocommit", False):
            raise EffectRefused(f"{self._said}: this connection commits every statement by itself.")
        return connection

    @contextmanager
    def _no_other_commit(self, connection: Connection) -> Iterator[None]:
        """Refuse a commit before the processed key is written."""

        def refuse(committing: Connection) -> None:
            committing.connection.rollback()  # SQLAlchemy takes a commit that failed for the end of the transaction
            raise EffectRefused(
                f"{self._said}: commit() inside of the block. It is committed at its end, with the processed key."
            )

        event.listen(connection, "commit", refuse)
        try:
            yield
        finally:
            event.remove(connection, "commit", refuse)

    def _look(self, attempt: Attempt, connection: Connection) -> None:
        """Bound how long a stopped process may hold the transaction, and look whether the effect has happened."""
        if self._database is not None:
            self._in_ledger = self._ledger.keys.is_here(connection, attempt.run)
        keep_awake(connection, self._ledger.settings.lease_seconds, statements=self._in_ledger)
        if not self._in_ledger:
            self._found = self._ledger.keys.found_in_others(connection, attempt.holder, attempt.step_of(self._step))
        elif self._step:
            self._found = self._ledger.keys.found(attempt.holder, attempt.step_of(self._step), connection)
        if self._found.state not in ("", "done"):
            raise EffectRefused(
                f"{self._said}: {self._step!r} is an external step of this run; give each a name of its own."
            )
        self.done, self.result = bool(self._found.state), self._found.result

    def _keep(self, attempt: Attempt, given: Any, connection: Connection) -> None:
        """Write the processed key, as the last statement before COMMIT.

        Raises:
            StaleAttempt: The fence has moved on.
            LockLost: Another run has taken the lock of this one since.
            Transient: In a service's own database: an earlier attempt made the effect while this one did.
        """
        if not isinstance(given, Connection):
            given.flush()
        result = kept(self.result, self._said)
        keys, holder, step = self._ledger.keys, attempt.holder, attempt.step_of(self._step)
        attempt.require_turns(connection if self._in_ledger else None)
        if not self._in_ledger:
            self._keep_elsewhere(attempt, connection, result)
            return
        if not self._step:
            written: bool | None = keys.commit_effect(connection, holder, result) or None
        else:
            former = self._found.former_run
            written = keys.write(holder, step, "done", result=result, former_run=former, connection=connection)
        if written is None:
            raise StaleAttempt(run=attempt.run, fence=holder.fence)
        if not written:
            raise EffectRefused(f"{self._said}: two threads of this run do it at once.")

    def _keep_elsewhere(self, attempt: Attempt, connection: Connection, result: str | None) -> None:
        keys, holder = self._ledger.keys, attempt.holder
        step = attempt.step_of(self._step)
        by = keys.write_in_others(connection, holder, step, result, self._found.former_run)
        if (by is not None and by > holder.fence) or not keys.holds(holder):
            raise StaleAttempt(run=attempt.run, fence=holder.fence)
        if by is not None:
            raise Transient(f"{self._said}: an earlier attempt of this run has made it meanwhile.")


def refuse_nesting(said: str) -> None:
    """Refuse to begin an effect or a step inside of an effect's block.

    Raises:
        EffectRefused: Two transactions cannot be committed as one, and an outside world cannot be rolled back.
    """
    outer = _open.get()
    if outer is not None:
        raise EffectRefused(
            f"{said} inside of {outer}: one of the two could happen alone; put them one after the other."
        )


def keep_awake(connection: Connection, seconds: float, *, statements: bool) -> None:
    """End a transaction whose process stands still; its locks would keep the next attempt waiting.

    Args:
        connection: In a transaction; this lasts as long as that.
        seconds: How long it may be idle.
        statements: Whether a statement may take as long as it likes.
    """
    settings = [f"set_config('idle_in_transaction_session_timeout', '{int(seconds * 1000)}', true)"]
    if statements:
        settings.append("set_config('statement_timeout', '0', true)")
    connection.execute(text(f"SELECT {', '.join(settings)}"))


@contextmanager
def _over_at_once(connection: Connection) -> Iterator[None]:
    """End the block at the first statement that it would execute."""
    over = _Over()

    def stop(*_: Any) -> None:
        raise over

    # The second one is for statements as plain text, which pass by the first; it costs the connection.
    names = ("before_execute", "before_cursor_execute")
    for name in names:
        event.listen(connection, name, stop)
    try:
        yield
    except _Over as caught:
        if caught is not over:
            raise
    finally:
        for name in names:
            event.remove(connection, name, stop)


def _is_session(given: Any) -> bool:
    from sqlalchemy.orm import Session, scoped_session  # a program without an ORM does not load one

    return isinstance(given, Session | scoped_session)
