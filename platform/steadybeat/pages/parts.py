"""Parts: what several pages show. Each returns `Html`, or text that is escaped where it is shown."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from steadybeat.pages.markup import Html, html, join, tag
from steadybeat.wording import distance, length, moment, nominal

NOTHING = Html('<span class="sb-nothing" aria-label="none">–</span>')
"""What is shown where there is nothing."""
ASSETS = Path(__file__).parent / "static"

TONES: Mapping[str, str] = {
    "active": "good",
    "succeeded": "good",
    "done": "good",
    "resolved": "good",
    "running": "busy",
    "dispatched": "busy",
    "enqueued": "busy",
    "expected": "quiet",
    "waiting": "wait",
    "retried": "wait",
    "snoozed": "wait",
    "interrupted": "wait",
    "acknowledged": "wait",
    "paused": "wait",
    "warning": "wait",
    "skipped": "wait",
    "coalesced": "quiet",
    "superseded": "quiet",
    "cancelled": "quiet",
    "retired": "quiet",
    "info": "quiet",
    "missed": "bad",
    "dead": "bad",
    "failed": "bad",
    "failing": "bad",
    "lost": "bad",
    "timed_out": "bad",
    "open": "bad",
    "error": "bad",
    "critical": "bad",
}
"""How a state, an outcome or a severity is coloured: good, busy, wait, bad, or quiet for everything else."""
MARKS: Mapping[str, str] = {"good": "✓", "busy": "▸", "wait": "‖", "bad": "✕", "quiet": "–"}
"""What stands beside a colour, for those who see none."""


def tone(word: str) -> str:
    """Return how a state is coloured."""
    return TONES.get(word, "quiet")


def state(word: str | None, *, said: str | None = None) -> Html:
    """Return a state as a label: a colour, a mark and the word.

    Args:
        word: Of `TONES`; nothing is shown for None.
        said: What is written instead of it.
    """
    if not word:
        return Html("")
    kind = tone(word)
    mark = tag("span", MARKS[kind], class_="sb-mark", aria_hidden="true")
    return tag("span", mark, said or word.replace("_", " "), class_=f"sb-state sb-{kind}")


def at(instant: datetime | None, *, exact: bool = False) -> Html:
    """Return an instant in UTC, to the second; a browser adds the viewer's zone when it is pointed at.

    Args:
        instant: Aware; a dash is shown for None.
        exact: Whether a fraction of a second is shown, as a fire's nominal time may have one.
    """
    if instant is None:
        return NOTHING
    written = nominal(instant) if exact else moment(instant)
    return tag("time", written, datetime=instant.astimezone(UTC).isoformat(), class_="sb-at")


def ago(instant: datetime | None, now: datetime) -> Html:
    """Return how far an instant is from now, with the instant behind it: ``2 min ago``."""
    if instant is None:
        return NOTHING
    return tag(
        "time",
        distance(instant, now),
        datetime=instant.astimezone(UTC).isoformat(),
        class_="sb-at",
        data_utc=moment(instant),
    )


def lasting(duration: timedelta | float | None) -> Html:
    """Return a duration, given as such or in seconds; a dash for None."""
    if duration is None:
        return NOTHING
    span = duration if isinstance(duration, timedelta) else timedelta(seconds=duration)
    return Html(html(length(span)))


def sparkline(values: Sequence[float | None], *, label: str, width: int = 96, height: int = 24) -> Html:
    """Return a small line of durations, oldest first, without axes.

    Args:
        values: Seconds; None where there is none, which breaks the line.
        label: What it shows, for those who do not see it.
        width: In pixels.
        height: In pixels.
    """
    known = [each for each in values if each is not None]
    if len(known) < 2:
        return NOTHING
    most = max(known) or 1.0
    step = (width - 2) / max(1, len(values) - 1)
    lines: list[list[str]] = [[]]
    for n, value in enumerate(values):
        if value is None:
            lines.append([])
            continue
        lines[-1].append(f"{1 + n * step:.1f},{height - 1 - (height - 2) * value / most:.1f}")
    drawn = [Html(f'<polyline points="{" ".join(each)}"/>') for each in lines if len(each) > 1]
    return tag(
        "svg",
        *drawn,
        class_="sb-spark",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        aria_label=label,
        preserveAspectRatio="none",
    )


def query(values: Mapping[str, Any]) -> str:
    """Return ``?name=value&…``, or nothing where there are no values."""
    return f"?{urlencode(values)}" if values else ""


@functools.cache
def asset(name: str) -> str:
    """Return what stands behind the address of a file of ours, so that a browser loads it anew when it has changed."""
    return hashlib.sha256((ASSETS / name).read_bytes()).hexdigest()[:12]


def facts(pairs: Sequence[tuple[str, Any]]) -> Html:
    """Return names with their values; those without a value are left out."""
    rows = [
        tag("div", tag("dt", name), tag("dd", value), class_="sb-fact")
        for name, value in pairs
        if value not in {None, ""} and value is not NOTHING
    ]
    return tag("dl", join(rows), class_="sb-facts")


def code(value: Any) -> Html:
    """Return a value as JSON."""
    return tag("code", json.dumps(value, ensure_ascii=False, default=str), class_="sb-mono")


def field(title: str, name: str, **attributes: Any) -> Html:
    """Return a field of a form with its title."""
    return tag("label", f"{title} ", tag("input", name=name, autocomplete="off", class_="form-control", **attributes))


def choice(title: str, name: str, words: Sequence[str]) -> Html:
    """Return a choice of a form with its title; the first word is chosen."""
    return tag(
        "label", f"{title} ", tag("select", *(tag("option", each) for each in words), name=name, class_="form-select")
    )


def pager(asked: Any, more: Any, part: str = "") -> Html:
    """Return the links below a list: to its beginning, and on.

    Args:
        asked: What the page was asked for; where the list begins is its value ``after``.
        more: Behind which row the next page begins; None: there is no more.
        part: The part of the page that the list is, where it is not the whole.
    """
    anchor = f"#{part}" if part else ""
    links = []
    if asked.values.get("after"):
        links.append(tag("a", "First", href=asked.address() + anchor, class_="btn btn-sm btn-outline-secondary"))
    if more is not None:
        onward = asked.address(after=more) + anchor
        links.append(tag("a", "Next", href=onward, rel="next", class_="btn btn-sm btn-outline-secondary"))
    return tag("nav", *links, class_="sb-pager", aria_label="Pages") if links else Html("")


def action(
    title: str,
    address: str,
    xsrf: Any,
    *,
    fields: Any = "",
    hidden: Mapping[str, Any] | None = None,
    text: str = "",
    of: str = "",
    button: str | None = None,
    danger: bool = False,
) -> Html:
    """Return a form that changes something: closed until it is wanted, and asking why.

    Args:
        title: What it does, on its button: ``Pause``.
        address: Where it is sent.
        xsrf: The field that shows it is ours: ``xsrf_form_html()``.
        fields: Further fields, as `Html`.
        hidden: Values that go along.
        text: A sentence about what will happen.
        of: What it is done to, where that is not the page's own.
        button: What the button that sends it says; the title unless given.
        danger: Whether it takes something away.
    """
    kept = [tag("input", type="hidden", name=k, value=v) for k, v in (hidden or {}).items()]
    kind = "danger" if danger else "primary"
    reason = tag(
        "label",
        "Why? ",
        tag("input", name="reason", required=True, maxlength=500, autocomplete="off", class_="form-control"),
    )
    send = tag("button", button or title, class_=f"btn btn-{kind}", type="submit")
    form = tag(
        "form",
        Html(xsrf if isinstance(xsrf, str) else xsrf.decode()),
        *kept,
        tag("p", tag("strong", of)) if of else "",
        tag("p", text) if text else "",
        fields,
        reason,
        send,
        method="post",
        action=address,
    )
    named = {"aria_label": f"{title} {of}"} if of else {}
    summary = tag("summary", title, **named, class_=f"btn btn-sm btn-outline-{'danger' if danger else 'secondary'}")
    return tag("details", summary, form, class_="sb-action")
