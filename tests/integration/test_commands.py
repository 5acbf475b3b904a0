from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from celery import Celery
from celery.bin.celery import celery
from click.testing import CliRunner, Result
from sqlalchemy.dialects.postgresql import JSONB

import steadybeat
from steadybeat import cron, every
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import FireRow
from steadybeat.ledger.tables import operations, runs, schedules
from steadybeat.schedule import fire_key, run_id

UNKNOWN = "01920000-0000-7000-8000-000000000000"
ROOT = Path(__file__).parents[2]

Run = Callable[..., Result]
MakeApp = Callable[..., Any]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("STEADYBEAT_"):
            monkeypatch.delenv(name)


@pytest.fixture
def make_app(ledger_url: str, redis_url: str) -> Iterator[MakeApp]:
    """Makes apps of a shop, on one ledger: its mail and its billing."""
    made: list[Any] = []

    def make(rule: Any = None, **settings: Any) -> Any:
        app = Celery("shop", set_as_current=False)
        given = {"steadybeat_database_url": ledger_url, "steadybeat_redis_url": redis_url}
        app.conf.update(given | settings)
        steadybeat.install(app)
        rule = rule or cron("0 6 * * *", tz="UTC")

        @app.task(name="shop.mail.digest", schedule=rule, jitter=timedelta(minutes=1), shared=False)
        def digest() -> None: ...

        @app.task(name="shop.billing.charge", severity="critical", shared=False)
        def charge(account_id: int, token: str = "") -> None: ...

        @app.task(name="shop.billing.report", shared=False)
        def report(*_: Any) -> None: ...

        for name in [each for each in app.tasks if each.startswith("tasks.")]:
            app.tasks.unregister(name)  # shared_task of the catalogue gives them to every app
        made.append(app)
        return app

    yield make
    for app in made:
        app.steadybeat.ledger.database.close()
        app.close()


@pytest.fixture
def app(make_app: MakeApp) -> Any:
    return make_app()


@pytest.fixture
def run(app: Any) -> Run:
    """Runs a sub-command as `celery -A … <arguments>`, in this process."""

    def invoke(*arguments: str, app: Any = app) -> Result:
        return CliRunner().invoke(celery, [str(each) for each in arguments], default_map={"app": app})

    return invoke


@pytest.fixture
def book(app: Any) -> Ledger:
    return Ledger.of(app)


@pytest.fixture
def instance(book: Ledger) -> str:
    instance = str(uuid.uuid4())
    book.instances.sign_of_life(instance, role="worker", host="here", pid=7, release="0")
    return instance


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


def made_fire(book: Ledger, at: datetime, state: str = "expected", reason: str | None = None) -> FireRow:
    """A fire of shop.mail.digest on record."""
    row = next(each for each in book.schedules.all() if each.name == "shop.mail.digest")
    fire = FireRow(schedule=row.name, scheduled_for=at, due_at=at, state=state, reason=reason)
    book.fires.expect(row.name, row.revision, max(at, row.expected_until or at) + timedelta(microseconds=1), [fire])
    return fire


# ledger


def test_upgrade_applies_the_migrations_once(make_app: MakeApp, run: Run, postgres_url: str) -> None:
    empty = make_app(steadybeat_database_url=postgres_url)
    assert said(run("ledger", "status", "--json", app=empty), 1) == {
        "applied": None,
        "needed": "0001",
        "pending": ["0001"],
    }
    assert said(run("ledger", "upgrade", "--json", app=empty)) == {"from": None, "to": "0001", "applied": ["0001"]}
    assert run("ledger", "upgrade", app=empty).stdout == "Nothing to do: the ledger is at 0001.\n"
    assert run("ledger", "status", app=empty).stdout == "applied  0001\nneeded   0001\npending  nothing\n"


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


# schedules


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
            values |= {"name": name, "task": name, "service": service, "expected_until": datetime.now(UTC)}
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


def test_runs_are_listed_last_sent_first_and_filtered(app: Any, run: Run, instance: str) -> None:
    first = charged(app, instance, error="ValueError: broke")
    second = charged(app, instance)
    app.send_task("shop.mail.digest")
    listed = said(run("runs", "list", "--task", "shop.billing.charge", "--json"))
    assert [each["id"] for each in listed] == [second, first]
    [dead] = said(run("runs", "list", "--service", "billing", "--state", "dead", "--json"))
    assert (dead["id"], dead["reason"], dead["attempt_count"]) == (first, "ValueError: broke", 1)
    assert len(said(run("runs", "list", "--limit", "1", "--json"))) == 1
    lines = run("runs", "list", "--state", "dead").stdout.splitlines()
    assert lines[0].split() == ["RUN", "TASK", "STATE", "FIRE", "SENT", "TOOK", "ATTEMPTS", "REASON"]
    assert lines[1].startswith(f"{first}  shop.billing.charge  dead")
    assert run("runs", "list", "--task", "shop.none").stdout == "No such runs.\n"


def test_show_tells_everything_but_secrets(app: Any, run: Run, instance: str) -> None:
    sent = charged(app, instance, 7, kwargs={"token": "hunter2"}, error="ValueError: password=hunter2")
    shown = said(run("runs", "show", sent, "--json"))
    assert (shown["state"], shown["args"], shown["kwargs"]) == ("dead", [7], {"token": "***"})
    [only] = shown["attempts"]
    assert (only["number"], only["outcome"], only["host"], only["pid"]) == (1, "failed", "here", 7)
    text = run("runs", "show", sent).stdout
    assert "state        dead: ValueError: password=***" in text
    assert text.endswith("last error:\n  Traceback\n    File x\n  ValueError: password=***\n")
    assert "hunter2" not in text + json.dumps(shown)


