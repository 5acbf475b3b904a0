"""Promise: what `audit --live` says of Redis, Postgres, the ledger and the workers is what they say when it asks."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis as redis_client
from celery import Celery

import steadybeat
from steadybeat import every
from steadybeat.audit import Verdict
from steadybeat.audit.live import INEQUALITIES, Answer, judge, readings
from steadybeat.beat import definitions
from steadybeat.dev.servers import PostgresServer, RedisServer, free_port
from steadybeat.errors import ConfigurationError, UnsafeStart
from steadybeat.ledger import Ledger
from steadybeat.settings import Settings
from tests.eventually import eventually

PASS, FAIL, UNKNOWN, NOT_APPLICABLE = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN, Verdict.NOT_APPLICABLE


@pytest.fixture(scope="module")
def durable(servers_folder: Path) -> Iterator[PostgresServer]:
    """A Postgres that keeps its commits."""
    with PostgresServer(servers_folder / "postgres-durable") as server:
        Ledger(Settings(database_url=server.create_database("ledger"))).upgrade()
        yield server


@pytest.fixture(scope="module")
def keeping(servers_folder: Path) -> Iterator[RedisServer]:
    """A Redis that keeps what it holds."""
    with RedisServer(servers_folder / "redis-keeping") as server:
        yield server


@pytest.fixture
def database(durable: PostgresServer) -> Iterator[str]:
    """A database with the ledger's schema on it."""
    name = f"audited_{uuid.uuid4().hex}"
    yield durable.create_database(name, template="ledger")
    with psycopg.connect(durable.url, autocommit=True) as admin:
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def server(keeping: RedisServer) -> Iterator[redis_client.Redis]:
    """A client of the Redis, whose settings are afterwards what they were."""
    with redis_client.Redis.from_url(keeping.url, decode_responses=True) as client:
        names = ("maxmemory", "maxmemory-policy", "appendonly", "appendfsync", "save", "maxclients")
        before = {name: client.config_get(name)[name] for name in names}
        client.flushall()
        yield client
        for name, value in before.items():
            client.config_set(name, value)


@pytest.fixture
def make_app(database: str, keeping: RedisServer) -> Iterator[Callable[..., Any]]:
    """Makes apps of a shop with a schedule, and a task that takes a lock."""
    made: list[Any] = []

    def make(**settings: Any) -> Any:
        app = Celery("shop", set_as_current=False)
        app.conf.update({"steadybeat_database_url": database, "steadybeat_redis_url": keeping.url} | settings)
        steadybeat.install(app)

        @app.task(name="shop.mail.digest", schedule=every(timedelta(hours=1)), shared=False)
        def digest() -> None: ...

        @app.task(name="shop.billing.charge", lock="account:{account_id}", time_limit=600, shared=False)
        def charge(account_id: int) -> None: ...

        made.append(app)
        return app

    yield make
    for app in made:
        app.steadybeat.ledger.database.close()
        app.close()


def found(app: Any, name: str, *, workers: bool = False) -> Answer:
    """What is said of an inequality that has one answer."""
    [judged] = judge(readings(app, workers=workers), [INEQUALITIES[name]])
    assert not judged.is_broken, judged.answer
    return judged.answer


def alive(app: Any, role: str, count: int = 1, **facts: Any) -> list[str]:
    ids = [str(uuid.uuid4()) for _ in range(count)]
    for number, each in enumerate(ids):
        Ledger.of(app).instances.sign_of_life(each, role=role, host="here", pid=number, release="1.0", **facts)
    return ids


