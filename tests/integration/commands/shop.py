"""What the tests of the commands share: words, answers, and runs that had a history."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from click.testing import Result

from steadybeat.ledger import Ledger, schema
from steadybeat.ledger.fires import Expected
from steadybeat.ledger.rows import FireRow

UNKNOWN = "01920000-0000-7000-8000-000000000000"
ROOT = Path(__file__).parents[3]
MIGRATIONS = sorted(
    file.name.partition("_")[0] for file in (Path(schema.__file__).parent / "migrations" / "versions").glob("0*.py")
)
LATEST = MIGRATIONS[-1]

Run = Callable[..., Result]
MakeApp = Callable[..., Any]


def said(result: Result, exit_code: int = 0) -> Any:
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


def refusal(result: Result) -> str:
    """The one line with which a command was refused."""
    assert result.exit_code == 2
    assert result.stdout == ""
    line = result.stderr.removesuffix("\n")
    assert line.startswith("Error: ")
    assert "\n" not in line
    return line.removeprefix("Error: ")


def attempt(book: Ledger, run: str, instance: str, error: str | None = None) -> None:
    """Let a run be claimed, and succeed or die."""
    claim = book.runs.claim(run, delivery_no=1, instance=instance, time_limit_seconds=60, crash_limit=3)
    assert claim.verdict == "claimed"
    if error is None:
        assert book.runs.finish(run, claim.fence, result="1")
    else:
        assert book.runs.give_up(run, fence=claim.fence, reason=error, error=f"Traceback\n  File x\n{error}")


def charged(app: Any, instance: str, *args: Any, error: str | None = None, **options: Any) -> str:
    """A run of shop.billing.charge that has ended."""
    sent: str = app.send_task("shop.billing.charge", args or (1,), **options).id
    attempt(Ledger.of(app), sent, instance, error)
    return sent


def made_fire(
    book: Ledger, at: datetime, state: str = "expected", reason: str | None = None, cause: str | None = None
) -> FireRow:
    """A fire of shop.mail.digest on record."""
    row = next(each for each in book.schedules.all() if each.name == "shop.mail.digest")
    fire = FireRow(schedule=row.name, scheduled_for=at, due_at=at, state=state, reason=reason, cause=cause)
    until = max(at, row.expected_until or at) + timedelta(microseconds=1)
    book.fires.expect([Expected(row.name, row.revision, until, [fire])])
    return fire
