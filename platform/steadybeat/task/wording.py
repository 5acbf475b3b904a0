"""Wording: how a result and an error are written into the ledger."""

from __future__ import annotations

import traceback
from typing import Any

from celery.result import ResultBase
from kombu.utils import json

from steadybeat.ledger.connection import storable

_RESULT_LIMIT = 1_048_576
_ERROR_LIMIT = 20000


def as_json(value: Any) -> str | None:
    """Return a result as kombu's JSON, or None where that or Postgres cannot hold it: that fails nothing."""
    value = value.as_tuple() if isinstance(value, ResultBase) else value
    try:
        written = str(json.dumps(value, allow_nan=False, ensure_ascii=False))
        storable = len(written.encode()) <= _RESULT_LIMIT and "\\u0000" not in written
    except (TypeError, ValueError, RecursionError):
        return None
    return written if storable else None


def line(error: BaseException) -> str:
    """Return an error as one line."""
    return storable(f"{type(error).__name__}: {error}".partition("\n")[0][:500])


def stack(error: BaseException | None) -> str | None:
    """Return an error with its stack, the end of it where that is long."""
    return None if error is None else storable("".join(traceback.format_exception(error))[-_ERROR_LIMIT:])
