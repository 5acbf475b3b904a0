"""Facts: what a task can ask about the run that it works on."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from steadybeat.task.attempt import Attempt


class Facts:
    """The part of `SteadyTask` that tells a task about its run."""

    request: Any

    @property
    def _attempt(self) -> Attempt | None:
        attempt: Attempt | None = getattr(self.request, "steadybeat_attempt", None)
        return attempt

    @property
    def idempotency_key(self) -> str:
        """The key of this run, the same on every attempt; hand it to services that honour one.

        Called as a plain function a task has no run, and the key is its task id, or empty.
        """
        attempt = self._attempt
        return attempt.claimed.idempotency_key if attempt else str(self.request.id or "")

    @property
    def scheduled_for(self) -> datetime | None:
        """The nominal time of the fire that this run is for, aware and in UTC; None for any other run.

        A tenant's run is for the fire of the run that fanned out.
        """
        attempt = self._attempt
        if attempt is None:
            return None
        return attempt.claimed.fire_of[1] if attempt.claimed.fire_of else attempt.claimed.scheduled_for

    @property
    def tenant(self) -> str | None:
        """For whom this run of a fan-out does its share, as text; None for any other run."""
        attempt = self._attempt
        return attempt.claimed.tenant if attempt else None

    @property
    def previous_fire(self) -> datetime | None:
        """The nominal time of the schedule's fire before this one, aware and in UTC, whatever became of that.

        A run that works on "everything since last time" works on what lies between that and `scheduled_for`.
        None for the first fire, and for a run that is no fire.
        """
        attempt = self._attempt
        return attempt.before(succeeded=False) if attempt else None

    @property
    def last_success(self) -> datetime | None:
        """The nominal time of the latest fire before this one whose run succeeded, aware and in UTC, or None."""
        attempt = self._attempt
        return attempt.before(succeeded=True) if attempt else None

    @property
    def lock_lost(self) -> bool:
        """Whether another run may hold this one's lock, or its place, by now.

        It has not been extended in time, because the process was stopped or Redis is away. An effect made by
        `exactly_once` need not ask: it is refused where another run has taken the lock since.
        """
        attempt = self._attempt
        return attempt is not None and attempt.lock_is_lost
