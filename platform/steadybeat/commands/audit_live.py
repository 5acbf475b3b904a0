"""`celery -A … audit --live`: whether what must hold between the settings of the running system holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from steadybeat.commands.output import Column, Output, count

if TYPE_CHECKING:
    from steadybeat.audit.live import Judged

SHAPE = (
    '{"inequalities": [{"name", "formula", "otherwise", "change", "risk": "" | "lost" | "doubled", "verdict": "FAIL" |'
    ' "UNKNOWN" | "PASS" | "N/A", "subject", "service": text or null, "evidence", "remedy"}]}'
)
"""The document of `audit --live --json`: every inequality, those violated first."""


def live(app: Any) -> list[Judged]:
    """Return what is found of the running system, what is violated first.

    Args:
        app: A Celery app on which steadybeat is installed, with its tasks imported.
    """
    from steadybeat.audit.live import judge, readings

    return judge(readings(app))


def document(found: Sequence[Judged]) -> dict[str, Any]:
    """Return what was found as one JSON document."""
    return {"inequalities": [_row(each) for each in found]}


def _row(judged: Judged) -> dict[str, Any]:
    one, answer = judged.inequality, judged.answer
    return {
        "name": one.name,
        "formula": one.formula,
        "otherwise": one.otherwise,
        "change": one.change,
        "risk": one.risk if answer.risks else "",
        "verdict": str(answer.verdict),
        "subject": answer.subject,
        "service": answer.service,
        "evidence": answer.evidence,
        "remedy": answer.remedy,
    }


def exit_code(found: Sequence[Judged]) -> int:
    """Return 1 where something is violated, or could not be asked because of an error of the audit; else 0."""
    return 1 if any(each.is_broken or str(each.answer.verdict) == "FAIL" for each in found) else 0


def show(out: Output, found: Sequence[Judged], *, everything: bool) -> None:
    """Print what is violated and what is not known, and how many hold.

    Args:
        out: Where to.
        found: As `live` returns it.
        everything: Whether to print also what holds, and what cannot be asked.
    """
    rows = [_row(each) for each in found]
    shown = [row for row in rows if everything or row["verdict"] in {"FAIL", "UNKNOWN"}]
    if shown:
        out.table(_COLUMNS, shown)
    out.say(_summary(rows), "red" if exit_code(found) else "green")


def _summary(rows: Sequence[dict[str, Any]]) -> str:
    counts = Counter(row["verdict"] for row in rows)
    names = {row["name"] for row in rows if row["verdict"] == "FAIL"}
    risky = {row["name"] for row in rows if row["risk"]}
    violated = f"{count(len(names), 'inequality', 'inequalities')} violated" if names else "Nothing is violated"
    if risky:
        violated += f", of which {len(risky)} could lose or double work"
    return f"{violated}; {counts['PASS']} hold, {counts['UNKNOWN']} not known, {counts['N/A']} cannot be asked."


_COLUMNS = [
    Column(title="", value=lambda row: row["verdict"]),
    Column(title="work may be", value=lambda row: row["risk"], style="bold red"),
    Column(title="must hold", value=lambda row: row["name"]),
    Column(title="of", value=lambda row: row["subject"], tight="wrap"),
    Column(title="read", value=lambda row: row["evidence"], tight="wrap"),
    Column(title="change", value=lambda row: row["remedy"], tight="wrap"),
]
