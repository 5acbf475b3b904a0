"""What an error means for its run, by itself, by a classifier, and by the table of known errors."""

from __future__ import annotations

import errno
import pickle
import smtplib
import socket
import ssl
import urllib.error
from datetime import UTC, datetime, timedelta
from email.message import Message
from typing import Any

import psycopg
import psycopg.errors
import pytest
import sqlalchemy.exc
import sqlalchemy.orm.exc
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from steadybeat import Cancel, Permanent, Snooze, Transient
from steadybeat.errors import ConfigurationError, TaskError
from steadybeat.task.classifying import Decision, Opinions, decide, known, retry_after

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
NOTHING = Opinions(classifiers={})
SOON = timedelta(seconds=30)


class BankIsBusy(Transient):
    """The bank is busy."""


def verdict(error: Exception, opinions: Opinions = NOTHING) -> tuple[str, timedelta | None]:
    found = decide(error, opinions, NOW)
    return found.verdict, found.after


def because(error: Exception, opinions: Opinions = NOTHING) -> str:
    return decide(error, opinions, NOW).because


# Libraries that may not be there: classes of the same names, in modules of the same names.


def made_class(module: str, name: str, *bases: type) -> type[Exception]:
    return type(name, bases or (Exception,), {"__module__": module})


class Response:
    """What requests and httpx hand out; one of requests counts as false from status 400 on."""

    def __init__(self, status_code: int, headers: dict[str, str]) -> None:
        self.status_code, self.headers = status_code, headers

    def __bool__(self) -> bool:
        return self.status_code < 400


REQUEST_EXCEPTION = made_class("requests.exceptions", "RequestException", OSError)
REQUESTS_HTTP = made_class("requests.exceptions", "HTTPError", REQUEST_EXCEPTION)
REQUESTS_CONNECTION = made_class("requests.exceptions", "ConnectionError", REQUEST_EXCEPTION)
REQUESTS_TIMEOUT = made_class("requests.exceptions", "Timeout", REQUEST_EXCEPTION)
HTTPX_ERROR = made_class("httpx", "HTTPError")
HTTPX_STATUS = made_class("httpx", "HTTPStatusError", HTTPX_ERROR)
HTTPX_TRANSPORT = made_class("httpx", "TransportError", HTTPX_ERROR)
HTTPX_TIMEOUT = made_class("httpx", "TimeoutException", HTTPX_TRANSPORT)
HTTPX_NETWORK = made_class("httpx", "NetworkError", HTTPX_TRANSPORT)


def answered(library: type[Exception], status: int, headers: dict[str, str] | None = None) -> Exception:
    error: Any = library(f"{status}")
    error.response = Response(status, headers or {})
    return error  # type: ignore[no-any-return]


def urllib_answered(status: int, headers: dict[str, str] | None = None) -> Exception:
    given = Message()
    for name, value in (headers or {}).items():
        given[name] = value
    return urllib.error.HTTPError("http://bank/", status, "no", given, None)


HTTP = {
    "requests": lambda status, headers=None: answered(REQUESTS_HTTP, status, headers),
    "httpx": lambda status, headers=None: answered(HTTPX_STATUS, status, headers),
    "urllib": urllib_answered,
}


@pytest.mark.parametrize("library", HTTP)
@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        *((status, "retry") for status in (408, 425, 429, 500, 502, 503, 504, 599)),
        *((status, "dead") for status in (400, 401, 403, 404, 409, 410, 422, 451)),
        (304, "retry"),
    ],
)
def test_an_http_status_says_whether_to_ask_again(library: str, status: int, wanted: str) -> None:
    error = HTTP[library](status)
    assert verdict(error) == (wanted, None)
    if status != 304:
        assert because(error).endswith(f"HTTP {status}")


@pytest.mark.parametrize("library", HTTP)
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("asked", "after"),
    [
        ("30", SOON),
        ("Sun, 01 Mar 2026 12:00:30 GMT", SOON),
        ("Sunday, 01-Mar-26 12:00:30 GMT", SOON),
        ("604800", timedelta(days=1)),
        ("0", None),
        ("Sun, 01 Mar 2026 11:00:00 GMT", None),
        ("soon", None),
        ("-5", None),
        ("9" * 400, timedelta(days=1)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", timedelta(days=1)),
        ("Sun, 99 Foo 2026 99:00:30 GMT", None),
    ],
)
def test_retry_after_is_heeded_as_seconds_and_as_a_date(
    library: str, status: int, asked: str, after: timedelta | None
) -> None:
    error = HTTP[library](status, {"Retry-After": asked})
    assert verdict(error) == ("retry", after)
    assert because(error) == (f"HTTP {status}, Retry-After" if after else f"HTTP {status}")


def test_retry_after_of_another_time_zone_and_of_none() -> None:
    assert retry_after("Sun, 01 Mar 2026 14:00:30 +0200", NOW) == SOON
    assert retry_after("Sun, 01 Mar 2026 12:00:30", NOW) == SOON
    assert retry_after(None, NOW) is None


