"""Fan-outs that had a history, for the tests of the commands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from steadybeat.fanout import FanOut
from steadybeat.fanout.eligibility import Eligible
from steadybeat.fanout.order import id_range
from steadybeat.ledger import Ledger
from tests.integration.commands.shop import attempt


def fanned_out(
    app: Any, instance: str, tenants: Iterable[Any] | Eligible, *, released: bool = True, **options: Any
) -> str:
    """A run of shop.mail.digest that has fanned out to shop.billing.charge; those who may have begun are sent."""
    book = Ledger.of(app)
    run: str = app.send_task("shop.mail.digest").id
    claim = book.runs.claim(run, delivery_no=1, instance=instance, time_limit_seconds=60, crash_limit=3)
    whole: dict[str, Any] = {"run": run, "fence": claim.fence, "key": claim.idempotency_key, "root": run}
    fan_outs = app.steadybeat.fan_outs
    plan = FanOut(tenants, **options)
    fan_outs.write("shop.billing.charge", plan, **whole, moved=lambda _: None, insist=lambda ask: ask(book))
    if released:
        assert book.fan_outs.release(run, claim.fence, reason="waits for {count} tenants", peak_memory_bytes=None)
        fan_outs.advance(run)
    return run


def runs_of(book: Ledger, run: str, *states: str) -> dict[str, str]:
    """The runs of a fan-out by their tenants, in their order; only those in some states where these are given."""
    fan_out = book.overview.fan_out(run)
    assert fan_out is not None
    found = book.overview.tenants(run, id_range(fan_out["begun_at"]), states=states or None, after=None, limit=1000)
    return {each["tenant"]: each["run"] for each in found}


def ended(app: Any, instance: str, run: str, failing: Iterable[str] = ()) -> None:
    """Let every tenant of a fan-out have its turn; some fail."""
    book, failing = Ledger.of(app), {*failing}
    while turn := runs_of(book, run, "enqueued"):
        for tenant, one in turn.items():
            attempt(book, one, instance, "ValueError: no address" if tenant in failing else None)
        app.steadybeat.fan_outs.advance(run)