@pytest.mark.parametrize("verb", [["show"], ["rerun", "--reason", "x"]])
def test_a_run_that_is_no_id_or_unknown_is_one_line(verb: list[str], run: Run) -> None:
    assert refusal(run("runs", *verb, "0192")).startswith("RUN='0192': must be the whole id of a run, a UUID;")
    assert refusal(run("runs", *verb, UNKNOWN)).startswith(f"RUN={UNKNOWN}: no such run is on record;")


# runs why


def why(run: Run, at: str, exit_code: int = 0) -> Any:
    answer = said(run("runs", "why", "shop.mail.digest", at, "--json"), exit_code)
    assert answer["sentences"]
    return answer


def test_why_answers_for_fires_that_are_not_on_record(run: Run) -> None:
    run("schedules", "apply")
    assert why(run, "next")["verdict"] == "ahead"
    assert why(run, "last", 1)["verdict"] == "before"
    answer = why(run, "2026-01-01T07:00:00+01:00", 1)
    assert (answer["at"], answer["verdict"]) == ("2026-01-01T06:00:00Z", "before")
    answer = why(run, "2026-01-01T06:30:00Z", 1)
    assert answer["verdict"] == "not a fire"
    assert answer["nearest"] == ["2026-01-01T06:00:00Z", "2026-01-02T06:00:00Z"]


def test_why_follows_a_fire_to_its_effect(app: Any, book: Ledger, run: Run, instance: str) -> None:
    run("schedules", "apply")
    at = datetime(2040, 1, 1, 6, tzinfo=UTC)
    fire, asked = made_fire(book, at), at.isoformat()
    assert why(run, asked)["verdict"] == "expected"
    run_of_fire = run_id(fire.schedule, at)
    headers = {"steadybeat_schedule": fire.schedule, "steadybeat_scheduled_for": asked}
    app.send_task("shop.mail.digest", task_id=run_of_fire, idempotency_key=fire_key(fire.schedule, at), headers=headers)
    assert why(run, asked)["verdict"] == "enqueued"
    attempt(book, run_of_fire, instance, "OSError: mail is away")
    answer = why(run, asked, 1)
    assert (answer["verdict"], answer["effect"], answer["run"]["id"]) == ("dead", False, run_of_fire)
    assert "failed after" in answer["sentences"][1]
    assert answer["sentences"][1].endswith("OSError: mail is away.")

    again = said(run("runs", "rerun", run_of_fire, "--reason", "mail is back", "--json"))["run"]
    assert why(run, asked)["verdict"] == "rerun"
    attempt(book, again, instance)
    answer = why(run, asked)
    assert (answer["verdict"], answer["effect"]) == ("dead", True)
    assert f"It was rerun as {again}: It succeeded at" in answer["sentences"][-1]
    text = run("runs", "why", "shop.mail.digest", "2040-01-01", "06:00:00Z").stdout
    assert text.startswith("shop.mail.digest at 2040-01-01 06:00:00Z: dead\nIt was dispatched at ")


@pytest.mark.parametrize("state", ["skipped", "missed", "coalesced"])
def test_why_gives_the_reason_of_a_fire_that_has_no_effect(state: str, book: Ledger, run: Run) -> None:
    run("schedules", "apply")
    at = datetime(2040, 1, 1, 6, tzinfo=UTC)
    fire = made_fire(book, at)
    book.fires.mark(1, [(FireRow(schedule=fire.schedule, scheduled_for=at, due_at=at, state=state, reason="so"), None)])
    answer = why(run, at.isoformat(), 1)
    assert (answer["verdict"], answer["sentences"]) == (state, [f"It was {state}: so."])


def test_why_says_that_a_retired_schedule_fires_no_more(book: Ledger, run: Run) -> None:
    run("schedules", "apply")
    book.schedules.apply([], ["mail"])
    assert why(run, "next", 1)["verdict"] == "retired"


@pytest.mark.parametrize(
    ("at", "line"),
    [
        ("2026-01-01", "AT='2026-01-01': has no time zone; for UTC write 2026-01-01T00:00:00Z."),
        ("soon", "AT='soon': must be an instant such as "),
        ("0001-01-01T00:00:00+14:00", "AT='0001-01-01T00:00:00+14:00': must be an instant such as "),
    ],
)
def test_an_instant_that_cannot_be_is_one_line(at: str, line: str, run: Run) -> None:
    run("schedules", "apply")
    assert refusal(run("runs", "why", "shop.mail.digest", at)).startswith(line)


# runs rerun


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
    assert "Missing option '--reason'" in result.stderr
    assert refusal(run("runs", "rerun", UNKNOWN, "--reason", " ")).startswith("--reason='': must say why")


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
    assert asked.verdict == "skipped"
    book.runs.end_unstarted(sent, delivery_no=1, state="cancelled", reason=asked.detail)
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
    assert typed("ledger", "upgrade").stdout == "The ledger went from nothing to 0001: 1 migration applied.\n"
    applied = typed("schedules", "apply")
    assert applied.returncode == 0
    assert "+  tasks.royalties.settle" in applied.stdout
