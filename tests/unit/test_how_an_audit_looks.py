"""Promise: an audit tells what is to be mended first, each thing once, and no score looks better than it is."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from steadybeat.audit import Finding, Verdict, score
from steadybeat.audit.report import Report, percent
from steadybeat.audit.report_html import as_html
from steadybeat.audit.report_markdown import as_markdown
from steadybeat.commands.audit_shown import blocks, document

EVIL = "<script>alert('1')</script>|`x`"


def finding(line: str, task: str, verdict: Verdict, *, remedy: str = "set it", evidence: str = "read") -> Finding:
    service = task.partition(".")[0]
    kept = "" if verdict in {Verdict.PASS, Verdict.NOT_APPLICABLE} else remedy
    return Finding(line=line, subject=task, service=service, verdict=verdict, evidence=evidence, remedy=kept)


def report(*findings: Finding) -> Report:
    return Report("shop", datetime(2026, 11, 28, 16, tzinfo=UTC), findings, [])


SHOP = report(
    finding("1.6", "orders.pack", Verdict.PASS),
    finding("1.7", "orders.pack", Verdict.FAIL),
    finding("2.10", "orders.pack", Verdict.NOT_APPLICABLE),
    finding("2.9", "orders.pack", Verdict.UNKNOWN),
    finding("1.6", "mail.send", Verdict.PASS),
    finding("1.7", "mail.send", Verdict.FAIL),
    finding("2.10", "mail.send", Verdict.PARTIAL),
    finding("2.9", "mail.send", Verdict.PASS),
)


def test_only_pass_scores_and_what_cannot_be_asked_does_not_count() -> None:
    assert SHOP.whole.percent == pytest.approx(100 * 3 / 7)
    assert {name: round(each.percent or 0) for name, each in SHOP.by_service.items()} == {"mail": 50, "orders": 33}
    assert {number: round(each.percent or 0) for number, each in SHOP.by_section.items()} == {1: 50, 2: 33}
    assert score([]).percent is None


def test_a_score_below_all_is_never_shown_as_all_and_nothing_asked_is_no_score() -> None:
    nearly = report(*(finding("1.6", f"a.t{n}", Verdict.PASS) for n in range(999)), finding("1.6", "a.x", Verdict.FAIL))
    assert percent(nearly.whole) == "99 %"
    assert percent(report(finding("1.6", "a.x", Verdict.NOT_APPLICABLE)).whole) == "-"


def test_what_is_mended_in_the_same_way_is_told_once_the_worst_first() -> None:
    told = [(each.line.number, each.verdict, each.subjects) for each in SHOP.groups]
    assert told == [
        ("1.7", Verdict.FAIL, ["orders.pack", "mail.send"]),
        ("2.10", Verdict.PARTIAL, ["mail.send"]),
        ("2.9", Verdict.UNKNOWN, ["orders.pack"]),
    ]


def test_of_a_group_that_was_read_differently_one_is_told_and_that_there_are_others() -> None:
    (group,) = report(
        finding("1.7", "a.x", Verdict.FAIL, evidence="none"), finding("1.7", "a.y", Verdict.FAIL, evidence="0 bytes")
    ).groups
    assert group.evidence == "none (of a.x; --task shows the others)"


def test_the_document_has_every_finding_and_every_score() -> None:
    told = document(SHOP)
    assert told["score"] == 42.9
    assert told["counts"] == {"PASS": 3, "PARTIAL": 1, "FAIL": 2, "UNKNOWN": 1, "N/A": 1}
    assert [(each["task"], each["service"], each["score"]) for each in told["tasks"]] == [
        ("orders.pack", "orders", 33.3),
        ("mail.send", "mail", 50.0),
    ]
    assert len(told["findings"]) == len(SHOP.findings)
    assert told["findings"][1] == {
        "line": "1.7",
        "text": "memory limit set",
        "subject": "orders.pack",
        "service": "orders",
        "verdict": "FAIL",
        "evidence": "read",
        "remedy": "set it",
    }


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_is_whole_and_nothing_of_a_task_becomes_a_part_of_it() -> None:
    page = Elements()
    page.feed(as_html(report(finding("1.7", EVIL, Verdict.FAIL, remedy=EVIL, evidence=EVIL), *SHOP.findings)))
    assert page.open == []
    assert not page.seen & {"script", "link", "img", "iframe"}


def test_every_column_of_a_page_has_a_heading_and_a_narrow_one_stacks_its_cells() -> None:
    page = as_html(report(finding("1.7", EVIL, Verdict.FAIL), *SHOP.findings))
    assert '<th scope="col"></th>' not in page
    assert page.count('<th scope="col">answer</th>') > 1
    assert "table:not(.scores) :is(tbody, tr, td) { display: block; }" in page


def test_markdown_keeps_its_columns_whatever_a_task_is_called() -> None:
    text = as_markdown(report(finding("1.7", EVIL, Verdict.FAIL, remedy=EVIL, evidence=EVIL)))
    assert "<script" not in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in tables} == {4, 6}  # of scores, and of findings


def test_a_finding_without_evidence_or_without_a_way_out_cannot_be_made() -> None:
    with pytest.raises(AssertionError):
        finding("1.7", "a.x", Verdict.FAIL, remedy="")
    with pytest.raises(AssertionError):
        finding("1.7", "a.x", Verdict.PASS, evidence="")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_on_a_terminal_each_thing_to_mend_is_a_few_lines_that_fit(width: int) -> None:
    read = "worker_max_memory_per_child=None, as it stands in the configuration of the application"
    many = report(*(finding("1.7", f"shop.t{n}", Verdict.FAIL, evidence=read) for n in range(9)))
    lines = [text for _, text in blocks(many.groups, 9, width)]
    assert lines[1] == "FAIL    1.7 memory limit set"
    assert lines[2] == "        of    all 9 tasks"
    assert lines[-1] == "        mend  set it"
    assert all(len(line) <= width for line in lines)
    assert " ".join(" ".join(lines[3:-1]).split()) == f"read {read}"
    some = [text for _, text in blocks(many.groups, 12, width)]
    assert some[2].startswith("        of    shop.t0, shop.t1")
    assert "and 7 more" in " ".join(some)
