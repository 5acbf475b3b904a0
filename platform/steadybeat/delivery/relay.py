"""Relay: what the outbox holds is sent when it is time, by whichever process comes first."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from kombu import Queue
from kombu.exceptions import OperationalError
from kombu.pools import producers
from redis.exceptions import ResponseError

from steadybeat import telemetry
from steadybeat.channel import Command
from steadybeat.delivery.patience import patience
from steadybeat.errors import BrokerUnavailable
from steadybeat.ledger import Ledger
from steadybeat.ledger.connection import storable
from steadybeat.ledger.rows import Envelope
from steadybeat.telemetry import metrics

logger = logging.getLogger(__name__)

BATCH = 500
WITHIN = timedelta(seconds=0.5)
_SHORTEST_PAUSE = timedelta(seconds=0.2)


class Relay:
    """Sends what is due. Any number of processes may do so at once; any of them may die at any point.

    Attributes:
        is_behind: Whether more was due when the time was over.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self.is_behind = False
        self._next_due: timedelta | None = None

    def __call__(self, within: timedelta = WITHIN) -> int:
        """Send what is due now, batch after batch, and return how many messages that were.

        Args:
            within: No batch begins after this.

        Raises:
            BrokerUnavailable: Nothing of the last batch was marked as sent.
            LedgerUnavailable: Some may be sent once more later; claims ignore that.
        """
        outbox, until, sent = Ledger.of(self._app).outbox, time.monotonic() + within.total_seconds(), 0
        self.is_behind, self._next_due = False, outbox.next_due()
        if self._next_due is None or self._next_due > timedelta(0):
            return 0
        while True:
            count, self.is_behind = self._send_batch()
            sent += count
            if not self.is_behind or time.monotonic() >= until:
                self._next_due = outbox.next_due()
                return sent

    def pause(self, longest: timedelta) -> timedelta:
        """Return after which pause it wants to be called again, `longest` at the most."""
        if self.is_behind:
            return timedelta(0)
        if self._next_due is None or self._next_due <= timedelta(0):  # what is due is somebody else's
            return longest
        return min(longest, max(self._next_due, _SHORTEST_PAUSE))

    def send(self, envelopes: Sequence[Envelope]) -> list[str]:
        """Send messages that the outbox does not hold; return the runs whose queue cannot be written to now.

        A message that can never be sent makes a dead letter.

        Raises:
            OperationalError: Redis does not answer.
            LedgerUnavailable: A dead letter could not be made.
        """
        unsendable = dict[str, tuple[Envelope, Exception]]()
        by_number = [each._replace(outbox_id=number) for number, each in enumerate(envelopes)]
        left = self._send(by_number, unsendable)
        self._bury(unsendable)
        return [run for run in (envelopes[number].run for number in left) if run not in unsendable]

    def _send_batch(self) -> tuple[int, bool]:
        ledger, unsendable = Ledger.of(self._app), dict[str, tuple[Envelope, Exception]]()

        def send(envelopes: Sequence[Envelope]) -> list[int]:
            left = self._send(envelopes, unsendable)
            sent = Counter(each.reason for each in envelopes if each.outbox_id not in left)
            for reason, count in sent.items():
                metrics.count(metrics.table.RELAYED, reason, by=count)
            return left

        try:
            sent, more = ledger.outbox.relay(send, BATCH)
        except OperationalError as error:
            raise BrokerUnavailable(f"Redis does not answer: {error}") from error
        self._bury(unsendable)
        return sent, more

    def _bury(self, unsendable: dict[str, tuple[Envelope, Exception]]) -> None:
        """Make dead letters of runs whose messages can never be sent."""
        for envelope, why in unsendable.values():
            reason = storable(f"its message cannot be sent: {type(why).__name__}: {why}")
            ending: dict[str, Any] = {"delivery_no": envelope.delivery_no, "state": "dead", "reason": reason}
            ledger = Ledger.of(self._app)
            if ledger.runs.end_unstarted(envelope.run, **ending):
                known = ledger.lines.facts_of([envelope.run]).get(envelope.run, {})
                telemetry.log_outcome("dead", **{"run_id": envelope.run, "task": envelope.task, **known}, reason=reason)

    def _send(self, envelopes: Sequence[Envelope], unsendable: dict[str, tuple[Envelope, Exception]]) -> list[int]:
        """Send messages, and return those that could not be; which of them never can goes into `unsendable`."""
        left, commands, by_key = list[int](), list[Command](), dict[str, list[Envelope]]()
        pool = producers[self._app.connection_for_write(transport_options=patience())]
        with pool.acquire(block=True, timeout=5) as producer, producer.connection._reraise_as_library_errors():
            self._declare(producer, {envelope.queue for envelope in envelopes})
            for envelope in envelopes:
                try:
                    built = _built(producer.channel, envelope)
                except Exception as error:  # noqa: BLE001 - a stored message is input; no input stops the relay
                    unsendable[envelope.run] = envelope, error
                    left.append(envelope.outbox_id)
                    continue
                commands += built
                by_key.setdefault(built[0][1][0], []).append(envelope)
            for key, said in producer.channel.execute_each(commands).items():
                if not str(said).startswith("WRONGTYPE"):
                    raise said
                logger.error("queue cannot be written to", extra={"queue": key, "error": str(said)})
                left += [envelope.outbox_id for envelope in by_key.get(key, ())]
        for envelope in envelopes:
            self._app.steadybeat.reach("after_outbox", envelope.task)
        return left

    def _declare(self, producer: Any, names: set[str]) -> None:
        """Bind queues, once for each connection, so that tools which ask for them see them before a worker does."""
        amqp = self._app.amqp
        for name in names:
            queue = amqp.queues.get(name) or Queue(name, amqp.default_exchange, routing_key=name)
            try:
                producer.maybe_declare(queue)
            except ResponseError as error:
                logger.warning("queue not bound", extra={"queue": name, "error": str(error)})


def _built(channel: Any, envelope: Envelope) -> list[Command]:
    """Return what sends a message, as kombu writes it."""
    stored = json.loads(envelope.message)
    headers = {**stored["headers"], "steadybeat_delivery": envelope.delivery_no, "retries": envelope.retry_count}
    properties = {name: value for name, value in stored["properties"].items() if value is not None}
    message = channel.prepare_message(
        envelope.body,
        content_type="application/json",
        content_encoding="utf-8",
        headers=headers,
        properties={**properties, "delivery_mode": 2},
    )
    with channel.keeping() as kept:
        channel.basic_publish(message, exchange="", routing_key=envelope.queue)
    if envelope.reason == "rescue":  # its turn had come before, so it stands in front of those that wait
        return [("rpush" if name == "lpush" else name, args) for name, args in kept.commands]
    return list(kept.commands)
