"""Iterating: long work that shows how far it is, can be stopped between two items, and goes on where it stood."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

from steadybeat.errors import ConfigurationError
from steadybeat.task.facts import Facts
from steadybeat.task.progress import PACE, Progress

T = TypeVar("T")
Mark = Callable[[Any], Any] | None
Pace = int | timedelta | None


class Iterating(Facts):
    """The part of `SteadyTask` that is for long work."""

    @property
    def checkpoint(self) -> Any:
        """Where an earlier attempt of this run stood, as `iterate` or `progress` were given it; None on the first.

        The task's query begins behind it: ``unpaid_sales(after=self.checkpoint)``.
        """
        attempt = self._attempt
        return attempt.progress.checkpoint if attempt else None

    @property
    def should_stop(self) -> bool:
        """Whether the run was cancelled or its worker ends; cheap enough to be asked in every turn of a loop.

        A task that finds so tidies up and calls `progress`, which ends the attempt.

        Raises:
            StaleAttempt: Another attempt holds the run by now.
        """
        attempt = self._attempt
        return attempt is not None and attempt.progress.stop() is not None

    def iterate(
        self,
        items: Iterable[T],
        *,
        total: int | None = None,
        checkpoint: Mark = None,
        every: Pace = None,
    ) -> Iterator[T]:
        """Yield items one by one, record how many are done, and stop between two where the run is not to go on.

        An item is done when the loop asks for the next. A run that is cancelled ends. A worker that ends hands its
        run back, and the next attempt goes on behind the last checkpoint; after a crash it repeats what was done
        since that was written. Called as a plain function, a task just gets its items.

        Args:
            items: Anything to loop over; it is never loaded as a whole.
            total: How many there are, where that is known.
            checkpoint: What of an item tells the next attempt where to go on: its id, say; any JSON. The next
                attempt finds it as `checkpoint`. One loop of a task may have it.
            every: How often the checkpoint is written: after so long, or after so many items and each second; each
                second unless given.

        Raises:
            StaleAttempt: Another attempt holds the run by now.
            ConfigurationError: `every` is no count and no duration, or a checkpoint is no JSON.
        """
        every = PACE if every is None else every
        wrong = every <= timedelta(0) if isinstance(every, timedelta) else isinstance(every, bool) or every < 1
        if wrong:
            raise ConfigurationError(f"iterate(every={every!r}): must be a count of items or a timedelta, above zero.")
        attempt = self._attempt
        if attempt is None:
            return iter(items)
        return _iterated(attempt.progress, items, total, checkpoint, every)

    def progress(self, done: int, total: int | None = None, *, checkpoint: Any = None) -> None:
        """Record how far a loop of the task's own is; about once a second it reaches the ledger.

        Where the run was cancelled or its worker ends, it does not return: the attempt ends here.

        Args:
            done: Items that are done.
            total: Of how many, where that is known.
            checkpoint: Where the next attempt goes on, for JSON.

        Raises:
            StaleAttempt: Another attempt holds the run by now.
            ConfigurationError: The checkpoint is no JSON.
        """
        attempt = self._attempt
        if attempt is not None:
            attempt.progress.moved(done, total, checkpoint)


def _iterated(
    progress: Progress,
    items: Iterable[T],
    total: int | None,
    checkpoint: Mark,
    every: int | timedelta,
) -> Iterator[T]:
    progress.begin(total, has_checkpoints=checkpoint is not None)
    count, pace = (None, every) if isinstance(every, timedelta) else (every, PACE)
    for item in items:
        yield item
        mark = checkpoint(item) if checkpoint is not None else None
        progress.moved((progress.done or 0) + 1, None, mark, count=count, pace=pace)
    progress.write()
