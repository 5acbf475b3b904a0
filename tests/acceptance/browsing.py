"""A real browser over the pages: Debian's Chromium, driven by Playwright, with axe-core."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, sync_playwright

SCREENS = Path(__file__).parents[2] / "build" / "screens"
"""Where screenshots are kept; nothing of it is committed."""
WIDTHS = {"wide": 1360, "narrow": 390}
# As root it needs no sandbox of its own; and it shall ask nobody on the network for anything.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str:
    """Return the program; where there is none, skip the test, or fail it in CI."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    missing = "no Chromium on the PATH: install Debian's package chromium to test the pages in a browser"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


@contextmanager
def opened_browser() -> Iterator[Browser]:
    """Yield a browser without a screen."""
    program = chromium()
    playwright: Playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


class Viewer:
    """Somebody who looks at the pages, and notes what her browser complains about.

    Args:
        browser: The browser.
        url: Where Flower is.
        user: As whom she signs in; her password is ``pw``.
        scheme: Which colours she prefers.
        width: Of her window, in pixels.
        scripts: Whether her browser runs scripts.

    Attributes:
        page: What she has open.
        complaints: Errors and warnings of the console, uncaught errors, answers of 400 and more, and requests that
            leave the server.
    """

    def __init__(
        self,
        browser: Browser,
        url: str,
        user: str,
        *,
        scheme: Literal["light", "dark"] = "light",
        width: int = WIDTHS["wide"],
        scripts: bool = True,
    ) -> None:
        self.url = url
        self.user = user
        self.scheme = scheme
        self.complaints: list[str] = []
        self._context: BrowserContext = browser.new_context(
            http_credentials={"username": user, "password": "pw"},
            color_scheme=scheme,
            viewport={"width": width, "height": 900},
            timezone_id="Europe/Berlin",
            locale="en-GB",
            java_script_enabled=scripts,
        )
        self._context.set_default_timeout(30_000)
        self.page: Page = self._context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"{self.page.url}: {error}"))
        self.page.on("response", self._response)
        self.page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{self.page.url}: {message.type}: {message.text}")

    def _response(self, response: Any) -> None:
        if response.status >= 400 and response.status != 401:  # 401 asks her to sign in
            self.complaints.append(f"{response.status} {response.url}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:", "about:")):
            self.complaints.append(f"asks elsewhere: {request.url}")

    def opens(self, path: str) -> Page:
        """Open a page and return it."""
        self.page.goto(self.url + path)
        return self.page

    def violations(self) -> list[str]:
        """Return what axe-core finds on the page that keeps people from using it."""
        found = Axe().run(self.page).response["violations"]
        return [f"{each['id']}: {each['help']}: {[node['html'][:200] for node in each['nodes'][:3]]}" for each in found]

    @property
    def is_too_wide(self) -> bool:
        """Whether the page as a whole has to be scrolled sideways."""
        script = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        return bool(self.page.evaluate(script))

    def photographs(self, name: str) -> None:
        """Keep a screenshot of the whole page."""
        SCREENS.mkdir(parents=True, exist_ok=True)
        width = self.page.viewport_size["width"] if self.page.viewport_size else 0
        size = next((word for word, pixels in WIDTHS.items() if pixels == width), str(width))
        path = SCREENS / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}-{self.scheme}-{size}.png"
        self.page.screenshot(path=path, full_page=True)

    def leaves(self) -> None:
        """Close everything."""
        self._context.close()
