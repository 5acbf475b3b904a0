"""Ahead: messages that are built before it is their time, and sent together when it is.

Each goes through Celery's own code, as if it were sent: routes, headers, signals, Sentry. Only the last step differs:
kombu's commands for Redis are kept, and sent later in one go for many messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from steadybeat.channel import Command
from steadybeat.delivery.patience import patience
from steadybeat.errors import BrokerUnavailable
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import NewRun

_BATCH = 500


@dataclass(slots=True)
class Built:
    """A message that was built.

    Attributes:
        run: The run that it starts, until it is on record; None for a task that is not recorded.
        run_id: Its id, or None.
        commands: What sends it; None where Redis did not answer, and the relay is to send it.
        priority: Of the message; messages of a lower number are sent first, as Redis' queues have it.
    """

    run: NewRun | None = None
    run_id: str | None = None
    commands: Sequence[Command] | None = None
    priority: int = 0

    def take(self, run: NewRun) -> None:
        """Be the message of a run."""
        self.run, self.run_id, self.priority = run, run.id, run.priority or 0


class Ahead:
    """Builds messages and sends them, on a connection of its own. Not for several threads.

    Args:
        app: The Celery app.
        timeout_seconds: How long Redis may take to answer.
    """

    def __init__(self, app: Any, timeout_seconds: float) -> None:
        self._app = app
        self._patience = patience(timeout_seconds)
        self._connection: Any = None
        self._producer: Any = None

    def build(self, send: Callable[[Any], object]) -> Built:
        """Return the message that `send` sends.

        Args:
            send: Calls ``apply_async`` with the producer that it is given.
        """
        built = Built()
        with suppress(OperationalError), self._away():
            producer = self._open()
            producer.ahead = built
            with producer.channel.keeping() as kept:
                send(producer)
                built.commands = kept.commands
            return built
        self.close()
        if built.run is None:
            raise BrokerUnavailable("Redis does not answer.")
        return built

    def record(self, messages: Sequence[tuple[Built, datetime]]) -> None:
        """Write the runs of messages into the ledger, those that are not there yet; they are sent later.

        Args:
            messages: Each with the instant at which it is to be sent.
        """
        new = [(each, replace(each.run, enqueued_at=at)) for each, at in messages if each.run is not None]
        runs = Ledger.of(self._app).runs
        runs.record_all([run for _, run in new if run.not_before is None])
        for _, run in new:
            if run.not_before is not None:
                runs.record(run, outbox_reason="delayed")
        for built, _ in new:
            built.run = None

    def send(self, messages: Sequence[Built]) -> None:
        """Send messages whose runs are on record, in this order; what Redis does not take is left to the relay."""
        for start in range(0, len(messages), _BATCH):
            batch = messages[start : start + _BATCH]
            ready = [each for each in batch if each.commands is not None]
            left = [each for each in batch if each.commands is None]
            try:
                with self._away():
                    self._open().channel.execute([command for each in ready for command in each.commands or ()])
            except BrokerUnavailable:
                self.close()
                left = [*batch]
            self._leave(left)

    def _leave(self, messages: Sequence[Built]) -> None:
        lost = [each for each in messages if each.run_id is None]
        if lost:
            raise BrokerUnavailable("Redis does not answer, and a task that is not recorded cannot be sent later.")
        if messages:
            Ledger.of(self._app).runs.send_through_outbox([each.run_id for each in messages if each.run_id], "delayed")

    def close(self) -> None:
        """Close the connection; the next message opens another."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with suppress(Exception):
                connection.release()

    def _open(self) -> Any:
        if self._producer is None:
            self._connection = self._app.connection_for_write(transport_options=self._patience)
            self._producer = self._app.amqp.Producer(self._connection.default_channel, auto_declare=False)
            self._producer.declared = set()
        return self._producer

    @contextmanager
    def _away(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(f"Redis does not answer: {error}") from error
