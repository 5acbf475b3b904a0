"""`celery -A … call`: Celery's own command, made careful: what nobody runs does not look like success.

Celery adds its own commands after those of packages, so that another one of this name would never be reached. This
is Celery's own, therefore: the very object, with more options, and with checks around what it does.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
from celery.bin.base import CeleryCommand, CeleryOption
from celery.bin.call import call

from steadybeat.commands import completion
from steadybeat.commands.output import Output, json_option
from steadybeat.commands.usage import Command
from steadybeat.errors import BrokerUnavailable, ConfigurationError, LedgerUnavailable, did_you_mean

if TYPE_CHECKING:
    from steadybeat.ledger import Ledger

__all__ = ["call"]

PATIENCE = timedelta(seconds=1)
"""How long workers may take to say what they consume, where there is no ledger that knows."""

_celerys = call.callback
_HELP = """Call a task by name.

    The run of NAME is on record before it is sent. A task is known when this program has it, when `schedules apply` of
    another service has brought it into the ledger, or when its service has told nothing of its tasks yet; another is
    refused, and nothing is sent. Without an app, the workers at the broker (-b) are asked instead.

    Exits with 1 if no worker consumes from its queue: the run waits on record until one does.

    \b
    --json: {"run": id, "task": text, "queue": text or null, "consumed": bool or null, "text": text}
    """


@dataclass(frozen=True, slots=True)
class _Prospect:
    """What becomes of a call: its queue, whether somebody consumes it, and what there is to say of that."""

    queue: str | None = None
    consumed: bool | None = None
    doubt: str = ""


class _Call(Command, CeleryCommand):
    """Celery's command with our way of refusing, helping and completing."""


def _careful(as_json: bool, **given: Any) -> None:
    ctx = click.get_current_context()
    app = ctx.obj.app
    if getattr(app, "steadybeat", None) is not None:
        prospect = _on_record(app, given)
    elif app.main in (None, "default"):
        prospect = _asked(app, given)
    else:
        prospect = _Prospect()
    with contextlib.redirect_stdout(io.StringIO()) as said, _one_line():
        _celerys(**given)
    run = said.getvalue().strip()
    text = f"Run {run} waits. {prospect.doubt}" if prospect.doubt else ""
    if as_json:
        told = {"run": run, "task": given["name"], "queue": prospect.queue, "consumed": prospect.consumed}
        Output(ctx).json({**told, "text": text or f"Run {run} is on its way."})
    else:
        click.echo(run)
        if text:
            click.echo(text, err=True)
    ctx.exit(1 if prospect.doubt else 0)


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    from kombu.exceptions import OperationalError

    try:
        yield
    except OperationalError as error:
        raise _away(error) from error


def _away(error: Exception) -> BrokerUnavailable:
    return BrokerUnavailable(f"The broker does not answer: {str(error).rstrip('.')}. Nothing was sent.")


def _routed(app: Any, given: Mapping[str, Any]) -> str | None:
    """Return the queue that a call goes to, or None where it names an exchange instead."""
    from steadybeat.commands.consuming import queue_name

    if given["exchange"] or given["routing_key"]:
        return None
    options = {} if given["queue"] is None else {"queue": given["queue"]}
    queue = app.amqp.router.route(options, given["name"], given["args"], given["kwargs"]).get("queue")
    return queue_name(queue or app.conf.task_default_queue)


# Of an app that has a ledger


def _on_record(app: Any, given: Mapping[str, Any]) -> _Prospect:
    from steadybeat.commands.consuming import unread
    from steadybeat.ledger import Ledger

    book, name = Ledger.of(app), given["name"]
    with contextlib.suppress(ImportError):  # of a service whose code is elsewhere
        app.loader.import_default_modules()
    try:
        app.steadybeat.ledger.require_schema()
        _must_be_known(app, book, name)
        queue = _routed(app, given)
        doubt = unread(book, queue) if queue is not None else ""
    except LedgerUnavailable:
        if getattr(app.tasks.get(name), "recorded", True):
            raise
        return _Prospect(doubt="Nobody knows whether a worker consumes from its queue: Postgres does not answer.")
    return _Prospect(queue, None if queue is None else not doubt, doubt)


def _must_be_known(app: Any, book: Ledger, name: str) -> None:
    """Refuse a task that nobody has.

    Raises:
        ConfigurationError: Names the nearest.
    """
    if name in app.tasks:
        return
    described = book.tasks.all()
    known = {*(each.name for each in described), *(row.task for row in book.schedules.all())}
    service = app.steadybeat.service(name)
    is_silent = service in app.steadybeat.settings.services and all(each.service != service for each in described)
    if name in known or is_silent:
        return
    ours = {each for each in app.tasks if not each.startswith("celery.")}
    near = did_you_mean(name, known | ours) or " `celery -A … inspect registered` shows those that workers have."
    raise ConfigurationError(f"NAME={name!r}: there is no such task; nothing was sent.{near}", task=name)


# Without an app: those are asked who are there


def _asked(app: Any, given: Mapping[str, Any]) -> _Prospect:
    from kombu.exceptions import OperationalError

    from steadybeat.commands.consuming import way_out

    if not app.conf.broker_url:
        raise ConfigurationError(
            "No app is given, and no broker; nothing was sent. Name your app before the sub-command: celery -A tasks"
            f" call {given['name']}"
        )
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
            workers = app.control.inspect(timeout=PATIENCE.total_seconds(), connection=connection)
            consumed, registered = workers.active_queues() or {}, workers.registered() or {}
    except (OperationalError, OSError) as error:
        raise _away(error) from error
    queue, name = _routed(app, given), given["name"]
    takers = [node for node, queues in consumed.items() if any(each["name"] == queue for each in queues)]
    known = {task.partition(" ")[0] for node in takers or registered for task in registered.get(node, ())}
    if known and name not in known:
        raise ConfigurationError(
            f"NAME={name!r}: no worker there has such a task; nothing was sent.{did_you_mean(name, known)} To call one"
            f" by your app's ledger: celery -A tasks call {name}",
            task=name,
        )
    if queue is None or takers:
        return _Prospect(queue, True if takers else None)
    return _Prospect(queue, False, f"No worker at this broker consumes from queue {queue!r}. {way_out(queue)}")


def _completing(parameter: click.Parameter, complete: completion.Complete | None) -> click.Parameter:
    """Return a parameter of Celery's that offers what fits."""
    if complete is None:
        return parameter
    if isinstance(parameter, click.Argument):
        return click.Argument(parameter.opts, shell_complete=complete)
    option: Any = parameter
    return CeleryOption(option.opts, help_group=option.help_group, help=option.help, shell_complete=complete)


def _make_careful() -> None:
    call.__class__ = _Call
    call.callback, call.help = _careful, _HELP
    call.epilog = "Example: celery -A tasks call tasks.search.index"
    completes = {"name": completion.task_names, "queue": completion.queue_names}
    call.params = [_completing(each, completes.get(str(each.name))) for each in call.params]
    json_option(call)


if not isinstance(call, _Call):
    _make_careful()
