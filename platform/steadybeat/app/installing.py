"""What `install` does to an app."""

from __future__ import annotations

import functools
import importlib
import sys
from typing import TYPE_CHECKING, Any

import click
from celery import Celery, signals

from steadybeat import telemetry
from steadybeat.app.defaults import set_defaults, set_redbeat
from steadybeat.app.installed import Steadybeat
from steadybeat.errors import ConfigurationError
from steadybeat.settings import Settings

# Rooms that speak to a server are opened when they are first used: see `steadybeat/__init__.py`.
if TYPE_CHECKING:
    from steadybeat.fanout.eligibility import Tenants
    from steadybeat.task.classifying import Classifier

_SENT_BY_CANVAS = ("celery.accumulate", "celery.map", "celery.starmap")


def install(app: Celery, *, classify: Classifier | None = None, tenants: Tenants | None = None) -> Steadybeat:
    """Make every task of `app` a SteadyTask, and every fire accounted for.

    It stands after ``config_from_object`` and before tasks are used. It sets safe defaults and leaves alone what the
    configuration says itself.

    Args:
        app: A Celery app whose broker is Redis.
        classify: What the errors of its tasks mean: called with an error, it answers with `Transient`, `Permanent`,
            `Snooze` or `Cancel`, as a class or an instance, or with None where it has no opinion. It must be quick. A
            task's own ``classify=`` is asked first.
        tenants: Which tenants there are, for `eligible(…)` that is told no others: ids to loop over, or a function that
            returns them, which is called for each fan-out.

    Returns:
        What is then ``app.steadybeat``.

    Raises:
        ConfigurationError: A setting is wrong; or the app was used before.
    """
    try:
        return _install(app, classify, tenants)
    except ConfigurationError as error:
        if click.get_current_context(silent=True) is None:
            raise
        error.show()  # Celery would print the whole stack before the line that matters
        raise SystemExit(error.exit_code) from None


def _install(app: Any, classify: Classifier | None, tenants: Tenants | None) -> Steadybeat:
    if app.finalized:
        raise ConfigurationError(
            "install(app) comes too late: its tasks were used before. Move it up, after the config."
        )
    settings = Settings.read(app.conf)
    _refuse_wrong_routes(settings)
    steadybeat = Steadybeat(app, settings)
    steadybeat.classify = _checked(classify)
    steadybeat.tenants = _countable(tenants)
    app.steadybeat = steadybeat
    set_redbeat(app, set_defaults(app, settings))
    _adopt_task_class(app)
    app.amqp_cls = "steadybeat.delivery:SteadyAMQP"
    app.__dict__.pop("amqp", None)
    app._task_from_fun = functools.partial(_task_from_fun, app, app._task_from_fun)
    app.register_task = functools.partial(_register_task, app.register_task)
    app.on_after_finalize.connect(_adopt_earlier_tasks, weak=False)
    for signal in (signals.import_modules, signals.beat_init):
        signal.connect(_refuse_other_schedulers, dispatch_uid="steadybeat.refuse_other_schedulers")
    app.steps["worker"].add("steadybeat.task:Keeper")
    telemetry.install(app, settings, keep=steadybeat.keep_lines)
    _ = steadybeat.heartbeats
    _add_pages(app)
    return steadybeat


def _add_pages(app: Any) -> None:
    """Have the command `flower` add the pages before it starts; every other command leaves them alone."""
    found = sys.modules.get("flower.command")  # Celery has loaded it, as every sub-command
    if found is None:
        return
    command, start = found.flower, found.flower.callback

    @functools.wraps(start)
    def with_pages(*args: Any, **kwargs: Any) -> Any:
        if click.get_current_context().obj.app is app:
            importlib.import_module("steadybeat.pages").install(app)
        return start(*args, **kwargs)

    command.callback = with_pages


def _refuse_wrong_routes(settings: Settings) -> None:
    if settings.alert_channels or settings.alert_routes:
        from steadybeat.alerts.routes import Routes

        Routes.read(settings.alert_routes, tuple(settings.alert_channels))


def _checked(classify: Classifier | None) -> Classifier | None:
    if classify is not None:
        from steadybeat.task.options import can_be_asked

        if not can_be_asked(classify):
            raise ConfigurationError(f"classify={classify!r}: must be a function of one argument, the error.")
    return classify


def _countable(tenants: Tenants | None) -> Tenants | None:
    if tenants is not None:
        from steadybeat.fanout import FanOut

        FanOut(tenants)  # which refuses what is none
    return tenants


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
