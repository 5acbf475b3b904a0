"""Routing: a task goes to the queue of its service, and a queue that nobody declared is an error at the caller."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any
from weakref import WeakSet

from celery.app.amqp import Queues
from celery.app.routes import Router
from celery.canvas import task_name_from
from kombu import Queue
from kombu.utils.functional import maybe_list

from steadybeat.errors import ConfigurationError, UnknownQueue, did_you_mean

logger = logging.getLogger(__name__)

_BUILT_IN = "celery."
_CALLING = ("celery.map", "celery.starmap")
_imported: WeakSet[Any] = WeakSet()
"""The apps whose task modules were imported to route."""


def service_of(task: str) -> str:
    """Return the service that a task name says: its module, or the package of a module called ``tasks``.

    >>> service_of("tasks.royalties.settle")
    'royalties'
    >>> service_of("shop.orders.tasks.expire")
    'orders'
    """
    modules = task.split(".")[:-1]
    if len(modules) > 1 and modules[-1] == "tasks":
        modules.pop()
    return modules[-1] if modules else task


def services_of(app: Any) -> list[str]:
    """Return the services of an app's tasks, and those that ``steadybeat_services`` adds, by name."""
    return sorted({*app.steadybeat.own_services(), *app.steadybeat.settings.services})


def queues_named(app: Any) -> set[str]:
    """Return the queues that an app's tasks (``queue=``) and its ``task_routes`` name.

    As in Celery a worker consumes them when told so (``-Q``), not by default.
    """
    named = [getattr(task, "queue", None) for task in app.tasks.values()]
    routes = app.conf.task_routes or ()
    for each in routes if isinstance(routes, list | tuple) else (routes,):
        if isinstance(each, Mapping | list | tuple):
            targets = dict(each).values()
            named += [target.get("queue") if isinstance(target, Mapping) else target for target in targets]
    return {getattr(name, "name", name) for name in named if name}


def keeps_default_queue(app: Any) -> bool:
    """Return whether the configuration says itself where tasks go that no route is for.

    It does so by ``task_default_queue``, or by ``task_queues`` that hold the default queue.
    """
    conf = app.conf
    declared = conf.task_queues or ()
    names = declared if isinstance(declared, Mapping) else [getattr(each, "name", each) for each in declared]
    *given, _ = conf.maps
    keys = ("task_default_queue", "TASK_DEFAULT_QUEUE", "CELERY_TASK_DEFAULT_QUEUE")
    said = any(key in mapping for mapping in given if isinstance(mapping, Mapping) for key in keys)
    return said or conf.task_default_queue in names


def unknown_queue(app: Any, name: str, declared: Iterable[str]) -> UnknownQueue:
    """Return the error that names a queue nobody has, the nearest, and the way out."""
    known = sorted({*services_of(app), *declared})
    return UnknownQueue(
        f"queue={name!r}: there is no such queue.{did_you_mean(name, known)} Known are: {', '.join(known)}."
        " A service whose tasks this program does not import is named in steadybeat_services.",
        queue=name,
        known=known,
    )


class SteadyQueues(Queues):
    """Celery's queues, which name the known ones when a worker is told (``-Q``) to consume another."""

    app: Any = None

    def select(self, include: Any) -> None:
        """Consume these queues only.

        Raises:
            ConfigurationError: One of them is not there; no `UnknownQueue`, which Celery would take for a KeyError.
        """
        for name in maybe_list(include) or ():
            if name not in self and not self.create_missing:
                raise ConfigurationError(unknown_queue(self.app, name, self).message, queue=name)
        super().select(include)


class SteadyRouter(Router):
    """Celery's router, which knows every service's queue and names the known ones when asked for another."""

    def __init__(self, routes: Any = None, *args: Any, **options: Any) -> None:
        super().__init__([*(routes or ()), self.route_to_service], *args, **options)

    def lookup_route(self, name: str, *args: Any, **options: Any) -> Any:
        """Return the first route that a task has; where it goes may stand in its decorator, so that is read first."""
        if not name.startswith(_BUILT_IN) and name not in self.app.tasks:
            self._import_tasks()
        return super().lookup_route(name, *args, **options)

    def _import_tasks(self) -> None:
        """Import the app's task modules, once; a program that sends by name (`celery call`) has not done so."""
        if self.app in _imported:
            return
        _imported.add(self.app)
        try:
            self.app.loader.import_default_modules()
        except ImportError as error:
            logger.debug("task modules not imported, so a task's name says where it goes", extra={"error": str(error)})

    @cached_property
    def _keeps_default_queue(self) -> bool:
        return keeps_default_queue(self.app)

    def route_to_service(
        self, name: str, _args: Any = None, kwargs: Any = None, *_: Any, task: Any = None
    ) -> dict[str, str] | None:
        """Return the last of the routes: the queue of the task's service.

        Where the configuration names a default queue of its own, a task that names no ``service`` goes there, as
        Celery's own tasks always do; but `map` and `starmap` go where the task goes that they call.
        """
        if name in _CALLING:
            called = kwargs["task"]
            return self.lookup_route(called["task"] if isinstance(called, Mapping) else task_name_from(called))
        if name.startswith(_BUILT_IN):
            return None
        service = getattr(task or self.app.tasks.get(name), "service", None)
        if service is None and self._keeps_default_queue:
            return None
        return {"queue": service or service_of(name)}

    def expand_destination(self, route: Any) -> Any:
        """Return a route with its queue.

        Raises:
            UnknownQueue: No service has this queue.
        """
        name = route if isinstance(route, str) else route.get("queue")
        if isinstance(name, str) and name not in self.queues and not self.create_missing:
            self._import_tasks()
            if name not in {*services_of(self.app), *queues_named(self.app)}:
                raise unknown_queue(self.app, name, self.queues)
            self.queues.add(Queue(name, routing_key=name))
        return super().expand_destination(route)
