"""Writing: a tenant's run for everybody who is in, written into the ledger in batches.

Celery's own code makes one message, with everything that routes, options and signal handlers say; each tenant's is
that one with another argument and another id. The id follows from the fan-out, its seed and the tenant, so that an
attempt that is made again writes what is missing, and nothing twice. While the ledger writes a batch, the next one is
read: there are never more than two in memory.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from uuid import UUID

from steadybeat.errors import FanOutRefused, StaleAttempt
from steadybeat.fanout.order import fraction_of, id_of, place_of, seed_of
from steadybeat.fanout.plan import FanOut
from steadybeat.ledger import Ledger
from steadybeat.ledger.fan_outs import FanOuts, NewFanOut, Share
from steadybeat.ledger.rows import NewRun
from steadybeat.schedule import new_run_id

BATCH = 500
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """The run that fans out.

    Attributes:
        run: Its id.
        fence: Of its attempt.
        key: Its idempotency key.
        root: The run that it came of first.
        moved: Is told how many tenants are dealt with; what it raises ends the writing.
        insist: Asks the ledger until it answers.
    """

    run: str
    fence: int
    key: str
    root: str
    moved: Callable[[int], None]
    insist: Callable[[Callable[[Ledger], Any]], Any]


@dataclass(slots=True)
class Writer:
    """Writes the runs of one fan-out.

    Args:
        app: The Celery app.
        whole: The run that fans out.
        task: What runs for each tenant: a task, or its name.
        plan: What it is told.
    """

    app: Any
    whole: Whole
    task: Any
    plan: FanOut
    _template: NewRun = field(init=False)
    _seed: str = field(init=False, default="")
    _begun_at: datetime = field(init=False, default=datetime.max)
    _done: int = field(init=False, default=0)

    def __call__(self) -> None:
        """Write a run for each tenant that is in, and who is left out.

        Raises:
            FanOutRefused: A tenant is none, or the task cannot be called with one.
            StaleAttempt: Another attempt holds the run by now.
        """
        gc.collect()  # what earlier runs of this process have left counts in its peak, and waits long for Python
        self._template = self._made_by_celery()
        told = self._told()
        self._seed, self._begun_at = self._insist(lambda book, held: book.begin(*held, told))
        source = self.plan.source(self.app.steadybeat.tenants)
        closes = closing(source) if hasattr(source, "close") else nullcontext(source)  # type: ignore[type-var]
        with ThreadPoolExecutor(1, "steadybeat-fan-out") as pool, closes:
            under_way: Future[int] | None = None
            for batch in _batches(source):
                shares = [self._share(name, value) for name, value in batch.items()]
                self._landed(under_way)
                under_way = pool.submit(self._write, shares)
            self._landed(under_way)
        if policy := self.plan.policy:
            # A batch may have been judged before somebody told the policy something, and landed after that.
            run, since = self.whole.run, self._begun_at
            self.whole.insist(lambda ledger: ledger.tenants.withdraw_late(policy, run, since))

    def _landed(self, writing: Future[int] | None) -> None:
        if writing is not None:
            self._done += writing.result()
            self.whole.moved(self._done)

    def _told(self) -> NewFanOut:
        plan = self.plan
        return NewFanOut(
            task=self._template.task,
            policy=plan.policy,
            seed=seed_of(self.whole.run) if plan.seed is None else str(plan.seed),
            concurrency=plan.concurrency or self.app.steadybeat.settings.fan_out_count,
            spread_seconds=plan.spread.total_seconds() if plan.spread else 0.0,
            abort_count=plan.abort_count,
            abort_share=plan.abort_share,
            on_complete=plan.follower(),
        )

    def _made_by_celery(self) -> NewRun:
        """Return the run of a tenant called 0, as `apply_async` would record it.

        Raises:
            FanOutRefused: The runs of the task are not in the ledger, or it does not take a tenant.
        """
        options: dict[str, Any] = {
            "task_id": new_run_id(datetime.now(UTC), os.urandom(10)),
            "idempotency_key": self.whole.key,
            "parent_id": self.whole.run,
            "root_id": self.whole.root,
            "add_to_parent": False,
        }
        name = self.task if isinstance(self.task, str) else self.task.name
        task = self.app.tasks.get(name)
        if not getattr(task, "recorded", True):
            raise FanOutRefused(
                f"{name}: its runs are not in the ledger (recorded=False), so that nobody would know which tenants are"
                " done; leave recorded=False out.",
                task=name,
            )
        with self.app.amqp.diverting() as made:
            try:
                if task is None:
                    self.app.send_task(name, (0,), dict(self.plan.kwargs), **options)
                else:
                    task.apply_async((0,), dict(self.plan.kwargs), **options)
            except TypeError as error:
                raise FanOutRefused(
                    f"{name}: cannot be called with a tenant as its only positional argument: {error}.", task=name
                ) from error
        (template,) = made
        return template

    def _share(self, name: str, value: Any) -> Share:
        place = place_of(self._seed, name)
        written = json.dumps(value)
        spread = self.plan.spread
        return Share(
            run=id_of(self.whole.run, self._begun_at, place, name),
            tenant=name,
            body=f"[[{written}{self._template.body[3:]}",
            shown=f"({value!r},)",
            delay_seconds=spread.total_seconds() * fraction_of(place) if spread else None,
        )

    def _write(self, shares: list[Share]) -> int:
        how: dict[str, Any] = {"policy": self.plan.policy, "key": self.whole.key, "begun_at": self._begun_at}
        self._insist(lambda book, held: book.write(*held, self._template, shares, **how))
        return len(shares)

    def _insist(self, ask: Callable[[FanOuts, tuple[str, int]], Any]) -> Any:
        """Ask the ledger until it answers.

        Raises:
            StaleAttempt: Another attempt holds the run by now.
        """
        run, fence = self.whole.run, self.whole.fence
        answer = self.whole.insist(lambda ledger: ask(ledger.fan_outs, (run, fence)))
        if answer is None:
            raise StaleAttempt(run=run, fence=fence)
        return answer


def _batches(source: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    """Yield tenants, by their names, as many as are written at a time."""
    tenants = named(source)
    while batch := dict(islice(tenants, BATCH)):
        yield batch


def named(source: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the name of each tenant, and the argument that says it.

    Raises:
        FanOutRefused: One is neither a text nor a whole number nor a UUID, nor a row of one.
    """
    return map(_named, source)


def _named(tenant: Any) -> tuple[str, Any]:
    value = tenant
    if (isinstance(value, tuple) and len(value) == 1) or (hasattr(value, "_mapping") and len(value) == 1):
        value = value[0]
    if isinstance(value, UUID):
        value = str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value), value
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable():
        return value, value
    shown = repr(tenant)[:_LONGEST_NAME]
    raise FanOutRefused(
        f"fan-out: tenant {shown}: must be a printable text of at most {_LONGEST_NAME} characters, a whole number or a"
        " UUID; or a row of one column that holds one.",
        tenant=shown,
    )
