"""Leaving: what a worker that ends says of the tenants that are not done."""

from __future__ import annotations

import logging
from collections.abc import Collection

from steadybeat.fanout.order import id_range
from steadybeat.ledger import Ledger

logger = logging.getLogger(__name__)

_PER_LINE = 1_000
_MOST = 10_000


def tell_left(ledger: Ledger, queues: Collection[str]) -> None:
    """Log the tenants of open fan-outs that have not ended, in the order of their turn, 1,000 a line.

    After 10,000 of one fan-out it says how many more there are.

    Args:
        ledger: The ledger.
        queues: Only those whose runs go to one of these queues.

    Raises:
        LedgerUnavailable: They are on record all the same.
    """
    for left in ledger.fan_outs.left(list(queues)):
        facts = {"fan_out": left.run, "task": left.task, "count": left.count}
        told, after = 0, None
        while told < min(left.count, _MOST):
            page = ledger.fan_outs.tenants_left(left.run, id_range(left.begun_at), after=after, limit=_PER_LINE)
            if not page:
                break
            told, after = told + len(page), page[-1].run
            logger.warning("tenants left", extra={**facts, "tenants": [each.tenant for each in page]})
        if told < left.count:
            logger.warning("tenants left", extra={**facts, "more_count": left.count - told})