@pytest.mark.parametrize(
    ("name", "setting", "bad", "evidence", "good"),
    [
        ("redis_keeps_all", "maxmemory-policy", "allkeys-lru", "maxmemory_policy=allkeys-lru", "noeviction"),
        ("redis_persists", "appendonly", "no", "aof_enabled=0", "yes"),
        ("redis_persists", "appendfsync", "no", "appendfsync=no", "everysec"),
        ("redis_has_memory_left", "maxmemory", "1", "maxmemory=0.0 MB", "0"),
        ("redis_has_clients_left", "maxclients", "20", "maxclients=20", "1000"),
    ],
)
def test_a_setting_of_redis_is_seen_as_it_is_now(
    make_app: Callable[..., Any],
    server: redis_client.Redis,
    name: str,
    setting: str,
    bad: str,
    evidence: str,
    good: str,
) -> None:
    app = make_app()
    asks_workers = name == "redis_has_clients_left"
    assert found(app, name, workers=asks_workers).verdict is PASS
    server.config_set(setting, bad)
    answer = found(app, name, workers=asks_workers)
    assert answer.verdict is FAIL
    assert evidence in answer.evidence
    server.config_set(setting, good)
    assert found(app, name, workers=asks_workers).verdict is PASS


def test_a_write_that_failed_is_seen(
    make_app: Callable[..., Any], server: redis_client.Redis, keeping: RedisServer
) -> None:
    app = make_app()
    assert found(app, "redis_writes_reach_disk").verdict is PASS
    in_the_way = keeping.folder / "dump.rdb"
    (in_the_way / "not-empty").mkdir(parents=True)  # no snapshot can take the place of a folder
    server.bgsave()
    eventually(lambda: found(app, "redis_writes_reach_disk").verdict is FAIL)
    assert "rdb_last_bgsave_status=err" in found(app, "redis_writes_reach_disk").evidence
    (in_the_way / "not-empty").rmdir()
    in_the_way.rmdir()
    server.bgsave()
    eventually(lambda: found(app, "redis_writes_reach_disk").verdict is PASS)


def test_a_redis_that_refuses_config_leaves_unknown_only_what_info_does_not_say(
    make_app: Callable[..., Any], server: redis_client.Redis, keeping: RedisServer
) -> None:
    server.execute_command("ACL", "SETUSER", "managed", "on", ">secret", "~*", "&*", "+@all", "-config")
    app = make_app(steadybeat_redis_url=keeping.url.replace("//", "//managed:secret@"))
    answer = found(app, "redis_persists")
    assert answer.verdict is UNKNOWN
    assert "aof_enabled=1" in answer.evidence
    assert found(app, "redis_keeps_all").verdict is PASS
    assert "secret" not in answer.subject + answer.evidence + answer.remedy


def test_a_redis_that_refuses_to_tell_is_not_one_that_is_away(
    make_app: Callable[..., Any], server: redis_client.Redis, keeping: RedisServer
) -> None:
    server.execute_command("ACL", "SETUSER", "mute", "on", ">secret", "~*", "&*", "+@all", "-info")
    app = make_app(steadybeat_redis_url=keeping.url.replace("//", "//mute:secret@"))
    assert found(app, "servers_answer").verdict is PASS
    answer = found(app, "redis_keeps_all")
    assert answer.verdict is UNKNOWN
    assert answer.evidence.startswith("refuses: ")
    assert answer.remedy.startswith("let the user of its URL run INFO")


def test_the_redis_of_the_locks_is_asked_too(
    make_app: Callable[..., Any], redis_url: str, keeping: RedisServer, server: redis_client.Redis
) -> None:
    urls = [keeping.url, redis_url, f"redis://127.0.0.1:{free_port()}/0"]
    seen = readings(make_app(steadybeat_lock_urls=urls), workers=False)
    answers = {each.answer.subject: each.answer for each in judge(seen, [INEQUALITIES["redis_persists"]])}
    assert [answers[f"redis {url}"].verdict for url in urls] == [PASS, FAIL, UNKNOWN]
    assert answers[f"redis {redis_url}"].queues == {"billing"}  # whose task takes a lock
    [away] = [each for each in judge(seen, [INEQUALITIES["servers_answer"]]) if each.answer.verdict is FAIL]
    assert away.answer.subject == f"redis {urls[2]}"


def test_a_database_that_does_not_keep_commits_is_seen(
    make_app: Callable[..., Any], database: str, postgres: PostgresServer, ledger_url: str
) -> None:
    assert found(make_app(), "postgres_keeps_commits").verdict is PASS
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{admin.info.dbname}" SET synchronous_commit = off')
    answer = found(make_app(), "postgres_keeps_commits")
    assert (answer.verdict, answer.risks) == (FAIL, True)
    assert answer.evidence == "fsync=on, full_page_writes=on, synchronous_commit=off"
    assert "fsync=off" in found(make_app(steadybeat_database_url=ledger_url), "postgres_keeps_commits").evidence


