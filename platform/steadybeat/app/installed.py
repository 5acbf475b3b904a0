"""What an app has once steadybeat is installed on it: each room, opened when it is first used."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import socket
import uuid
from collections import deque
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from steadybeat import crashpoints, telemetry
from steadybeat.address import Address
from steadybeat.errors import BrokerUnavailable
from steadybeat.settings import Settings

# Rooms that speak to a server are opened when they are first used: see `steadybeat/__init__.py`.
if TYPE_CHECKING:
    from steadybeat.alerts import Alerts
    from steadybeat.beat import Expecting
    from steadybeat.canvas import Following
    from steadybeat.delivery import Ahead, Canaries, Relay, Rescuer
    from steadybeat.fanout import FanOuts
    from steadybeat.fanout.eligibility import Tenants
    from steadybeat.ledger import Ledger
    from steadybeat.task.classifying import Classifier
    from steadybeat.telemetry.heartbeats import Sender
    from steadybeat.telemetry.metrics.serving import Endpoint
    from steadybeat.telemetry.pulse import Pulse


class Steadybeat:
    """What an app has once steadybeat is installed on it, as ``app.steadybeat``.

    Attributes:
        settings: Every ``steadybeat_*`` setting.
        instance: Id of this process, and of the pool processes that it forks.
        node: What this worker is called in Celery; None in another process.
        consumed: Returns the queues that this worker consumes from.
        classify: What the errors of the app's tasks mean, where a task's own classifier has no opinion.
        pulse: How this process shows that it is doing something; None for one that only calls tasks.
        metrics: Where what this process counts is served; None where it is not.
        tenants: Which tenants there are, for policies that are told no others.
        ending: Whether this worker ends; None in another process.
        unrecorded: What the ledger was not there for: to be called again, from the event loop, once it answers.
    """

    def __init__(self, app: Any, settings: Settings) -> None:
        self._app = app
        self._role = "caller"
        self.settings = settings
        self.instance = str(uuid.uuid4())
        self.node: str | None = None
        self.consumed: Callable[[], Collection[str]] | None = None
        self.classify: Classifier | None = None
        self.tenants: Tenants | None = None
        self.pulse: Pulse | None = None
        self.metrics: Endpoint | None = None
        self.ending: Any = None
        self.unrecorded: deque[Callable[[], None]] = deque()
        self._crash_points = crashpoints.armed(settings)

    @functools.cached_property
    def ledger(self) -> Ledger:
        """What should happen and what happened."""
        from steadybeat.ledger import Ledger

        return Ledger(self.settings)

    @functools.cached_property
    def relay(self) -> Relay:
        """Sends what the outbox holds, when called."""
        from steadybeat.delivery import Relay

        return Relay(self._app)

    @functools.cached_property
    def rescue(self) -> Rescuer:
        """Finds what was lost, when called."""
        from steadybeat.delivery import Rescuer

        return Rescuer(self._app)

    @functools.cached_property
    def following(self) -> Following:
        """Writes what follows the end of runs: the bodies of chords, and error callbacks."""
        from steadybeat.canvas import Following

        return Following(self._app)

    @functools.cached_property
    def fan_outs(self) -> FanOuts:
        """Writes fan-outs, and moves them on when called."""
        from steadybeat.fanout import FanOuts

        return FanOuts(self._app)

    @functools.cached_property
    def alerts(self) -> Alerts:
        """Takes what the watchdog finds, and tells people of it."""
        from steadybeat.alerts import Alerts

        return Alerts(self._app)

    @functools.cached_property
    def canaries(self) -> Canaries:
        """Asks queues whether somebody consumes from them, when called."""
        from steadybeat.delivery import Canaries

        return Canaries(self._app)

    def expecting(self) -> Expecting:
        """Return what writes fires ahead while nobody leads; it knows the schedules from now on."""
        from steadybeat.beat import Expecting

        return Expecting(self._app)

    @functools.cached_property
    def heartbeats(self) -> Sender:
        """Tells monitors elsewhere of runs."""
        from steadybeat.app.heartbeats import sender

        return sender(self)

    def ahead(self, timeout_seconds: float) -> Ahead:
        """Return what builds messages and sends them later.

        Args:
            timeout_seconds: How long Redis may take to answer.
        """
        from steadybeat.delivery import Ahead

        return Ahead(self._app, timeout_seconds)

    def service(self, task: str) -> str:
        """Return the service that owns a task."""
        from steadybeat.delivery import service_of

        own = getattr(self._app.tasks.get(task), "service", None)
        return str(own or service_of(task))

    def own_services(self) -> list[str]:
        """Return the services whose tasks this program has, by name."""
        return sorted({self.service(name) for name in self._app.tasks if not name.startswith("celery.")})

    def reach(self, point: str, task: str | None = None) -> None:
        """End this process here if a test has armed the point.

        Args:
            point: One of `crashpoints.POINTS`.
            task: Name of the task whose run comes by.
        """
        if self._crash_points is not None:
            self._crash_points.reach(point, task)

    def become(self, role: str, *, pooled: bool = False) -> None:
        """Start as a new instance, with a pulse and an endpoint for metrics of its own.

        Args:
            role: ``worker``, ``beat`` or ``watchdog``.
            pooled: Whether attempts are made in processes that are forked from this one.

        Raises:
            ConfigurationError: The health folder cannot be written; nobody can listen where metrics are to be served.
        """
        self._role = role
        self.instance = str(uuid.uuid4())
        self.pulse = telemetry.Pulse(self.settings, self.name, role)
        self.metrics = telemetry.metrics.begin(self.settings, role, pooled=pooled)
        telemetry.bind_instance(telemetry.instance_id(role))

    @property
    def name(self) -> str:
        """What the app is called."""
        return self._app.main or "default"

    def beat(self, part: str, *, within: timedelta | None = None) -> None:
        """Show that a part of this process goes on.

        Args:
            part: What goes on: `telemetry.EVENT_LOOP`, `KEEPER`, `TICK` or `WATCH`.
            within: How long it may now be silent; ``steadybeat_health_seconds`` unless given.
        """
        if self.pulse is not None:
            self.pulse.beat(part, within=within)

    def rest(self, part: str) -> None:
        """Show that a part of this process has a good reason to be silent, until it is heard of again."""
        if self.pulse is not None:
            self.pulse.rest(part)

    def sign_off(self) -> None:
        """End in good order: nobody need wait for this instance's lease to pass.

        Raises:
            LedgerUnavailable: The lease has to pass.
        """
        if self.pulse is not None:
            self.pulse.end()
        telemetry.metrics.end()
        self.ledger.instances.leave(self.instance)

    def keep_lines(self, lines: Sequence[Any]) -> None:
        """Write lines of runs down.

        Args:
            lines: As `ledger.lines` takes them.

        Raises:
            LedgerUnavailable: None was written.
        """
        self.ledger.lines.keep(lines)

    def sign_of_life(self) -> float:
        """Say that this instance is alive; return how many seconds its clock is ahead of Postgres'."""
        return self.ledger.instances.sign_of_life(
            self.instance,
            role=self._role,
            host=socket.gethostname(),
            pid=os.getpid(),
            release=_release(),
            node=self.node,
            queues=None if self.consumed is None else sorted(self.consumed()),
            schema_version=_schema_version(),
        )

    def check_servers(self) -> None:
        """Refuse to start where Postgres or Redis do not answer, or cannot be used as they are.

        Raises:
            LedgerUnavailable: Names the URL and the setting.
            SchemaTooOld: Names the command that mends it.
            BrokerUnavailable: Names the URL and the setting.
            ConfigurationError: Redis is a cluster, or deletes what it holds when memory is short.
        """
        from kombu.exceptions import OperationalError

        from steadybeat.channel import refuse_unfit, refuse_unfit_others

        self.ledger.require_schema()
        conf = self._app.conf
        shown = Address.read(conf.broker_url, "broker_url", conf.broker_transport_options).shown
        with self._app.connection_for_write() as connection:
            try:
                connection.ensure_connection(max_retries=1, timeout=5)
                refuse_unfit(connection.default_channel.client, shown)
            except (OperationalError, *connection.connection_errors) as error:
                raise BrokerUnavailable(
                    f"Redis at {shown} does not answer: {str(error).rstrip('.')}. Start it, or point"
                    " STEADYBEAT_REDIS_URL to it.",
                    url=shown,
                ) from error
        refuse_unfit_others(self._app)

    def check_guarded(self, queues: Collection[str]) -> None:
        """Refuse to consume guarded queues while the work on them could be lost or doubled.

        Args:
            queues: Those that this worker is about to consume.

        Raises:
            ConfigurationError: A line for each inequality that is violated; or a guarded queue is not declared.
        """
        if self.settings.guarded_queues:
            from celery.utils.imports import symbol_by_name

            symbol_by_name("steadybeat.audit.live:refuse_unsafe")(self._app, queues)  # a room of this floor


@functools.cache
def _schema_version() -> str:
    from steadybeat.ledger import schema

    return schema.needed()


@functools.cache
def _release() -> str:
    return importlib.metadata.version("steadybeat")
