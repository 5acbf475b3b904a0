"""`celery -A … audit --live`: whether what must hold between the settings of the running system holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from steadybeat.commands.output import Column, Output, count

if TYPE_CHECKING:
    from steadybeat.audit.live import Judged


def live(app: Any, *, service: str | None = None, task: str | None = None) -> list[Judged]:
    """Return what is found of the running system, what is violated first.

    Args:
        app: A Celery app on which steadybeat is installed, with its tasks imported.
        service: Without what is said of other services.
        task: Without what is said of other tasks, and of other services than its own.

    Raises:
        ConfigurationError: There is no such service, or no such task.
    """
    from steadybeat.audit import subjects
    from steadybeat.audit.live import judge, readings

    found = judge(readings(app))
    if service is None and task is None:
        return found
    chosen = subjects(app, service=service, task=task)
    services, names = {None, *(each.service for each in chosen)}, {each.name for each in chosen}
    others = {*app.tasks} - names
    return [each for each in found if each.answer.service in services and each.answer.subject not in others]


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


def show(out: Output, found: Sequence[Judged], *, everything: bool, as_json: bool) -> None:
    """Print what is violated and what is not known, and how many hold.

    Args:
        out: Where to.
        found: As `live` returns it.
        everything: Whether to print also what holds, and what cannot be asked.
        as_json: Whether to print one JSON document of everything.
    """
    rows = [_row(each) for each in found]
    if as_json:
        out.json({"inequalities": rows})
        return
    shown = [row for row in rows if everything or row["verdict"] in _OPEN]
    if shown and out.console is None:
        out.table(_COLUMNS, shown)
    elif shown:
        _one_by_one(out, [row for row in shown if row["verdict"] in _OPEN])
        others = [row for row in shown if row["verdict"] not in _OPEN]
        if others:
            out.table([_COLUMNS[0], *_COLUMNS[2:-1]], others)
    out.say(_summary(rows), "red" if exit_code(found) else "green")


def _one_by_one(out: Output, rows: Sequence[dict[str, Any]]) -> None:
    """Print each inequality once, with all of which it is violated or not known: for people, on a terminal."""
    for (verdict, name, risk), group in groupby(rows, key=lambda row: (row["verdict"], row["name"], row["risk"])):
        found = list(group)
        out.say(f"{verdict} {name}{f': work may be {risk}' if risk else ''}", _STYLES[verdict])
        facts = [("must hold", found[0]["formula"])]
        if verdict == "FAIL":
            facts.append(("otherwise", found[0]["otherwise"]))
        for row in found:
            facts += [("of", row["subject"]), ("read", row["evidence"]), ("change", row["remedy"])]
        out.facts(facts)
        out.say("")


def _summary(rows: Sequence[dict[str, Any]]) -> str:
    counts = Counter(row["verdict"] for row in rows)
    names = {row["name"] for row in rows if row["verdict"] == "FAIL"}
    risky = {row["name"] for row in rows if row["risk"]}
    violated = f"{count(len(names), 'inequality', 'inequalities')} violated" if names else "Nothing is violated"
    if risky:
        violated += f", of which {len(risky)} could lose or double work"
    return f"{violated}; {counts['PASS']} hold, {counts['UNKNOWN']} not known, {counts['N/A']} cannot be asked."


_OPEN = ("FAIL", "UNKNOWN")
_STYLES = {"FAIL": "bold red", "UNKNOWN": "bold yellow"}
_COLUMNS = [
    Column(title="", value=lambda row: row["verdict"]),
    Column(title="work may be", value=lambda row: row["risk"], style="bold red"),
    Column(title="must hold", value=lambda row: row["name"]),
    Column(title="of", value=lambda row: row["subject"], tight="wrap"),
    Column(title="read", value=lambda row: row["evidence"], tight="wrap"),
    Column(title="change", value=lambda row: row["remedy"], tight="wrap"),
]
