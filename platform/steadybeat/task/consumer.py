"""Messages that no task can take: kept as foreign messages, and the worker goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

from celery.utils.log import get_logger
from celery.worker.consumer import Consumer
from kombu.exceptions import DecodeError, OperationalError

from steadybeat import telemetry
from steadybeat.errors import LedgerUnavailable
from steadybeat.ledger import Ledger
from steadybeat.task import canaries
from steadybeat.telemetry import EVENT_LOOP, metrics

logger = get_logger(__name__)

DELIVERY = "steadybeat_delivery"
EVENT_LOOP_SECONDS = 1.0


class SteadyConsumer(Consumer):
    """Celery's consumer; no message ends it, and none is thrown away. It shows whether its event loop turns."""

    def register_with_event_loop(self, hub: Any) -> None:
        """Show from now on, from inside of the event loop, that it turns; a loop that ends takes this with it."""
        super().register_with_event_loop(hub)
        self.app.steadybeat.beat(EVENT_LOOP)
        hub.call_repeatedly(EVENT_LOOP_SECONDS, self.app.steadybeat.beat, EVENT_LOOP)

    def ensure_connected(self, conn: Any) -> Any:
        """Connect to the broker, however long it takes: no event loop turns meanwhile, and that is well."""
        if self.restart_count > 0:
            self.app.steadybeat.rest(EVENT_LOOP)
        return super().ensure_connected(conn)

    def cancel_active_requests(self) -> None:
        """Hand back what is being worked on, where the worker ends."""
        super().cancel_active_requests()
        self.app.steadybeat.ending.leave()

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Keep what is no task message."""
        self._keep(message, "not a task message")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Keep a message for a task that this worker does not have."""
        self._keep(message, f"unknown task {message.headers.get('task')!r}")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Keep a message that no request can be made of."""
        self._keep(message, f"invalid: {exc}")

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Keep a message whose body cannot be decoded."""
        self._keep(message, f"undecodable: {exc}")

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Return Celery's handler of messages, behind which nothing escapes that a message can cause."""
        handle = super().create_task_handler(*args, **kwargs)
        # kombu counts KeyError among the errors of a connection; here it means a message without some header.
        of_the_broker = (*self.connection_errors, *self.channel_errors)
        passed_on = (OperationalError, MemoryError, *(each for each in of_the_broker if each is not KeyError))

        def handle_any(message: Any) -> None:
            try:
                if canaries.is_canary(message):
                    canaries.take(message, self.pool)
                    return
                reason = _why_untakeable(self.app, message)
                if reason:
                    self._keep(message, reason)
                else:
                    handle(message)
            except passed_on:
                raise
            except DecodeError as error:
                self.on_decode_error(message, error)
            except Exception as error:  # noqa: BLE001 - a message is input; no input stops a worker
                self._keep(message, f"{type(error).__name__}: {error}")

        return handle_any

    def _keep(self, message: Any, reason: str) -> None:
        queue = (message.delivery_info or {}).get("routing_key") or "?"
        raw = json.dumps(getattr(message, "_raw", None) or repr(message), default=repr).encode()
        ledger = Ledger.of(self.app)
        try:
            named = _run_of(message)
            ended = named and ledger.runs.end_unstarted(named[0], delivery_no=named[1], state="dead", reason=reason)
            ledger.foreign.keep(queue, raw, reason, run=named[0] if named and ended else None)
            if named and ended:
                fire = {"schedule": message.headers.get("steadybeat_schedule"), "run_id": named[0], "reason": reason}
                telemetry.heartbeats.ended("dead", fire)
        except LedgerUnavailable as error:
            logger.warning("foreign message left unacknowledged", extra={"queue": queue, "error": str(error)})
            return
        metrics.count(metrics.table.FOREIGN)
        logger.error("foreign message kept", extra={"queue": queue, "reason": reason})
        message.reject_log_error(logger, self.connection_errors)


def _run_of(message: Any) -> tuple[str, int] | None:
    """Return the run and the delivery that a message names in a form that the ledger can look up, or None."""
    try:
        return str(UUID(message.headers["id"])), int(message.headers.get(DELIVERY) or 1)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _why_untakeable(app: Any, message: Any) -> str:
    """Return why no process could make an attempt of a message, or an empty string.

    What is wrong with the body's form would otherwise come to light in a pool process, behind the last place where
    the message can still be kept.
    """
    body, headers = message.payload, message.headers
    if "task" not in headers:
        return "" if isinstance(body, dict) and _is_uuid(body.get("id")) else "not a task message"
    if not isinstance(headers["task"], str):
        return "the name of its task is not a text"
    if getattr(app.tasks.get(headers["task"]), "recorded", False) and not _is_uuid(headers.get("id")):
        return f"its id is no UUID but {headers.get('id')!r}"
    args, kwargs, embed = (body["args"], body.get("kwargs") or {}, {}) if "args" in body else body
    if not isinstance(args, list) or not isinstance(kwargs, dict) or not isinstance(embed, dict | None):
        return "its body is not of the form [args, kwargs, embed]"
    int(headers.get("retries") or 0), int(headers.get(DELIVERY) or 1)
    for limit in headers.get("timelimit") or ():
        float(limit or 0)
    return ""


def _is_uuid(value: Any) -> bool:
    try:
        return bool(UUID(value))
    except (AttributeError, TypeError, ValueError):
        return False
