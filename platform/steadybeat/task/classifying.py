"""Classifying: what becomes of a run whose attempt ended with this error. Pure: no clock, no ledger, nothing imported.

Asked are, in this order, and the first that has an opinion decides:

1. the error itself: `Transient`, `Permanent`, `Snooze` and `Cancel` say it
2. the task's classifier, ``classify=``
3. the app's classifier, ``install(app, classify=…)``
4. ``dont_autoretry_for`` and ``autoretry_for`` of the task, where it has them: what they do not cover is not retried
5. the table of known errors below: databases, HTTP, mail, network
6. nobody: an unknown error is tried again; the next attempt, or the next deploy, may mend it

Errors of libraries are known by the names of their classes, so that none of the libraries need be there.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from steadybeat.errors import Cancel, Permanent, Snooze, TaskError, Transient

logger = logging.getLogger(__name__)

Classifier = Callable[[Exception], TaskError | type[TaskError] | None]
"""Answers with `Transient`, `Permanent`, `Snooze` or `Cancel`, as a class or an instance, or None: no opinion."""

LONGEST_RETRY_AFTER = timedelta(days=1)
"""What a server asks for is heeded up to this."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a run.

    Attributes:
        verdict: ``retry``, ``dead``, ``snooze`` or ``cancel``.
        because: Who or what says so, in words; may be empty.
        after: How long to wait, where that is said; else the task's back-off.
    """

    verdict: str
    because: str = ""
    after: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinions:
    """What a task and its app say of errors.

    Attributes:
        classifiers: By whose they are: ``task``, ``app``.
        autoretry_for: Celery's option.
        dont_autoretry_for: Celery's option.
    """

    classifiers: Mapping[str, Classifier | None]
    autoretry_for: tuple[type[BaseException], ...] = ()
    dont_autoretry_for: tuple[type[BaseException], ...] = ()


def decide(error: Exception, opinions: Opinions, now: datetime) -> Decision:
    """Return what becomes of a run whose attempt ended with `error`.

    Args:
        error: What was raised.
        opinions: What its task and its app say.
        now: When, aware: a server may ask for a pause by the instant of its end.
    """
    return (
        said(error, opinions.classifiers)
        or _listed(error, opinions)
        or known(error, now)
        or Decision("retry", "an unknown error")
    )


def said(error: Exception, classifiers: Mapping[str, Classifier | None]) -> Decision | None:
    """Return what the error itself says, or else the first classifier that has an opinion."""
    if isinstance(error, TaskError):
        return _meaning(error, "")
    for whose, classify in classifiers.items():
        answer = None if classify is None else _asked(classify, error, whose)
        if answer is not None:
            return answer
    return None


def known(error: Exception, now: datetime) -> Decision | None:
    """Return what the table says of an error of a well-known library, or None."""
    for each in type(error).__mro__:
        found = _TABLE.get((each.__module__.partition(".")[0], each.__name__))
        if found is not None:
            try:
                return found(error, now)
            except (AttributeError, TypeError, ValueError, KeyError):  # a class that only looks like the known one
                return None
    return None


def _asked(classify: Classifier, error: Exception, whose: str) -> Decision | None:
    facts = {"classifier_of": whose, "error": f"{type(error).__name__}: {error}"}
    try:
        answer: Any = classify(error)
        word = answer() if isinstance(answer, type) and issubclass(answer, TaskError) else answer
    except Exception:  # the error that it was asked about is what matters
        logger.exception("classifier failed", extra=facts)
        return None
    if word is None:
        return None
    found = _meaning(word, f"the {whose}'s classifier says {type(word).__name__}")
    if found is None:
        logger.error("classifier ignored: it answered none of ours", extra={**facts, "answer": repr(answer)})
        return None
    text = word.message if word.message != _default_text(word) else ""
    return replace(found, because=f"{found.because}: {text}" if text else found.because)


def _meaning(word: object, because: str) -> Decision | None:
    """Return what one of our own errors means; None for anything else."""
    if not isinstance(word, Transient | Permanent | Snooze | Cancel):
        return None
    if isinstance(word, Snooze):
        return Decision("snooze", because, word.after)
    if isinstance(word, Transient):
        return Decision("retry", because, word.after)
    return Decision("dead" if isinstance(word, Permanent) else "cancel", because)


def _default_text(word: TaskError) -> str:
    return (type(word).__doc__ or "").partition("\n")[0]


def _listed(error: Exception, opinions: Opinions) -> Decision | None:
    """Return what Celery's own options say, where a task has them."""
    if isinstance(error, opinions.dont_autoretry_for):
        return Decision("dead", "dont_autoretry_for has it")
    if not opinions.autoretry_for:
        return None
    if isinstance(error, opinions.autoretry_for) or _is_time_limit(error, opinions.autoretry_for):
        return Decision("retry", "autoretry_for has it")
    return Decision("dead", "autoretry_for does not have it")


def _is_time_limit(error: Exception, listed: Iterable[type[BaseException]]) -> bool:
    """Return whether a hard time limit struck a task that lists the soft one."""
    return isinstance(error, TimeLimitExceeded) and any(issubclass(SoftTimeLimitExceeded, each) for each in listed)


# What is known of other people's errors


def _passing(what: str) -> Callable[[Exception, datetime], Decision]:
    return lambda error, now: Decision("retry", what)


def _lasting(what: str) -> Callable[[Exception, datetime], Decision]:
    return lambda error, now: Decision("dead", f"permanent: {what}")


