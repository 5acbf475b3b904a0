"""What every task of the catalogue says of itself, and what its commands may import."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from celery import shared_task

from tasks import app

# While the tasks of its modules are still on offer to every app.
app.loader.import_default_modules()
app.finalize()

WANTED = {
    "owner",
    "severity",
    "soft_time_limit",
    "time_limit",
    "memory_limit",
    "max_retries",
    "retry_backoff",
    "retry_backoff_max",
    "depends_on",
    "audit_args",
}
SERVICES = {
    "accounts",
    "billing",
    "cards",
    "maintenance",
    "minting",
    "notifications",
    "orders",
    "royalties",
    "search",
    "sync",
}


def own_tasks() -> dict[str, Any]:
    return {name: task for name, task in app.tasks.items() if name.startswith("tasks.")}


def lacking(function: Any) -> set[str]:
    """Return what a task's decorator and docstring leave out; a default that applies unsaid does not count."""
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(definition, ast.FunctionDef)
    [decorator] = definition.decorator_list
    said = {keyword.arg: keyword.value for keyword in getattr(decorator, "keywords", [])}
    empty = {name for name, value in said.items() if getattr(value, "value", value) in ("", 0, None)}
    empty |= {name for name, value in said.items() if isinstance(value, ast.List) and not value.elts}
    doc = inspect.getdoc(function) or ""
    purpose, _, rest = doc.partition("\n")
    told = {"purpose": purpose.endswith("."), "Safe to run twice": "Safe to run twice: " in rest}
    return (WANTED - {*said}) | (WANTED & empty) | {name for name, is_told in told.items() if not is_told}


def test_every_task_says_what_it_is_for_who_owns_it_and_what_bounds_it() -> None:
    own = own_tasks()

    assert {name.split(".")[1] for name in own} == SERVICES
    assert {name: lacking(task.run) for name, task in own.items() if lacking(task.run)} == {}
    for name, task in own.items():
        assert 0 < task.soft_time_limit < task.time_limit, name
        assert 0 < task.retry_backoff <= task.retry_backoff_max, name


def test_a_task_that_leaves_something_out_is_refused() -> None:
    def silent() -> None:
        """Does something"""

    @shared_task(owner="", depends_on=[], max_retries=0, severity="info", time_limit=2)
    def bare() -> None:
        pass

    assert lacking(inspect.unwrap(bare.run)) == WANTED - {"severity", "time_limit"} | {"purpose", "Safe to run twice"}
    with pytest.raises(ValueError, match="not enough values"):
        lacking(silent)


def test_each_schedule_is_of_a_task_that_is_there() -> None:
    scheduled = {name for name, task in own_tasks().items() if task.schedule}

    assert scheduled == {
        "tasks.accounts.end_trials",
        "tasks.billing.bill_month",
        "tasks.billing.remove_unfinished",
        "tasks.cards.retry_failed",
        "tasks.maintenance.prune_ledger",
        "tasks.maintenance.remove_announcements",
        "tasks.maintenance.trim_audit_log",
        "tasks.minting.order_mints",
        "tasks.notifications.remind",
        "tasks.notifications.send_digests",
        "tasks.orders.expire",
        "tasks.royalties.settle",
        "tasks.search.index",
        "tasks.sync.pull_charges",
    }
    assert {entry["task"] for entry in app.conf.beat_schedule.values()} == {"tasks.maintenance.clear_sessions"}


# Celery imports every sub-command for every command. The package itself makes the app, which is not what is asked.
IMPORTS = """
import json, sys, types
package = types.ModuleType("tasks")
package.__path__ = [sys.argv[1]]
sys.modules["tasks"] = package
import tasks.mailbox, tasks.provider, tasks.seed
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_the_commands_import_nothing_heavy_until_they_run() -> None:
    folder = Path(sys.modules["tasks"].__file__ or "").parent
    answer = subprocess.run(
        [sys.executable, "-c", IMPORTS, str(folder)], capture_output=True, text=True, check=True, timeout=60
    )

    imported = set(json.loads(answer.stdout))
    assert "click" in imported
    assert imported & {"aiosmtpd", "celery", "psycopg", "rich", "sqlalchemy", "steadybeat"} == set()
