"""Consuming: whether a worker takes runs from a queue, and what to do where none does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steadybeat.commands.output import moment

if TYPE_CHECKING:
    from steadybeat.ledger import Ledger


def unread(book: Ledger, queue: str) -> str:
    """Return as sentences that no worker takes runs from a queue, and the way out; empty where one does.

    A worker counts until its lease has passed; where one does not say what it consumes, nobody can tell.

    Args:
        book: The ledger.
        queue: Its name.
    """
    found = book.instances.consumers(queue)
    if found.alive_count or found.may_be_more:
        return ""
    if found.host is not None:
        last = f"The last was {found.host}:{found.pid}, until {moment(found.expires_at)}."
    elif found.began_at is not None:
        last = f"One did last at {moment(found.began_at)}."
    else:
        last = "None ever did."
    return f"No worker consumes from queue {queue!r}. {last} {way_out(queue)}"


def way_out(queue: str) -> str:
    """Return how a worker is started that consumes from a queue."""
    return f"Start one: celery -A … worker -Q {queue}"


def queue_name(queue: Any) -> str:
    """Return the name of a queue, which kombu gives as an object or as its name."""
    return str(getattr(queue, "name", queue))
