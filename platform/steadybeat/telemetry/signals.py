"""The places where Celery lets telemetry in.

Signals are the process's, not an app's: a handler that knows the app of its signal acts only for apps that were
installed. Publishing and logging set-up tell no app; both act as soon as one is installed.
"""

from __future__ import annotations

import logging
import sys
from typing import Any
from weakref import WeakSet

from celery import Celery, current_app
from celery import signals as celery_signals

from steadybeat.telemetry import correlation, crashes, lines, traces
from steadybeat.telemetry.correlation import of_request, stamp
from steadybeat.telemetry.facts import bind_instance, bind_run, clear_run, instance_id
from steadybeat.telemetry.logs import configure, configure_once_needed

_installed: WeakSet[Celery] = WeakSet()
_adopted: list[str] = []
"""The command of this process, once its lines are taken over."""

_log = logging.getLogger("steadybeat.process")

# Where what is to be undone stands on the request of a run, so that nested eager runs each restore their own.
_BEGUN = "steadybeat_begun"


def connect(app: Celery) -> None:
    """Connect all handlers of this room, and let them act for `app`; a second call changes nothing.

    Args:
        app: The app to act for.
    """
    _installed.add(app)
    for signal, handler in _HANDLERS:
        signal.connect(handler, weak=False, dispatch_uid=f"steadybeat.telemetry.{handler.__name__}")


def adopt_command() -> None:
    """Take over the lines of this process if it is a ``celery`` command; a second call changes nothing.

    Flower and the sub-commands never set up logging through Celery. Everything from warnings on is written, or from
    the level on that Flower has set; worker and Beat replace the set-up by the one they were asked for. A program
    that only sends tasks keeps the logging it has.

    It is called when the app is installed, which `-A` does. Where a plug-in has imported the app before, the command
    is not known then, so it is called again when the command asks for the task modules.
    """
    if _adopted:
        return
    # A command has loaded both; a web process needs neither.
    module, click = sys.modules.get("celery.bin.celery"), sys.modules.get("click")
    context = click.get_current_context(silent=True) if module and click else None
    if module is None or context is None or context.find_root().command is not module.celery:
        return
    _adopted.append(context.find_root().invoked_subcommand or "celery")
    bind_instance(instance_id(*_adopted))
    configure_once_needed(colorize=not context.find_root().params.get("no_color"))


def _on_import_modules(sender: Any = None, **_: Any) -> None:
    if sender in _installed and sender.conf.worker_hijack_root_logger:
        adopt_command()


def _on_setup_logging(
    loglevel: int | None = None, logfile: str | None = None, colorize: bool | None = None, **_: Any
) -> None:
    app = current_app._get_current_object()
    configure(loglevel, logfile, colorize, hijack=app.conf.worker_hijack_root_logger)
    # Celery leaves print() alone once somebody else sets up logging; its lines belong to the run as well.
    if app.conf.worker_redirect_stdouts:
        app.log.redirect_stdouts(app.conf.worker_redirect_stdouts_level)


def _on_before_task_publish(headers: Any = None, **_: Any) -> None:
    if isinstance(headers, dict):
        stamp(headers)


def _on_task_prerun(task: Any = None, task_id: str = "", **_: Any) -> None:
    if task.app not in _installed:
        return
    request = task.request
    span = traces.begin(request, task.name, task_id)
    trace = correlation.trace_of_request(request) or correlation.current_trace()
    entered = correlation.enter(trace)
    token = bind_run(
        task=task.name,
        service=None,
        run_id=task_id,
        attempt=(request.retries or 0) + 1,
        correlation_id=of_request(request),
        trace_id=traces.trace_id(span) if span is not None else trace.id if trace is not None else None,
    )
    setattr(request, _BEGUN, (token, entered, span))


def _on_task_postrun(task: Any = None, **_: Any) -> None:
    request = task.request
    begun = request.__dict__.pop(_BEGUN, None)
    if begun is None:
        return
    token, entered, span = begun
    clear_run(token)
    correlation.leave(entered)
    if span is not None:
        traces.end(span)
    lines.hurry()
    if not request.is_eager:
        from structlog.contextvars import clear_contextvars

        # What the task's own code bound with structlog must not stand in the lines of the next run.
        clear_contextvars()


def _on_celeryd_init(instance: Any = None, **_: Any) -> None:
    if instance.app not in _installed:
        return
    bind_instance(instance_id("worker"))
    # The banner is no line; "worker ready" says the same as facts.
    if sys.__stdout__ is None or not sys.__stdout__.isatty():
        instance.quiet = True


def _on_worker_process_init(**_: Any) -> None:
    bind_instance(instance_id("child"))


def _on_worker_process_shutdown(**_: Any) -> None:
    lines.flush()
    traces.flush()
    crashes.flush()


def _on_worker_ready(sender: Any = None, **_: Any) -> None:
    if sender.app not in _installed:
        return
    worker = sender.controller
    _log.info(
        "worker ready",
        extra={
            "queues": sorted(sender.app.amqp.queues.consume_from),
            "concurrency": worker.concurrency,
            "pool": getattr(worker.pool_cls, "__module__", str(worker.pool_cls)).rpartition(".")[2],
            "broker": sender.app.connection().as_uri(),
        },
    )


def _on_worker_shutting_down(sig: str = "", how: str = "", exitcode: int = 0, **_: Any) -> None:
    _log.warning("worker stopping", extra={"signal": sig, "how": how.lower(), "exit_code": exitcode})


def _on_worker_shutdown(**_: Any) -> None:
    _log.info("worker stopped")


def _on_beat_init(sender: Any = None, **_: Any) -> None:
    if sender.app not in _installed:
        return
    scheduler = sender.scheduler_cls
    _log.info("beat started", extra={"scheduler": getattr(scheduler, "__name__", str(scheduler))})


_HANDLERS = (
    (celery_signals.import_modules, _on_import_modules),
    (celery_signals.setup_logging, _on_setup_logging),
    (celery_signals.before_task_publish, _on_before_task_publish),
    (celery_signals.task_prerun, _on_task_prerun),
    (celery_signals.task_postrun, _on_task_postrun),
    (celery_signals.celeryd_init, _on_celeryd_init),
    (celery_signals.worker_process_init, _on_worker_process_init),
    (celery_signals.worker_process_shutdown, _on_worker_process_shutdown),
    (celery_signals.worker_ready, _on_worker_ready),
    (celery_signals.worker_shutting_down, _on_worker_shutting_down),
    (celery_signals.worker_shutdown, _on_worker_shutdown),
    (celery_signals.beat_init, _on_beat_init),
)
