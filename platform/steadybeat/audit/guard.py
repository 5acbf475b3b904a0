"""Guard: whether runs of a task are guarded as the platform guards them, read from the task and its app.

What a run is guarded by: a claim before its code and an outcome behind it (`SteadyTask.__call__`), the worker's main
process, which writes down what no child can (`SteadyRequest`), the signs of life of the worker (`Keeper`), and the
ledger, which arbitrates. An app can put something of its own in the place of each.
"""

from __future__ import annotations

from typing import Any

from celery.utils.imports import symbol_by_name

from steadybeat.task import Keeper, SteadyTask
from steadybeat.task.request import SteadyRequest

_KEEPER = f"{Keeper.__module__.rpartition('.')[0]}:{Keeper.__name__}"


def gap(task: Any) -> str:
    """Return why runs of a task are not guarded, as a sentence, or an empty text where they are.

    Args:
        task: A task, bound to its app.
    """
    app = task.app
    if getattr(app, "steadybeat", None) is None:
        return "steadybeat is not installed on this app: its runs take no lease, and nobody writes them down"
    if not isinstance(task, SteadyTask):
        return f"{_called(type(task))} is no SteadyTask: its runs take no lease, and nobody writes them down"
    if not task.recorded:
        return "recorded=False: its runs take no lease, and nobody writes them down"
    if type(task).__call__ is not SteadyTask.__call__:
        return f"{_called(_owner(type(task), '__call__'))}.__call__ stands in the place of SteadyTask's, which claims"
    return _request_gap(task) or _keeper_gap(app)


def _request_gap(task: Any) -> str:
    request = symbol_by_name(task.Request)
    if not (isinstance(request, type) and issubclass(request, SteadyRequest)):
        return f"Request={_called(request)} does not write down time-outs and lost processes, as SteadyRequest does"
    for name in ("on_failure", "on_timeout"):
        if getattr(request, name) is not getattr(SteadyRequest, name):
            return f"{_called(request)}.{name} stands in the place of SteadyRequest's, which writes down lost processes"
    return ""


def _keeper_gap(app: Any) -> str:
    steps = app.steps["worker"]
    if not any(step == _KEEPER or (isinstance(step, type) and issubclass(step, Keeper)) for step in steps):
        return f"app.steps['worker'] lacks {_KEEPER}, which gives the signs of life that keep a lease"
    return ""


def _owner(cls: type, name: str) -> type:
    return next(each for each in cls.__mro__ if name in vars(each))


def _called(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}" if isinstance(thing, type) else repr(thing)


def lease(task: Any) -> str:
    """Return what keeps a guarded run, as evidence.

    Args:
        task: A task whose runs are guarded.
    """
    return f"{_called(type(task))}: SteadyTask.__call__ claims each run, recorded=True"