def of_database(kind: str, origin: Exception, **facts: Any) -> Exception:
    error: Exception = getattr(sqlalchemy.exc, kind)("SELECT 1", {}, origin, **facts)
    return error


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (of_database("OperationalError", psycopg.OperationalError("no route")), "retry"),
        (of_database("OperationalError", psycopg.errors.DeadlockDetected()), "retry"),
        (of_database("OperationalError", psycopg.errors.SerializationFailure()), "retry"),
        (of_database("InternalError", psycopg.errors.ReadOnlySqlTransaction()), "retry"),
        (of_database("OperationalError", psycopg.errors.QueryCanceled()), "retry"),
        (of_database("InterfaceError", psycopg.InterfaceError("closed")), "retry"),
        (of_database("ProgrammingError", psycopg.ProgrammingError(), connection_invalidated=True), "retry"),
        (of_database("IntegrityError", psycopg.errors.UniqueViolation()), "dead"),
        (of_database("ProgrammingError", psycopg.errors.UndefinedTable()), "dead"),
        (of_database("DataError", psycopg.errors.NumericValueOutOfRange()), "dead"),
        (of_database("NotSupportedError", psycopg.NotSupportedError()), "dead"),
        (sqlalchemy.exc.TimeoutError("the pool"), "retry"),
        (sqlalchemy.orm.exc.StaleDataError(), "retry"),
        (sqlalchemy.exc.NoResultFound(), "retry"),
        (psycopg.errors.DeadlockDetected(), "retry"),
        (psycopg.errors.UniqueViolation(), "dead"),
    ],
    ids=lambda value: type(getattr(value, "orig", None) or value).__name__,
)
def test_a_databases_errors_are_told_apart(error: Exception, wanted: str) -> None:
    assert verdict(error) == (wanted, None)


def test_a_databases_error_is_named_by_its_sqlstate() -> None:
    error = of_database("IntegrityError", psycopg.errors.UniqueViolation())
    assert because(error) == "permanent: SQLSTATE 23505"


def test_djangos_errors_go_by_their_class_and_what_caused_them() -> None:
    database_error = made_class("django.db.utils", "DatabaseError")
    assert verdict(made_class("django.db.utils", "IntegrityError", database_error)())[0] == "dead"
    assert verdict(made_class("django.db.utils", "OperationalError", database_error)())[0] == "retry"
    broken: Exception = made_class("django.db.utils", "InternalError", database_error)()
    broken.__cause__ = psycopg.errors.ReadOnlySqlTransaction()
    assert because(broken) == "SQLSTATE 25006"


def test_a_mysql_error_without_an_sqlstate_goes_by_its_class() -> None:
    assert because(of_database("OperationalError", Exception(1213, "Deadlock"))) == "the database's state"
    assert because(of_database("DataError", Exception(1406, "too long"))) == "permanent: DataError"


@pytest.mark.parametrize(
    ("error", "wanted", "why"),
    [
        (smtplib.SMTPServerDisconnected("bye"), "retry", "the mail server hung up"),
        (smtplib.SMTPDataError(451, b"greylisted"), "retry", "SMTP 451"),
        (smtplib.SMTPDataError(554, b"spam"), "dead", "permanent: SMTP 554"),
        (smtplib.SMTPConnectError(421, b"busy"), "retry", "SMTP 421"),
        (smtplib.SMTPAuthenticationError(535, b"who?"), "dead", "permanent: SMTP 535"),
        (smtplib.SMTPSenderRefused(452, b"full", "a@b"), "retry", "SMTP 452"),
        (smtplib.SMTPRecipientsRefused({"a@b": (550, b"no"), "c@d": (450, b"later")}), "retry", "SMTP 450"),
        (smtplib.SMTPRecipientsRefused({"a@b": (550, b"no")}), "dead", "permanent: SMTP 550"),
        (smtplib.SMTPNotSupportedError("utf8"), "dead", "permanent: the mail server cannot do that"),
        (smtplib.SMTPException("?"), "retry", "an unknown error"),
        (smtplib.SMTPRecipientsRefused("odd"), "retry", "an unknown error"),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_a_mail_servers_replies_are_told_apart(error: Exception, wanted: str, why: str) -> None:
    assert (verdict(error)[0], because(error)) == (wanted, why)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        ConnectionResetError(),
        BrokenPipeError(),
        TimeoutError(),
        socket.gaierror(-2, "unknown name"),
        ssl.SSLError(1, "handshake"),
        urllib.error.URLError(OSError(errno.ECONNREFUSED, "refused")),
        REQUESTS_CONNECTION(),
        REQUESTS_TIMEOUT(),
        made_class("requests.exceptions", "ConnectTimeout", REQUESTS_CONNECTION, REQUESTS_TIMEOUT)(),
        made_class("httpx", "ConnectTimeout", HTTPX_TIMEOUT)(),
        made_class("httpx", "ConnectError", HTTPX_NETWORK)(),
        SoftTimeLimitExceeded(),
        TimeLimitExceeded(5),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_network_does_passes(error: Exception) -> None:
    found = known(error, NOW)
    assert found is not None
    assert found.verdict == "retry"


@pytest.mark.parametrize("error", [KeyError("x"), TypeError(), FileNotFoundError(), REQUESTS_HTTP(), HTTPX_STATUS()])
def test_an_unknown_error_is_tried_again(error: Exception) -> None:
    assert decide(error, NOTHING, NOW) == Decision("retry", "an unknown error")


def test_a_class_that_is_only_called_like_a_known_one_is_unknown() -> None:
    assert because(made_class("shop.bank", "HTTPError")()) == "an unknown error"


# What an error says by itself


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (Transient("busy"), ("retry", None)),
        (Transient("busy", after=SOON), ("retry", SOON)),
        (BankIsBusy(), ("retry", None)),
        (Permanent("stolen"), ("dead", None)),
        (Snooze(SOON), ("snooze", SOON)),
        (Cancel("sold"), ("cancel", None)),
        (TaskError("?"), ("retry", None)),
    ],
    ids=repr,
)
def test_our_own_errors_say_it_themselves_whatever_others_say(
    error: Exception, wanted: tuple[str, timedelta | None]
) -> None:
    if type(error) is not TaskError:
        opinions = Opinions(
            classifiers={"task": lambda _: Permanent, "app": lambda _: Permanent}, dont_autoretry_for=(Exception,)
        )
        assert verdict(error, opinions) == wanted
    assert verdict(error) == wanted


