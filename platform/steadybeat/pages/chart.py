"""A chart of durations: what half of the runs and what 95 % of them took, from the oldest to the newest."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from steadybeat.pages import parts
from steadybeat.pages.markup import Html, join, tag
from steadybeat.wording import count, length, moment

WIDTH, HEIGHT, LEFT, BOTTOM = 720, 180, 64, 24
BUCKETS = 60
"""So many points a line has at the most."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Some runs that followed each other.

    Attributes:
        at: The nominal time of the last of them.
        p50: What half of them did not exceed, in seconds.
        p95: What 95 % of them did not exceed.
    """

    at: datetime
    p50: float
    p95: float


def buckets(runs: Sequence[tuple[datetime, float]]) -> list[Bucket]:
    """Return the percentiles of runs, in buckets of as many as are needed for `BUCKETS`.

    Args:
        runs: Nominal time and seconds of each, the oldest first.
    """
    size = max(1, -(-len(runs) // BUCKETS))
    found = []
    for n in range(0, len(runs), size):
        part = runs[n : n + size]
        values = [seconds for _, seconds in part]
        high = statistics.quantiles(values, n=100, method="inclusive")[94] if len(values) > 1 else values[0]
        found.append(Bucket(part[-1][0], statistics.median(values), high))
    return found


def drawn(runs: Sequence[tuple[datetime, float]]) -> Html:
    """Return the chart, or nothing where fewer than two runs have ended.

    Args:
        runs: Nominal time and seconds of each, the oldest first.
    """
    points = buckets(runs)
    if len(points) < 2:
        return parts.NOTHING
    most = max(each.p95 for each in points) or 1.0
    step = (WIDTH - LEFT - 8) / (len(points) - 1)

    def place(n: int, value: float) -> str:
        return f"{LEFT + n * step:.1f},{HEIGHT - BOTTOM - (HEIGHT - BOTTOM - 8) * value / most:.1f}"

    def line(kind: str, values: Sequence[float]) -> Html:
        return tag("polyline", points=" ".join(place(n, each) for n, each in enumerate(values)), class_=f"sb-{kind}")

    last = points[-1]
    label = (
        f"Durations of {count(len(runs), 'run')} from {moment(runs[0][0])} to {moment(runs[-1][0])}: at the end p50"
        f" {_said(last.p50)}, p95 {_said(last.p95)}; the most {_said(most)}"
    )
    grid = [_grid(most, share) for share in (0.0, 0.5, 1.0)]
    foot = [
        tag("text", moment(runs[0][0]), x=LEFT, y=HEIGHT - 6),
        tag("text", moment(runs[-1][0]), x=WIDTH - 8, y=HEIGHT - 6, text_anchor="end"),
    ]
    return tag(
        "svg",
        join(grid),
        line("p95", [each.p95 for each in points]),
        line("p50", [each.p50 for each in points]),
        join(foot),
        class_="sb-chart",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=label,
    )


def _grid(most: float, share: float) -> Html:
    y = f"{HEIGHT - BOTTOM - (HEIGHT - BOTTOM - 8) * share:.1f}"
    text = tag("text", _said(most * share), x=LEFT - 8, y=y, text_anchor="end", dominant_baseline="middle")
    return join([tag("line", x1=LEFT, x2=WIDTH - 8, y1=y, y2=y), text])


def _said(seconds: float) -> str:
    return length(timedelta(seconds=seconds))
