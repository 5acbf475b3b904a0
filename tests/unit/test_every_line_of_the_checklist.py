"""Promise: each line of the checklist is answered, by one check, and the guide says what it looks at."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from steadybeat.audit import LINES, SECTIONS
from steadybeat.audit.checking import MODULES, checks

CHECKLIST = Path(__file__).parents[2] / "docs" / "audit.md"
PROVEN = {"4.6", "4.7", "4.8"} if importlib.util.find_spec("steadybeat.audit.checks.proven") is None else set[str]()
"""What only probes answer, where there are none yet."""


def test_each_line_has_a_check() -> None:
    assert list(checks()) == [number for number in LINES if number not in PROVEN]


def test_no_line_has_two_checks() -> None:
    folder = Path(importlib.util.find_spec("steadybeat.audit.checks").submodule_search_locations[0])  # type: ignore[union-attr,index]
    written = [line for file in folder.glob("*.py") for line in re.findall(r'@check\("([\d.]+)"\)', file.read_text())]
    assert sorted(written) == sorted(set(written)) == sorted(checks())
    assert {file.stem for file in folder.glob("*.py")} - {"__init__"} <= set(MODULES)


def test_a_check_is_named_by_a_sentence() -> None:
    for line, check in checks().items():
        assert (check.__doc__ or "").strip().endswith("."), line


def test_the_guide_says_of_each_line_what_it_looks_at() -> None:
    rows = re.findall(r"^\| (\d\.\d+) \| (.+?) \| (.+?) \|$", CHECKLIST.read_text(), re.MULTILINE)

    assert [(number, text) for number, text, _ in rows] == [(line.number, line.text) for line in LINES.values()]
    assert all(len(looks.split()) >= 3 for _, _, looks in rows)


def test_the_guide_has_a_table_of_each_section() -> None:
    titles = re.findall(r"^### (\d) (.+)$", CHECKLIST.read_text(), re.MULTILINE)
    assert [(int(number), title) for number, title in titles] == list(SECTIONS.items())
