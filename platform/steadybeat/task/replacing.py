"""Replacing: what takes the place of a task, under its id: another task, or a whole canvas."""

from __future__ import annotations

from typing import Any

from celery.exceptions import Ignore

from steadybeat.task.facts import Facts


class Replacing(Facts):
    """The part of `SteadyTask` that lets something else take its place."""

    app: Any

    def on_replace(self, sig: Any) -> Any:
        """Have `sig` take the place of this task, in the statement that ends the attempt.

        Args:
            sig: What `replace` was given, with the id, the callbacks and the chain of this task.

        Raises:
            Ignore: Always, in a worker.
        """
        attempt = self._attempt
        if attempt is None:
            return super().on_replace(sig)  # type: ignore[misc]
        with self.app.amqp.diverting() as runs:
            sig.delay()
        attempt.replaced_by(sig, runs)
        raise Ignore("Replaced by new task")
