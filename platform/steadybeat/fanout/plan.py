"""Plan: what a fan-out is told: for whom, how many at a time, when to give up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from celery import Task
from celery.canvas import Signature
from celery.local import Proxy
from kombu.utils.json import dumps

from steadybeat.errors import LONGEST_PAUSE, FanOutRefused
from steadybeat.fanout.eligibility import Eligible, Tenants


@dataclass(frozen=True, slots=True)
class FanOut:
    """One run for each tenant, for ``for_each=`` of a task.

    Attributes:
        tenants: Who: `eligible(…)`, anything to loop over, or a function that returns that. It is never all in memory.
        concurrency: So many of the runs are sent or at work at a time, over all workers; the setting
            ``steadybeat_fan_out_count`` unless given.
        spread: They begin evenly over this long, not all at once.
        abort_when: When to give up: after so many dead runs, or, as a fraction of 1, after such a share of all.
        on_complete: A task, or a signature, that is called with the counts once all have ended.
        seed: The order of tenants follows from it; another one for each fan-out unless given.
        kwargs: Named arguments that each run has besides its tenant.

    Raises:
        FanOutRefused: Names the option, its value and the way out.
    """

    tenants: Tenants | Eligible
    concurrency: int | None = field(default=None, kw_only=True)
    spread: timedelta | None = field(default=None, kw_only=True)
    abort_when: float | None = field(default=None, kw_only=True)
    on_complete: Any = field(default=None, kw_only=True)
    seed: str | int | None = field(default=None, kw_only=True)
    kwargs: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        source = self.tenants.of if isinstance(self.tenants, Eligible) else self.tenants
        named = isinstance(source, str | bytes | Mapping)
        if named or not (source is None or callable(source) or isinstance(source, Iterable)):
            raise _wrong(
                "tenants", source, "ids to loop over, a function that returns them, or eligible('some-policy')"
            )
        if self.tenants is None:
            raise _wrong("tenants", None, "ids to loop over, a function that returns them, or eligible('some-policy')")
        if self.concurrency is not None and (not _is_whole(self.concurrency) or self.concurrency < 1):
            raise _wrong("concurrency", self.concurrency, "a count of at least 1")
        if self.spread is not None and (
            not isinstance(self.spread, timedelta) or not timedelta(0) <= self.spread <= LONGEST_PAUSE
        ):
            raise _wrong("spread", self.spread, "a timedelta such as timedelta(hours=1)")
        _check_abort(self.abort_when)
        _check_follower(self.on_complete)
        if self.seed is not None and (not isinstance(self.seed, str | int) or isinstance(self.seed, bool)):
            raise _wrong("seed", self.seed, "a text or a whole number")
        if not isinstance(self.kwargs, Mapping) or not all(isinstance(name, str) for name in self.kwargs):
            raise _wrong("kwargs", self.kwargs, "named arguments, such as {'period': '2026-11'}")

    @property
    def policy(self) -> str | None:
        """Whose tenants are in; None: all are."""
        return self.tenants.policy if isinstance(self.tenants, Eligible) else None

    @property
    def abort_count(self) -> int | None:
        """After how many dead runs it is given up."""
        return int(self.abort_when) if self.abort_when is not None and _is_whole(self.abort_when) else None

    @property
    def abort_share(self) -> float | None:
        """After what share of dead runs it is given up."""
        return self.abort_when if isinstance(self.abort_when, float) else None

    def follower(self) -> str | None:
        """Return what is told the counts, as JSON; None: nobody."""
        if self.on_complete is None:
            return None
        found = self.on_complete if isinstance(self.on_complete, Signature) else self.on_complete.s()
        return str(dumps(dict(found)))

    def source(self, known: Tenants | None) -> Iterable[Any]:
        """Return the tenants that it is about.

        Args:
            known: What the app was told of its tenants.

        Raises:
            FanOutRefused: Nobody says which tenants there are.
        """
        own: Any = self.tenants.of if isinstance(self.tenants, Eligible) else self.tenants
        found: Any = known if own is None else own
        if found is None:
            raise FanOutRefused(
                f"eligible({self.policy!r}): nobody says which tenants there are; pass them, eligible({self.policy!r},"
                " of=…), or tell the app: steadybeat.install(app, tenants=…)."
            )
        return found() if callable(found) else found


def _check_abort(when: Any) -> None:
    if when is None or (_is_whole(when) and when >= 1) or (isinstance(when, float) and 0 < when <= 1):
        return
    raise _wrong("abort_when", when, "a count of dead runs, such as 10, or a share of all, such as 0.05")


def _check_follower(follower: Any) -> None:
    # Of a task that is not bound to its app yet nothing can be asked: that would bind it.
    bound = follower is not None and not issubclass(type(follower), Proxy)
    if bound and not isinstance(follower, Task | Signature):
        raise _wrong("on_complete", follower, "a task, or the signature of one")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wrong(option: str, value: Any, way_out: str) -> FanOutRefused:
    shown = repr(value)
    shown = shown if len(shown) <= 200 else f"{shown[:200]}…"
    return FanOutRefused(f"fan-out: {option}={shown}: must be {way_out}.", option=option)
