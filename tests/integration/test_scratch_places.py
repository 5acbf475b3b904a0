"""A scratch place: made beside the live system, emptied between trials, and removed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import redis as redis_client
import sqlalchemy as sa
from celery import Celery

import steadybeat
from steadybeat.audit.probes.place import Place, numbered, remove_left
from steadybeat.errors import ConfigurationError
from steadybeat.ledger.connection import Database
from steadybeat.ledger.scratch import PREFIX, ScratchTables, changes

TABLES = """
    CREATE SCHEMA shop;
    CREATE TABLE shop.currencies (code text PRIMARY KEY);
    CREATE TABLE shop.rates (code text REFERENCES shop.currencies, rate numeric);
    CREATE TABLE shop."Sales" (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, code text REFERENCES shop.currencies, cents int,
        token uuid DEFAULT gen_random_uuid(), sold_at timestamptz DEFAULT now(),
        double int GENERATED ALWAYS AS (cents * 2) STORED
    );
    CREATE SCHEMA steadybeat;
    CREATE TABLE steadybeat.runs (id int);
    INSERT INTO shop.currencies VALUES ('EUR');
    INSERT INTO shop.rates VALUES ('EUR', 1);
"""


@pytest.fixture
def app(postgres_url: str, redis_url: str) -> Any:
    app: Any = Celery("shop", set_as_current=False)
    app.conf.update(steadybeat_database_url=postgres_url, steadybeat_redis_url=redis_url)
    steadybeat.install(app)
    return app


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(TABLES)
    database = Database(postgres_url, 5.0, 2)
    yield database
    database.close()


def sell(database: Database, cents: int) -> None:
    database.execute(sa.text("INSERT INTO shop.\"Sales\" (code, cents) VALUES ('EUR', :cents)"), {"cents": cents})


def scratch(url: str) -> list[str]:
    with psycopg.connect(url) as db:
        return [name for (name,) in db.execute("SELECT datname FROM pg_database") if name.startswith(PREFIX)]


def test_a_place_has_a_database_and_a_number_of_redis_of_its_own_and_leaves_none(
    app: Any, postgres_url: str, redis_url: str
) -> None:
    place, other = Place(app), Place(app)
    assert sorted(scratch(postgres_url)) == sorted([place.name, other.name])
    assert place.redis_url != other.redis_url
    assert {place.redis_url[-3:], other.redis_url[-3:]} == {"/15", "/14"}
    with redis_client.Redis.from_url(place.redis_url) as redis:
        redis.set("message", "of a trial")
    place.remove()
    other.remove()
    assert scratch(postgres_url) == []
    with redis_client.Redis.from_url(redis_url) as redis:
        assert redis.info("keyspace") == {}


def test_a_number_that_holds_something_is_left_alone(app: Any, redis_url: str) -> None:
    with redis_client.Redis.from_url(numbered(redis_url, 15)) as redis:
        redis.set("somebody", "else's")
        place = Place(app)
        assert place.redis_url == numbered(redis_url, 14)
        place.remove()
        assert redis.keys() == [b"somebody"]


def test_where_no_number_is_empty_none_is_taken_and_no_database_stays(
    app: Any, postgres_url: str, redis_url: str
) -> None:
    clients = [redis_client.Redis.from_url(numbered(redis_url, number)) for number in range(1, 16)]
    for redis in clients:
        redis.set("somebody", "else's")
    with pytest.raises(ConfigurationError, match="no number of Redis from 1 to 15 is empty"):
        Place(app)
    assert scratch(postgres_url) == []
    for redis in clients:
        assert redis.keys() == [b"somebody"]
        redis.close()


def test_a_place_whose_number_somebody_has_taken_over_does_not_empty_it(app: Any, redis_url: str) -> None:
    place = Place(app)
    with redis_client.Redis.from_url(place.redis_url) as redis:
        redis.delete("steadybeat:probe")
        redis.set("somebody", "else's")
        place.remove()
        assert redis.keys() == [b"somebody"]


def test_what_a_killed_probe_left_is_removed_once_nobody_can_be_at_work_there(app: Any, postgres_url: str) -> None:
    old, young = f"{PREFIX}{int(time.time()) - 700}_0a", f"{PREFIX}{int(time.time())}_0b"
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(f'CREATE DATABASE "{old}"')  # type: ignore[arg-type]
        db.execute(f'CREATE DATABASE "{young}"')  # type: ignore[arg-type]
        with redis_client.Redis.from_url(numbered(app.conf.broker_url, 3)) as redis:
            redis.mset({"steadybeat:probe": old, "message": "of a trial"})
            with psycopg.connect(postgres_url.rpartition("/")[0] + f"/{old}"):
                remove_left(app)
                assert sorted(scratch(postgres_url)) == sorted([old, young]), "somebody is in it"
            remove_left(app)
            assert scratch(postgres_url) == [young]
            assert redis.dbsize() == 0
        db.execute(f'DROP DATABASE "{young}"')  # type: ignore[arg-type]


def test_a_user_who_may_make_no_database_is_told_what_to_do(app: Any, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("DROP ROLE IF EXISTS poor")
        db.execute("CREATE ROLE poor LOGIN")
        poor: Any = Celery("shop", set_as_current=False)
        poor.conf.update(
            steadybeat_database_url=postgres_url.replace("postgres@", "poor@"), steadybeat_redis_url=app.conf.broker_url
        )
        steadybeat.install(poor)
        with pytest.raises(ConfigurationError, match=r"permission denied to create database\. Let its user make"):
            Place(poor)
        db.execute("DROP ROLE poor")


@pytest.mark.parametrize(
    ("url", "other"),
    [
        ("redis://localhost:6379", "redis://localhost:6379/15"),
        ("rediss://ann:secret@cache/3?ssl_cert_reqs=required", "rediss://ann:secret@cache/15?ssl_cert_reqs=required"),
        ("sentinel://a:1;sentinel://b:2/0?master_name=m", "sentinel://a:1/15;sentinel://b:2/15?master_name=m"),
    ],
)
def test_another_number_of_the_same_redis(url: str, other: str) -> None:
    assert numbered(url, 15) == other


def test_a_socket_has_no_place_for_a_number() -> None:
    with pytest.raises(ConfigurationError, match="write it with a host"):
        numbered("redis+socket:///run/redis.sock", 15)


def test_tables_are_emptied_but_for_those_that_had_rows_and_what_these_refer_to(database: Database) -> None:
    tables = ScratchTables(database)
    assert tables.kept == {"shop.currencies", "shop.rates"}
    assert tables.count == 3, "the ledger's are none of them"
    sell(database, 5)
    tables.empty()
    assert tables.read()["shop.Sales"] == []
    assert tables.read()["shop.currencies"] == [{"code": "EUR"}]
    sell(database, 5)
    [sale] = tables.read()["shop.Sales"]
    assert sale["id"] == 2, "no two trials have a number in common"


def test_columns_that_are_made_anew_for_each_row_are_known(database: Database) -> None:
    assert ScratchTables(database).generated["shop.Sales"] == {"id", "token", "sold_at", "double"}


def test_what_changed_is_seen_row_by_row(database: Database) -> None:
    tables = ScratchTables(database)
    sell(database, 5)
    before = tables.read()
    sell(database, 7)
    database.execute(sa.text('UPDATE shop."Sales" SET cents = 6 WHERE cents = 5'))
    [change] = changes(before, tables.read()).values()
    assert sorted(row["cents"] for row in change.added) == [6, 7]
    assert [row["cents"] for row in change.removed] == [5]
    assert changes(before, before) == {}
