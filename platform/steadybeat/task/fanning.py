"""Fanning: one run that becomes one run per tenant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from steadybeat.errors import FanOutRefused
from steadybeat.task.facts import Facts


class Fanning(Facts):
    """The part of `SteadyTask` that fans out."""

    app: Any
    name: str

    def fan_out(
        self,
        task: Any,
        tenants: Iterable[Any] | Any,
        *,
        concurrency: int | None = None,
        spread: timedelta | None = None,
        abort_when: float | None = None,
        on_complete: Any = None,
        seed: str | int | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Have a task run once for each tenant. This run ends when the last of those has ended.

        ``return self.fan_out(send_digest, tenants=eligible("weekly-digest"), concurrency=20)``

        None of them begins before all are on record and this attempt has ended well; one that dies is made again, and
        writes what is missing. This run's result is how many succeeded, failed, were cancelled and were skipped. It is
        dead where it was aborted, or where every tenant failed; a tenant that failed is a dead letter of its own.

        Args:
            task: What runs for each: a task, or its name. It is called with the tenant alone, and with `kwargs`.
            tenants: Their ids (texts, whole numbers, UUIDs, rows of one column), anything to loop over; they are
                never all in memory. Or `eligible(…)`: those that a policy lets in.
            concurrency: So many are sent or at work at a time, over all workers; the setting
                ``steadybeat_fan_out_count`` unless given.
            spread: They begin evenly over this long, not all at once.
            abort_when: When to give up: after so many dead runs, or, as a fraction of 1, after such a share of all.
            on_complete: A task, or a signature, that is called once with the counts when all have ended.
            seed: The order of tenants follows from it; another one for each fan-out unless given.
            kwargs: Named arguments that each run has besides its tenant.

        Raises:
            FanOutRefused: An option cannot be, a tenant is none, this run has fanned out before, or its last effect has
                been made, after which no attempt would come this far again.
            StaleAttempt: Another attempt holds the run by now.
        """
        fan_outs = self.app.steadybeat.fan_outs
        plan = fan_outs.planned(
            tenants,
            concurrency=concurrency,
            spread=spread,
            abort_when=abort_when,
            on_complete=on_complete,
            seed=seed,
            kwargs=kwargs or {},
        )
        return self._fan_out(task, plan)

    def _fan_out(self, task: Any, plan: Any) -> Any:
        attempt, fan_outs = self._attempt, self.app.steadybeat.fan_outs
        if attempt is None:
            if not (self.request.called_directly or self.request.is_eager):
                raise FanOutRefused(
                    f"{self.name}: its runs are not in the ledger (recorded=False), so that nobody would know which"
                    " tenants are done; leave recorded=False out.",
                    task=self.name,
                )
            return fan_outs.called(task, plan)
        attempt.begin_fan_out()
        facts = {
            "run": attempt.run,
            "fence": attempt.claimed.fence,
            "key": attempt.claimed.idempotency_key,
            "root": self.request.root_id or attempt.run,
        }
        fan_outs.write(task, plan, **facts, moved=attempt.fanned_out_to, insist=attempt.insist)
        attempt.has_fanned_out = True
        return None
