"""What may never be read by a person or a machine outside: found, and replaced by ``***``.

Two things give a secret away: the name it stands under (``password``, ``api_key``, ``dsn`` …) and its place in a
text (``redis://:here@host``, ``token=here``, ``Authorization: Bearer here``). Where it is unclear, too much is
hidden rather than too little.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from steadybeat import monitor

HIDDEN = "***"

TEXT_LIMIT = 16_384
"""Characters of one text that are kept: collectors cut a longer line in the middle, which ends its JSON."""

LEVEL_LIMIT = 6
"""Levels of a nested value that are looked into; what lies deeper is written as text."""

_WORDS = (
    r"passw(?:or)?d|passphrase|pwd|secret|token|authorization|credential|cookie|dsn"
    r"|api[_-]?key|access[_-]?key|private[_-]?key"
)
_KEY = re.compile(_WORDS, re.IGNORECASE)

_MONITORS = frozenset({"heartbeat", "heartbeat_url", "platform_heartbeat_url"})
"""Names under which the URL of a monitor stands: whoever knows it can speak for a schedule."""

# All repeats are bounded or end where the next one begins: a hostile text must not hold up a process.
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]{0,30}://)(?P<rest>[^\s'\"]+)", re.IGNORECASE)
_PORT = re.compile(r"\d{1,5}[/?#]")
_ASSIGNED = re.compile(
    rf"(?P<name>(?:{_WORDS})[\w.-]{{0,40}}\\{{0,9}}[\"']?\s{{0,9}}[=:]\s{{0,9}})(?:(?:bearer|basic)\s+)?"
    r"(?:\\{0,9}b?\"[^\"]{0,8192}\"|\\{0,9}b?'[^']{0,8192}'|[^\s,;&)}\]]+)",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\bbearer\s+[^\s,;'\"]+", re.IGNORECASE)


@lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Tell whether a value under this name is a secret."""
    return _KEY.search(name) is not None


def redact_text(text: str) -> str:
    """Return `text` without the secrets that its form gives away, and no longer than `TEXT_LIMIT`.

    Args:
        text: Any text: a message, an error, the ``repr`` of arguments, a stack trace.
    """
    longer = len(text) - 4 * TEXT_LIMIT
    if longer > 0:
        # What a cut through a secret leaves of it lies far behind the end of what is kept.
        text = text[: 4 * TEXT_LIMIT]
    if "://" in text and "@" in text:
        text = _URL.sub(_hide_url, text)
    if "=" in text or ":" in text:
        text = _ASSIGNED.sub(rf"\g<name>{HIDDEN}", text)
    if "earer " in text:
        text = _BEARER.sub(f"Bearer {HIDDEN}", text)
    if len(text) > TEXT_LIMIT:
        text = f"{text[:TEXT_LIMIT]}… {len(text) - TEXT_LIMIT + max(longer, 0)} more characters"
    return text


def redact(value: Any, *, levels: int = LEVEL_LIMIT, hidden: frozenset[str] = frozenset()) -> Any:
    """Return `value` with every secret in it replaced, whatever it is made of.

    Args:
        value: A text, number, mapping, sequence or any other object; it is not changed.
        levels: How deep a nested value is looked into; what lies deeper is written as text.
        hidden: Names whose values are secret here, beside those that are secret everywhere.

    Returns:
        The same for what holds no text; new mappings and lists; the redacted text of any other object.
    """
    if isinstance(value, str):
        return redact_text(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if levels > 0:
        if isinstance(value, Mapping):
            return redact_fields(value, levels=levels - 1, hidden=hidden)
        if isinstance(value, list | tuple | set | frozenset):
            return [redact(each, levels=levels - 1, hidden=hidden) for each in value]
    return redact_text(as_text(value))


def redact_fields(
    fields: Mapping[Any, Any], *, levels: int = LEVEL_LIMIT, hidden: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return `fields` with names as text, and ``***`` for every value whose name says that it is secret.

    Args:
        fields: Names and values; not changed.
        levels: How deep each value is looked into.
        hidden: Names whose values are secret here, beside those that are secret everywhere.
    """
    clean: dict[str, Any] = {}
    for key, value in fields.items():
        name = key if isinstance(key, str) else as_text(key)
        if value is not None and (name in hidden or is_secret(name)):
            clean[name] = HIDDEN
        elif name in _MONITORS and isinstance(value, str):
            clean[name] = monitor.shown(value)
        else:
            clean[name] = redact(value, levels=levels, hidden=hidden)
    return clean


def as_text(value: object) -> str:
    """Return the text of any object, also of one that cannot say what it is."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - an object of the user's that cannot be printed must not stop a log line
        return f"<{type(value).__name__} that cannot be printed>"


def _hide_url(match: re.Match[str]) -> str:
    """Return a URL without its credentials.

    A password may hold "@", "/" and ":", so it ends at the last "@". In ``http://host:80/to@me`` it is no password,
    unless another URL follows in the same word: then all up to the last "@" is hidden.
    """
    scheme, rest = match["scheme"], match["rest"]
    head, at, tail = rest.rpartition("@")
    user, colon, password = head.partition(":")
    harmless = "/" in user or _PORT.match(password) is not None
    if not at or (harmless and "://" not in head):
        return match[0]
    if colon and not harmless:
        return f"{scheme}{user}:{HIDDEN}@{tail}"
    if harmless or scheme.lower() in ("http://", "https://"):
        return f"{scheme}{HIDDEN}@{tail}"
    return match[0]
