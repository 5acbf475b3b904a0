"""A real HTTP server in this process for messages to people: it answers as it is told, and keeps what it has got."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    """One request.

    Attributes:
        path: With its query.
        document: The JSON of its body.
    """

    path: str
    document: dict[str, Any]


class WebReceiver:
    """What a test tells its server, and what the server has got.

    Attributes:
        statuses: Its next answers; 200 once they are used up.
        status: Its answer otherwise.
        gate: While it is cleared, every request waits for its answer.
        taken: What it has answered with 200, the oldest first.
        refused: What it has answered otherwise.
    """

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.status = 200
        self.gate = threading.Event()
        self.gate.set()
        self.taken: list[Received] = []
        self.refused: list[Received] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    def channel(self, path: str = "hook") -> str:
        """Return a URL of Apprise's that leads here."""
        return f"json://127.0.0.1:{self.port}/{path}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def titles(self) -> list[str]:
        return [each.document["title"] for each in self.taken]

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield
        finally:
            self.gate.set()
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                received = Received(self.path, json.loads(body))
                told.gate.wait(30)
                status = told.statuses.pop(0) if told.statuses else told.status
                (told.taken if status == 200 else told.refused).append(received)
                answer = b"ok" if "services" in self.path else b"{}"
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None: ...

        return Handler


@contextmanager
def web_receiver() -> Iterator[WebReceiver]:
    """Yield a running server."""
    receiver = WebReceiver()
    with receiver.running():
        yield receiver
