"""What may never be read by a person or a machine outside: found, and replaced by ``***``.

Two things give a secret away: the name it stands under (``password``, ``api_key``, ``dsn`` … and what the setting
``steadybeat_redact`` adds) and its form or place in a text, see `forms`. Where it is unclear, too much is hidden rather
than too little.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any

from steadybeat import monitor
from steadybeat.telemetry import forms
from steadybeat.telemetry.forms import HIDDEN

TEXT_LIMIT = 16_384
"""Characters of one text that are kept: collectors cut a longer line in the middle, which ends its JSON."""

HIDDEN_ARGUMENTS = "steadybeat_hidden_arguments"
"""Header of a message: places of positional arguments, a list of numbers; lives as long as the run."""

LEVEL_LIMIT = 6
"""Levels of a nested value that are looked into; what lies deeper is written as text."""


class _Names:
    """The names under which values are secret, in this process."""

    configured: frozenset[str] = frozenset()
    named = forms.Named()


def also(names: Iterable[str]) -> None:
    """Hide the values of more names in this process, from here on.

    Args:
        names: Names of fields, in any case; as whole words of a name: ``iban`` also hides ``customer_iban``, and not
            ``ibanez``.
    """
    configured = _Names.configured | {name.lower() for name in names}
    if configured != _Names.configured:
        _Names.configured = configured
        _Names.named = forms.Named(sorted(configured))
        is_secret.cache_clear()
        _positions.cache_clear()


_MONITORS = frozenset({"heartbeat", "heartbeat_url", "platform_heartbeat_url"})
"""Names under which the URL of a monitor stands: whoever knows it can speak for a schedule."""


@lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Tell whether a value under this name is a secret."""
    return re.search(_Names.named.names, name, re.IGNORECASE) is not None


def secret_positions(function: Callable[..., Any]) -> tuple[int, ...]:
    """Return which positional arguments of a function are secrets by the names of its parameters.

    Args:
        function: Any function; nothing is known of one that does not say what it takes.
    """
    try:
        return _positions(function)
    except TypeError:  # it cannot be hashed
        return ()


@lru_cache(maxsize=4096)
def _positions(function: Callable[..., Any]) -> tuple[int, ...]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()
    placed = [each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    return tuple(number for number, name in enumerate(placed) if is_secret(name))


def hide_arguments(headers: MutableMapping[str, Any], function: Callable[..., Any], count: int) -> bool:
    """Say in the headers of a message which of its positional arguments are secrets; return whether there are such.

    Then `argsrepr`, a text that is not taken apart, shows none of them.

    Args:
        headers: Of the message; changed in place.
        function: What is called with the arguments.
        count: How many those are.
    """
    hidden = [place for place in secret_positions(function) if place < count]
    if hidden:
        headers[HIDDEN_ARGUMENTS] = hidden
        headers["argsrepr"] = f"({HIDDEN})"
    return bool(hidden)


def shown_arguments(headers: Mapping[str, Any], args: Iterable[Any]) -> list[Any]:
    """Return the positional arguments of a message without those that its headers call secrets."""
    hidden = headers.get(HIDDEN_ARGUMENTS) or ()
    return [HIDDEN if place in hidden else each for place, each in enumerate(args)]


def redact_text(text: str) -> str:
    """Return `text` without the secrets that its form gives away, and no longer than `TEXT_LIMIT`.

    Args:
        text: Any text: a message, an error, the ``repr`` of arguments, a stack trace.
    """
    longer = len(text) - 4 * TEXT_LIMIT
    if longer > 0:
        # What a cut through a secret leaves of it lies far behind the end of what is kept.
        text = text[: 4 * TEXT_LIMIT]
    if not forms.is_harmless(text):
        text = forms.hide_values_of_statements(forms.hide_keys(text))
        if "://" in text:
            text = forms.hide_in_urls(text, _Names.named.names)
        text = forms.hide_tokens(_Names.named.hide(text))
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
