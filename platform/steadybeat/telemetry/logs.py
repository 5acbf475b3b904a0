"""Every line of every process in one form, whoever wrote it.

Lines of steadybeat, of tasks, of Celery, kombu, RedBeat, Flower and Tornado all pass through the standard library's
root logger and `FactsFormatter`: one JSON object a line, or a readable line where the stream is a terminal.
`structlog.get_logger()` and `logging.getLogger()` are equally good in a task. The arguments of tasks are never
written.

structlog is imported when it is needed: a command that writes no line, such as a health check, does without.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from typing import TYPE_CHECKING, Any, TextIO

from celery.utils.log import get_multiprocessing_logger

from steadybeat.telemetry import lines
from steadybeat.telemetry.chatter import facts_of_chatter
from steadybeat.telemetry.facts import bound, fields_of, instance, instant
from steadybeat.telemetry.redaction import as_text, redact_text

if TYPE_CHECKING:
    import structlog
    from structlog.typing import EventDict, WrappedLogger

FACTS = "facts"
"""Name under which a record carries its fields, so that none of them can collide with an attribute of records."""

_STANDARD = logging.makeLogRecord({}).__dict__.keys() | {"message", "asctime", "taskName", FACTS}

_made = threading.local()
"""The record that this thread has written last and its line, which is made once also where it is kept as well."""


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger whose keyword arguments become the fields of its lines.

    It writes through the standard library's logger of that name, so that it also works in a program that
    configured logging in its own way, and leaves structlog's global configuration alone.

    Args:
        name: Name of the logger, such as ``__name__``.
    """
    import structlog

    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=_processors(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return logger


def configure(
    loglevel: int | str | None = None,
    logfile: str | TextIO | None = None,
    colorize: bool | None = None,
    *,
    hijack: bool = True,
) -> None:
    """Send all records of this process to one place in one form; a second call replaces the first.

    Args:
        loglevel: Least level that is written; ``WARNING`` by default.
        logfile: Path or open stream; standard error by default.
        colorize: Whether a terminal gets colours; yes by default.
        hijack: Whether handlers that others put on the root logger go, as Celery's
            `worker_hijack_root_logger` says.
    """
    import structlog

    root = logging.getLogger()
    handler = _handler(logfile)
    handler.setFormatter(ConsoleFormatter(colors=colorize is not False) if _is_terminal(handler) else FactsFormatter())
    for former in list(root.handlers):
        if hijack or _is_ours(former):
            root.removeHandler(former)
    root.addHandler(handler)
    keeper = lines.keeper()
    if keeper is not None:
        root.addHandler(keeper)
    root.setLevel(loglevel or logging.WARNING)
    if hijack:
        for name in ("celery", "celery.task", "celery.redirected"):
            logging.getLogger(name).handlers = []
    # billiard's logger never propagates: without a handler its errors would come out raw.
    multiprocessing = get_multiprocessing_logger()
    multiprocessing.handlers = [handler]
    multiprocessing.setLevel(logging.ERROR)
    logging.captureWarnings(True)
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)  # it names each of its parts at each start
    if not structlog.is_configured():
        structlog.configure(
            processors=_processors(),
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=structlog.stdlib.LoggerFactory(),
            cache_logger_on_first_use=True,
        )


def configure_once_needed(colorize: bool | None = None) -> None:
    """Do what `configure` does when the first line is written, at the level that is set; nothing if it is done.

    Args:
        colorize: As for `configure`.
    """
    root = logging.getLogger()
    if any(map(_is_ours, root.handlers)):
        return
    root.handlers = [_FirstLine(colorize)]


class _FirstLine(logging.Handler):
    """Makes way for the handler of `configure` and hands it the first line."""

    def __init__(self, colorize: bool | None) -> None:
        super().__init__()
        self._colorize = colorize

    def emit(self, record: logging.LogRecord) -> None:
        """Configure this process's lines, and write the record."""
        root = logging.getLogger()
        configure(root.level, colorize=self._colorize)
        root.handlers[0].handle(record)


def _is_ours(handler: logging.Handler) -> bool:
    return isinstance(handler, _FirstLine | lines.LineKeeper) or isinstance(handler.formatter, FactsFormatter)


class FactsFormatter(logging.Formatter):
    """Writes a record, whoever made it, as one JSON object with the bound facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        line = line_of(record)
        if lines.keeper() is not None:
            _made.last = record, line
        return render_json(line)


class ConsoleFormatter(FactsFormatter):
    """Writes a record as a line for a person."""

    def __init__(self, *, colors: bool) -> None:
        import structlog

        super().__init__()
        self._render = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, with the stack below it."""
        line = line_of(record)
        line["timestamp"] = f"{datetime.fromtimestamp(record.created):%H:%M:%S}.{int(record.msecs):03d}"
        del line["instance"]
        if "stack" in line:
            line["exception"] = line.pop("stack")
        return as_text(self._render(None, record.levelname.lower(), line))


