"""Driver: a process in the scratch place that tries one task after another, and tells what it saw.

``python -m steadybeat.audit.probes.driver APP FOLDER TASK…``: it writes one JSON object a line to ``FOLDER/told``.

    {"told": "ready"}                                               workers may start
    {"told": "tries", "task": name, "what": text}
    {"told": "tried", "task": name, "proofs": {"4.6": {"verdict": …, "evidence": …, "remedy": …}, …}}
    {"told": "stuck"}                                               what the workers do has not ended: replace them
    {"told": "refused", "why": text}                                the app would work outside of the place
    {"told": "done"}
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from celery.app.utils import find_app

from steadybeat.address import Address
from steadybeat.audit.answer import Answer, unknown
from steadybeat.audit.probes.judging import PROVEN, judged
from steadybeat.audit.probes.trials import NotEnded, Trials
from steadybeat.errors import ConfigurationError, SteadybeatError
from steadybeat.ledger import Ledger
from steadybeat.ledger.scratch import PREFIX, ScratchTables

WORKERS = 3
CRASHES = "crashes"
TOLD = "told"

_START_SECONDS = 60.0


def outside(app: Any) -> str:
    """Return what of an app leads out of the scratch place that its settings name, in words; empty where nothing does.

    Args:
        app: A Celery app on which steadybeat is installed.
    """
    settings, conf = app.steadybeat.settings, app.conf
    own = Address.read(settings.redis_url, "steadybeat_redis_url")
    way_out = "leave it out, or let it come from a variable that steadybeat_audit_environment sets."
    if not settings.scratch_folder or f"/{PREFIX}" not in settings.database_url:
        return f"steadybeat_database_url={_place(settings.database_url)}: is no scratch database."
    for name in ("broker_url", "broker_read_url", "broker_write_url", "redbeat_redis_url"):
        given = conf.get(name)
        if given and not _same(str(given), own):
            return f"{name}={Address.read(str(given), name).shown}: leads out of the scratch place; {way_out}"
    backend = str(conf.result_backend or "")
    if "://" in backend and not _same(backend, own):
        return f"result_backend={backend.partition('://')[0]}://…: leads out of the scratch place; {way_out}"
    return ""


def _same(url: str, own: Address) -> bool:
    return url == own.url or (url.startswith("redis-sentinel://") and bool(own.sentinels))


def _place(url: str) -> str:
    return url.rpartition("@")[2].rpartition("/")[2]


class _Driver:
    def __init__(self, app: Any, folder: Path) -> None:
        self._app, self._folder = app, folder

    def tell(self, told: str, **facts: Any) -> None:
        with (self._folder / TOLD).open("a") as file:
            file.write(json.dumps({"told": told, **facts}) + "\n")

    def drive(self, tasks: Sequence[str]) -> None:
        """Try the tasks, one after another."""
        why = outside(self._app)
        if why:
            self.tell("refused", why=why)
            return
        tables = ScratchTables(Ledger.of(self._app).database)
        self.tell("ready")
        self._wait_for_workers(set())
        for name in tasks:
            proofs = self._tried(name, tables)
            self.tell("tried", task=name, proofs={line: asdict(proof) for line, proof in proofs.items()})
        self.tell("done")

    def _wait_for_workers(self, but: Collection[str]) -> None:
        """Wait until enough workers are there that are none of these instances.

        Raises:
            NotEnded: They do not come.
        """
        until = time.monotonic() + _START_SECONDS
        while len(self._workers() - {*but}) < WORKERS:
            if time.monotonic() > until:
                raise NotEnded(f"{WORKERS} workers had not come up after {_START_SECONDS:g} s")
            time.sleep(0.1)

    def _workers(self) -> set[str]:
        return {each.id for each in Ledger.of(self._app).live_instances() if each.role == "worker"}

    def _begin_anew(self) -> None:
        """Have the workers replaced, and forget their messages: what they still do is no part of the next trial."""
        old = self._workers()
        self.tell("stuck")
        self._wait_for_workers(old)
        with self._app.connection_for_write() as connection:
            channel = connection.default_channel
            channel.client.delete(channel.unacked_key, channel.unacked_index_key, *self._app.amqp.queues)

    def _tried(self, name: str, tables: ScratchTables) -> dict[str, Answer]:
        task = self._app.tasks[name]
        trials = Trials(self._app, task, tables, self._folder / CRASHES, self._begin_anew)
        try:
            return judged(task, trials, tables, lambda what: self.tell("tries", task=name, what=what))
        except NotEnded as error:
            remedy = "let audit_args= prepare what an undisturbed run has done sooner than that, and probe again"
            return dict.fromkeys(PROVEN, unknown(f"one undisturbed run: {error}", remedy))
        except Exception as error:  # noqa: BLE001 - whatever a task's own preparation does, the others are tried
            said = " ".join(f"{type(error).__name__}: {error}".split())[:400]
            remedy = "mend what audit_args= and audit_count= do in the scratch database, and probe again"
            proof = unknown(f"could not be tried: {said}", remedy)
            return dict.fromkeys(PROVEN, proof)


def main(name: str, folder: str, *tasks: str) -> None:
    """Try tasks of an app.

    Args:
        name: What stands behind ``celery -A``.
        folder: Where it tells what it saw.
        *tasks: Their names.
    """
    driver = _Driver(find_app(name), Path(folder))
    try:
        driver._app.loader.import_default_modules()
        driver._app.finalize()
        driver.drive(tasks)
    except (SteadybeatError, ConfigurationError, NotEnded) as error:
        driver.tell("refused", why=str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
