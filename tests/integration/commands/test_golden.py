"""What every command prints over one ledger, in a pipe, as JSON, and when it refuses, stands in tests/golden."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from steadybeat.beat.definitions import definitions
from steadybeat.commands.usage import NOTHING_CHANGED
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import FireRow, TaskRow
from steadybeat.ledger.tables import metadata
from steadybeat.schedule import fire_key, run_id
from tests.integration.commands.every import ANSWERING
from tests.integration.commands.fans import ended, fanned_out, runs_of
from tests.integration.commands.golden import WRITES, compare, session
from tests.integration.commands.shop import UNKNOWN, MakeApp, Run, attempt, charged, made_fire
from tests.integration.telling import failed

DIGEST, CHARGE = "shop.mail.digest", "shop.billing.charge"
DUE = datetime(2040, 1, 1, 6, tzinfo=UTC)
WHY = ("--reason", "the bank is back")
SHOWN_FIRES = ("2040-01-01T06:00:00Z", "2040-01-02T06:00:00Z", "2040-01-03T06:00:00Z", "2040-01-04T06:00:00Z")


@dataclass(frozen=True)
class Content:
    """The ids of what the ledger holds."""

    succeeded: str
    dead: str
    cancelled: str
    waits: str
    of_fire: str
    fan_out: str
    of_tenant: str
    foreign: str
    key: str


@pytest.fixture
def app(make_app: MakeApp) -> Any:
    return make_app(
        steadybeat_heartbeat_url="healthchecks+https://hc-ping.example/a-ping-key-of-theirs/{schedule}",
        steadybeat_runbooks_url="https://runbooks.example/",
        steadybeat_alert_channels={"ops": "json://127.0.0.1:9/"},
        steadybeat_alert_routes=[{"owner": "payments", "to": ["ops"]}],
        steadybeat_services=("billing", "stock"),
        steadybeat_retention_seconds=40 * 86400.0,
        steadybeat_health_folder="/nonexistent",
    )


@pytest.fixture
def run(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command as ada, at her desk."""
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    monkeypatch.setattr(socket, "gethostname", lambda: "desk")
    return run


@pytest.fixture
def content(app: Any, book: Ledger, run: Run, instance: str) -> Content:
    """A ledger with something of everything; nothing in it depends on the time of day."""
    book.schedules.apply(definitions(app), ["mail", "billing"])
    for name, *rest in (("hourly", "--every", "1h"), ("rarely", "--cron", "0 5 1 1 *")):
        run("schedules", "add", name, "--task", DIGEST, *rest, "--jitter", "0s", *WHY)
    run("schedules", "pause", "rarely", *WHY)
    book.tasks.describe(
        [TaskRow(name=CHARGE, service="billing", owner="payments", severity="critical", purpose="Charge an account.")],
        ["billing"],
    )
    _fires(app, book, instance)
    succeeded = charged(app, instance, 1, error=None)
    dead = charged(app, instance, 2, error="OSError: the bank is away")
    cancelled = app.send_task(CHARGE, (3,), {"token": "hunter2"}).id
    run("runs", "cancel", cancelled, "--reason", "wrong tariff")
    run("tenants", "exclude", "digest", "t2", "--reason", "their wish")
    fan_out = fanned_out(app, instance, ["t1", "t3"], concurrency=2, seed=7)
    of_tenant = runs_of(book, fan_out)["t1"]
    ended(app, instance, fan_out, failing=["t3"])
    waits = app.send_task("shop.billing.report").id
    book.foreign.keep("billing", b"garbage\x00", "not JSON")
    app.steadybeat.alerts.take([failed(), failed("mail", owner="post", severity="critical")], ["failed"])
    _age(book)
    found = book.story.run(succeeded)
    assert found is not None
    of_fire, key = run_id(DIGEST, DUE), found["idempotency_key"]
    foreign = book.database.execute(_text("SELECT 'foreign:' || max(id) AS name FROM steadybeat.foreign_messages"))
    return Content(succeeded, dead, cancelled, waits, of_fire, fan_out, of_tenant, foreign[0].name, key)


