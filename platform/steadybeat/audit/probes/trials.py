"""Trials: one task is tried from the same start again and again, and what each trial did is looked at."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from steadybeat.audit.probes.comparing import Effect
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import Envelope, NewRun
from steadybeat.ledger.scratch import ScratchLedger, ScratchTables, changes
from steadybeat.schedule import new_run_id
from steadybeat.task.trying import arguments

KILLED_AT = {
    "after_claim": "before its code",
    "halfway": "halfway through it",
    "after_record": "before it had sent another run that it starts",
    "before_commit": "before its commit",
    "after_commit": "after its commit",
    "after_effect": "after its effect",
    "before_end": "before the end of its fan-out",
    "before_finish": "before its end was on record",
}
"""Where the process of a run is killed, once at each: one run dies at all of those that it comes by."""

DURING = frozenset(KILLED_AT) - {"after_claim", "before_finish"}
"""Those that lie within the task's own code."""

COMMANDS = "commands"
"""The folder of a scratch place in which sub-commands of the application are kept running."""

DELIVERIES = 8
"""How often the message of one run is delivered at once."""
OTHERS = 4
"""How many other runs with the same key are started beside it."""

_PATIENCE_SECONDS = 90.0
_POLL_SECONDS = 0.03


class NotEnded(Exception):
    """A trial has not come to rest in its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one trial showed.

    Attributes:
        effect: What it did.
        state: Of its run in the end; None where its runs are not on record.
        reason: Why, where it did not succeed.
        killed_at: The points at which its process was killed.
        run_count: How many runs it started, its own among them.
        attempt_count: How many attempts its run took.
        has_external: Whether it did something by `external`.
        attempt_seconds: How long its first attempt took.
    """

    effect: Effect
    state: str | None
    reason: str = ""
    killed_at: tuple[str, ...] = ()
    run_count: int = 0
    attempt_count: int = 0
    has_external: bool = False
    attempt_seconds: float = 0.0


@dataclass(slots=True)
class _Sent:
    """A call of the task as it is sent again and again."""

    id: str
    args: list[Any]
    kwargs: dict[str, Any]
    key: str | None
    run: NewRun | None = field(default=None)


