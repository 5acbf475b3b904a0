"""Monitor: one elsewhere that is told of runs, as one text in a setting or beside a schedule.

Such as:

    healthchecks+https://hc-ping.com/<ping-key>/{schedule}     Healthchecks, a check for each schedule
    healthchecks+https://hc-ping.com/<uuid>                    one check
    cronitor+https://cronitor.link/p/<key>/{schedule}          Cronitor
    sentry:                                                    Sentry Crons, of steadybeat_sentry_dsn
    https://example.org/beat/{schedule}/{event}                any other: event is start, success, fail or log
    https://example.org/beat/4711                              any other that only wants to hear of success
    off                                                        none

Who knows such a URL can speak for its schedule: it is a secret, of which only the host is shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from steadybeat.errors import ConfigurationError

KINDS = ("healthchecks", "cronitor", "sentry", "plain")
OFF = "off"
FORMS = (
    "'healthchecks+https://hc-ping.com/<ping-key>/{schedule}', 'cronitor+https://cronitor.link/p/<key>/{schedule}',"
    " 'sentry:', 'https://<host>/…/{schedule}/{event}' or 'off'"
)

_PREFIX = re.compile(r"(?:(?P<kind>[a-z]+)\+)?(?P<url>https?://.+)", re.IGNORECASE)
_PLACE = re.compile(r"\{([^{}]*)\}")
_PLACES = {"healthchecks": ("schedule",), "cronitor": ("schedule",), "plain": ("schedule", "event", "run")}


@dataclass(frozen=True, slots=True)
class Monitor:
    """Where heartbeats go.

    Attributes:
        kind: One of `KINDS`, or ``off``.
        url: With its places in braces; empty for ``sentry`` and ``off``.
    """

    kind: str
    url: str = ""

    @classmethod
    def read(cls, text: object, name: str = "heartbeat") -> Monitor:
        """Return what a text means.

        Args:
            text: In one of the forms above.
            name: Of the setting or policy, for the error.

        Raises:
            ConfigurationError: It has none of them; of its value only the host is shown.
        """
        said = text.strip() if isinstance(text, str) else ""
        if said in (OFF, "sentry", "sentry:"):
            return cls(said.rstrip(":"))
        found = _PREFIX.fullmatch(said)
        kind = (found["kind"] or "plain").lower() if found else ""
        wrong = f"must be {FORMS}" if found is None or kind not in _PLACES else _wrong(kind, found["url"])
        if wrong or found is None:
            raise ConfigurationError(f"{name}={shown(text)!r}: {wrong}.", name=name, value=shown(text))
        return cls(kind, found["url"])

    @property
    def is_off(self) -> bool:
        """Whether nobody is told."""
        return self.kind == OFF

    @property
    def host(self) -> str:
        """Whom heartbeats go to: all of it that may be shown."""
        return urlsplit(self.url).hostname or "" if self.url else ""

    @property
    def tells_schedules_apart(self) -> bool:
        """Whether each schedule has a monitor of its own at this address."""
        return self.kind in ("sentry", OFF) or "{schedule}" in self.url

    @property
    def shown(self) -> str:
        """What may be shown: its kind and its host."""
        if not self.url:
            return f"{self.kind}:" if self.kind == "sentry" else self.kind
        prefix = "" if self.kind == "plain" else f"{self.kind}+"
        return f"{prefix}{urlsplit(self.url).scheme}://{self.host}/***"


def _wrong(kind: str, url: str) -> str:
    """Return what is wrong with a URL, or an empty text."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is no URL"
    if not host or not url.isprintable() or " " in url:
        return "has no host, or a space in it"
    if "@" in parts.netloc:
        return "has a name and a password before its host, which are not sent; put the token into the path"
    if kind != "plain" and not parts.path.strip("/"):
        return f"names no check; must be {FORMS}"
    unknown = [place for place in _PLACE.findall(url) if place not in _PLACES[kind]]
    if unknown:
        known = ", ".join(f"{{{place}}}" for place in _PLACES[kind])
        return f"has the place {{{unknown[0]}}}; there are {known}"
    return ""


def shown(text: object) -> str:
    """Return what may be shown of a text that should name a monitor."""
    if not isinstance(text, str):
        return f"<{type(text).__name__}>"
    found = _PREFIX.fullmatch(text.strip())
    if found is None:
        return text if re.fullmatch(r"[A-Za-z:]{0,20}", text.strip()) else "***"
    try:
        parts = urlsplit(found["url"])
        return f"{found['kind'] + '+' if found['kind'] else ''}{parts.scheme}://{parts.hostname or ''}/***"
    except ValueError:
        return "***"


def hidden(policies: Mapping[str, Any]) -> dict[str, Any]:
    """Return policies as they may be shown."""
    told = policies.get("heartbeat")
    return dict(policies) if told is None else {**policies, "heartbeat": shown(told)}
