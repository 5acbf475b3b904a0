from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from steadybeat.commands.progress import Progress


def test_a_terminal_is_shown_a_bar_and_what_has_ended() -> None:
    shown = io.StringIO()
    out: Any = SimpleNamespace(console=Console(file=shown, force_terminal=True, width=80, color_system=None))
    with Progress(out, "backfill settle", 2) as progress:
        progress.ended("2026-01-01 06:00:00Z", "succeeded")
        progress.ended("2026-01-02 06:00:00Z", "dead")
    text = shown.getvalue()
    assert "2026-01-01 06:00:00Z succeeded" in text
    assert "2026-01-02 06:00:00Z dead" in text
    last = text.rpartition("backfill settle")[2]
    assert "━" in last
    assert "2/2" in last


def test_a_machine_is_shown_nothing() -> None:
    with Progress(None, "backfill settle", 1) as progress:
        progress.ended("2026-01-01 06:00:00Z", "succeeded")