class Trials:
    """Tries one task.

    Args:
        app: The app, in a scratch place.
        task: One of its tasks.
        tables: The application's tables there.
        crash_folder: Where the workers read at which points they are to die.
        begin_anew: Called when a trial has not come to rest; returns when nothing of it goes on.
    """

    def __init__(
        self, app: Any, task: Any, tables: ScratchTables, crash_folder: Path, begin_anew: Callable[[], None]
    ) -> None:
        self._app, self._task, self._tables, self._crash_folder = app, task, tables, crash_folder
        self._begin_anew = begin_anew
        self._book = Ledger.of(app)
        self._ledger = ScratchLedger(self._book.database)

    def undisturbed(self) -> Trial:
        """Run it once."""
        return self._trial(lambda sent: self._deliver([sent]))

    def twice(self) -> Trial:
        """Deliver its run twice, once more when it has ended, and call it again under the same idempotency key."""

        def act(sent: _Sent) -> None:
            self._deliver([sent, sent])
            self._rest()
            self._deliver([sent])
            self._rest()
            self._deliver([self._called_again(sent)])

        return self._trial(act)

    def killed(self, seconds: float) -> Trial:
        """Kill its process at each point that its run comes by, and have it resumed.

        Args:
            seconds: How long an undisturbed attempt takes.
        """
        times = {"after_effect": 2}
        whose = {"after_record": "*"}  # the run that it starts is of another task
        lines = [f"{point}:{whose.get(point, self._task.name)}:{times.get(point, 1)}" for point in KILLED_AT]
        (self._crash_folder / "halfway").write_text(str(seconds / 2))
        written = self._crash_folder / "points"
        written.with_suffix(".new").write_text("\n".join(lines))
        written.with_suffix(".new").rename(written)
        try:
            return self._trial(lambda sent: self._deliver([sent]))
        finally:
            for old in (written, *self._crash_folder.glob("*-*")):
                old.unlink()

    def concurrently(self) -> Trial:
        """Deliver its run many times at once, beside others with the same idempotency key."""
        return self._trial(
            lambda sent: self._deliver([sent] * DELIVERIES + [self._called_again(sent) for _ in range(OTHERS)])
        )

    def _trial(self, act: Callable[[_Sent], None]) -> Trial:
        self._tables.empty()
        args, kwargs = self._prepared()
        before, counted = self._tables.read(), self._count()
        run_count = self._ledger.run_count()
        key = None if self._task.key_template else f"probe:{uuid4()}"
        sent = _Sent(_new_id(), args, kwargs, key)
        try:
            act(sent)
            self._rest()
        except NotEnded:
            self._ledger.stop()
            self._begin_anew()
            raise
        now = self._count()
        counts = {name: now.get(name, 0) - counted.get(name, 0) for name in {*now, *counted}}
        effect = Effect(tables=changes(before, self._tables.read()), counts=counts)
        return Trial(
            effect=effect,
            killed_at=self._killed_at(),
            run_count=self._ledger.run_count() - run_count,
            **self._end(sent),
        )

    def _prepared(self) -> tuple[list[Any], dict[str, Any]]:
        given = self._task.audit_args
        if callable(given):
            with self._book.database.engine.begin() as db:
                given = given(db)
        args, kwargs = arguments(given)
        return json.loads(json.dumps([args, kwargs]))  # as a message has them

    def _count(self) -> Mapping[str, int]:
        given = self._task.audit_count
        if not callable(given):
            return {}
        with contextlib.chdir(self._crash_folder.parent / COMMANDS):  # as seen by what the application keeps running
            found = given()
        return found if isinstance(found, Mapping) else {"counted": int(found)}

    def _called_again(self, sent: _Sent) -> _Sent:
        return _Sent(_new_id(), sent.args, sent.kwargs, sent.key)

    def _deliver(self, sents: list[_Sent]) -> None:
        """Send each, all at once: where runs are on record, their messages leave in one batch."""
        if not self._task.recorded:
            with ThreadPoolExecutor(len(sents)) as pool:
                for done in [pool.submit(self._send, sent) for sent in sents]:
                    done.result()
            return
        for sent in sents:
            if sent.run is None:
                with self._app.amqp.diverting() as runs:
                    self._send(sent)
                [sent.run] = runs
                self._book.runs.record(sent.run)
        self._app.steadybeat.relay.send([_envelope(sent.run) for sent in sents if sent.run is not None])

    def _send(self, sent: _Sent) -> None:
        options = {"idempotency_key": sent.key} if sent.key and self._task.recorded else {}
        self._task.apply_async(sent.args, sent.kwargs, task_id=sent.id, **options)

    def _rest(self) -> None:
        """Wait until everything has ended; move on meanwhile what a watchdog moves on.

        Raises:
            NotEnded: It did not.
        """
        until, quiet = time.monotonic() + _PATIENCE_SECONDS, 0
        platform = self._app.steadybeat
        while quiet < 2:
            if time.monotonic() > until:
                raise NotEnded(f"it had not come to rest after {_PATIENCE_SECONDS:g} s")
            self._ledger.forward()
            platform.rescue()
            platform.fan_outs()
            platform.relay()
            quiet = quiet + 1 if self._ledger.is_at_rest() and self._nothing_is_sent() else 0
            time.sleep(_POLL_SECONDS)

    def _nothing_is_sent(self) -> bool:
        """Return whether no queue holds a message, and every message has been acknowledged."""
        with self._app.connection_for_read() as connection:
            channel = connection.default_channel
            return not channel.client.zcard(channel.unacked_index_key) and not any(
                channel._size(queue) for queue in self._app.amqp.queues
            )

    def _killed_at(self) -> tuple[str, ...]:
        found = {file.name.rpartition("-")[0] for file in self._crash_folder.glob("*-*")}
        return tuple(point for point in KILLED_AT if point in found)

    def _end(self, sent: _Sent) -> dict[str, Any]:
        found = self._book.story.run(sent.id) if self._task.recorded else None
        if found is None:
            return {"state": None}
        steps = self._book.keys.steps(self._task.name, found["idempotency_key"])
        return {
            "state": found["state"],
            "reason": " ".join(str(each) for each in (found["reason"], found["error"]) if each),
            "attempt_count": len(found["attempts"]),
            "attempt_seconds": _seconds(found["attempts"]),
            "has_external": any(step["state"] != "done" for step in steps),
        }


def _seconds(attempts: Sequence[Mapping[str, Any]]) -> float:
    first = attempts[0] if attempts else {}
    begun, ended = first.get("started_at"), first.get("finished_at")
    return (ended - begun).total_seconds() if begun and ended else 0.0


def _new_id() -> str:
    return new_run_id(datetime.now(UTC), os.urandom(10))


def _envelope(run: NewRun) -> Envelope:
    return Envelope(0, run.id, 1, "probe", run.task, run.queue, run.priority, json.dumps(run.message), run.body, 0)
