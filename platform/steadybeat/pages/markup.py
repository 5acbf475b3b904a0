"""Markup: text that is HTML already, and how anything else becomes it."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

_VOID = frozenset({"br", "hr", "img", "input"})
"""Elements that have nothing in them, and no end."""


class Html(str):
    """Text that is HTML already: it was made here, and what came from elsewhere is escaped in it."""

    __slots__ = ()


def html(value: Any) -> str:
    """Return a value as HTML: escaped, unless it is `Html`; empty for None. What ``{{ … }}`` does in our templates."""
    if isinstance(value, Html):
        return value
    if isinstance(value, bytes):
        value = value.decode()
    return "" if value is None else escape(str(value))


def tag(name: str, /, *content: Any, **attributes: Any) -> Html:
    """Return an element.

    Args:
        name: Such as ``span``.
        content: What stands in it: text, which is escaped, or `Html`.
        attributes: Its attributes: ``_`` stands for ``-``, and one at the end is left out, for ``class_``. None and
            False leave one out, True is one without a value.
    """
    given = "".join(_attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{''.join(map(html, content))}</{name}>")


def join(parts: Iterable[Any], between: str = "") -> Html:
    """Return several pieces as one, with text between them."""
    return Html(html(between).join(map(html, parts)))


def _attribute(name: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
