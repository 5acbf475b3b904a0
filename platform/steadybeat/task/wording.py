"""Wording: how a result and an error are written into the ledger."""

from __future__ import annotations

import json
import traceback
from typing import Any

from celery.result import ResultBase
from kombu.utils.json import dumps

from steadybeat.errors import EffectRefused
from steadybeat.ledger.connection import storable

_RESULT_LIMIT = _KEPT_LIMIT = 1_048_576
_ERROR_LIMIT = 20000


def as_json(value: Any) -> str | None:
    """Return a result as kombu's JSON, or None where that or Postgres cannot hold it: that fails nothing."""
    value = value.as_tuple() if isinstance(value, ResultBase) else value
    try:
        written = str(dumps(value, allow_nan=False, ensure_ascii=False))
        storable = len(written.encode()) <= _RESULT_LIMIT and "\\u0000" not in written
    except (TypeError, ValueError, RecursionError):
        return None
    return written if storable else None


def kept(value: Any, said: str) -> str | None:
    """Return what an effect or a step gave back as JSON, since a later attempt goes on with it.

    Args:
        value: None needs no keeping.
        said: Who gave it back, for the error.

    Raises:
        EffectRefused: JSON or Postgres cannot hold it, or it has more than a mebibyte.
    """
    if value is None:
        return None
    try:
        written = json.dumps(value, allow_nan=False, ensure_ascii=False)
        if "\\u0000" not in written and len(written.encode()) <= _KEPT_LIMIT:
            return written
        why = "holds a NUL character" if "\\u0000" in written else f"has more than {_KEPT_LIMIT} bytes"
    except (TypeError, ValueError, RecursionError) as error:
        why = f"is not JSON ({error})"
    raise EffectRefused(f"{said}: its result, a {type(value).__name__}, {why}; give back an id instead.")


def line(error: BaseException) -> str:
    """Return an error as one line."""
    return short(f"{type(error).__name__}: {error}")


def short(text: str) -> str:
    """Return the first line of a text, cut where that is long."""
    return storable(text.partition("\n")[0][:500])


def spoken(seconds: float) -> str:
    """Return a pause for a person: ``0.8 s``, ``30 s``."""
    return f"{seconds:.0f} s" if seconds >= 10 else f"{round(seconds, 1):g} s"


def stack(error: BaseException | None) -> str | None:
    """Return an error with its stack, the end of it where that is long."""
    return None if error is None else storable("".join(traceback.format_exception(error))[-_ERROR_LIMIT:])
