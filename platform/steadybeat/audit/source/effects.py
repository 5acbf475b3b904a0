"""Effects: what code does to the world outside its database: calls of other programs, mail, waiting, threads."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from steadybeat.audit.source.facts import Call
from steadybeat.audit.source.names import MISSING

READING = frozenset({"get", "head", "options", "urlopen", "retrieve", "list", "get_object", "head_object"})
VERBS = frozenset({"get", "head", "options", "post", "put", "patch", "delete", "request", "send", "stream", "urlopen"})

CLIENTS = ("requests", "httpx", "urllib3", "aiohttp")
"""Clients of HTTP whose methods are its verbs."""

SERVICES = (
    "stripe",
    "boto3",
    "botocore",
    "twilio",
    "sendgrid",
    "paypalrestsdk",
    "braintree",
    "web3",
    "slack_sdk",
    "pyairtable",
)
"""Packages that speak to somebody else's service, each in words of its own."""

STANDARD = frozenset(
    {
        "urllib.request.urlopen",
        "urllib.request.build_opener.open",
        "http.client.HTTPConnection.request",
        "http.client.HTTPSConnection.request",
    }
)
"""What the standard library has for HTTP."""

OF_OTHERS = frozenset(
    {"create", "retrieve", "list", "modify", "update", "delete", "confirm", "capture", "cancel", "refund"}
)

KEYS = frozenset(
    {
        "idempotency_key",
        "idempotencykey",
        "idempotency-key",
        "clienttoken",
        "client_token",
        "clientrequesttoken",
        "messagededuplicationid",
        "x-idempotency-key",
        "request_id",
        "x-request-id",
    }
)
"""How services call the key by which they know that they have been asked before, in lower case."""

