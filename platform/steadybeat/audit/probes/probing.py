"""Probing: tasks are tried in scratch places, several at a time, and everything is removed afterwards."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steadybeat.audit.answer import Answer
from steadybeat.audit.finding import Verdict
from steadybeat.audit.probes.crew import Crew, Kept, Means
from steadybeat.audit.probes.place import Place, remove_left
from steadybeat.delivery.routing import keeps_default_queue, queues_named, services_of
from steadybeat.errors import ConfigurationError
from steadybeat.ledger import Ledger
from steadybeat.settings import Settings

__all__ = ["Kept", "Means", "Probing"]

LANES = 2
"""How many tasks are tried at a time, each in a scratch place of its own."""

_POLL_SECONDS = 0.1
_MOST_SECONDS = 600.0


@dataclass(slots=True)
class _Busy:
    """A crew at work.

    Attributes:
        heard_at: When its driver last told something, on the monotonic clock.
    """

    crew: Crew
    has_workers: bool = False
    has_done: bool = False
    heard_at: float = field(default_factory=time.monotonic)


class Probing:
    """Tries tasks of an app.

    Args:
        app: The live app.
        app_name: What stands behind ``celery -A``.
        means: How processes are started.
        told: Called with a task and what is tried with it now: ``undisturbed``, ``twice``, ``killed``,
            ``concurrently``; and with its verdicts, in capitals, once it has been tried.
    """

    def __init__(
        self, app: Any, app_name: str, means: Means, told: Callable[[str, str], None] = lambda task, what: None
    ) -> None:
        self._app, self._app_name, self._means, self._told = app, app_name, means, told
        self._settings: Settings = app.steadybeat.settings

    def run(self, tasks: Sequence[str]) -> dict[str, dict[str, Answer]]:
        """Try tasks that have ``audit_args``; return what was shown of each, by line of the checklist.

        Raises:
            ConfigurationError: No scratch place can be made; or the app would work outside of it.
        """
        lanes = [share for share in (list(tasks[n::LANES]) for n in range(LANES)) if share]
        found: dict[str, dict[str, Answer]] = {}
        remove_left(self._app)
        with ExitStack() as stack:
            root = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="steadybeat-probe-", ignore_cleanup_errors=True))
            )
            crews = self._crews(len(lanes), root, stack)
            for crew, share in zip(crews, lanes, strict=True):
                crew.start_driver(share)
            self._watch(crews, found)
        return found

    def _crews(self, count: int, root: Path, stack: ExitStack) -> list[Crew]:
        crews: list[Crew] = []
        for number in range(count):
            place = Place(self._app, crews[0].place.name if crews else None)
            stack.callback(place.remove)
            crew = Crew(
                self._app_name, place, root / f"place-{number + 1}", self._means, self._settings.audit_environment
            )
            stack.callback(crew.end)
            if not crews:
                self._prepare(crew)
            crews.append(crew)
        return crews

    def _prepare(self, crew: Crew) -> None:
        """Make the ledger's tables, and have the application make its own."""
        ledger = Ledger(Settings(database_url=crew.place.database_url))
        try:
            ledger.upgrade()
        finally:
            ledger.database.close()
        for command in self._settings.audit_prepare:
            crew.prepare(command)

    def _watch(self, crews: Sequence[Crew], found: dict[str, dict[str, Answer]]) -> None:
        """Keep the crews at work until each of them has done."""
        default = [self._app.conf.task_default_queue] if keeps_default_queue(self._app) else []
        queues = sorted({*services_of(self._app), *queues_named(self._app), *default})
        busy = [_Busy(crew) for crew in crews]
        while busy:
            for each in busy:
                self._look_after(each, queues, found)
            busy = [each for each in busy if not each.has_done]
            time.sleep(_POLL_SECONDS)

    def _look_after(self, busy: _Busy, queues: Sequence[str], found: dict[str, dict[str, Answer]]) -> None:
        crew = busy.crew
        if busy.has_workers:
            crew.keep_workers(queues)
        for event in crew.told():
            busy.heard_at = time.monotonic()
            self._hear(event, found)
            if event["told"] == "refused":
                raise ConfigurationError(event["why"] + (crew.said() if busy.has_workers else ""))
            if event["told"] == "ready":
                busy.has_workers = True
            elif event["told"] == "stuck":
                crew.kill_workers()
            elif event["told"] == "done":
                busy.has_done = True
                crew.end()
        if time.monotonic() - busy.heard_at > _MOST_SECONDS:
            raise ConfigurationError(f"the probe's driver says nothing:{crew.said()}")

    def _hear(self, event: dict[str, Any], found: dict[str, dict[str, Answer]]) -> None:
        """Take in what a driver tells."""
        match event["told"]:
            case "tries":
                self._told(event["task"], event["what"])
            case "tried":
                found[event["task"]] = {
                    line: Answer(verdict=Verdict(proof["verdict"]), evidence=proof["evidence"], remedy=proof["remedy"])
                    for line, proof in event["proofs"].items()
                }
                self._told(event["task"], " ".join(answer.verdict for answer in found[event["task"]].values()))