def _text(statement: str) -> Any:
    import sqlalchemy as sa

    return sa.text(statement)


def _fires(app: Any, book: Ledger, instance: str) -> None:
    """Four fires in 2040: one that has run, one that was skipped, one that was missed, and one that is to come."""
    first, skipped, missed, _ = (made_fire(book, datetime.fromisoformat(at)) for at in SHOWN_FIRES)
    headers = {"steadybeat_schedule": DIGEST, "steadybeat_scheduled_for": DUE.isoformat()}
    sent = app.send_task(
        DIGEST, task_id=run_id(DIGEST, first.scheduled_for), idempotency_key=fire_key(DIGEST, DUE), headers=headers
    )
    attempt(book, sent.id, instance)
    for fire, state, reason in ((skipped, "skipped", "a run of it went on"), (missed, "missed", "no Beat was alive")):
        row = FireRow(schedule=DIGEST, scheduled_for=fire.scheduled_for, due_at=fire.due_at, state=state, reason=reason)
        book.fires.mark(1, [(row, None)])


def _age(book: Ledger) -> None:
    """Let runs have been sent hours ago, one after the other, and have taken two seconds each."""
    with book.database.transaction() as connection:
        connection.exec_driver_sql("""
            WITH aged AS (
                SELECT id, clock_timestamp() - interval '9 hours' + row_number() OVER (ORDER BY enqueued_at, tenant)
                           * interval '10 minutes' AS sent FROM steadybeat.runs
            )
            UPDATE steadybeat.runs r
               SET enqueued_at = sent, progressed_at = NULL,
                   started_at = CASE WHEN started_at IS NOT NULL THEN sent + interval '1 second' END,
                   finished_at = CASE WHEN finished_at IS NOT NULL THEN sent + interval '3 seconds' END
              FROM aged WHERE aged.id = r.id
        """)
        connection.exec_driver_sql("""
            UPDATE steadybeat.attempts a SET started_at = r.started_at, finished_at = r.finished_at
              FROM steadybeat.runs r WHERE r.id = a.run
        """)
        connection.exec_driver_sql("UPDATE steadybeat.fires SET dispatched_at = due_at WHERE state = 'dispatched'")


Commands = Sequence[Sequence[Any]]


def _runs(has: Content) -> Commands:
    return [
        ["list"],
        ["list", "--task", CHARGE, "--since", "1d", "--error", "the bank"],
        ["list", "--key", has.key],
        ["list", "--state", "enqueued", "--until", "400d"],
        ["show", has.dead],
        ["show", has.fan_out],
        ["tenants", has.fan_out],
        *(["why", DIGEST, at] for at in SHOWN_FIRES),
        ["why", DIGEST, "2040-01-01T07:00:00Z"],
        ["why", "rarely", "2041-01-01T05:00:00Z"],
        ["why", has.of_fire],
        ["why", has.dead],
        ["why", has.of_tenant],
        ["why", has.waits],
        ["rerun", has.dead, "--dry-run"],
        ["rerun", has.succeeded, *WHY],
        ["rerun", has.fan_out, "--only", "failed", "--dry-run"],
        ["cancel", "--service", "billing", "--dry-run"],
        ["cancel", has.waits, *WHY],
        ["cancel", has.waits, *WHY],
    ]


def _dead(has: Content) -> Commands:
    return [
        ["list"],
        ["list", "--error", "nothing like it"],
        ["show", has.dead],
        ["show", has.foreign],
        ["requeue", "--all", "--dry-run"],
        ["requeue", has.dead, *WHY],
        ["discard", "--cause", "foreign", "--dry-run"],
        ["discard", has.foreign, *WHY],
        ["discard", has.dead, *WHY],
    ]


