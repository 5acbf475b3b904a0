"""The provider's HTTP side. Requests and answers are JSON objects.

    POST /charges   Idempotency-Key; reference, amount_cents, card       the charge; with a known key, the same again
    GET  /charges   ?idempotency_key=                                    the charge that came with it, or 404
    POST /refunds   charge_id                                            the charge, given back
    POST /mints     ticket_id, wallet, valid_until                       a token: another one each time; 410 if too late
    GET  /mints     ?ticket_id=                                          {"data": every token of the ticket}
    GET  /events    ?after=0&limit=100                                   {"data": events in order, "has_more": …}
    GET  /mischief, PUT /mischief   plan, repeat, stall_seconds          what it does wrong; see provider_mischief.py
    GET  /health                                                         {"ok": true}

400: the request is wrong. 404: there is none. 410: too late. 422: the key was used for other parameters.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from tasks.provider_book import Book, KeyTaken, TooLate
from tasks.provider_mischief import Mischief, Trick

LARGEST_BYTES = 64 * 1024
LARGEST_PAGE_COUNT = 100
RETRY_AFTER_SECONDS = 1


class Refused(Exception):
    """The request is answered with an error."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Asked(NamedTuple):
    """One request, read."""

    method: str
    path: str
    query: dict[str, str]
    key: str | None
    body: Any

    def text(self, name: str) -> str:
        """Return a text of the body.

        Raises:
            Refused: It is missing, empty or no text.
        """
        value = self._value(name)
        if not isinstance(value, str) or not value:
            raise Refused(400, f"{name}={value!r}: must be a text")
        return value

    def count(self, name: str) -> int:
        """Return a whole number above zero of the body.

        Raises:
            Refused: It is missing, or something else.
        """
        value = self._value(name)
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise Refused(400, f"{name}={value!r}: must be a whole number above zero")
        return value

    def instant(self, name: str) -> datetime:
        """Return an instant of the body.

        Raises:
            Refused: It is missing, or has no time zone.
        """
        try:
            value = datetime.fromisoformat(self.text(name))
        except ValueError:
            value = datetime.min
        if value.tzinfo is None:
            raise Refused(400, f"{name}={self.text(name)!r}: must be like 2026-01-31T12:00:00+00:00")
        return value

    def number(self, name: str, default: int | None = None) -> int:
        """Return a whole number of the query.

        Raises:
            Refused: It is missing and has no default, or something else.
        """
        text = self.query.get(name, "" if default is None else str(default))
        if not (text.isascii() and text.isdecimal() and len(text) < 19):
            raise Refused(400, f"{name}={text!r}: must be a whole number")
        return int(text)

    def _value(self, name: str) -> Any:
        if not isinstance(self.body, dict):
            raise Refused(400, "the body must be a JSON object")
        return self.body.get(name)


