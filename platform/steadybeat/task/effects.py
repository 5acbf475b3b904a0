"""Effects: what a task does to the world, once for each idempotency key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

from steadybeat.ledger import Ledger
from steadybeat.task.facts import Facts


class Effects(Facts):
    """The part of `SteadyTask` that makes effects happen once."""

    app: Any
    name: str

    @contextmanager
    def exactly_once(self) -> Iterator[Connection]:
        """Yield a connection to the ledger's database; what is done on it is committed with the processed key.

        It is the last effect of a run. If another attempt has taken the run over, nothing is committed.
        Called as a plain function, the block is an ordinary transaction.

        Yields:
            A connection inside a transaction. Between two statements no more than
            ``steadybeat_lease_seconds`` may pass.

        Raises:
            StaleAttempt: Another attempt holds the run; everything was rolled back.
            LedgerUnavailable: Postgres does not answer; the next attempt finds out whether it had committed.
        """
        attempt = self._attempt
        with Ledger.of(self.app).database.transaction() as connection:
            if attempt is None:
                yield connection
                return
            attempt.guard(connection)
            yield connection
            attempt.commit_effect(connection)
        self.app.steadybeat.reach("after_effect", self.name)
