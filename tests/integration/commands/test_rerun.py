from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from steadybeat.ledger import Ledger
from steadybeat.ledger.tables import operations, runs
from tests.integration.commands.shop import (
    LATEST,
    MIGRATIONS,
    ROOT,
    UNKNOWN,
    Run,
    attempt,
    charged,
    made_fire,
    refusal,
    said,
)


def test_a_rerun_has_the_old_runs_message_key_and_canvas(app: Any, book: Ledger, run: Run, instance: str) -> None:
    follow = app.signature("shop.billing.report")
    old = charged(
        app,
        instance,
        7,
        error="OSError: away",
        chain=[follow],
        link=app.signature("shop.billing.report", ("linked",)),
        idempotency_key="sale:7",
        priority=3,
        headers={"steadybeat_schedule": "s", "steadybeat_scheduled_for": "2026-01-01T06:00:00+00:00", "shard": "b"},
    )
    answer = said(run("runs", "rerun", old, "--reason", "bank is back", "--json"))
    assert (answer["verdict"], answer["rerun_of"], answer["idempotency_key"]) == ("sent", old, "sale:7")
    former, new = book.story.run(old), book.story.run(answer["run"])
    assert former is not None
    assert new is not None
    for name in ("task", "queue", "priority", "schedule", "scheduled_for", "idempotency_key", "correlation_id"):
        assert new[name] == former[name], name
    assert json.loads(new["body"]) == json.loads(former["body"])
    assert new["message"]["headers"]["shard"] == "b"
    assert str(new["rerun_of"]) == old
    with book.database.transaction() as db:
        [noted] = db.execute(sa.select(operations)).all()
    assert (noted.what, noted.target, noted.reason) == ("runs rerun", old, "bank is back")
    assert noted.details["new_run"] == answer["run"]
    assert "@" in noted.who
    assert app.connection_for_read().default_channel.client.llen("billing\x06\x163") == 2


def test_a_rerun_does_nothing_where_the_effect_has_happened(app: Any, run: Run, instance: str) -> None:
    old = charged(app, instance)
    answer = said(run("runs", "rerun", old, "--reason", "sure?", "--json"))
    assert (answer["verdict"], answer["run"], answer["effect_run"]) == ("done", None, old)
    assert answer["text"].startswith("Nothing to do: the effect happened at 2")
    assert len(said(run("runs", "list", "--json"))) == 1


def test_a_run_that_has_not_ended_is_not_run_again(app: Any, run: Run, instance: str) -> None:
    waits = app.send_task("shop.billing.report").id
    assert said(run("runs", "rerun", waits, "--reason", "x", "--json"), 1)["verdict"] == "open"
    old = charged(app, instance, error="OSError: away")
    new = said(run("runs", "rerun", old, "--reason", "x", "--json"))["run"]
    result = run("runs", "rerun", old, "--reason", "x")
    assert (result.exit_code, result.stdout) == (1, f"Run {old} was rerun as {new}, which is enqueued.\n")


def test_again_takes_a_new_key_and_asks_for_force_where_it_is_critical(
    app: Any, book: Ledger, run: Run, instance: str
) -> None:
    old = charged(app, instance, idempotency_key="sale:7")
    line = refusal(run("runs", "rerun", old, "--reason", "lost", "--again"))
    assert line.startswith("--again: shop.billing.charge is of severity critical")
    for number in (1, 2):
        answer = said(run("runs", "rerun", old, "--reason", "lost", "--again", "--force", "--json"))
        assert answer["idempotency_key"] == f"sale:7#again-{number}"
        attempt(book, answer["run"], instance)


def test_a_rerun_needs_a_reason(run: Run) -> None:
    result = run("runs", "rerun", UNKNOWN)
    assert result.exit_code == 2
    assert "--reason='': must say why" in result.stderr
    assert refusal(run("runs", "rerun", UNKNOWN, "--reason", " ")).startswith("--reason=' ': must say why")


def test_a_run_of_a_task_that_is_gone_is_not_run_again(app: Any, book: Ledger, run: Run, instance: str) -> None:
    old = charged(app, instance, error="OSError: away")
    with book.database.transaction() as db:
        gone = sa.literal({"headers": {"task": "shop.billing.chrge"}}, JSONB)
        db.execute(sa.update(runs).values(message=gone))
    line = refusal(run("runs", "rerun", old, "--reason", "x"))
    assert "'shop.billing.chrge' is none of this program's. Did you mean 'shop.billing.charge'?" in line


def test_a_person_may_rerun_what_its_fire_was_not_to_run(app: Any, book: Ledger, run: Run, instance: str) -> None:
    run("schedules", "apply")
    at = datetime(2040, 1, 1, 6, tzinfo=UTC)
    made_fire(book, at)
    headers = {"steadybeat_schedule": "shop.mail.digest", "steadybeat_scheduled_for": at.isoformat()}
    sent = app.send_task("shop.mail.digest", headers=headers).id
    book.schedules.apply([], ["mail"])
    asked = book.runs.claim(sent, delivery_no=1, instance=instance, time_limit_seconds=60, crash_limit=3)
    assert asked.verdict == "ended"
    attempt(book, said(run("runs", "rerun", sent, "--reason", "still wanted", "--json"))["run"], instance)


# as a person types them


def test_the_commands_are_there_for_the_catalogue(postgres_url: str, redis_url: str) -> None:
    environment = {"STEADYBEAT_DATABASE_URL": postgres_url, "STEADYBEAT_REDIS_URL": redis_url, "NO_COLOR": "1"}

    def typed(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "celery", "-A", "tasks", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
        )

    refused = typed("schedules", "list")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("Error: The ledger's schema is at nothing")
    applied = f"{len(MIGRATIONS)} migrations applied"
    assert typed("ledger", "upgrade").stdout == f"The ledger went from nothing to {LATEST}: {applied}.\n"
    brought_in = typed("schedules", "apply")
    assert brought_in.returncode == 0
    assert "+  tasks.royalties.settle" in brought_in.stdout
