"""Docstrings: what the code says of itself, as Markdown."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

WIDTH = 118
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")


def called(name: str, function: Any) -> str:
    """Return the entry of a function with its parameters one below the other."""
    given = parameters(function, ",\n    ")
    return f"### {name}()\n\n```text\n{name}(\n    {given},\n)\n```\n\n{documented(function)}"


def parameters(function: Any, between: str = ", ") -> str:
    """Return the parameters of a function or method as they are written, `self` left out."""
    parts, starred = [], False
    for name, each in inspect.signature(function).parameters.items():
        if each.kind is each.KEYWORD_ONLY and not starred:
            parts.append("*")
        starred = starred or each.kind in (each.KEYWORD_ONLY, each.VAR_POSITIONAL)
        star = "*" * ((each.kind is each.VAR_POSITIONAL) + 2 * (each.kind is each.VAR_KEYWORD))
        shown = f"{star}{name}" if each.annotation is each.empty else f"{star}{name}: {each.annotation}"
        parts.append(shown if each.default is each.empty else f"{shown} = {each.default!r}")
    return between.join(part for part in parts if part != "self")


def documented(function: Any) -> str:
    """Return a docstring in Google's form as Markdown."""
    parts = []
    for title, content in sections(function).items():
        if not title:
            parts += [code(" ".join(each.split())) for each in content]
            continue
        lines = [f"- `{name}`: {code(text)}" if name else code(text) for name, text in content]
        parts.append("\n".join([f"{title}:", "", *lines]) if lines[0].startswith("-") else f"{title}: {lines[0]}")
    return "\n\n".join(parts)


def sections(documented: Any) -> dict[str, Any]:
    """Return the parts of a docstring: paragraphs under "", (name, text) pairs under the title of each section."""
    found: dict[str, Any] = {"": []}
    for block in inspect.cleandoc(documented.__doc__ or "").split("\n\n"):
        title, _, rest = block.partition(":\n")
        if title in SECTIONS:
            found[title] = list(_entries(textwrap.dedent(rest)))
        else:
            found[""].append(block)
    return found


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Yield the entries of a section: a line that is not indented begins one."""
    for entry in re.split(r"\n(?=\S)", text):
        name, colon, rest = entry.partition(": ")
        if colon and re.fullmatch(r"\**\w+", name):
            yield name.strip("*"), " ".join(rest.split())
        else:
            yield "", " ".join(text.split())
            return


def code(text: str) -> str:
    """Return a text of a docstring with its marks for code as Markdown has them."""
    return text.replace("``", "`")


def listed(words: Any) -> str:
    """Return words as a list in a sentence."""
    return ", ".join(f"`{word}`" for word in words)


def wrapped(part: str) -> str:
    """Return a part of a page with its paragraphs and list entries wrapped; code is left as it is."""
    if part.startswith(("<!--", "```")):
        return part
    lines = []
    for paragraph in part.split("\n\n"):
        if paragraph.startswith(("#", "```")):
            lines.append(paragraph)
            continue
        entries = [
            textwrap.fill(
                each,
                WIDTH,
                subsequent_indent="  " if each.startswith("- ") else "",
                break_long_words=False,
                break_on_hyphens=False,
            )
            for each in re.split(r"\n(?=- )", paragraph)
        ]
        lines.append("\n".join(entries))
    return "\n\n".join(lines)
