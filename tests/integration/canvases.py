"""An app whose canvases are written into a ledger, and whose parts a test ends by hand."""

from __future__ import annotations

from typing import Any

from celery import Celery

import steadybeat
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import Claim, NewRun
from tests.integration.records import alive, claim


def part(value: int) -> int:
    return value


def total(values: list[int]) -> int:
    return sum(values)


def told(failed: str) -> None:
    """An error callback."""


def loose(value: int) -> int:
    """What is not recorded."""
    return 1 // value


class Drawing:
    """A canvas as the ledger has it; nothing is sent, there is no Redis."""

    def __init__(self, ledger_url: str) -> None:
        self.app: Any = Celery("shop", set_as_current=False)
        self.app.conf.update(steadybeat_database_url=ledger_url, steadybeat_redis_url="redis://127.0.0.1:1/0")
        steadybeat.install(self.app)
        self.part, self.total, self.told, self.loose = (self._task(each) for each in (part, total, told, loose))
        self.ledger: Ledger = self.app.steadybeat.ledger
        self.worker = alive(self.ledger)

    def _task(self, function: Any) -> Any:
        return self.app.task(name=f"shop.orders.{function.__name__}", recorded=function is not loose)(function)

    def recorded(self, signature: Any, **options: Any) -> list[NewRun]:
        """Have a canvas on record as if it was sent, and return its first runs."""
        with self.app.amqp.diverting() as runs:
            signature.apply_async(**options)
        self.ledger.runs.record_all(runs)
        return runs

    def claimed(self, run: NewRun | str) -> Claim:
        """Begin an attempt of a run, whichever of its messages brought it."""
        name = run if isinstance(run, str) else run.id
        found = self.ledger.runs.claim(
            name, delivery_no=1000, instance=self.worker, time_limit_seconds=60, crash_limit=3
        )
        assert found.verdict == "claimed", found
        return found

    def succeed(self, run: NewRun, result: str | None = "1") -> None:
        """End a part well, and let what follows be started."""
        fence = claim(self.ledger, run, self.worker).fence
        assert self.ledger.runs.finish(run.id, fence, result=result, part=True)

    def die(self, run: NewRun, reason: str = "ValueError: no") -> None:
        """End a run badly; nothing that follows is written."""
        fence = claim(self.ledger, run, self.worker).fence
        assert self.ledger.runs.give_up(run.id, fence=fence, reason=reason, error=reason)

    def runs_of(self, task: Any) -> list[Any]:
        """The runs of a task."""
        return self.ledger.story.runs(task=task.name, limit=100)

    def state(self, run: str) -> str:
        """Celery's word for what became of a task."""
        return str(self.app.AsyncResult(run).state)

    def close(self) -> None:
        self.ledger.database.close()
        self.app.close()
