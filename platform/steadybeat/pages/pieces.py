"""Pieces: what the pages of runs, dead letters, fan-outs and alerts show besides `parts`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from steadybeat.errors import ConfigurationError
from steadybeat.pages import parts
from steadybeat.pages.asked import Asked
from steadybeat.pages.markup import Html, join, tag
from steadybeat.pages.page import NotFound
from steadybeat.telemetry.redaction import redact, redact_text
from steadybeat.wording import headline, one_line

_AGO = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_LONGEST = 160
Link = Callable[..., str]


def id_of(written: str) -> str:
    """Return the id of a run as it stands in an address.

    Raises:
        NotFound: It is none.
    """
    try:
        return str(UUID(written))
    except ValueError:
        raise NotFound(f"{written[:80]!r} is no id of a run: those are UUIDs.") from None


def number(written: str) -> int:
    """Return a number as it stands in an address.

    Raises:
        NotFound: Nothing has so high a number.
    """
    if len(written) > 18:
        raise NotFound(f"Nothing has the number {written[:40]}.")
    return int(written)


def past(asked: Asked, name: str, now: datetime) -> datetime | None:
    """Return an instant that is asked for as such, or as how long ago: ``2h``; None where nothing is.

    Raises:
        ConfigurationError: It is neither.
    """
    text = asked.text(name)
    match = _AGO.fullmatch(text)
    if match is None:
        return asked.instant(name)
    try:
        return now - int(match[1]) * _UNITS[match[2]]
    except OverflowError:
        return datetime(1970, 1, 1, tzinfo=UTC)


def place(asked: Asked, name: str = "after") -> tuple[datetime, str] | None:
    """Return behind which row a page begins: an instant, and an id; None: at the beginning.

    Raises:
        ConfigurationError: It is no such thing.
    """
    text = asked.text(name)
    if not text:
        return None
    instant, _, own = text.partition("~")
    try:
        at = datetime.fromisoformat(instant)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or not own:
        raise ConfigurationError(f"{name}={text[:60]!r}: is no place in this list. Begin at the first page.", name=name)
    return at, own


def cursor(at: datetime, own: Any) -> str:
    """Return what stands in an address for a place in a list."""
    return f"{at.astimezone(UTC).isoformat()}~{own}"


def said(text: str | None, longest: int = _LONGEST) -> str:
    """Return a text from elsewhere as one line without secrets."""
    line = one_line(redact_text(text or ""))
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def last_error(row: Mapping[str, Any]) -> str:
    """Return why a run is as it is: its reason, or the headline of its error."""
    return said(row.get("reason") or headline(row.get("error")))


def short(run: Any) -> str:
    """Return so much of an id as tells it from its neighbours."""
    text = str(run)
    return f"{text[:8]}…{text[-6:]}" if len(text) > 20 else text


def run_link(link: Link, run: Any, text: str | None = None) -> Html:
    """Return the link to a run, as a piece of its id unless it is called otherwise."""
    return tag("a", text or short(run), href=link("run", run), title=str(run), class_=None if text else "sb-mono")


def thing(link: Link, page: str, name: str | None) -> Any:
    """Return the name of a schedule or of another thing that has a page, with a link to that where there is one."""
    if not name:
        return parts.NOTHING
    try:
        return tag("a", name, href=link(page, name))
    except KeyError:
        return name


def value(given: Any) -> Html:
    """Return a JSON value without secrets, as text; a dash for null."""
    if given is None:
        return parts.NOTHING
    text = json.dumps(redact(given, levels=12), ensure_ascii=False, default=str)
    if len(text) <= 4 * _LONGEST:
        return tag("span", text, class_="sb-mono")
    return folded(f"{text[:_LONGEST]}…", text)


def folded(summary: Any, text: str, *, is_open: bool = False) -> Html:
    """Return a text that is folded until somebody wants to read it."""
    return tag("details", tag("summary", summary), tag("pre", text, tabindex="0"), class_="sb-fold", open=is_open)


def bar(counts: Sequence[tuple[str, str, int]], *, label: str) -> Html:
    """Return counts as one bar, and as words below it.

    Args:
        counts: Of each a word, the state that says its colour, and how many.
        label: What it is, for those who do not see it.
    """
    total = sum(number for _, _, number in counts)
    drawn, words, left = [], [], 0.0
    for word, state, number in counts:
        if not number:
            continue
        said, colour, width = f"{number:,} {word}", f"sb-bar-{parts.tone(state)}", 100 * number / total
        place = {"x": f"{left:.3f}", "y": 0, "width": f"{width:.3f}", "height": 10}
        drawn.append(tag("rect", tag("title", said), **place, class_=colour))
        words.append(tag("span", tag("i", class_=f"sb-share {colour}", aria_hidden="true"), said))
        left += width
    text = ", ".join(f"{number:,} {word}" for word, _, number in counts if number) or "none"
    shape = {"viewBox": "0 0 100 10", "preserveAspectRatio": "none", "role": "img", "aria_label": f"{label}: {text}"}
    svg = tag("svg", *drawn, class_="sb-bar", **shape)
    return tag("div", svg, tag("div", join(words), class_="sb-shares"), class_="sb-bar-box")
