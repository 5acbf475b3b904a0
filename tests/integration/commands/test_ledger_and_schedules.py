from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from celery import Celery

from steadybeat import cron, every
from steadybeat.ledger import Ledger
from steadybeat.ledger.tables import runs, schedules
from tests.integration.commands.shop import LATEST, MIGRATIONS, MakeApp, Run, attempt, charged, refusal, said


def test_upgrade_applies_the_migrations_once(make_app: MakeApp, run: Run, postgres_url: str) -> None:
    empty = make_app(steadybeat_database_url=postgres_url)
    assert said(run("ledger", "status", "--json", app=empty), 1) == {
        "applied": None,
        "needed": LATEST,
        "pending": MIGRATIONS,
    }
    assert said(run("ledger", "upgrade", "--json", app=empty)) == {
        "dry_run": False, "from": None, "to": LATEST, "applied": MIGRATIONS,
    }  # fmt: skip
    assert run("ledger", "upgrade", app=empty).stdout == f"Nothing to do: the ledger is at {LATEST}.\n"
    assert run("ledger", "status", app=empty).stdout == f"applied  {LATEST}\nneeded   {LATEST}\npending  nothing\n"


@pytest.mark.parametrize("arguments", ["schedules list", "schedules apply", "runs list", "ledger prune"])
def test_a_schema_that_is_too_old_is_refused_with_the_command_that_mends_it(
    arguments: str, make_app: MakeApp, run: Run, postgres_url: str
) -> None:
    empty = make_app(steadybeat_database_url=postgres_url)
    assert "run `celery -A … ledger upgrade` first" in refusal(run(*arguments.split(), app=empty))


def test_a_postgres_that_does_not_answer_is_one_line(make_app: MakeApp, run: Run) -> None:
    away = make_app(steadybeat_database_url="postgresql://127.0.0.1:1/nowhere")
    assert "postgresql://127.0.0.1:1/nowhere does not answer" in refusal(run("runs", "list", app=away))


def test_an_app_without_steadybeat_is_one_line(run: Run) -> None:
    assert refusal(run("runs", "list", app=Celery("plain", set_as_current=False))).startswith(
        "app='plain': has no steadybeat."
    )


def test_prune_deletes_what_ended_before_the_retention(app: Any, book: Ledger, run: Run, instance: str) -> None:
    assert run("ledger", "prune").stdout == "Nothing to do: nothing is older than the retention.\n"
    old = charged(app, instance)
    with book.database.transaction() as db:
        db.execute(sa.update(runs).values(finished_at=datetime(2020, 1, 1, tzinfo=UTC)))
    assert said(run("ledger", "prune", "--json"))["deleted"]["runs"] == 1
    assert "no such run is on record" in refusal(run("runs", "show", old))


def test_a_dry_run_shows_the_difference_and_changes_nothing(run: Run) -> None:
    for _ in range(2):
        shown = said(run("schedules", "apply", "--dry-run", "--json"))
        assert [(each["name"], each["verb"]) for each in shown["changes"]] == [("shop.mail.digest", "added")]
    assert said(run("schedules", "list", "--json")) == []


def test_apply_shows_what_it_changed_and_then_that_nothing_is_left(make_app: MakeApp, run: Run) -> None:
    assert "added   At 06:00 every day (UTC)" in run("schedules", "apply").stdout
    assert run("schedules", "apply").stdout == "No change: the ledger has 1 schedule as the code defines them.\n"
    later = make_app(cron("0 7 * * *", tz="UTC"))
    shown = run("schedules", "apply", app=later).stdout
    assert "changed  rule: At 06:00 every day (UTC) → At 07:00 every day (UTC)" in shown
    assert shown.endswith("\n1 changed.\n")
    [listed] = said(run("schedules", "list", "--json"))
    assert listed["rule"] == "At 07:00 every day (UTC)"


def test_what_the_code_no_longer_has_is_retired_but_not_what_other_programs_define(
    app: Any, book: Ledger, run: Run, make_app: MakeApp
) -> None:
    run("schedules", "apply")
    row = book.schedules.all()[0]
    with book.database.transaction() as db:
        for name, service in (("shop.mail.old", "mail"), ("stock.count", "stock")):
            values = {"spec": row.spec, "policies": row.policies, "source": "code", "revision": 90, "generation": 1}
            values |= {
                "code": {"task": name},
                "name": name,
                "task": name,
                "service": service,
                "expected_until": datetime.now(UTC),
            }
            db.execute(sa.insert(schedules).values(**values))
    knows_stock = make_app(steadybeat_services=("stock",))
    changes = said(run("schedules", "apply", "--json", app=knows_stock))["changes"]
    assert [(each["name"], each["verb"]) for each in changes] == [("shop.mail.old", "retired")]