# SQLSTATE classes and codes that speak of the moment, not of the statement: PostgreSQL, appendix A. A lost connection,
# a lost race (deadlock, serialization), no resources, a server that starts, stops or was demoted, a time-out.
_MOMENTARY = ("08", "40", "53", "57", "58", "25006", "25P03", "25P04", "55P03")
_OF_THE_STATEMENT = ("IntegrityError", "ProgrammingError", "DataError", "NotSupportedError")
_OF_THE_MOMENT = ("OperationalError", "InterfaceError")


def _of_database(error: Exception, now: datetime) -> Decision | None:
    origin = getattr(error, "orig", None) or error.__cause__ or error
    state = next((str(code) for name in ("sqlstate", "pgcode") if (code := getattr(origin, name, None))), "")
    shown = f"SQLSTATE {state}" if state else ""
    if getattr(error, "connection_invalidated", False):
        return Decision("retry", "the database's connection broke")
    if state.startswith(_MOMENTARY):
        return Decision("retry", shown)
    names = [each.__name__ for each in type(error).__mro__]
    for name in names:
        if name in _OF_THE_STATEMENT:
            return Decision("dead", f"permanent: {shown or name}")
        if name in _OF_THE_MOMENT:
            return Decision("retry", shown or "the database's state")
    return None


_TRY_LATER = frozenset({408, 425, 429})


def _of_http(error: Exception, now: datetime) -> Decision | None:
    response = getattr(error, "response", None)
    return None if response is None else _of_status(response.status_code, response.headers, now)


def _of_urllib(error: Any, now: datetime) -> Decision | None:
    return _of_status(error.code, error.headers, now)


def _of_status(status: object, headers: Any, now: datetime) -> Decision | None:
    if not isinstance(status, int):
        return None
    if status in _TRY_LATER or 500 <= status <= 599:
        asked = retry_after(None if headers is None else headers.get("Retry-After"), now)
        return Decision("retry", f"HTTP {status}, Retry-After" if asked else f"HTTP {status}", asked)
    return Decision("dead", f"permanent: HTTP {status}") if 400 <= status <= 499 else None


def retry_after(value: object, now: datetime) -> timedelta | None:
    """Return the pause that the header ``Retry-After`` asks for; None where it asks for none, or cannot be read.

    Args:
        value: Seconds, or an HTTP date (RFC 9110, section 10.2.3).
        now: The present, aware.
    """
    text = str(value or "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", text):
        pause = timedelta(seconds=min(float(text), LONGEST_RETRY_AFTER.total_seconds()))
    else:
        try:
            until = parsedate_to_datetime(text)
        except (TypeError, ValueError, IndexError, OverflowError):
            return None
        pause = (until if until.tzinfo else until.replace(tzinfo=UTC)) - now
    return min(pause, LONGEST_RETRY_AFTER) if pause > timedelta(0) else None


def _of_mail(error: Exception, now: datetime) -> Decision | None:
    """RFC 5321, section 4.2.1: a reply of 4yz may be asked again, one of 5yz not."""
    code = getattr(error, "smtp_code", None)
    return _of_replies([code] if isinstance(code, int) else [])


def _of_recipients(error: Exception, now: datetime) -> Decision | None:
    """All of them were refused, so nobody got it yet."""
    return _of_replies([int(code) for code, _ in getattr(error, "recipients", {}).values()])


def _of_replies(codes: list[int]) -> Decision | None:
    later = [code for code in codes if 400 <= code <= 499]
    never = [code for code in codes if 500 <= code <= 599]
    if later:
        return Decision("retry", f"SMTP {later[0]}")
    return Decision("dead", f"permanent: SMTP {never[0]}") if never else None


_NETWORK, _TOO_SLOW = _passing("the network"), _passing("no answer in time")

_TABLE: Mapping[tuple[str, str], Callable[[Exception, datetime], Decision | None]] = {
    ("builtins", "ConnectionError"): _NETWORK,
    ("builtins", "TimeoutError"): _TOO_SLOW,
    ("socket", "gaierror"): _NETWORK,
    ("socket", "herror"): _NETWORK,
    ("ssl", "SSLError"): _NETWORK,
    ("billiard", "SoftTimeLimitExceeded"): _passing("the soft time limit"),
    ("billiard", "TimeLimitExceeded"): _passing("the time limit"),
    ("sqlalchemy", "DBAPIError"): _of_database,
    ("sqlalchemy", "TimeoutError"): _passing("the pool of connections was empty"),
    ("sqlalchemy", "StaleDataError"): _passing("another transaction was first"),
    ("django", "DatabaseError"): _of_database,
    ("django", "InterfaceError"): _of_database,
    ("psycopg", "Error"): _of_database,
    ("psycopg2", "Error"): _of_database,
    ("requests", "HTTPError"): _of_http,
    ("requests", "ConnectionError"): _NETWORK,
    ("requests", "Timeout"): _TOO_SLOW,
    ("requests", "ChunkedEncodingError"): _NETWORK,
    ("httpx", "HTTPStatusError"): _of_http,
    ("httpx", "TimeoutException"): _TOO_SLOW,
    ("httpx", "NetworkError"): _NETWORK,
    ("httpx", "RemoteProtocolError"): _NETWORK,
    ("httpx", "ProxyError"): _NETWORK,
    ("urllib", "HTTPError"): _of_urllib,
    ("urllib", "URLError"): _NETWORK,
    ("smtplib", "SMTPServerDisconnected"): _passing("the mail server hung up"),
    ("smtplib", "SMTPRecipientsRefused"): _of_recipients,
    ("smtplib", "SMTPResponseException"): _of_mail,
    ("smtplib", "SMTPNotSupportedError"): _lasting("the mail server cannot do that"),
}
"""By the package and the name of a class; of an error's classes the nearest that is here counts."""