def test_connections_are_counted_against_the_processes_that_live(make_app: Callable[..., Any]) -> None:
    app = make_app()
    assert found(app, "postgres_has_connections", workers=True).verdict is PASS
    alive(app, "beat", 37)  # and three that come and go, of five connections each
    answer = found(app, "postgres_has_connections", workers=True)
    assert answer.verdict is FAIL
    assert "max_connections=200, 3 reserved" in answer.evidence
    assert "40 processes" in answer.evidence
    assert answer.remedy == "set max_connections to at least 203, or steadybeat_ledger_pool_count to 4"


def test_our_sessions_end_what_waits_too_long(make_app: Callable[..., Any]) -> None:
    app = make_app(steadybeat_ledger_timeout_seconds=3)
    assert found(app, "statements_end").evidence.startswith("statement_timeout=3 s")
    assert found(app, "idle_transactions_end").evidence.startswith("idle_in_transaction_session_timeout=3 s")


def test_clocks_of_both_servers_of_one_machine_agree(make_app: Callable[..., Any]) -> None:
    assert found(make_app(), "redis_clock_agrees").verdict is PASS


def test_who_lives_and_who_leads_is_read_from_the_ledger(make_app: Callable[..., Any]) -> None:
    app = make_app()
    book = Ledger.of(app)
    book.schedules.apply(definitions(app), ["mail", "billing"])
    for name in ("beats_are_two", "a_watchdog_watches", "one_beat_leads"):
        assert found(app, name).verdict is FAIL, name
    first, second = alive(app, "beat", 2)
    alive(app, "watchdog")
    book.leaderships.renew(1, instance=first, host="here")
    for name in ("beats_are_two", "a_watchdog_watches", "one_beat_leads"):
        assert found(app, name).verdict is PASS, name
    book.leaderships.renew(2, instance=second, host="there")
    assert "term 2 of there" in found(app, "one_beat_leads").evidence
    assert found(app, "one_beat_leads").verdict is FAIL
    book.leaderships.end(1)
    assert found(app, "one_beat_leads").verdict is PASS
    book.instances.leave(second)
    assert found(app, "one_beat_leads").verdict is FAIL


def test_consumers_and_canaries_are_read_from_the_ledger(make_app: Callable[..., Any], database: str) -> None:
    app = make_app()
    alive(app, "worker", node="mail@here", queues=["mail"])
    subjects = {each.answer.subject for each in judge(readings(app, workers=False)) if each.answer.verdict is FAIL}
    assert {"billing"} == subjects & {"mail", "billing"}
    assert found(app, "canaries_are_answered").verdict is NOT_APPLICABLE
    Ledger.of(app).canaries.sent("mail", 1)
    assert found(app, "canaries_are_answered").verdict is PASS
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("UPDATE steadybeat.canaries SET unanswered_since = unanswered_since - interval '3 minutes'")
    assert found(app, "canaries_are_answered").verdict is FAIL


def test_the_schema_is_compared_with_what_each_release_needs(
    make_app: Callable[..., Any], durable: PostgresServer
) -> None:
    app = make_app()
    assert found(app, "schema_is_new_enough").verdict is PASS
    alive(app, "worker", node="new@here", schema_version="9999")
    assert found(app, "schema_is_new_enough").subject == "new@here"
    empty = make_app(steadybeat_database_url=durable.create_database(f"empty_{uuid.uuid4().hex}"))
    assert "applied=nothing" in found(empty, "schema_is_new_enough").evidence
    assert found(empty, "beats_are_two").verdict is UNKNOWN
    assert found(empty, "beats_are_two").remedy == "run `celery -A … ledger upgrade`, then this again"