TIMEOUTS = frozenset({"timeout", "read_timeout", "connect_timeout"})
MAILS = ("smtplib.SMTP", "smtplib.SMTP_SSL", "django.core.mail.", "flask_mail.", "sendgrid.", "mailgun.", "yagmail.")
MAILING = frozenset(
    {
        "send_mail",
        "sendmail",
        "send_message",
        "send_mass_mail",
        "mail_admins",
        "mail_managers",
        "send_email",
        "email_user",
    }
)
SLEEPS = frozenset({"time.sleep", "asyncio.sleep", "gevent.sleep", "eventlet.sleep"})
PARALLEL = (
    "threading.Thread",
    "multiprocessing.",
    "concurrent.futures.",
    "billiard.Process",
    "asyncio.run",
    "asyncio.gather",
)
CHILDREN = ("subprocess.", "os.system", "os.popen", "os.exec", "os.spawn", "os.fork", "pexpect.")
LOADED = frozenset(
    {"fetchall", "all", "read", "readlines", "read_csv", "read_sql", "read_excel", "to_list", "tolist", "scalars_all"}
)
BATCHED = frozenset(
    {
        "yield_per",
        "iterator",
        "fetchmany",
        "partitions",
        "chunked",
        "islice",
        "batched",
        "iter_lines",
        "iter_content",
        "paginate",
        "scan_iter",
        "chunks",
        "iterate",
        "limit",
        "slice",
    }
)
SENDING = frozenset({"delay", "apply_async", "send_task"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """One call of another program, over HTTP or by a client of its own.

    Attributes:
        call: The call.
        changes: Whether it may change something there; a read does not.
        keyed: Whether it carries a key by which the other side knows it again; None where ``**more`` may hold one.
        timed: Whether its own time-out is set; None where the code does not tell.
    """

    call: Call
    changes: bool
    keyed: bool | None
    timed: bool | None


def outside(call: Call) -> Outside | None:
    """Return what a call asks of another program, or None."""
    head = call.name.partition(".")[0]
    is_client = head in CLIENTS and call.last in VERBS
    is_service = head in SERVICES and _is_request(call, head)
    if not (is_client or is_service or call.name in STANDARD):
        return None
    return Outside(call=call, changes=_changes(call, head), keyed=_keyed(call), timed=_timed(call, head))


def _is_request(call: Call, head: str) -> bool:
    if head in {"boto3", "botocore"}:
        return (
            call.last not in {"client", "resource", "Session", "get_paginator", "paginate", "Config"}
            and "." in call.written
        )
    return call.last in OF_OTHERS | VERBS | MAILING or call.last.startswith(("send_", "create_", "chat_"))


def _changes(call: Call, head: str) -> bool:
    verb = call.argument(0) if call.last in {"request", "stream"} else call.last
    if isinstance(verb, str) and verb.lower() in READING:
        return call.last == "urlopen" and _has_body(call)
    return not (head in {"boto3", "botocore"} and call.last.startswith(("get_", "list_", "describe_", "head_")))


def _has_body(call: Call) -> bool:
    given = _held(call, call.arguments[0]) if call.arguments else None
    request = given.keywords if isinstance(given, ast.Call) else []
    return "data" in call.keywords or len(call.arguments) > 1 or any(each.arg in {"data", "method"} for each in request)


def _keyed(call: Call) -> bool | None:
    given = {name.lower() for name in call.keywords}
    texts = {
        each.value.lower()
        for node in (*call.arguments, *call.keywords.values())
        for each in _expanded(call, node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    }
    if given & KEYS or texts & KEYS:
        return True
    return None if call.unpacked else False


def _held(call: Call, node: ast.expr) -> ast.expr:
    """Return what stands behind a variable, such as the headers of a request."""
    return call.names.standing_for(node)


def _expanded(call: Call, node: ast.expr, depth: int = 0) -> Iterator[ast.AST]:
    """Yield all that an argument is made of, also what stands in variables that it names."""
    for each in ast.walk(_held(call, node)):
        yield each
        if isinstance(each, ast.Name) and depth < 3 and _held(call, each) is not each:
            yield from _expanded(call, each, depth + 1)


def _timed(call: Call, head: str) -> bool | None:
    for name in TIMEOUTS & set(call.keywords):
        value = call.keyword(name)
        return None if value is MISSING and isinstance(call.keywords[name], ast.Name) else value is not None
    if call.unpacked:
        return None
    if head == "httpx":
        return True  # five seconds, where nothing is said
    return None if head in SERVICES else False


def is_connection_for_mail(call: Call) -> bool:
    """Say whether a call opens a connection to a mail server."""
    return call.name in {"smtplib.SMTP", "smtplib.SMTP_SSL", "smtplib.LMTP", "aiosmtplib.SMTP"}


def is_mail(call: Call) -> bool:
    """Say whether a call sends mail."""
    return call.last in MAILING or (call.name.startswith(MAILS) and call.last.startswith("send"))


def is_sleep(call: Call) -> bool:
    """Say whether a call waits."""
    return call.name in SLEEPS


def is_parallel(call: Call) -> bool:
    """Say whether a call starts threads, processes or coroutines beside the task."""
    return call.name.startswith(PARALLEL)


def is_child(call: Call) -> bool:
    """Say whether a call starts another program."""
    return call.name.startswith(CHILDREN)


def is_sending(call: Call) -> bool:
    """Say whether a call sends another task."""
    return call.last in SENDING


def is_loading(call: Call) -> bool:
    """Say whether a call takes a whole input into memory."""
    if _is_cut(call.node):
        return False
    if call.last in {"read_csv", "read_sql"} and "chunksize" in call.keywords:
        return False
    if call.last == "read" and (call.arguments or call.keywords):
        return False
    if call.last == "all" and (not _is_query(call) or (".objects" in call.written and call.used_as != "loop")):
        return False  # a queryset loads nothing before somebody goes through it
    if call.name in {"list", "sorted", "tuple", "set"}:
        return bool(call.arguments) and any(
            word in ast.unparse(call.arguments[0]) for word in (".objects", ".query(", ".execute(")
        )
    return call.last in LOADED and "." in call.written


def _is_cut(node: ast.Call) -> bool:
    """Say whether what is loaded was cut to a number of rows before, by ``[:n]`` or by LIMIT."""
    slices = (each.slice for each in ast.walk(node) if isinstance(each, ast.Subscript))
    return any(isinstance(each, ast.Slice) and each.upper for each in slices) or "limit" in ast.unparse(node).lower()


def _is_query(call: Call) -> bool:
    return any(
        word in call.written
        for word in ("query", "scalars", "execute", "select", "mappings", "objects", "filter", "result")
    )


def is_batching(call: Call) -> bool:
    """Say whether a call takes its input piece by piece."""
    return call.last in BATCHED or "chunksize" in call.keywords or "stream" in call.keywords