class Provider(ThreadingHTTPServer):
    """The provider, listening; each request is answered in a thread of its own.

    Args:
        host: Where it listens.
        port: Where it listens; 0 for a free one.
        book: What it has done; stays open when the provider ends.
        mischief: What it does wrong.
        say: Called with one line for each request that is done.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, host: str, port: int, book: Book, mischief: Mischief, say: Callable[[str], object] = lambda line: None
    ) -> None:
        self.book, self.mischief, self.say = book, mischief, say
        self.ending = threading.Event()
        super().__init__((host, port), _Conversation)

    @property
    def url(self) -> str:
        """Where it is, as PROVIDER_URL says it."""
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has gone."""

    @contextmanager
    def running(self, *, poll_seconds: float = 0.05) -> Iterator[Provider]:
        """Serve in a thread of its own while the block runs; who waits for a late answer then waits no longer.

        Args:
            poll_seconds: How long leaving the block takes at the most.
        """
        thread = threading.Thread(target=self.serve_forever, args=(poll_seconds,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.ending.set()
            self.shutdown()
            thread.join()
            self.server_close()

    def answer(self, asked: Asked) -> dict[str, Any]:
        """Do what is asked and return the answer.

        Raises:
            Refused: It cannot be done.
        """
        do = _ROUTES.get((asked.method, asked.path))
        if do is None:
            raise Refused(404, f"{asked.method} {asked.path}: there is no such thing")
        return do(self, asked)

    def _charge(self, asked: Asked) -> dict[str, Any]:
        if not asked.key:
            raise Refused(400, "Idempotency-Key is missing")
        reference, card = asked.text("reference"), asked.text("card")
        try:
            return self.book.charge(asked.key, reference=reference, amount_cents=asked.count("amount_cents"), card=card)
        except KeyTaken as error:
            raise Refused(422, str(error)) from None

    def _charge_of(self, asked: Asked) -> dict[str, Any]:
        charge = self.book.charge_of(asked.query.get("idempotency_key", ""))
        if charge is None:
            raise Refused(404, "no charge came with this key")
        return charge

    def _refund(self, asked: Asked) -> dict[str, Any]:
        charge = self.book.refund(asked.text("charge_id"))
        if charge is None:
            raise Refused(404, "there is no such charge")
        return charge

    def _mint(self, asked: Asked) -> dict[str, Any]:
        wallet = asked.text("wallet")
        if not wallet.startswith("0x"):
            raise Refused(400, f"wallet={wallet!r}: is no wallet's address")
        try:
            return self.book.mint(
                ticket_id=asked.count("ticket_id"), wallet=wallet, valid_until=asked.instant("valid_until")
            )
        except TooLate as error:
            raise Refused(410, str(error)) from None

    def _tokens_of(self, asked: Asked) -> dict[str, Any]:
        return {"data": self.book.tokens_of(asked.number("ticket_id"))}

    def _events(self, asked: Asked) -> dict[str, Any]:
        limit = min(asked.number("limit", LARGEST_PAGE_COUNT), LARGEST_PAGE_COUNT)
        events = self.book.events(after=asked.number("after", 0), limit=limit + 1)
        return {"data": events[:limit], "has_more": len(events) > limit}

    def _told(self, asked: Asked) -> dict[str, Any]:
        return self.mischief.told()

    def _tell(self, asked: Asked) -> dict[str, Any]:
        try:
            self.mischief = Mischief.read(asked.body)
        except ValueError as error:
            raise Refused(400, str(error)) from None
        return self.mischief.told()

    def _health(self, asked: Asked) -> dict[str, Any]:
        return {"ok": True}


_ROUTES: dict[tuple[str, str], Callable[[Provider, Asked], dict[str, Any]]] = {
    ("POST", "/charges"): Provider._charge,
    ("GET", "/charges"): Provider._charge_of,
    ("POST", "/refunds"): Provider._refund,
    ("POST", "/mints"): Provider._mint,
    ("GET", "/mints"): Provider._tokens_of,
    ("GET", "/events"): Provider._events,
    ("GET", "/mischief"): Provider._told,
    ("PUT", "/mischief"): Provider._tell,
    ("GET", "/health"): Provider._health,
}
_ALWAYS_WELL = frozenset({"/mischief", "/health"})


class _Conversation(BaseHTTPRequestHandler):
    """One connection: it is closed after its answer."""

    server: Provider
    timeout = 30.0  # for a client that says nothing

    def do_GET(self) -> None:
        try:
            asked = self._read()
        except Refused as refusal:
            self._send(refusal.status, {"error": str(refusal)})
            return
        self._treat(asked, Trick.WELL if asked.path in _ALWAYS_WELL else self.server.mischief.next())

    do_POST = do_PUT = do_GET  # noqa: N815

    def _read(self) -> Asked:
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdecimal()) or int(length) > LARGEST_BYTES:
            raise Refused(400, f"the body must have at most {LARGEST_BYTES} bytes")
        try:
            content = self.rfile.read(int(length))
            body = json.loads(content) if content else None
            url = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        except (ValueError, RecursionError):
            raise Refused(400, "the request cannot be read") from None
        return Asked(self.command, url.path, query, self.headers.get("Idempotency-Key"), body)

    def _treat(self, asked: Asked, trick: Trick) -> None:
        """Do what is asked and answer, or what the trick makes of it."""
        if trick in {Trick.BUSY, Trick.AWAY}:
            self._said(asked, trick, 0)
            self._send(int(trick.value), {"error": "come back later"}, retry_after=RETRY_AFTER_SECONDS)
        elif trick is Trick.DROP:
            self._said(asked, trick, 0)
        else:
            status, answer = self._done(asked, trick)
            self._reply(trick, status, answer)

    def _done(self, asked: Asked, trick: Trick) -> tuple[int, dict[str, Any]]:
        if trick is Trick.LATE:
            self.server.ending.wait(self.server.mischief.stall_seconds)
        try:
            status, answer = 200, self.server.answer(asked)
        except Refused as refusal:
            status, answer = refusal.status, {"error": str(refusal)}
        self._said(asked, trick, status)
        return status, answer

    def _reply(self, trick: Trick, status: int, answer: dict[str, Any]) -> None:
        if trick is Trick.STALL:
            self.server.ending.wait(self.server.mischief.stall_seconds)
        if trick is Trick.BROKEN:
            self._send(500, {"error": "something went wrong"})
        elif trick is Trick.GARBLE:
            self._send_bytes(200, b"<html>a gateway on the way says hello</html>")
        elif trick is not Trick.LOSE:
            self._send(status, answer)

    def _said(self, asked: Asked, trick: Trick, status: int) -> None:
        if asked.path in _ALWAYS_WELL or (asked.method, asked.path) not in _ROUTES:
            return
        done = f"{status}" if status else "not done"
        self.server.say(f"{asked.method} {asked.path}: {done}" + ("" if trick is Trick.WELL else f", {trick.value}"))

    def _send(self, status: int, answer: dict[str, Any], *, retry_after: int | None = None) -> None:
        self._send_bytes(status, json.dumps(answer).encode(), retry_after=retry_after)

    def _send_bytes(self, status: int, content: bytes, *, retry_after: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if retry_after is not None:
            self.send_header("Retry-After", str(retry_after))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Keep quiet: `say` tells."""
