"""An HTTP server in a thread, whose answers a test can make worse."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl, urlsplit


class Asked(NamedTuple):
    """A request; its body is unpacked."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    body: bytes


class Said(NamedTuple):
    """An answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Receiver:
    """A server on a free port of this machine; a context manager.

    Attributes:
        asked: Every request, in the order of their arrival.
        worse: Answers instead of its own, the first for the next request; the last one stays.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.worse: list[Said] = []
        self._going_on = threading.Event()
        self._going_on.set()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://{self.address}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._going_on.set()
        self._server.shutdown()
        self._server.server_close()

    def hang(self) -> None:
        """Take connections from now on, and answer nothing."""
        self._going_on.clear()

    def go_on(self) -> None:
        """Answer again, also what has come in meanwhile."""
        self._going_on.set()

    def answer(self, asked: Asked) -> Said:
        """Return what a request is answered."""
        raise NotImplementedError

    def _answered(self, asked: Asked) -> Said:
        with self._lock:
            self.asked.append(asked)
            worse = self.worse  # a test may put others in their place meanwhile
            if worse:
                return worse.pop(0) if len(worse) > 1 else worse[0]
            return self.answer(asked)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self) -> None:
                parts = urlsplit(self.path)
                query: dict[str, list[str]] = {}
                for name, value in parse_qsl(parts.query, keep_blank_values=True):
                    query.setdefault(name, []).append(value)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver._going_on.wait()
                said = receiver._answered(Asked(self.command, parts.path, query, dict(self.headers), body))
                self.send_response(said.status)
                for name, value in {**said.headers, "Content-Length": str(len(said.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said.body)

            do_GET = do_POST = do_PUT = do_HEAD = do

            def log_message(self, *_: Any) -> None: ...

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:
                    return

        return Handler
