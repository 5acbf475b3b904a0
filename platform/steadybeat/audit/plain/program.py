"""Program: a plain Celery application as the audit sees it: what it is configured to, its jobs, its own code."""

from __future__ import annotations

import functools
import re
import sys
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import Celery, Task, signals
from celery.local import maybe_evaluate

from steadybeat.audit.plain.files import Command, File, commands, folder_of, own_files
from steadybeat.audit.source import Call, Source, Text, read, read_function, read_functions, read_hooks
from steadybeat.delivery.routing import service_of
from steadybeat.errors import ScheduleError
from steadybeat.schedule import Rule, as_rule

IN_DATABASE = ("django_celery_beat", "sqlalchemy_celery_beat", "celery_sqlalchemy_scheduler")
"""Schedulers whose schedules nobody sees in the code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of `beat_schedule`.

    Attributes:
        name: Its name.
        rule: When it is due; None where that cannot be said as a rule.
        written: What stands behind ``schedule``.
        options: What its messages are sent with.
        why_not: Why there is no rule.
    """

    name: str
    rule: Rule | None
    written: Any
    options: dict[str, Any]
    why_not: str = ""


class Job:
    """One task of a plain application.

    Args:
        task: The task.
        entries: The schedules that send it.
    """

    def __init__(self, task: Task, entries: list[Entry]) -> None:
        self.task = task
        self.entries = entries

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.task.name)

    @property
    def service(self) -> str:
        """The service that it counts for: its module."""
        return service_of(self.name)

    @functools.cached_property
    def source(self) -> Source:
        """What its code says, and its hooks'."""
        return read(self.task)

    @functools.cached_property
    def hooks(self) -> dict[str, Source]:
        """What its own hooks say, such as ``on_failure``."""
        return read_hooks(self.task)


class Program:
    """A plain Celery application.

    Args:
        app: The application, with its tasks imported.
        module: Name of the module that it was found in.
    """

    def __init__(self, app: Celery, module: str) -> None:
        self.app = app
        self.conf = app.conf
        self._module = module.partition(":")[0]
        self._functions: dict[re.Pattern[str], tuple[Source, ...]] = {}
        self._receivers: dict[str, tuple[Source, ...]] = {}

    @functools.cached_property
    def tops(self) -> frozenset[str]:
        """The names of its packages: of the application itself, and of tasks that were not installed with a package."""
        found = {self._module.partition(".")[0]}
        for task in self._tasks():
            file = getattr(sys.modules.get(str(task.__module__)), "__file__", None) or ""
            if file and not {"site-packages", "dist-packages"} & set(Path(file).parts):
                found.add(str(task.__module__).partition(".")[0])
        return frozenset(found)

    def _tasks(self) -> Iterator[Task]:
        for name, task in sorted(self.app.tasks.items()):
            if not name.startswith("celery."):
                yield maybe_evaluate(task)

    @functools.cached_property
    def jobs(self) -> tuple[Job, ...]:
        """Its own tasks, by name; those that came with an installed package are not among them."""
        by_task: dict[str, list[Entry]] = {}
        for task, entry in self.entries:
            by_task.setdefault(task, []).append(entry)
        own = [each for each in self._tasks() if str(each.__module__).partition(".")[0] in self.tops]
        return tuple(Job(task, by_task.get(task.name, [])) for task in own)

    @functools.cached_property
    def entries(self) -> tuple[tuple[str, Entry], ...]:
        """The entries of `beat_schedule`, each with the name of its task."""
        return tuple(
            (str(_of(written, "task")), self._entry(str(name), written))
            for name, written in (self.conf.beat_schedule or {}).items()
        )

    def _entry(self, name: str, written: Any) -> Entry:
        schedule, options = _of(written, "schedule"), dict(_of(written, "options") or {})
        try:
            return Entry(name=name, rule=as_rule(schedule, self.zone), written=schedule, options=options)
        except (ScheduleError, TypeError) as error:
            return Entry(name=name, rule=None, written=schedule, options=options, why_not=str(error))

    @property
    def zone(self) -> str:
        """The time zone of its crontabs."""
        return str(self.app.timezone)

    @property
    def keeps_schedules_elsewhere(self) -> bool:
        """Whether its scheduler reads schedules from a database, where this audit does not look."""
        return any(str(self.conf.beat_scheduler).startswith(each) for each in IN_DATABASE)

    def queue_of(self, job: Job) -> str:
        """Return the queue that a job's messages go to."""
        route = self.app.amqp.router.route({}, job.name)
        queue = route.get("queue") or getattr(job.task, "queue", None) or self.conf.task_default_queue
        return str(getattr(queue, "name", queue))

    @functools.cached_property
    def files(self) -> tuple[File, ...]:
        """Its modules, also those that a worker does not import."""
        return tuple(own_files(self.tops))

    @functools.cached_property
    def texts(self) -> tuple[Text, ...]:
        """Every text of its modules."""
        return tuple(text for file in self.files for text in file.source.texts)

    @functools.cached_property
    def calls(self) -> tuple[Call, ...]:
        """Every call of its modules."""
        return tuple(call for file in self.files for call in file.source.calls)

    @functools.cached_property
    def commands(self) -> tuple[Command, ...]:
        """The lines that start its processes, from the files beside its packages."""
        folders = {folder for top in self.tops if (folder := folder_of(top)) is not None}
        folders |= {folder.parent for folder in folders if folder.name == "src"}
        return tuple(each for each in commands(folders) if self._is_own(each))

    def _is_own(self, command: Command) -> bool:
        app = command.option("-A", "--app")
        return app is None or app.partition(".")[0].partition(":")[0] in self.tops

    def receivers(self, signal: str) -> tuple[Source, ...]:
        """Return what the receivers of one of Celery's signals say, such as ``task_failure``."""
        if signal not in self._receivers:
            kept = (each for _, each in getattr(signals, signal).receivers or ())
            alive = [each() if isinstance(each, weakref.ReferenceType) else each for each in kept]
            own = [each for each in alive if each is not None and not _is_strange(each)]
            self._receivers[signal] = tuple(map(read_function, own))
        return self._receivers[signal]

    @functools.cached_property
    def tellers(self) -> frozenset[str]:
        """The functions of its modules that ask another program for something, or send mail; by their dotted names."""
        return frozenset(
            f"{each.own.module}.{each.own.name}"
            for each in self.functions_like(re.compile(""))
            if each.own is not None and (each.outside or each.mails)
        )

    def functions_like(self, pattern: re.Pattern[str]) -> tuple[Source, ...]:
        """Return the functions of its modules in whose name a pattern is found, each without what it calls."""
        if pattern not in self._functions:
            found = (each for file in self.files for each in read_functions(file.path, file.module, pattern))
            self._functions[pattern] = tuple(found)
        return self._functions[pattern]

    def text_like(self, pattern: re.Pattern[str]) -> Text | None:
        """Return the first text of its modules in which a pattern is found."""
        return next((text for text in self.texts if pattern.search(text.text)), None)

    def called(self, *names: str) -> tuple[Call, ...]:
        """Return every call of its modules with these names: dotted ones as they begin, simple ones as they end."""
        dotted = tuple(name for name in names if "." in name)
        return tuple(each for each in self.calls if each.last in names or (dotted and each.name.startswith(dotted)))


def _of(written: Any, key: str) -> Any:
    return written.get(key) if isinstance(written, dict) else getattr(written, key, None)


def _is_strange(receiver: Any) -> bool:
    module = str(getattr(receiver, "__module__", "") or "").partition(".")[0]
    return module in {"celery", "steadybeat", "kombu", "redbeat", "flower", "billiard"}
