"""Takes the README's picture of `make up`: `.venv/bin/python ops/picture.py`.

It runs the local stack in a terminal of tmux, as a person would, waits until everything is ready and the first tasks
have run, and draws what stands on that terminal as an SVG. The fonts are those of whoever looks at it.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parents[1]
COLUMNS, LINES = 120, 36
READY_WITHIN = timedelta(minutes=3)
RUN_WITHIN = timedelta(seconds=90)
STOPPED_WITHIN = timedelta(seconds=20)
LOOK_EVERY_SECONDS = 0.5

THEME = TerminalTheme(
    background=(22, 27, 34),
    foreground=(230, 237, 243),
    normal=[
        (72, 79, 88), (255, 123, 114), (86, 211, 100), (227, 179, 65),
        (121, 192, 255), (210, 168, 255), (86, 212, 221), (177, 186, 196),
    ],
    bright=[
        (110, 118, 129), (255, 161, 152), (126, 231, 135), (242, 204, 96),
        (165, 214, 255), (226, 197, 255), (179, 240, 255), (255, 255, 255),
    ],
)  # fmt: skip
FONTS = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace"


class Terminal:
    """A terminal of tmux's, on a server of its own.

    Args:
        command: What runs in it; it ends with that.
    """

    def __init__(self, command: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="steadybeat-picture-")
        self._tmux = ["tmux", "-S", f"{self._folder.name}/socket", "-f", "/dev/null", "-u"]
        size = ["-x", str(COLUMNS), "-y", str(LINES)]
        subprocess.run([*self._tmux, "new-session", "-d", *size, command], check=True, cwd=ROOT)

    @property
    def screen(self) -> str:
        """What stands on it, with its colours as escape sequences; empty when it has ended."""
        shown = subprocess.run([*self._tmux, "capture-pane", "-e", "-p"], capture_output=True, text=True, check=False)
        return shown.stdout

    def press(self, key: str) -> None:
        """Press a key, by tmux's name for it."""
        subprocess.run([*self._tmux, "send-keys", key], check=False)

    def end(self) -> None:
        """End it, whatever still runs in it."""
        subprocess.run([*self._tmux, "kill-server"], check=False, stderr=subprocess.DEVNULL)
        self._folder.cleanup()


def plain(screen: str) -> str:
    """Return a screen without its colours."""
    return Text.from_ansi(screen).plain


def watch(terminal: Terminal, wanted: Callable[[str], bool], patience: timedelta) -> str | None:
    """Return the first screen that is as wanted, or None if the terminal ends or time is up before."""
    deadline = time.monotonic() + patience.total_seconds()
    while time.monotonic() < deadline:
        screen = terminal.screen
        if not screen:
            return None
        if wanted(plain(screen)):
            return screen
        time.sleep(LOOK_EVERY_SECONDS)
    return None


def take(folder: Path) -> str | None:
    """Return the screen of a stack that is ready and at work, or None where it does not come up."""
    celery = Path(sys.executable).with_name("celery")
    shown = celery.relative_to(ROOT) if celery.is_relative_to(ROOT) else celery
    terminal = Terminal(shlex.join([str(shown), "-A", "tasks", "dev", "--folder", str(folder)]))
    try:
        ready = watch(terminal, lambda screen: "ready in" in screen, READY_WITHIN)
        if ready is None:
            return None
        at_work = watch(terminal, lambda screen: screen.count("task succeeded") > 1, RUN_WITHIN)
        terminal.press("C-c")
        watch(terminal, lambda screen: not screen, STOPPED_WITHIN)
        return at_work or ready
    finally:
        terminal.end()


def as_svg(screen: str) -> str:
    """Return a screen as an SVG that loads nothing from elsewhere."""
    console = Console(record=True, file=StringIO(), width=COLUMNS, force_terminal=True, legacy_windows=False)
    console.print(Text.from_ansi(screen.rstrip()), overflow="crop", no_wrap=True)
    svg = console.export_svg(title="make up", theme=THEME, unique_id="up")
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: (?:Fira Code|arial)[^;]*;", f"font-family: {FONTS};", svg)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def main() -> int:
    """Take the picture; return the exit code."""
    parser = argparse.ArgumentParser(description="Take the README's picture of `make up`.")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "up.svg", help="the picture")
    parser.add_argument("--folder", type=Path, default=Path(".steadybeat"), help="where the stack keeps its data")
    given = parser.parse_args()
    if shutil.which("tmux") is None:
        print("ops/picture.py: there is no tmux. Debian, Ubuntu: apt install tmux", file=sys.stderr)
        return 2
    screen = take(given.folder)
    if screen is None:
        print(f"ops/picture.py: the stack did not come up; its logs are in {given.folder}/logs", file=sys.stderr)
        return 1
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(as_svg(screen))
    print(f"{given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