def test_list_shows_rule_next_fire_and_last_run(app: Any, book: Ledger, run: Run, instance: str) -> None:
    run("schedules", "apply")
    headers = {"steadybeat_schedule": "shop.mail.digest", "steadybeat_scheduled_for": "2026-01-01T06:00:00+00:00"}
    attempt(book, app.send_task("shop.mail.digest", headers=headers).id, instance, "ValueError: no")
    [listed] = said(run("schedules", "list", "--service", "mail", "--json"))
    assert listed["next_fire_at"].endswith("T06:00:00Z")
    assert (listed["last_run"]["state"], listed["last_run"]["scheduled_for"]) == ("dead", "2026-01-01T06:00:00Z")
    assert (listed["source"], listed["policies"]["jitter_seconds"]) == ("code", 60.0)
    assert "Did you mean 'mail'?" in refusal(run("schedules", "list", "--service", "mial"))


def test_next_merges_the_fires_of_all_schedules_by_time(make_app: MakeApp, run: Run) -> None:
    app = make_app(every(timedelta(minutes=4)))
    app.conf.beat_schedule = {"hourly": {"task": "shop.billing.report", "schedule": every(timedelta(minutes=6))}}
    run("schedules", "apply", app=app)
    fires = said(run("schedules", "next", "-n", "5", "--json"))
    times = [datetime.fromisoformat(each["scheduled_for"]) for each in fires]
    assert times == sorted(times)
    assert {each["schedule"] for each in fires} == {"shop.mail.digest", "hourly"}
    own = said(run("schedules", "next", "shop.mail.digest", "-n", "2", "--json"))
    for each in own:
        delay = datetime.fromisoformat(each["due_at"]) - datetime.fromisoformat(each["scheduled_for"])
        assert timedelta() <= delay < timedelta(minutes=1)
    assert said(run("schedules", "next", "shop.mail.digest", "-n", "2", "--json")) == own


def test_an_unknown_schedule_is_one_line_with_the_nearest_name(run: Run) -> None:
    run("schedules", "apply")
    line = "schedule 'shop.mail.digst': there is no such schedule. Did you mean 'shop.mail.digest'?"
    assert refusal(run("schedules", "next", "shop.mail.digst")) == line
    assert refusal(run("runs", "why", "shop.mail.digst", "last")) == line
    assert refusal(run("runs", "list", "--schedule", "shop.mail.digst")) == line


# runs list, runs show


def test_a_dry_run_of_a_prune_counts_what_a_prune_deletes(app: Any, book: Ledger, run: Run, instance: str) -> None:
    for _ in range(3):
        charged(app, instance)
    charged(app, instance, error="OSError: a dead letter waits for a person")
    for table, column in (("runs", "finished_at"), ("processed_keys", "changed_at")):
        book.database.execute(sa.text(f"UPDATE steadybeat.{table} SET {column} = {column} - interval '90 days'"))
    told = said(run("ledger", "prune", "--dry-run", "--json"))
    text = run("ledger", "prune", "--dry-run").stdout
    assert text.endswith("Would be: 9 rows deleted. Nothing was changed (--dry-run).\n")
    assert (told["dry_run"], told["deleted"]["runs"], told["deleted"]["attempts"]) == (True, 3, 3)
    assert said(run("ledger", "prune", "--json")) == {"dry_run": False, "deleted": told["deleted"]}
    assert len(said(run("runs", "list", "--json"))) == 1


def test_attempts_are_pruned_however_many_runs_are_kept_without_any(
    app: Any, book: Ledger, run: Run, instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steadybeat.ledger.pruning._BATCH", 2)
    for _ in range(5):
        charged(app, instance)
    kept = sa.text("DELETE FROM steadybeat.attempts WHERE run IN (SELECT id FROM steadybeat.runs ORDER BY id LIMIT 3)")
    book.database.execute(kept)
    aged = "UPDATE steadybeat.runs SET finished_at = finished_at - interval '90 days', schedule = id::text,"
    book.database.execute(sa.text(f"{aged} scheduled_for = finished_at"))  # the last success of each schedule stays
    assert said(run("ledger", "prune", "--json"))["deleted"]["attempts"] == 2


def test_a_dry_run_of_an_upgrade_names_the_migrations(
    run: Run, make_app: MakeApp, new_database: Callable[[str | None], str]
) -> None:
    empty = make_app(steadybeat_database_url=new_database(None))
    told = said(run("ledger", "upgrade", "--dry-run", "--json", app=empty))
    assert told == {"dry_run": True, "from": None, "to": LATEST, "applied": MIGRATIONS}
    text = run("ledger", "upgrade", "--dry-run", app=empty).stdout
    assert text.startswith(f"Would be: from nothing to {LATEST}, {len(MIGRATIONS)} migrations: 0001, ")
    assert run("ledger", "status", app=empty).exit_code == 1
