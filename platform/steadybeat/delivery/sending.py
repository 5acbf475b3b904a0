"""Sending: a run is recorded, with its whole message, before the message is sent.

Every way of starting a task passes `send_task_message`: ``delay``, ``apply_async``, canvas, Beat, ``send_task`` and
``celery call``. What a running task sends to itself (a retry, a replacement) and what follows a finished one (its
callbacks, the rest of its chain) is diverted: it is written by the very statement that ends the attempt.

With ``transaction=`` a run is recorded in the caller's own transaction and left to the relay: nobody has to know
whether that commits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from celery.app.amqp import AMQP
from kombu import Queue
from kombu.exceptions import EncodeError, OperationalError
from kombu.serialization import dumps

from steadybeat import channel, telemetry
from steadybeat.delivery.routing import SteadyQueues, SteadyRouter, queues_named, service_of, services_of
from steadybeat.errors import ConfigurationError
from steadybeat.ledger import Ledger
from steadybeat.ledger.joining import joined
from steadybeat.ledger.rows import NewRun
from steadybeat.locks import turns_of
from steadybeat.template import filled

logger = logging.getLogger(__name__)

SCHEDULE = "steadybeat_schedule"
SCHEDULED_FOR = "steadybeat_scheduled_for"
TENANT = "steadybeat_tenant"


@dataclass(slots=True)
class Diversion:
    """Messages that are kept from being sent: those of one run, or all of them."""

    run: str | None
    runs: list[NewRun] = field(default_factory=list)

    def takes(self, run: str) -> bool:
        """Return whether a message of this run is kept."""
        return self.run is None or self.run == run


_diversion: ContextVar[Diversion | None] = ContextVar("steadybeat_diversion", default=None)


class SteadyAMQP(AMQP):
    """Celery's message factory, which records what it sends."""

    queues_cls = SteadyQueues

    @cached_property
    def Connection(self) -> type[channel.Connection]:  # noqa: N802 - Celery's name
        """The class of this app's connections."""
        return channel.Connection.keeping(Ledger.of(self.app).foreign.keep)

    def Queues(self, queues: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N802 - Celery's name
        """Return the queues that the configuration declares, and one for each service."""
        declared = super().Queues(queues, *args, **kwargs)
        declared.app = self.app
        for service in services_of(self.app):
            if service not in declared:
                declared.add(Queue(service, routing_key=service))
        declared._default_consume_from = {**declared}
        for name in sorted(queues_named(self.app) - {*declared}):
            declared.add(Queue(name, routing_key=name))
        return declared

    def Router(self, queues: Any = None, create_missing: bool | None = None) -> SteadyRouter:  # noqa: N802
        """Return a router that knows every service's queue."""
        create = self.app.either("task_create_missing_queues", create_missing)
        return SteadyRouter(self.routes, queues or self.queues, create, app=self.app)

    @contextmanager
    def diverting(self, run: str | None = None) -> Iterator[list[NewRun]]:
        """Keep messages from being sent while the block runs, and yield the list that they go to.

        Args:
            run: Only messages with this id; None: all of them.
        """
        diversion = Diversion(run)
        token = _diversion.set(diversion)
        try:
            yield diversion.runs
        finally:
            _diversion.reset(token)

    def as_task_v2(self, task_id: str, name: str, args: Any = None, *more: Any, **kwargs: Any) -> Any:
        """Return a message as Celery makes it; what people are shown of its arguments has no secrets."""
        message = super().as_task_v2(task_id, name, args, *more, **kwargs)
        task = self.app.tasks.get(name)
        if args and task is not None and telemetry.hide_arguments(message.headers, task.run, len(args)):
            (message.sent_event or {})["args"] = message.headers["argsrepr"]
        for shown, names in (
            (message.headers, ("argsrepr", "kwargsrepr")),
            (message.sent_event or {}, ("args", "kwargs")),
        ):
            for each in names:
                if shown.get(each) not in (None, "()", "{}"):
                    shown[each] = telemetry.redact_text(shown[each])
        return message

    def key_of(self, task: str, args: Any, kwargs: Any) -> str | None:
        """Return the idempotency key that a task's template makes of its arguments; None where it makes none."""
        try:
            return _templated_key(self.app.tasks.get(task), args, kwargs)
        except ConfigurationError:
            return None

    def _create_task_sender(self) -> Callable[..., Any]:
        publish = super()._create_task_sender()

        def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
            transaction = options.pop("transaction", None)
            if transaction is not None:
                return _enqueue(self.app, name, message, options, transaction)
            if not _is_recorded(self.app, name):
                _refuse_part(self.app, name, message)
                return publish(producer, name, message, **options)
            run = describe(self.app, name, message, options)
            if getattr(producer, "ahead", None) is not None:
                return _build(publish, producer, name, message, options, run)
            diversion = _diversion.get()
            if diversion is not None and diversion.takes(run.id):
                diversion.runs.append(run)
                return None
            return _record(self.app, run, lambda: publish(producer, name, message, **options))

        def in_a_trace(producer: Any, name: str, message: Any, **options: Any) -> Any:
            with telemetry.traces.sending(name, message, options):
                return send_task_message(producer, name, message, **options)

        return in_a_trace


def _record(app: Any, run: NewRun, publish: Callable[[], Any]) -> Any:
    """Record a run and send its message; what Redis does not take, and what is not due, is left to the relay."""
    ledger = Ledger.of(app)
    if run.not_before is not None:
        ledger.runs.record(run, outbox_reason="delayed")
        return None
    ledger.runs.record(run)
    app.steadybeat.reach("after_record", run.task)
    try:
        return publish()
    except OperationalError as error:
        logger.warning("message left to the relay", extra={"run_id": run.id, "task": run.task, "error": str(error)})
        ledger.runs.send_through_outbox([run.id], "delayed")
        return None


def _enqueue(app: Any, name: str, message: Any, options: dict[str, Any], transaction: Any) -> None:
    """Record a run in a transaction of the caller's; the relay sends it once that has committed.

    Raises:
        ConfigurationError: The task's runs are not in the ledger, or `transaction` is none on its database.
    """
    if not _is_recorded(app, name):
        raise ConfigurationError(
            f"{name}: transaction=: its runs are not in the ledger (recorded=False, or a task of Celery's own), so that"
            " they cannot be part of a transaction; send it after the commit, or leave recorded=False out.",
            task=name,
        )
    ledger = Ledger.of(app)
    ledger.require_schema_once()
    run = describe(app, name, message, options)
    ledger.runs.record(run, outbox_reason="transactional", connection=joined(transaction, None))


def _build(
    publish: Callable[..., Any], producer: Any, name: str, message: Any, options: dict[str, Any], run: NewRun
) -> Any:
    """Have a message built that is sent later; a queue is declared with the first one for it."""
    producer.ahead.take(run)
    if run.not_before is not None:
        return None
    if run.queue in producer.declared:
        options["declare"] = ()
    producer.declared.add(run.queue)
    return publish(producer, name, message, **options)


def _is_recorded(app: Any, name: str) -> bool:
    task = app.tasks.get(name)
    return not name.startswith("celery.") if task is None else bool(getattr(task, "recorded", False))


def _refuse_part(app: Any, name: str, message: Any) -> None:
    """Refuse a part of a chord of which the ledger would never know that it was lost.

    Raises:
        ConfigurationError: With the way out.
    """
    if message[2][2].get("chord") is not None and getattr(app.backend, "is_of_the_ledger", False):
        raise ConfigurationError(
            f"{name}: with recorded=False it cannot be a part of a chord, which would wait for it for ever once it is"
            " lost; let it be recorded, or choose a result_backend of your own.",
            task=name,
        )


def describe(app: Any, name: str, message: Any, options: dict[str, Any]) -> NewRun:
    """Return the run that a message starts, and take out of the message what the ledger keeps from now on.

    ``eta`` becomes the run's `not_before` and ``expires`` its `deadline`: neither waits in a worker's memory.

    Raises:
        ConfigurationError: The task id is no UUID, an argument is not JSON, the key template does not fit, or an
            instant has no time zone.
    """
    task = app.tasks.get(name)
    headers, properties, (args, kwargs, embed), _ = message
    headers.update(options.pop("headers", None) or {})
    run_id = _checked_id(headers["id"])
    telemetry.correlation.stamp(headers)
    headers.setdefault("steadybeat_delivery", 1)
    key = options.pop("idempotency_key", None) or _templated_key(task, args, kwargs) or run_id
    not_before, headers["eta"] = _instant("eta", headers.get("eta")), None
    deadline, headers["expires"] = _instant("expires", headers.get("expires")), None
    options.pop("expiration", None)
    turns_of(task, args, kwargs)  # a lock whose name the arguments do not say is refused here, not in a worker
    queue = options.get("queue") or app.conf.task_default_queue
    priority = options.get("priority")
    queue = queue if isinstance(queue, str) else queue.name
    own_service = queue if name.startswith("celery.") else service_of(name)
    part = embed.get("chord") is not None
    return NewRun(
        id=run_id,
        task=name,
        service=getattr(task, "service", None) or own_service,
        queue=queue,
        priority=priority,
        idempotency_key=str(key),
        message={"headers": headers, "properties": {**properties, "priority": priority}},
        body=_encoded(name, message[2]),
        schedule=headers.get(SCHEDULE),
        scheduled_for=_instant(SCHEDULED_FOR, headers.get(SCHEDULED_FOR)),
        parent_id=headers.get("parent_id"),
        rerun_of=options.pop("rerun_of", None),
        not_before=not_before,
        deadline=deadline,
        correlation_id=headers.get(telemetry.correlation.HEADER),
        group_id=headers.get("group") if part else None,
        group_index=headers.get("group_index") if part else None,
        tenant=headers.get(TENANT),
    )


def _checked_id(task_id: str) -> str:
    try:
        return str(UUID(task_id))
    except (ValueError, AttributeError, TypeError):
        raise ConfigurationError(
            f"task_id={task_id!r}: must be a UUID; a name of your own is given as idempotency_key=.", task_id=task_id
        ) from None


def _templated_key(task: Any, args: Any, kwargs: Any) -> str | None:
    return filled(task, "key_template", args, kwargs) if getattr(task, "key_template", None) else None


def _encoded(name: str, body: Any) -> str:
    try:
        _, _, encoded = dumps(body, serializer="json")
    except (EncodeError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{name}: its arguments are not JSON ({error}); pass ids and plain values instead.", task=name
        ) from error
    return encoded if isinstance(encoded, str) else str(encoded, "utf-8")


def _instant(name: str, value: str | None) -> datetime | None:
    if value is None:
        return None
    instant = datetime.fromisoformat(value)
    if instant.tzinfo is None:
        raise ConfigurationError(
            f"{name}={value!r}: has no time zone; pass an aware datetime, such as datetime.now(UTC).", name=name
        )
    return instant
