"""The shop's database."""

from __future__ import annotations

import functools

import sqlalchemy as sa

from ticketshop import settings


@functools.lru_cache
def engine() -> sa.Engine:
    """Return the engine of this process."""
    return sa.create_engine(settings.DATABASE_URL)
