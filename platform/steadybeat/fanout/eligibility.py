"""Eligibility: tenants under a policy. Who of them is in is decided by the ledger, as people have told it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from steadybeat.errors import FanOutRefused

Tenants = Iterable[Any] | Callable[[], Iterable[Any]]
"""Ids of tenants: texts, whole numbers or UUIDs; or rows of one column that hold one."""


@dataclass(frozen=True, slots=True)
class Eligible:
    """Those tenants that a policy lets in.

    Attributes:
        policy: Its name, as `celery -A … tenants` knows it.
        of: The tenants that it is about; None: those of the app.
    """

    policy: str
    of: Tenants | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.policy, str) or not self.policy or self.policy.split() != [self.policy]:
            raise FanOutRefused(
                f"eligible({self.policy!r}): must be the name of a policy, one word such as 'weekly-digest'.",
                policy=self.policy,
            )


def eligible(policy: str, of: Tenants | None = None) -> Eligible:
    """Return the tenants that a policy lets in, for a fan-out.

    Everybody is in until `celery -A … tenants` says otherwise: pauses the policy, rolls it out to a share, or pauses,
    excludes or enables one tenant. Who is left out is on record with the reason.

    Args:
        policy: Its name, one word. It comes to be by being used.
        of: The tenants that it is about: anything to loop over, or a function that returns that. Those that
            ``install(app, tenants=…)`` was told, unless given.

    Raises:
        FanOutRefused: The policy's name is none.
    """
    return Eligible(policy, of)