def _schedules(has: Content) -> Commands:
    return [
        ["list"],
        ["list", "--paused"],
        ["show", "rarely"],
        ["next", "hourly", "-n", "2"],
        ["explain", "--cron", "30 3 1 12 *", "--tz", "Europe/Riga", "--dst", "skip", "--year", "2026", "-n", "1"],
        ["apply", "--dry-run"],
        ["add", "hourly", "--every", "2h", "--dry-run", *WHY],
        ["add", "daily", "--task", DIGEST, "--cron", "0 7 * * *", *WHY],
        ["pause", "hourly", *WHY],
        ["pause", "hourly", *WHY],
        ["resume", "hourly", "--fires", "all", "--dry-run"],
        ["resume", "hourly", *WHY],
        ["remove", "daily", "--dry-run"],
        ["remove", "daily", *WHY],
        ["backfill", DIGEST, "--from", "2020-01-01T06:00Z", "--to", "2020-01-02T06:00Z", "--dry-run"],
        ["trigger", DIGEST, "--as-of", "2020-01-01T06:00:00Z", *WHY],
        ["trigger", DIGEST, "--as-of", "2020-01-01T06:00:00Z", *WHY],
        ["import", "--from", "redbeat", "--dry-run"],
        ["check"],
    ]


def _tenants(has: Content) -> Commands:
    return [
        ["list"],
        ["list", "digest"],
        ["why", "digest", "t1"],
        ["why", "digest", "t2"],
        ["rollout", "digest", "0", "--dry-run"],
        ["pause", "digest", "--dry-run"],
        ["pause", "digest", *WHY],
        ["enable", "digest", "t1", "--until", "2040-01-01T00:00:00Z", *WHY],
        ["exclude", "digest", "t3", "t4", "--dry-run"],
        ["exclude", "digest", "t3", "--for", "400d", *WHY],
        ["clear", "digest", "t2", "t9", "--dry-run"],
        ["clear", "digest", "t2", "t9", *WHY],
    ]


def _alerts(has: Content) -> Commands:
    return [
        ["list"],
        ["list", "--owner", "nobody"],
        ["show", 1],
        ["ack", 1, 2, "--dry-run"],
        ["ack", 1, *WHY],
        ["resolve", 1, *WHY],
        ["resolve", 1, "--dry-run"],
        ["silence", "--service", "*", "--for", "2h", "--dry-run"],
        ["silence", "--owner", "pay*", "--for", "2h", "--from", "2040-01-01T00:00:00Z", *WHY],
        ["silences"],
        ["unsilence", 1, *WHY],
        ["unsilence", 1, *WHY],
        ["test", "--owner", "payments", "--dry-run"],
        ["test", "--owner", "nobody", "--dry-run"],
        ["report", "--owner", "nobody", "--day", "2020-01-01"],
        ["report", "--owner", "nobody", "--day", "2020-01-01", "--dry-run"],
    ]


def _ledger(has: Content) -> Commands:
    return [["status"], ["upgrade", "--dry-run"], ["upgrade"], ["prune", "--dry-run"], ["prune"]]


def _heartbeats(has: Content) -> Commands:
    return [["list"], ["sync", "--dry-run"], ["sync", "--schedule", "hourly", "--dry-run"]]


def _call(has: Content) -> Commands:
    return [[CHARGE, "-a", "[1]"], [CHARGE, "-a", "[1]", "--queue", "stock"]]


def _health(has: Content) -> Commands:
    return [["worker"]]


FAMILIES = {
    "runs": _runs, "dead": _dead, "schedules": _schedules, "tenants": _tenants, "alerts": _alerts, "ledger": _ledger,
    "heartbeats": _heartbeats, "call": _call, "health": _health,
}  # fmt: skip

