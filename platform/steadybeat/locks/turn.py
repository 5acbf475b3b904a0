"""Turn: what a task has to hold while it runs, by name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steadybeat.template import filled

_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Turn:
    """One of some places under a name, to be held by one attempt at a time.

    Attributes:
        kind: ``lock`` or ``concurrency``.
        name: Of the lock, over all tasks; of the bound, the task's name and its key.
        count: How many places there are.
    """

    kind: str
    name: str
    count: int = 1

    def __str__(self) -> str:
        return f'{self.kind} "{self.name}"'

    @property
    def kept_as(self) -> str:
        """What the ledger calls it."""
        return f"{self.kind}:{self.name}"

    def key(self, place: int) -> str:
        """Return Redis' key of a place, numbered from 0."""
        return f"steadybeat:{self.kind}:{self.name}:{place}"


def turns_of(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Turn]:
    """Return what an attempt of a task has to hold; its lock comes first.

    Raises:
        ConfigurationError: A template does not fit the arguments.
    """
    turns = []
    lock, count = getattr(task, "lock", None), getattr(task, "concurrency", None)
    if lock:
        turns.append(Turn("lock", _name(str(task.name) if lock is True else filled(task, "lock", args, kwargs))))
    if count is not None:
        key = f":{filled(task, 'concurrency_key', args, kwargs)}" if task.concurrency_key else ""
        turns.append(Turn("concurrency", _name(f"{task.name}{key}"), count))
    return turns


def _name(text: str) -> str:
    """Return a name that every store can hold: a long or unprintable one by its beginning and its hash."""
    if len(text) <= _LONGEST and text.isprintable():
        return text
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    return "".join(each for each in text[: _LONGEST // 2] if each.isprintable()) + f"…{digest}"
