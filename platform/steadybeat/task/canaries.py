"""Canaries: messages that ask whether a worker consumes. Its pool answers, so that the answer says that it works too.

They are no runs: no task is called, no event is sent, and no line is written for one.
"""

from __future__ import annotations

from typing import Any

from celery import current_app
from celery.utils.log import get_logger

from steadybeat.channel import CANARY, CANARY_NUMBER
from steadybeat.errors import LedgerUnavailable
from steadybeat.ledger import Ledger

logger = get_logger(__name__)


def is_canary(message: Any) -> bool:
    """Return whether a message asks only whether somebody is there."""
    return bool(message.headers.get("task") == CANARY)


def take(message: Any, pool: Any) -> None:
    """Have the pool of this worker answer a canary.

    Args:
        message: The canary.
        pool: Celery's pool.
    """
    message.ack_log_error(logger, Exception)
    try:
        queue, number = message.delivery_info["routing_key"], int(message.headers[CANARY_NUMBER])
        pool.apply_async(answer, (queue, number), callback=_done, error_callback=_done)
    except Exception as error:  # noqa: BLE001 - what a pool that ends says, or a message that somebody has made up
        logger.debug("canary not taken", extra={"error": str(error)})


def answer(queue: str, number: int) -> None:
    """Write down that the pool of this worker works; an answer that cannot be written is asked for again.

    Args:
        queue: That the canary was on.
        number: Its number.
    """
    platform = current_app.steadybeat
    try:
        Ledger.of(current_app).canaries.answer(queue, number, platform.instance)
    except LedgerUnavailable as error:
        logger.debug("canary not answered", extra={"queue": queue, "error": str(error)})


def _done(*_: Any) -> None:
    """Take what the pool returns, which says nothing."""