ERRORS: Commands = [
    ["runs", "list", "--task", "shop.billing.chrage"],
    ["runs", "list", "--state", "ded"],
    ["runs", "list", "--since", "soon"],
    ["runs", "show", "17"],
    ["runs", "show", UNKNOWN],
    ["runs", "why", "shop.mail.digset", "last"],
    ["runs", "why", DIGEST, "2026-01-01"],
    ["runs", "rerun", UNKNOWN],
    ["runs", "cancel", "--reason", "x"],
    ["runs", "lsit"],
    ["dead", "requeue", "--reason", "x"],
    ["dead", "show", "foreign:17"],
    ["schedules", "show", "hourlie"],
    ["schedules", "add", "new", "--every", "5x", "--reason", "x"],
    ["schedules", "add", "new", "--every", "5m", "--reason", "x"],
    ["schedules", "explain", "--cron", "61 * * * *"],
    ["schedules", "remove", DIGEST, "--reason", "x"],
    ["schedules", "pause", "hourly"],
    ["schedules", "pause", "hourly", "--revision", "0", "--reason", "x"],
    ["tenants", "why", "digst", "t1"],
    ["tenants", "rollout", "digest", "101", "--reason", "x"],
    ["alerts", "ack", "17", "--reason", "x"],
    ["alerts", "list", "--rule", "faild"],
    ["alerts", "silence", "--for", "2h", "--reason", "x"],
    ["heartbeats", "test", "rarelie"],
    ["health", "workr"],
    ["call", "shop.billing.chrage"],
    ["call", CHARGE, "--queue", "bilin"],
    ["ledger", "prune", "--all"],
]


@pytest.fixture(autouse=True)
def _a_consumer_of_billing(book: Ledger, instance: str) -> None:
    """The worker consumes from billing and mail, so that it is known that nobody does from stock."""
    queues = ("billing", "mail")
    book.instances.sign_of_life(instance, role="worker", host="here", pid=7, release="0", queues=queues)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_pipe_gets(family: str, content: Content, run: Run) -> None:
    compare(f"{family}.txt", session(run, [[family, *map(str, command)] for command in FAMILIES[family](content)]))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_machines_get(family: str, content: Content, run: Run) -> None:
    commands = [[family, *map(str, command), "--json"] for command in FAMILIES[family](content)]
    compare(f"{family}.json.txt", session(run, commands))


def kept(book: Ledger) -> dict[str, str]:
    """What stands in each table of the ledger, in short."""
    found = {}
    for table in sorted(each.name for each in metadata.tables.values()):
        whole = f"SELECT md5(coalesce(string_agg(t::text, '' ORDER BY t::text), '')) AS sum FROM steadybeat.{table} t"
        found[table] = book.database.execute(_text(whole))[0].sum
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_dry_run_changes_nothing(family: str, content: Content, book: Ledger, run: Run) -> None:
    for command in FAMILIES[family](content):
        before = kept(book)
        result = run(family, *command)
        if "--dry-run" in command:
            assert kept(book) == before, command
            assert result.exit_code in (0, 1), result.output
            is_told = NOTHING_CHANGED in result.output
            assert is_told or result.stdout.startswith(("No", "Nothing to do")), result.stdout


NOT_HERE = {"heartbeats test", "audit"}
"""What needs a server of others, and what has files of its own."""


def test_each_command_has_its_place_here(content: Content) -> None:
    typed = {(family, *command[:1]) for family, commands in FAMILIES.items() for command in commands(content)}
    wanted = {path for path, _ in ANSWERING if " ".join(path) not in NOT_HERE and path[0] not in NOT_HERE}
    assert {path for path in wanted if path not in typed and path not in {each[:1] for each in typed}} == set()


def test_how_it_refuses(content: Content, run: Run) -> None:
    compare("errors.txt", session(run, ERRORS))


@pytest.mark.parametrize("family", [each for each in FAMILIES if each != "health"])  # which asks no server
def test_how_it_says_that_the_ledger_is_away(family: str, make_app: MakeApp, run: Run) -> None:
    away = make_app(steadybeat_database_url="postgresql://127.0.0.1:1/nowhere")
    first = {"call": [CHARGE], "ledger": ["status"]}.get(family, ["list"])
    result = run(family, *first, app=away)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: Postgres at postgresql://127.0.0.1:1/nowhere does not answer: ")


def test_the_golden_files_are_compared_and_not_written() -> None:
    assert not WRITES, "GOLDEN=write has written them anew: look at `git diff tests/golden`"


def test_an_unlike_text_is_shown_as_a_difference(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.integration.commands.golden.FOLDER", tmp_path)
    monkeypatch.setattr("tests.integration.commands.golden.WRITES", False)
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    with pytest.raises(AssertionError, match=r"(?s)-two.*\+too.*GOLDEN=write"):
        compare("a.txt", "one\ntoo\n")
    compare("a.txt", "one\ntwo\n")
