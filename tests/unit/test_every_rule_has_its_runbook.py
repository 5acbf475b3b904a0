"""Promise: whoever is woken by an alert finds a page that says what it means, what to type, and what to do."""

from __future__ import annotations

import re

import pytest

from steadybeat.rules import RULES
from tests.documents import ROOT, blocks, links

FOLDER = ROOT / "ops/runbooks"
HEADINGS = [
    "What it means",
    "Is it urgent",
    "Look closer",
    "Likely causes",
    "What to do",
    "When it resolves",
    "So that it does not come back",
]


def parts(rule: str) -> dict[str, str]:
    """The text below each heading of a rule's page, and under an empty name what stands above them."""
    text = (FOLDER / f"{rule}.md").read_text()
    first, *rest = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    return {"": first} | dict(zip(rest[::2], rest[1::2], strict=True))


def test_each_rule_has_a_page_and_each_page_a_rule() -> None:
    assert {page.stem for page in FOLDER.glob("*.md")} == {*RULES, "README"}


@pytest.mark.parametrize("rule", RULES)
def test_a_page_says_all_that_somebody_at_three_in_the_morning_asks(rule: str) -> None:
    found = parts(rule)
    assert list(found) == ["", *HEADINGS]
    assert min(len(text.strip()) for text in found.values()) > 20
    assert found[""].startswith(f"# {RULES[rule].title}: `{rule}`\n")
    assert f"about a{'n' if RULES[rule].subject == 'instance' else ''} {RULES[rule].subject}" in found[""].replace(
        "about the platform", "about a platform"
    )
    assert 35 <= sum(text.count("\n") for text in found.values()) <= 75


@pytest.mark.parametrize("rule", RULES)
def test_a_page_has_commands_to_look_closer_and_causes_in_their_order(rule: str) -> None:
    page = f"ops/runbooks/{rule}.md"
    assert any(block.language == "console" for block in blocks(page))
    assert "celery -A tasks" in parts(rule)["Look closer"]
    numbers = re.findall(r"^(\d)\. \*\*", parts(rule)["Likely causes"], re.MULTILINE)
    assert numbers == [f"{n}" for n in range(1, len(numbers) + 1)]
    assert len(numbers) >= 3


def test_the_index_has_each_rule_once_in_the_order_of_the_code() -> None:
    rows = re.findall(r"^\| \[`(\w+)`\]\((\w+)\.md\) \| (.+?): ", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert rows == [(rule.name, rule.name, rule.title) for rule in RULES.values()]
    assert {f"{name}.md" for name in RULES} <= {*links("ops/runbooks/README.md")}
