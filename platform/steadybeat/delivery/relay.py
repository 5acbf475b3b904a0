"""Relay: what the outbox holds is sent when it is time, by whichever process comes first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kombu.exceptions import OperationalError
from kombu.pools import producers

from steadybeat.delivery.patience import patience
from steadybeat.errors import BrokerUnavailable
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import Envelope

_BATCH = 200


class Relay:
    """Sends what is due. Any number of processes may do so at once; any of them may die at any point."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self) -> int:
        """Send what is due now, a batch at the most, and return how many messages that were.

        Raises:
            BrokerUnavailable: Nothing was marked as sent.
            LedgerUnavailable: Some may be sent once more later; claims ignore that.
        """
        try:
            return Ledger.of(self._app).outbox.relay(self._send, _BATCH)
        except OperationalError as error:
            raise BrokerUnavailable(f"Redis does not answer: {error}") from error

    def _send(self, envelopes: Sequence[Envelope]) -> None:
        pool = producers[self._app.connection_for_write(transport_options=patience())]
        with pool.acquire(block=True, timeout=5) as producer, producer.connection._reraise_as_library_errors():
            for envelope in envelopes:
                self._publish(producer, envelope)
                self._app.steadybeat.reach("after_outbox", envelope.task)

    def _publish(self, producer: Any, envelope: Envelope) -> None:
        headers = dict(envelope.message["headers"])
        headers |= {"steadybeat_delivery": envelope.delivery_no, "retries": envelope.retry_count}
        properties = {name: value for name, value in envelope.message["properties"].items() if value is not None}
        producer.publish(
            envelope.body,
            content_type="application/json",
            content_encoding="utf-8",
            exchange="",
            routing_key=envelope.queue,
            headers=headers,
            delivery_mode=2,
            **properties,
        )
