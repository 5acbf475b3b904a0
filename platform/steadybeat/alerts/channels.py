"""Channels: the ways to people, through Apprise: Slack, PagerDuty, mail, Opsgenie, webhooks and a hundred more.

A channel is a name and a URL; the URL holds secrets, and leaves this room only for its server. Each message goes out in
the form that its service takes: HTML, Markdown, plain text, or one line where there is no room for more. PagerDuty and
Opsgenie are given a key for each alert, so that a message which is sent twice is one incident; PagerDuty's is resolved
when the alert is.
"""

from __future__ import annotations

import functools
import logging
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from steadybeat.errors import ConfigurationError
from steadybeat.telemetry.redaction import HIDDEN, redact_text

THREAD = "channel "
"""Names of threads that send begin so."""

_SHORT = 320  # characters: a service that takes no more gets one line
_ERROR_LIMIT = 300
_WORD = re.compile(r"[^/?&=:@,#]{4,}")
_KNOWN = ("true", "false", "hook", "text", "html", "markdown", "upstream")


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A message as a channel is given it.

    Attributes:
        kind: Of the notice; ``resolved`` ends an incident where the service has such.
        severity: ``info``, ``warning``, ``error`` or ``critical``.
        key: The same for all messages about one alert; None: it is about none.
        body: Plain text.
        markdown: The same where a service has that.
        html: The same for mail.
        short: One line.
    """

    kind: str
    severity: str
    title: str
    body: str
    key: str | None = None
    markdown: str | None = None
    html: str | None = None
    short: str | None = None


class Channels:
    """All channels.

    Args:
        urls: Of each its name and its URL.
        timeout: How long a server may take to be reached, and to answer.
    """

    def __init__(self, urls: Mapping[str, str], timeout: timedelta) -> None:
        self._urls = dict(urls)
        self._timeout = timeout
        self.names = tuple(urls)
        self.bound = 3 * timeout
        """How long sending one message may take in all."""

    def check(self) -> None:
        """Refuse a URL that Apprise does not take.

        Raises:
            ConfigurationError: Names the channel; the URL stays unsaid.
        """
        for name in self.names:
            self._opened(name)

    def service(self, name: str) -> str:
        """Return which service a channel belongs to, such as ``Slack``."""
        return str(self._opened(name).service_name or "")

    def send(self, name: str, post: Post) -> str | None:
        """Send a message; return what went wrong in one line, or None.

        Args:
            name: Of the channel.
            post: What it is given.
        """
        if name not in self._urls:
            return "there is no such channel in steadybeat_alert_channels any more"
        try:
            _library()
            with _said() as lines:
                taken = self._notify(name, post)
        except Exception as error:  # noqa: BLE001 - whatever a service's code does, the next channel is tried
            return self._without_secrets(name, f"{type(error).__name__}: {error}")
        if taken:
            return None
        return self._without_secrets(name, "; ".join(lines) or "the service did not take it")

    def _notify(self, name: str, post: Post) -> bool:
        apprise, plugin = _library(), self._opened(name)
        _mark(plugin, post)
        title, body, written = _form(plugin, post)
        kind = {"resolved": "success", "info": "info", "warning": "warning"}
        told = apprise.Apprise(asset=plugin.asset)
        told.add(plugin)
        return bool(
            told.notify(
                title=title,
                body=body,
                body_format=apprise.NotifyFormat(written),
                notify_type=apprise.NotifyType(kind.get(post.kind) or kind.get(post.severity, "failure")),
            )
        )

    def _opened(self, name: str) -> Any:
        """Return Apprise's object for a channel; a new one each time, since threads must not share them."""
        apprise = _library()
        asset = apprise.AppriseAsset(app_id="steadybeat", app_desc="steadybeat", app_url="", async_mode=False)
        asset.image_url_mask = ""  # no icons from elsewhere
        asset._service_timeout = 0  # beyond it, a thread of Apprise's pool would hold up the end of this process
        try:
            with _said():
                plugin = apprise.Apprise.instantiate(self._urls[name], asset=asset, suppress_exceptions=True)
        except Exception:  # noqa: BLE001 - its text may hold the URL
            plugin = None
        if not isinstance(plugin, apprise.NotifyBase):
            raise ConfigurationError(
                f"steadybeat_alert_channels: channel {name!r}: Apprise does not take its URL, which is not shown here;"
                " github.com/caronc/apprise lists the forms, such as slack://…, mailto://…, json://….",
                name="alert_channels",
            )
        if plugin.overflow_mode == apprise.OverflowMode.UPSTREAM:  # a service refuses what is too long for it
            plugin.overflow_mode = apprise.OverflowMode.TRUNCATE
        plugin.socket_connect_timeout = plugin.socket_read_timeout = self._timeout.total_seconds()
        return plugin

    def _without_secrets(self, name: str, text: str) -> str:
        text = " ".join(redact_text(text).split())
        words = _WORD.findall(self._urls[name].partition("://")[2])
        for word in sorted({*words} - {*_KNOWN}, key=len, reverse=True):
            text = text.replace(word, HIDDEN)
        return text[:_ERROR_LIMIT]


def _mark(plugin: Any, post: Post) -> None:
    """Give a service that knows incidents what makes two messages one, where its URL says nothing else."""
    if post.key is None:
        return
    if hasattr(plugin, "dedup") and not plugin.dedup:  # PagerDuty
        plugin.dedup, plugin.action = post.key, "map"
        plugin.severity = plugin.severity or post.severity
    elif hasattr(plugin, "alias") and hasattr(plugin, "entity") and not plugin.alias:  # Opsgenie
        plugin.alias = post.key


def _form(plugin: Any, post: Post) -> tuple[str, str, str]:
    """Return title, body and format as a service takes them."""
    own = plugin.notify_format
    first = str(getattr(own[0] if isinstance(own, list | tuple) else own, "value", own))
    if plugin.body_maxlen <= _SHORT and post.short:
        return "", post.short, "text"
    if first == "html" and post.html:
        return post.title, post.html, "html"
    if first == "markdown" and post.markdown:
        return post.title, post.markdown, "markdown"
    return post.title, post.body, "text"


_complaints: ContextVar[list[str] | None] = ContextVar("complaints", default=None)


@contextmanager
def _said() -> Iterator[list[str]]:
    """Yield what Apprise complains of while the block runs, also in threads that it starts for it."""
    lines: list[str] = []
    token = _complaints.set(lines)
    try:
        yield lines
    finally:
        _complaints.reset(token)


def _kept(record: logging.LogRecord) -> bool:
    """Return whether a record is written as it is: not while we use Apprise; its complaints are kept for us then."""
    lines = _complaints.get()
    if lines is None:
        return True
    if record.name == "apprise" and record.levelno >= logging.WARNING:
        lines.append(record.getMessage())
    return False


_loading = threading.Lock()


def _library() -> Any:
    """Return Apprise with its services, which it loads when the first URL is read.

    What it and its HTTP client log is kept out of this process' lines: URLs of channels are in it.
    """
    with _loading:
        return _loaded()


@functools.cache
def _loaded() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of its services use modules that Python will drop
        import apprise

        apprise.Apprise.instantiate("json://localhost")
    for name in ("apprise", "urllib3.connectionpool", "requests"):
        logging.getLogger(name).addFilter(_kept)
    return apprise