@pytest.mark.parametrize("wrong", [30, -SOON, timedelta(0), timedelta(days=5000), None])
def test_a_snooze_without_a_sensible_time_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Snooze: after=.*must be a timedelta of more than nothing"):
        Snooze(wrong)


def test_a_transient_may_wait_for_nothing_but_not_for_a_number() -> None:
    assert Transient(after=timedelta(0)).after == timedelta(0)
    with pytest.raises(ConfigurationError, match="Transient: after=30: must be a timedelta of nothing or more"):
        Transient(after=30)  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [Transient("a", after=SOON), Permanent("b"), Snooze(SOON, "c"), Cancel("d")])
def test_our_own_errors_survive_the_way_between_processes(error: Any) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), getattr(again, "after", None)) == (
        type(error),
        str(error),
        getattr(error, "after", None),
    )


# Classifiers, and Celery's options


def no_opinion(error: Exception) -> None:
    return None


def fails(error: Exception) -> Any:
    raise RuntimeError("the classifier's own")


@pytest.mark.parametrize(
    ("answer", "wanted", "why"),
    [
        (Permanent, ("dead", None), "the task's classifier says Permanent"),
        (Permanent("stolen"), ("dead", None), "the task's classifier says Permanent: stolen"),
        (Transient(after=SOON), ("retry", SOON), "the task's classifier says Transient"),
        (Snooze(SOON), ("snooze", SOON), "the task's classifier says Snooze"),
        (Cancel, ("cancel", None), "the task's classifier says Cancel"),
        (BankIsBusy, ("retry", None), "the task's classifier says BankIsBusy"),
    ],
    ids=repr,
)
def test_the_tasks_classifier_is_heard_first(answer: Any, wanted: tuple[str, timedelta | None], why: str) -> None:
    opinions = Opinions(
        classifiers={"task": lambda _: answer, "app": fails}, autoretry_for=(OSError,), dont_autoretry_for=(KeyError,)
    )
    assert verdict(KeyError(), opinions) == wanted
    assert because(KeyError(), opinions) == why


def test_the_apps_classifier_is_heard_where_the_tasks_has_no_opinion() -> None:
    opinions = Opinions(classifiers={"task": no_opinion, "app": lambda _: Permanent})
    assert because(ConnectionError(), opinions) == "the app's classifier says Permanent"
    assert verdict(ConnectionError(), Opinions(classifiers={"task": no_opinion, "app": None})) == ("retry", None)


@pytest.mark.parametrize(
    "classifier", [fails, lambda _: Snooze, lambda _: ValueError, lambda _: "permanent", lambda _: False]
)
def test_a_classifier_that_fails_or_answers_nonsense_has_no_opinion(classifier: Any) -> None:
    opinions = Opinions(classifiers={"task": classifier, "app": lambda _: Permanent})
    assert because(KeyError(), opinions) == "the app's classifier says Permanent"


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (ConnectionError(), "retry"),
        (SoftTimeLimitExceeded(), "retry"),
        (TimeLimitExceeded(3), "retry"),
        (ConnectionResetError(), "dead"),
        (KeyError(), "dead"),
    ],
)
def test_with_autoretry_for_what_it_has_is_tried_again_and_nothing_else(error: Exception, wanted: str) -> None:
    opinions = Opinions(
        classifiers={},
        autoretry_for=(ConnectionError, SoftTimeLimitExceeded),
        dont_autoretry_for=(ConnectionResetError,),
    )
    assert verdict(error, opinions)[0] == wanted


def test_dont_autoretry_for_counts_by_itself_too() -> None:
    opinions = Opinions(classifiers={}, dont_autoretry_for=(KeyError,))
    assert (verdict(KeyError(), opinions)[0], verdict(ValueError(), opinions)[0]) == ("dead", "retry")
