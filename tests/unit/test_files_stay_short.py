"""What ruff does not check of the house style: a file that has grown too long holds two things."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT = 400


def test_no_file_has_more_than_400_lines() -> None:
    folders = ("platform", "tasks", "tests", "ops", "bench")
    lengths = {file: len(file.read_text().splitlines()) for each in folders for file in (ROOT / each).rglob("*.py")}
    assert lengths
    assert {str(file.relative_to(ROOT)): length for file, length in lengths.items() if length > LIMIT} == {}
