"""Flower with the pages, in this process, over a ledger of its own: for tests that need no worker and no browser."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from html import unescape
from types import SimpleNamespace
from typing import Any

import pytest
import urllib3
from celery import Celery
from flower.app import Flower
from flower.options import default_options
from flower.urls import settings
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets

import steadybeat
from steadybeat.ledger import Ledger
from steadybeat.pages import install

USERS = {"ann": "admin", "bob": "operator", "eve": "viewer"}


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def do(self, function: Callable[[], Any]) -> Any:
        """Call something in the loop's thread, and return what it returns."""
        done: Future[Any] = Future()

        def call() -> None:
            try:
                done.set_result(function())
            except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
                done.set_exception(error)

        self.loop.call_soon_threadsafe(call)
        return done.result(10)

    def close(self) -> None:
        """End it."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    """The loop of every site."""
    opened = Loop()
    yield opened
    opened.close()


class Answer:
    """What a page answered.

    Attributes:
        status: Of HTTP.
        html: The document.
        location: Where it leads, if it leads on.
    """

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self.status = response.status
        self.html = response.data.decode()
        self.location = response.headers.get("Location", "")
        self.cookies = response.headers.getlist("Set-Cookie")

    @property
    def text(self) -> str:
        """What a person reads: without elements, in one line."""
        body = re.sub(r"(?s)<(script|style|nav|head)\b.*?</\1>", " ", self.html)
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())

    def links(self, beginning: str = "/") -> list[str]:
        """Return the addresses that it links to, each once."""
        found = re.findall(r'href="([^"]*)"', self.html)
        return [*dict.fromkeys(unescape(each) for each in found if each.startswith(beginning))]


class Site:
    """Flower with the pages, over one ledger.

    Args:
        app: On which steadybeat is installed.
        loop: In which it runs.
        options: Of Flower, beside those that it has by default.
    """

    def __init__(self, app: Any, loop: Loop, **options: Any) -> None:
        self.app = app
        self.ledger: Ledger = app.steadybeat.ledger
        self._loop = loop
        self._pool = urllib3.PoolManager(retries=False, timeout=30)
        self.cookies: dict[str, str] = {}
        basic_auth = [f"{name}:pw" for name in USERS]
        given = SimpleNamespace(**{**default_options.as_dict(), "basic_auth": basic_auth, "auth": "", **options})
        install(app)

        def start() -> tuple[Any, HTTPServer, int]:
            flower = Flower(options=given, capp=app, io_loop=IOLoop.current(), **settings)
            server = HTTPServer(flower)
            sockets = bind_sockets(0, address="127.0.0.1")
            server.add_sockets(sockets)
            return flower, server, sockets[0].getsockname()[1]

        self._flower, self._server, port = loop.do(start)
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str, user: str | None = "eve") -> Answer:
        """Open a page."""
        return self._ask("GET", path, user, {})

    def post(self, path: str, user: str | None = "bob", *, xsrf: bool = True, **fields: str) -> Answer:
        """Send a form as a browser does that has one of ours open; without its token if not `xsrf`."""
        if xsrf:
            fields["_xsrf"] = self._token(user)
        return self._ask("POST", path, user, {}, fields=fields, encode_multipart=False)

    def _token(self, user: str | None) -> str:
        if "_xsrf" not in self.cookies:
            self.get("/operations", user)
        return self.cookies["_xsrf"]

    def _ask(self, method: str, path: str, user: str | None, headers: dict[str, str], **more: Any) -> Answer:
        signed = urllib3.make_headers(basic_auth=f"{user}:pw") if user else {}
        cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        response = self._pool.request(
            method, self.url + path, headers={**signed, **(cookie if self.cookies else {}), **headers},
            redirect=False, **more,
        )  # fmt: skip
        answer = Answer(response)
        for each in answer.cookies:
            name, _, value = each.partition(";")[0].partition("=")
            self.cookies.pop(name, None)
            if value.strip('"'):
                self.cookies[name] = value
        return answer

    def close(self) -> None:
        """End it."""
        self._loop.do(self._server.stop)
        self._flower.executor.shutdown()
        self._pool.clear()


@pytest.fixture
def open_site(ledger_url: str, loop: Loop) -> Iterator[Callable[..., Site]]:
    """Open Flower over the ledger of the test; settings of the app begin with ``steadybeat_``, others are Flower's."""
    sites: list[Site] = []

    def open_one(**given: Any) -> Site:
        app: Any = Celery("shop", set_as_current=False)
        conf = {name: value for name, value in given.items() if name.startswith("steadybeat_")}
        app.conf.update({
            "steadybeat_database_url": ledger_url,
            "steadybeat_redis_url": "redis://127.0.0.1:1/0",
            "steadybeat_page_roles": USERS,
            **conf,
        })  # fmt: skip
        steadybeat.install(app)
        sites.append(Site(app, loop, **{name: value for name, value in given.items() if name not in conf}))
        return sites[-1]

    yield open_one
    for site in sites:
        site.close()
        site.app.steadybeat.ledger.database.close()


@pytest.fixture
def site(open_site: Callable[..., Site]) -> Site:
    """Flower with the pages: ann is an admin, bob an operator, eve a viewer."""
    return open_site()
