"""Probing: tasks are tried in scratch places, several at a time, and everything is removed afterwards."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from steadybeat.audit.answer import Answer
from steadybeat.audit.finding import Verdict
from steadybeat.audit.probes.crew import Crew, Kept, Means
from steadybeat.audit.probes.place import Place, remove_left
from steadybeat.delivery.routing import queues_named, services_of
from steadybeat.errors import ConfigurationError
from steadybeat.ledger import Ledger
from steadybeat.settings import Settings

__all__ = ["Kept", "Means", "Probing"]

LANES = 2
"""How many tasks are tried at a time, each in a scratch place of its own."""

_POLL_SECONDS = 0.1
_MOST_SECONDS = 600.0


class Probing:
    """Tries tasks of an app.

    Args:
        app: The live app.
        app_name: What stands behind ``celery -A``.
        means: How processes are started.
        told: Called with a task and what is tried with it now: ``undisturbed``, ``twice``, ``killed``,
            ``concurrently``; and with ``done`` once it has been tried.
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
            self._watch(dict(zip(range(len(crews)), crews, strict=True)), lanes, found)
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

    def _watch(
        self, crews: dict[int, Crew], lanes: Sequence[Sequence[str]], found: dict[str, dict[str, Answer]]
    ) -> None:
        queues = sorted({*services_of(self._app), *queues_named(self._app)})
        working: set[int] = set()
        heard = dict.fromkeys(crews, time.monotonic())
        while crews:
            for number, crew in [*crews.items()]:
                if number in working:
                    crew.keep_workers(queues)
                for event in crew.told():
                    heard[number] = time.monotonic()
                    if self._hear(event, found):
                        del crews[number]
                        crew.end()
                    elif event["told"] == "ready":
                        working.add(number)
                if number in crews and time.monotonic() - heard[number] > _MOST_SECONDS:
                    raise ConfigurationError(f"the probe's driver says nothing:{crew.said()}")
            time.sleep(_POLL_SECONDS)

    def _hear(self, event: dict[str, Any], found: dict[str, dict[str, Answer]]) -> bool:
        """Take in what a driver tells; return whether it has done."""
        match event["told"]:
            case "refused":
                raise ConfigurationError(f"nothing was tried: {event['why']}")
            case "tries":
                self._told(event["task"], event["what"])
            case "tried":
                found[event["task"]] = {
                    line: Answer(verdict=Verdict(proof["verdict"]), evidence=proof["evidence"], remedy=proof["remedy"])
                    for line, proof in event["proofs"].items()
                }
                self._told(event["task"], "done")
        return event["told"] == "done"
