"""Routing: a task goes to the queue of its service, and a queue that nobody declared is an error at the caller."""

from __future__ import annotations

from typing import Any

from celery.app.routes import Router
from kombu import Queue

from steadybeat.errors import UnknownQueue, did_you_mean

_BUILT_IN = "celery."


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


def route_to_service(
    name: str, args: Any, kwargs: Any, options: dict[str, Any], task: Any = None, **_: Any
) -> dict[str, str] | None:
    """Celery route: the queue of the task's service; Celery's own tasks keep the default queue."""
    if name.startswith(_BUILT_IN):
        return None
    return {"queue": getattr(task, "service", None) or service_of(name)}


class SteadyRouter(Router):
    """Celery's router, which knows every service's queue and names the known ones when asked for another."""

    def expand_destination(self, route: Any) -> Any:
        """Return a route with its queue.

        Raises:
            UnknownQueue: No service has this queue.
        """
        name = route if isinstance(route, str) else route.get("queue")
        if isinstance(name, str) and name not in self.queues:
            services = services_of(self.app)
            if name not in services:
                known = sorted({*services, *self.queues})
                raise UnknownQueue(
                    f"queue={name!r}: there is no such queue.{did_you_mean(name, known)} Known are: {', '.join(known)}."
                    " A service whose tasks this program does not import is named in steadybeat_services.",
                    queue=name,
                    known=known,
                )
            self.queues.add(Queue(name, routing_key=name))
        return super().expand_destination(route)
