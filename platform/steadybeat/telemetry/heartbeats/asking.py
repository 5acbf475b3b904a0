"""Asking: one request over HTTP, and what came of it in words that give no address away.

TLS is verified, redirects are not followed (what is told of a run is for nobody else), and no proxy is used unless
the environment names one (``HTTPS_PROXY``, ``NO_PROXY``), as for Sentry. urllib3 is imported when something is asked:
most processes do without.
"""

from __future__ import annotations

import logging
import threading
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from steadybeat.telemetry.heartbeats.heartbeat import Request

THREAD = "steadybeat-heartbeats"

_ANSWER_LIMIT = 1_000
_LATER = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request.

    Attributes:
        status: Of HTTP; None: there was no answer.
        error: What is wrong, in one line; empty where the request was taken.
        is_passing: The same may be taken if it is asked again.
        retry_after_seconds: Not before this, where the answer says so.
        body_limit: So many bytes of a body are kept, where the answer says so.
        text: The beginning of what was said.
    """

    status: int | None = None
    error: str = ""
    is_passing: bool = False
    retry_after_seconds: float | None = None
    body_limit: int | None = None
    text: str = ""

    @property
    def taken(self) -> bool:
        """Whether all is well."""
        return not self.error


class Asker:
    """Asks over connections that stay open; for one thread.

    Args:
        timeout_seconds: How long connecting may take, and each read of the answer.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._seconds = timeout_seconds
        self._pools: dict[str | None, Any] = {}
        _silence_addresses()

    def __call__(self, request: Request) -> Answer:
        """Ask, and return what came of it; raises nothing."""
        import urllib3

        try:
            found = self._pool(request.url).request(
                request.method,
                request.url,
                body=request.body,
                headers={"User-Agent": "steadybeat", **request.headers},
                timeout=urllib3.Timeout(connect=self._seconds, read=self._seconds),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                text = found.read(_ANSWER_LIMIT).decode(errors="replace")
                found.drain_conn()
            finally:
                found.release_conn()
        except Exception as error:  # noqa: BLE001 - whatever a monitor does, nobody has to wait or to fail for it
            return Answer(error=_said(error, self._seconds), is_passing=True)
        return _answer(found.status, found.headers, text)

    def _pool(self, url: str) -> Any:
        import urllib3

        parts = urlsplit(url)
        proxy = None
        if not urllib.request.proxy_bypass(parts.hostname or ""):
            proxy = urllib.request.getproxies().get(parts.scheme)
        if proxy not in self._pools:
            made = urllib3.PoolManager(num_pools=8) if proxy is None else urllib3.ProxyManager(proxy, num_pools=8)
            self._pools[proxy] = made
        return self._pools[proxy]


def _answer(status: int, headers: Any, text: str) -> Answer:
    limit = headers.get("Ping-Body-Limit", "")
    kept = int(limit) if limit.isdecimal() else None
    if 200 <= status < 300:
        return Answer(status, body_limit=kept, text=text)
    meaning = {301: "it has moved", 302: "it has moved", 401: "wrong key", 403: "wrong key, or no room for another"}
    meaning |= {404: "no such check", 409: "several checks have its slug", 429: "too many"}
    wait = headers.get("Retry-After", "")
    said = f"answered {status}" + (f": {meaning[status]}" if status in meaning else "")
    return Answer(
        status,
        said,
        is_passing=status >= 500 or status in _LATER,
        retry_after_seconds=float(wait) if wait.isdecimal() else None,
        text=text,
    )


def _said(error: Exception, seconds: float) -> str:
    """Return what went wrong; the texts of urllib3 hold addresses."""
    import urllib3

    while isinstance(error, urllib3.exceptions.MaxRetryError) and isinstance(error.reason, Exception):
        error = error.reason
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "its host has no address"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "refuses connections"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return f"gave no answer within {seconds:g} s"
    if isinstance(error, urllib3.exceptions.SSLError):
        return "its certificate is not trusted"
    if isinstance(error, urllib3.exceptions.ProtocolError | ConnectionError):
        return "ended the connection"
    return f"cannot be asked: {type(error).__name__}"


class _NotOurs(logging.Filter):
    """Keeps urllib3 from writing the addresses that this room asks, which are secrets, into lines."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is of somebody else."""
        return threading.current_thread().name != THREAD


_NOT_OURS = _NotOurs()


def _silence_addresses() -> None:
    for name in ("urllib3.connectionpool", "urllib3.util.retry", "urllib3.connection"):
        logging.getLogger(name).addFilter(_NOT_OURS)  # a second time changes nothing
