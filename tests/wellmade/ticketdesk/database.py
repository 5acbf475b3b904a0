"""The database."""

from __future__ import annotations

import functools

import sqlalchemy as sa

from ticketdesk import settings


@functools.lru_cache
def engine() -> sa.Engine:
    """Return the engine of this process."""
    return sa.create_engine(settings.DATABASE_URL, pool_size=4, max_overflow=2)
