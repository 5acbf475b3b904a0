"""The documentation as tests read it: its pages, their links, and the blocks of code that stand in them.

The words behind the language of a fence say what a test does with the block, and are not shown to readers:

    python file=NAME      a file of the guide's project
    console dev           started once, and left running behind all blocks that follow
    console run           its `$` lines are run; its other lines must be printed, in order, where … is anything
    console run eventually    the same, tried again until it comes out so
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
PAGES = tuple(
    page.relative_to(ROOT).as_posix()
    for page in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("ops/runbooks/*.md"),
    )
    if page.exists()
)
PROMPT = "$ "


@dataclass(frozen=True)
class Block:
    """A fenced block of code: its line in the page, its language, what else stands in the fence, and its text."""

    line: int
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def file(self) -> str | None:
        """The file that it is, if it is one."""
        return next((word.removeprefix("file=") for word in self.words if word.startswith("file=")), None)

    @property
    def commands(self) -> list[str]:
        """What stands behind a prompt."""
        return [line.removeprefix(PROMPT) for line in self.text.splitlines() if line.startswith(PROMPT)]

    @property
    def answers(self) -> list[str]:
        """What is said to be printed."""
        return [line for line in self.text.splitlines() if line.strip() and not line.startswith(PROMPT)]


@cache
def _tokens(page: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text())


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page."""
    found = []
    for token in _tokens(page):
        if token.type == "fence":
            language, *words = token.info.split() or [""]
            found.append(Block((token.map or [0])[0] + 1, language, tuple(words), token.content))
    return found


def _inline(page: str) -> Iterator[Token]:
    for token in _tokens(page):
        yield from token.children or ()


def spans(page: str) -> list[str]:
    """The pieces of code that stand in the sentences of a page."""
    return [token.content for token in _inline(page) if token.type == "code_inline"]


def links(page: str) -> list[str]:
    """The targets of a page's links and pictures."""
    return [str(each) for token in _inline(page) for name in ("href", "src") if (each := token.attrs.get(name))]


def anchors(page: str) -> set[str]:
    """The names by which links can reach the headings of a page, as GitHub makes them."""
    found: set[str] = set()
    tokens = _tokens(page)
    for heading, content in pairwise(tokens):
        if heading.type == "heading_open":
            text = "".join(each.content for each in content.children or ()).lower()
            name = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            number = sum(1 for each in found if re.fullmatch(rf"{re.escape(name)}(-\d+)?", each))
            found.add(f"{name}-{number}" if number else name)
    return found


def comes_out(answers: list[str], printed: str) -> bool:
    """Whether all of the answers are among the printed lines, in this order; … is anything, blanks are blanks."""
    lines = iter([" ".join(line.split()) for line in printed.splitlines()])
    wanted = [".*".join(re.escape(part) for part in " ".join(each.split()).split("…")) for each in answers]
    return all(any(re.fullmatch(pattern, line) for line in lines) for pattern in wanted)
