"""Golden files: what commands print over one ledger, as text that a person can read and compare.

Ids are numbered as they appear, instants of these days are written as letters, distances from now are left out. To
write the files anew, after a change that is meant:

    GOLDEN=write .venv/bin/python -m pytest tests/integration/commands/test_golden.py
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from click.testing import Result

from tests.integration.commands.shop import LATEST, Run

FOLDER = Path(__file__).parents[2] / "golden"
WRITES = os.environ.get("GOLDEN") == "write"

_THESE_DAYS = {str(year) for year in range(2021, 2040)}
_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_INSTANT = re.compile(r"\b(\d{4})-\d\d-\d\d([ T])\d\d:\d\d:\d\d(?:\.\d+)?(Z|\+00:00)")
_DATE = re.compile(r"\b(\d{4})-\d\d-\d\d\b(?![ T]\d\d:)")
_DISTANCE = re.compile(
    r"\bin \d[\d.]* (?:ms|s|min|h|d)(?: \d+ (?:min|h))?\b|\b\d[\d.]* (?:ms|s|min|h|d)(?: \d+ (?:min|h))? ago\b"
)
_MINUTE = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\dZ")
_HEX = re.compile(r"\b[0-9a-f]{32}\b")
_ORIGIN = re.compile(r"\bgen\d+@[\w.-]+")
_NEWEST = re.compile(rf"\b{LATEST}\b")  # migration
_PORT = re.compile(r"\b127\.0\.0\.1:\d{4,5}\b")


class Normal:
    """Takes out of a text what differs from one time to the next; the same id has the same number throughout."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        text = _ID.sub(lambda found: self._number(found[0]), text)
        text = _INSTANT.sub(self._letters, text)
        text = _DATE.sub(lambda found: "yyyy-mm-dd" if found[1] in _THESE_DAYS else found[0], text)
        text = _ORIGIN.sub("gen@host", _HEX.sub("f" * 32, _MINUTE.sub("yyyy-mm-ddThh:mmZ", text)))
        text = _PORT.sub("127.0.0.1:PORT", _NEWEST.sub("NNNN", text))
        if _DISTANCE.search(text):  # whose columns are as wide as what stands in them
            text = re.sub(r"(?<=\S) {2,}", "  ", _DISTANCE.sub("so far from now", text))
        return text

    def _number(self, found: str) -> str:
        return self._ids.setdefault(found, f"00000000-0000-0000-0000-{len(self._ids) + 1:012}")

    def _letters(self, found: re.Match[str]) -> str:
        return f"yyyy-mm-dd{found[2]}hh:mm:ss{found[3]}" if found[1] in _THESE_DAYS else found[0]


def session(run: Run, commands: Sequence[Sequence[str]]) -> str:
    """Type commands one after the other, and return what a person sees: the command, its output, how it ended."""
    normal, seen = Normal(), list[str]()
    for command in commands:
        result = run(*command)
        seen.append(normal(f"$ celery -A shop {shlex.join(command)}\n{_printed(result)}"))
    return "\n".join(seen)


def _printed(result: Result) -> str:
    assert result.exit_code in (0, 1, 2), result.output
    errors = "".join(f"stderr: {line}\n" for line in result.stderr.splitlines())
    return f"{result.stdout}{errors}" + (f"[exit {result.exit_code}]\n" if result.exit_code else "")


def compare(name: str, found: str) -> None:
    """Compare a text with a golden file, or write that anew where it is asked for."""
    file = FOLDER / name
    if WRITES:
        file.parent.mkdir(exist_ok=True)
        file.write_text(found)
        return
    wanted = file.read_text() if file.exists() else ""
    told = "\n".join(
        difflib.unified_diff(wanted.splitlines(), found.splitlines(), f"golden/{name}", "now", lineterm="")
    )
    assert wanted == found, (
        f"{told}\n\nIf that is meant: GOLDEN=write python -m pytest {Path(__file__).parent}/test_golden.py"
    )