def test_the_codes_schedules_are_compared_with_the_ledgers(make_app: Callable[..., Any]) -> None:
    app = make_app()
    assert found(app, "schedules_are_applied").verdict is FAIL
    Ledger.of(app).schedules.apply(definitions(app), ["mail", "billing"])
    assert found(app, "schedules_are_applied").verdict is PASS
    app.tasks["shop.mail.digest"].schedule = every(timedelta(hours=2))
    answer = found(app, "schedules_are_applied")
    assert answer.evidence == "`schedules apply` would change 1 schedule: shop.mail.digest changed spec"
    assert (answer.subject, answer.service) == ("schedules of mail", "mail")


def test_a_task_that_is_sent_to_a_queue_nobody_declared_is_named(make_app: Callable[..., Any]) -> None:
    def elsewhere(name: str, *_: Any, **__: Any) -> dict[str, str] | None:
        return {"queue": "biling"} if name == "shop.billing.charge" else None

    assert found(make_app(), "routes_are_declared").verdict is PASS
    answer = found(make_app(task_routes=(elsewhere,)), "routes_are_declared")
    assert (answer.subject, answer.verdict) == ("shop.billing.charge", FAIL)
    assert answer.evidence.startswith("queue='biling': there is no such queue. Did you mean 'billing'?")


def test_servers_that_do_not_answer_leave_unknown_what_they_would_say(make_app: Callable[..., Any]) -> None:
    nobody = free_port()
    app = make_app(
        steadybeat_redis_url=f"redis://:secret@127.0.0.1:{nobody}/0",
        steadybeat_database_url=f"postgresql://me:secret@127.0.0.1:{nobody}/ledger",
    )
    judged = judge(readings(app))
    assert not any(each.is_broken for each in judged)
    violated = [each.answer.subject for each in judged if each.answer.verdict is FAIL]
    assert violated == [f"redis redis://:***@127.0.0.1:{nobody}/0", "Postgres"]
    names = {each.inequality.name for each in judged if each.answer.verdict is UNKNOWN}
    assert {"redis_persists", "postgres_keeps_commits", "workers_answer", "clocks_agree"} <= names
    assert all(each.answer.remedy for each in judged if each.answer.verdict is UNKNOWN)
    assert "secret" not in repr([each.answer for each in judged])


def test_asking_changes_nothing(make_app: Callable[..., Any], server: redis_client.Redis, database: str) -> None:
    app = make_app()
    book = Ledger.of(app)
    book.schedules.apply(definitions(app), ["mail", "billing"])
    alive(app, "beat", 2)
    server.set("somebody's", "key")
    before = server.config_get("*")

    def rows() -> dict[str, Any]:
        with psycopg.connect(database) as connection:
            tables = [row[0] for row in connection.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'steadybeat' ORDER BY 1"
            )]  # fmt: skip
            return {table: connection.execute(f"SELECT * FROM steadybeat.{table}").fetchall() for table in tables}

    stored = rows()
    judge(readings(app))
    assert rows() == stored
    assert server.config_get("*") == before
    assert [key for key in server.scan_iter() if not key.startswith("_kombu.binding")] == ["somebody's"]


def test_a_guarded_queue_that_is_misspelt_is_refused_with_the_nearest(make_app: Callable[..., Any]) -> None:
    app = make_app(steadybeat_guarded_queues=("biling",))
    with pytest.raises(
        ConfigurationError, match=r"steadybeat_guarded_queues='biling': there is no such queue\. Did you"
    ):
        app.steadybeat.check_guarded({"mail"})


def test_only_a_guarded_queue_that_is_consumed_is_kept_from(
    make_app: Callable[..., Any], server: redis_client.Redis
) -> None:
    server.config_set("appendonly", "no")
    app = make_app(steadybeat_guarded_queues="billing")
    app.steadybeat.check_guarded({"mail"})
    with pytest.raises(UnsafeStart) as refused:
        app.steadybeat.check_guarded({"mail", "billing"})
    [line] = str(refused.value).splitlines()
    assert line.startswith("-Q billing: is guarded, and work could be lost: redis_persists of redis redis://")
    assert refused.value.exit_code == 2
    server.config_set("appendonly", "yes")
    app.steadybeat.check_guarded({"mail", "billing"})
    make_app().steadybeat.check_guarded({"billing"})  # nothing is guarded unless somebody asks for it
