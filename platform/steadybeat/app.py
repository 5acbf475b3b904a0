"""install(app): the one line that makes a Celery app keep the promise. The only place that names every room."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import socket
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
from celery import Celery, signals

from steadybeat import crashpoints, telemetry
from steadybeat.address import Address
from steadybeat.errors import BrokerUnavailable, ConfigurationError
from steadybeat.settings import Settings

# Rooms that speak to a server are opened when they are first used: see `steadybeat/__init__.py`.
if TYPE_CHECKING:
    from steadybeat.canvas import Following
    from steadybeat.delivery import Ahead, Relay, Rescuer
    from steadybeat.ledger import Ledger
    from steadybeat.task.classifying import Classifier
    from steadybeat.telemetry.pulse import Pulse


class Steadybeat:
    """What an app has once steadybeat is installed on it, as ``app.steadybeat``.

    Attributes:
        settings: Every ``steadybeat_*`` setting.
        instance: Id of this process, and of the pool processes that it forks.
        classify: What the errors of the app's tasks mean, where a task's own classifier has no opinion.
        pulse: How this process shows that it is doing something; None for one that only calls tasks.
        ending: Whether this worker ends; None in another process.
        unrecorded: What the ledger was not there for: to be called again, from the event loop, once it answers.
    """

    def __init__(self, app: Any, settings: Settings) -> None:
        self._app = app
        self._role = "caller"
        self.settings = settings
        self.instance = str(uuid.uuid4())
        self.classify: Classifier | None = None
        self.pulse: Pulse | None = None
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

    def become(self, role: str) -> None:
        """Start as a new instance, with a pulse of its own.

        Args:
            role: ``worker``, ``beat`` or ``watchdog``.

        Raises:
            ConfigurationError: The health folder cannot be written.
        """
        self._role = role
        self.instance = str(uuid.uuid4())
        self.pulse = telemetry.Pulse(self.settings, self.name, role)
        telemetry.bind_instance(telemetry.instance_id(role))

    @property
    def name(self) -> str:
        """What the app is called."""
        return self._app.main or "default"

    def beat(self, part: str, *, within: timedelta | None = None) -> None:
        """Show that a part of this process goes on.

        Args:
            part: What goes on: `telemetry.EVENT_LOOP`, `KEEPER` or `TICK`.
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
        self.ledger.instances.leave(self.instance)

    def sign_of_life(self) -> float:
        """Say that this instance is alive; return how many seconds its clock is ahead of Postgres'."""
        return self.ledger.instances.sign_of_life(
            self.instance, role=self._role, host=socket.gethostname(), pid=os.getpid(), release=_release()
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


_SENT_BY_CANVAS = ("celery.accumulate", "celery.map", "celery.starmap")

_REDBEAT = frozenset(f"{module}RedBeatScheduler" for module in (
    "redbeat.", "redbeat:", "redbeat.schedulers.", "redbeat.schedulers:",
))  # fmt: skip


def install(app: Celery, *, classify: Classifier | None = None) -> Steadybeat:
    """Make every task of `app` a SteadyTask, and every fire accounted for.

    It stands after ``config_from_object`` and before tasks are used. It sets safe defaults and leaves alone what the
    configuration says itself.

    Args:
        app: A Celery app whose broker is Redis.
        classify: What the errors of its tasks mean: called with an error, it answers with `Transient`, `Permanent`,
            `Snooze` or `Cancel`, as a class or an instance, or with None where it has no opinion. It must be quick. A
            task's own ``classify=`` is asked first.

    Returns:
        What is then ``app.steadybeat``.

    Raises:
        ConfigurationError: A setting is wrong; or the app was used before.
    """
    try:
        return _install(app, classify)
    except ConfigurationError as error:
        if click.get_current_context(silent=True) is None:
            raise
        error.show()  # Celery would print the whole stack before the line that matters
        raise SystemExit(error.exit_code) from None


def _install(app: Any, classify: Classifier | None) -> Steadybeat:
    if app.finalized:
        raise ConfigurationError(
            "install(app) comes too late: its tasks were used before. Move it up, after the config."
        )
    settings = Settings.read(app.conf)
    steadybeat = Steadybeat(app, settings)
    steadybeat.classify = _checked(classify)
    app.steadybeat = steadybeat
    _set_redbeat(app, _set_defaults(app, steadybeat))
    _adopt_task_class(app)
    app.amqp_cls = "steadybeat.delivery:SteadyAMQP"
    app.__dict__.pop("amqp", None)
    app._task_from_fun = functools.partial(_task_from_fun, app, app._task_from_fun)
    app.register_task = functools.partial(_register_task, app.register_task)
    app.on_after_finalize.connect(_adopt_earlier_tasks, weak=False)
    for signal in (signals.import_modules, signals.beat_init):
        signal.connect(_refuse_other_schedulers, dispatch_uid="steadybeat.refuse_other_schedulers")
    app.steps["worker"].add("steadybeat.task:Keeper")
    telemetry.install(app, settings)
    return steadybeat


def _checked(classify: Classifier | None) -> Classifier | None:
    if classify is not None:
        from steadybeat.task.options import can_be_asked

        if not can_be_asked(classify):
            raise ConfigurationError(f"classify={classify!r}: must be a function of one argument, the error.")
    return classify


def _adopt_task_class(app: Any) -> None:
    """Make the base class of tasks steady, also one that the app has brought along (``task_cls=``, ``app.Task``)."""
    own = app.__dict__.pop("Task", None) or app.task_cls
    if own == "celery.app.task:Task":
        app.task_cls = "steadybeat.task:SteadyTask"
        return
    from celery.utils.imports import symbol_by_name

    from steadybeat.task.steady import steady

    app.task_cls = steady(symbol_by_name(own))


def _task_from_fun(app: Any, original: Any, fun: Any, name: str | None = None, base: Any = None, **options: Any) -> Any:
    """Make a steady task, whatever its base class; of Celery's own tasks those that canvas sends."""
    if (name or "").startswith("celery.") and name not in _SENT_BY_CANVAS:
        base = base or app.subclass_with_self(
            "celery.app.task:Task", name="Task", attribute="_app", keep_reduce=True, abstract=True
        )
    else:
        from steadybeat.task.steady import steady

        base = steady(base or app.Task)
    return original(fun, name=name, base=base, **options)


def _adopt_earlier_tasks(sender: Any, **_: Any) -> None:
    """Make the tasks steady that were given a base class of their own before `install`."""
    from steadybeat.task.steady import SteadyTask, steady

    for name, task in sender._tasks.items():
        if not name.startswith("celery.") and not isinstance(task, SteadyTask):
            task.__class__ = steady(type(task))
            type(task).on_bound(sender)


def _register_task(original: Any, task: Any, **options: Any) -> Any:
    """Register a task that is written as a class; it becomes steady as well."""
    from steadybeat.task.steady import steady

    task = task() if isinstance(task, type) else task
    if not (task.name or "").startswith("celery."):
        task.__class__ = steady(type(task))
    return original(task, **options)


def _refuse_other_schedulers(sender: Any = None, **_: Any) -> None:
    """End a Beat that was told (``-S``) to use a scheduler which knows nothing of the ledger.

    It comes with the signals `import_modules`, before a scheduler is made (RedBeat's writes to Redis at once), and
    `beat_init`, where Beat runs within another program.
    """
    context = click.get_current_context(silent=True)
    if isinstance(sender, Celery):
        app, chosen = sender, context.params.get("scheduler") if context and context.info_name == "beat" else None
    else:
        app, chosen = sender.app, type(sender.scheduler)
    if chosen is None or getattr(app, "steadybeat", None) is None:
        return
    from celery.utils.imports import load_extension_class_names, qualname, symbol_by_name

    from steadybeat.beat import SteadyScheduler

    scheduler = symbol_by_name(chosen, aliases=dict(load_extension_class_names("celery.beat_schedulers")))
    if not issubclass(scheduler, SteadyScheduler):
        ConfigurationError(f"-S {qualname(scheduler)}: fires past the ledger; leave -S and beat_scheduler out.").show()
        raise SystemExit(2)


def _set_defaults(app: Any, steadybeat: Steadybeat) -> Address:
    """Set what the configuration does not say, and return where the broker is."""
    settings, conf = steadybeat.settings, app.conf
    name = "broker_url" if _is_given(conf, "broker_url") else "steadybeat_redis_url"
    url = conf.broker_url if name == "broker_url" else settings.redis_url
    address = Address.read(url, name, conf.broker_transport_options)
    defaults: dict[str, Any] = {
        "broker_url": url,
        "broker_transport": "steadybeat.channel:Transport",
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_pool_acquire_timeout": 5.0,
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "result_backend": "steadybeat.canvas:LedgerBackend",
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_create_missing_queues": False,
        "task_publish_retry_policy": {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
        "worker_prefetch_multiplier": 1,
        "worker_soft_shutdown_timeout": 8.0,
        "worker_send_task_events": True,
        "worker_detect_quorum_queues": False,
        "worker_consumer": "steadybeat.task:SteadyConsumer",
        "beat_scheduler": "steadybeat.beat:SteadyScheduler",
        "beat_max_loop_interval": settings.leader_poll_seconds,
        "beat_enable_remote_control": True,
        "beat_remote_control_max_tick_age": 5 * settings.health_seconds,
        "redbeat_lock_timeout": settings.leader_lock_seconds,
    }
    if conf.result_backend:  # also by `celery --result-backend`
        del defaults["result_backend"]
    for key, value in defaults.items():
        if not _is_given(conf, key) or (key == "beat_scheduler" and conf[key] in _REDBEAT):
            conf[key] = value
    # A server that hangs is left when it has answered no ping for so long: the sentinels have another by then.
    behind_sentinels = {"master_name": address.master_name, "health_check_interval": 5} if address.sentinels else {}
    conf.broker_transport_options = {
        "visibility_timeout": 3600,
        "socket_timeout": 5.0,
        "socket_connect_timeout": 3.0,
        "socket_keepalive": True,
        **behind_sentinels,
        **conf.broker_transport_options,
    }
    return address


def _set_redbeat(app: Any, address: Address) -> None:
    """Point RedBeat to where the broker is, unless the configuration points it elsewhere."""
    conf = app.conf
    options = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0}
    if _is_given(conf, "redbeat_redis_options"):
        options = conf.redbeat_redis_options
    url = conf.redbeat_redis_url if _is_given(conf, "redbeat_redis_url") else None
    own = Address.of_redbeat(url or "redis://", options)
    conf.redbeat_redis_url, needed = (own if url else address).redbeat(
        conf.broker_transport_options.get("sentinel_kwargs")
    )
    conf.redbeat_redis_options = {**needed, **options}


def _is_given(conf: Any, key: str) -> bool:
    """Return whether the configuration says `key` itself, under its new or its old name."""
    names: set[str] = {key, key.upper(), f"CELERY_{key.upper()}"}
    *given, _ = conf.maps
    return any(name in mapping for mapping in given if isinstance(mapping, Mapping) for name in names)


@functools.cache
def _release() -> str:
    return importlib.metadata.version("steadybeat")