def line_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a record: its own, those of the run that is bound, and those of its error.

    Args:
        record: Any record of the standard library's logging.
    """
    from structlog.contextvars import get_contextvars

    line: dict[str, Any] = {
        "timestamp": instant(datetime.fromtimestamp(record.created, UTC)),
        "level": record.levelname.lower(),
        "event": "",
        "logger": record.name,
        "instance": instance(),
    }
    line.update(bound())
    own = get_contextvars()
    chatter = facts_of_chatter(record)
    if chatter is None:
        line["event"] = redact_text(_message(record))
        own.update(_fields_of_record(record))
    else:
        line["event"], facts = chatter
        own.update(facts)
    if own:
        line.update(fields_of(own))
    if record.exc_info:
        _add_error(line, record.exc_info)
    if record.stack_info:
        line.setdefault("stack", redact_text(record.stack_info))
    return line


def take_line(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a record, which somebody may have made already; not to be changed."""
    last, line = getattr(_made, "last", (None, None))
    _made.last = (None, None)
    return line if last is record and line is not None else line_of(record)


def render_json(line: Mapping[str, Any]) -> str:
    """Return the fields as one line of JSON in ASCII, whatever they hold."""
    try:
        return _encode(line)
    except (TypeError, ValueError):
        return _encode({as_text(name): as_text(value) for name, value in line.items()})


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes each line with one call of the system.

    A signal may interrupt a line and log one of its own, which a buffered stream refuses; and lines of the
    processes that share a pipe stay whole up to 4,096 bytes.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record; never raises."""
        try:
            data = f"{self.format(record)}\n".encode(errors="backslashreplace")
            number = self.stream.fileno()
            while data:
                data = data[os.write(number, data) :]
        except Exception:  # noqa: BLE001 - a line that cannot be written must not stop the work
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Say on the true standard error that a line was lost; `sys.stderr` may lead back here."""
        if logging.raiseExceptions and sys.__stderr__ is not None:
            try:
                traceback.print_exc(None, sys.__stderr__)
            except (OSError, RuntimeError, ValueError):
                return


def _handler(logfile: str | TextIO | None) -> logging.Handler:
    if isinstance(logfile, str):
        return WatchedFileHandler(logfile, encoding="utf-8")
    stream = logfile or sys.__stderr__
    if stream is None:
        return logging.NullHandler()
    try:
        stream.fileno()
    except (OSError, AttributeError, ValueError):
        return logging.StreamHandler(stream)
    return LineHandler(stream)


def _is_terminal(handler: logging.Handler) -> bool:
    return isinstance(handler, LineHandler) and handler.stream.isatty()


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - wrong arguments of a log call; the line still says where
        return as_text(record.msg)


def _fields_of_record(record: logging.LogRecord) -> dict[str, Any]:
    """Return what the caller gave beside the message: keyword arguments of structlog, `extra` of logging."""
    attributes = record.__dict__
    fields = {name: attributes[name] for name in attributes.keys() - _STANDARD}
    facts = attributes.get(FACTS)
    if isinstance(facts, Mapping):
        fields.update(facts)
    return fields


def _add_error(line: dict[str, Any], exc_info: Any) -> None:
    """Add the error in one line and its stack; billiard's children send tracebacks that are only almost ones."""
    kind, error, trace = exc_info if isinstance(exc_info, tuple) else sys.exc_info()
    if error is None:
        return
    line["error"] = redact_text(f"{getattr(kind, '__name__', kind)}: {as_text(error)}")
    if "stack" not in line:
        try:
            stack = "".join(traceback.format_exception(kind, error, trace))
        except Exception:  # noqa: BLE001 - the error's own line is there already
            return
        line["stack"] = redact_text(stack.rstrip())


def _to_record(_logger: WrappedLogger, _method: str, event: EventDict) -> tuple[tuple[object], dict[str, object]]:
    """Hand a structlog event to the standard library: message, error, and all else under one name."""
    message = event.pop("event", "")
    arguments: dict[str, object] = {name: event.pop(name) for name in ("exc_info", "stack_info") if name in event}
    extra = event.pop("extra", None)
    if isinstance(extra, Mapping):
        # Written as for the standard library's loggers.
        event.update(extra)
    arguments["extra"] = {FACTS: event}
    return (message,), arguments


def _processors() -> list[Callable[..., Any]]:
    import structlog

    return [structlog.stdlib.filter_by_level, structlog.stdlib.PositionalArgumentsFormatter(), _to_record]


_encode = json.JSONEncoder(default=as_text, allow_nan=False).encode
