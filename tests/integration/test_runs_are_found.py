"""Promise: whatever people ask for, every run that fits is found, once, the newest first; each way has its index."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from steadybeat.errors import ConfigurationError
from steadybeat.ledger import Ledger, run_search, run_walks
from steadybeat.ledger.connection import sql
from steadybeat.ledger.run_search import Place
from steadybeat.ledger.search import Wanted
from steadybeat.ledger.tables import runs as table
from steadybeat.schedule import fire_key, run_id

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
STATES = ("enqueued", "running", "waiting", "succeeded", "dead", "cancelled")
ERRORS = (
    (
        'Traceback (most recent call last):\n  File "/app/tasks/bank.py", line 3\n'
        "bank.errors.Timeout_Error: https://bank.example/pay?x=1 said 502"
    ),
    "KeyError: 'IBAN-number'",
    "ValueError: größer als ü",
)


def made_runs(count: int = 240, seed: int = 7) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    rows = []
    for n in range(count):
        state = chance.choice(STATES)
        at = BEGAN + timedelta(seconds=chance.randrange(count // 2))  # many were sent at one instant
        schedule = chance.choice((None, None, "every/minute@home", "daily"))
        task = chance.choice(("shop.orders.pay", "shop.orders.pack", "shop.mail.send"))
        own = (
            run_id(schedule, at + timedelta(microseconds=n))
            if schedule
            else str(uuid.UUID(int=chance.getrandbits(128)))
        )
        fan_out = None if schedule or chance.random() < 0.7 else str(uuid.UUID(int=99))
        tenant = f"shop:{chance.randrange(4)}" if fan_out or chance.random() < 0.2 else None
        key = fire_key(schedule, at + timedelta(microseconds=n)) if schedule else chance.choice((own, f"sale:{n % 9}"))
        bad, is_open = state in ("dead", "cancelled"), state in STATES[:3]
        rows.append(
            {
                "id": own,
                "task": task,
                "service": task.split(".")[1],
                "queue": task.split(".")[1],
                "idempotency_key": f"key:{tenant}" if fan_out else key,
                "schedule": schedule,
                "scheduled_for": at + timedelta(microseconds=n) if schedule else None,
                "tenant": tenant,
                "fan_out": fan_out,
                "state": state,
                "reason": "it was Given_Up; why not" if bad else None,
                "error": chance.choice(ERRORS) if state == "dead" or (is_open and chance.random() < 0.3) else None,
                "message": {},
                "body": "[]",
                "enqueued_at": at,
                "finished_at": None if is_open else at + timedelta(seconds=5),
            }
        )
    return rows


@pytest.fixture
def rows(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    made = made_runs()
    with ledger.database.transaction() as connection:
        connection.execute(sa.insert(table), made)
    for name, value in (("EXAMINED_COUNT", 60), ("FEWEST_COUNT", 9), ("NEAR_COUNT", 20)):
        monkeypatch.setattr(run_search, name, value)
    yield made


def fits(row: dict[str, Any], wanted: Wanted) -> bool:
    text = f"{row['reason'] or ''} {row['error'] or ''}".lower()
    cleared = "".join(each if each.isalnum() else " " for each in text).split()
    words = [] if wanted.error is None else "".join(e if e.isalnum() else " " for e in wanted.error.lower()).split()
    has_words = all(any(each.startswith(word) for each in cleared) for word in words)
    return (
        all(
            getattr(wanted, name) in (None, row[name])
            for name in ("task", "service", "schedule", "state", "tenant", "fan_out")
        )
        and wanted.key in (None, row["idempotency_key"])
        and (wanted.since is None or row["enqueued_at"] >= wanted.since)
        and (wanted.until is None or row["enqueued_at"] <= wanted.until)
        and (
            wanted.error is None or (has_words and (row["error"] is not None or row["state"] in ("dead", "cancelled")))
        )
    )


def all_pages(ledger: Ledger, wanted: Wanted, limit: int) -> list[str]:
    found: list[str] = []
    behind: Place | None = None
    for _ in range(1000):
        page = ledger.search.find(wanted, behind=behind, limit=limit)
        assert len(page.rows) <= limit
        assert (page.reached is None) or page.more is not None
        found += [str(row["id"]) for row in page.rows]
        behind = page.more
        if behind is None:
            return found
    raise AssertionError("the pages have no end")


def expected(rows: list[dict[str, Any]], wanted: Wanted) -> list[str]:
    column = (
        "scheduled_for" if wanted.schedule and not (wanted.tenant or wanted.fan_out or wanted.key) else "enqueued_at"
    )
    meant = [row for row in rows if fits(row, wanted)]
    return [row["id"] for row in sorted(meant, key=lambda row: (row[column], uuid.UUID(row["id"])), reverse=True)]


ASKED: dict[str, list[Any]] = {
    "task": ["shop.orders.pay", "shop.none"],
    "service": ["orders", "none"],
    "schedule": ["every/minute@home", "none"],
    "state": ["dead", "cancelled", "succeeded", "waiting"],
    "tenant": ["shop:1", "none"],
    "fan_out": [str(uuid.UUID(int=99))],
    "key": ["sale:3", "key:shop:2", "none@2026"],
    "since": [BEGAN + timedelta(seconds=40), BEGAN + timedelta(days=9)],
    "until": [BEGAN + timedelta(seconds=80), BEGAN - timedelta(days=9)],
    "error": ["timeout error BANK 502", "iban", "größ", "given", "nothing-like-it"],
}


def combinations() -> Iterator[dict[str, Any]]:
    yield {}
    for name, values in ASKED.items():
        for value in values:
            yield {name: value}
    chance = random.Random(3)
    for _ in range(120):
        names = chance.sample([*ASKED], chance.randint(2, 4))
        yield {name: chance.choice(ASKED[name][:3]) for name in names}


def test_every_run_that_fits_is_found_once_and_in_order_whatever_is_asked_for(
    ledger: Ledger, rows: list[dict[str, Any]]
) -> None:
    found_any = 0
    for asked in combinations():
        wanted = Wanted(**asked)
        found = all_pages(ledger, wanted, limit=7)
        assert found == expected(rows, wanted), asked
        found_any += bool(found)
    assert found_any > 40


def test_runs_are_found_by_every_kind_of_key(ledger: Ledger, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert row["id"] in all_pages(ledger, Wanted(key=row["idempotency_key"]), limit=50)


def test_a_rerun_is_found_by_the_key_of_what_it_reran(ledger: Ledger) -> None:
    first, again = str(uuid.uuid4()), str(uuid.uuid4())
    facts = {"task": "t", "service": "s", "queue": "s", "message": {}, "body": "[]"}
    with ledger.database.transaction() as connection:
        connection.execute(sa.insert(table), {"id": first, "idempotency_key": first, **facts})
        connection.execute(sa.insert(table), {"id": again, "idempotency_key": first, "rerun_of": first, **facts})
    assert sorted(all_pages(ledger, Wanted(key=first), limit=5)) == sorted([first, again])


def test_a_page_says_up_to_where_it_has_looked_and_the_next_one_goes_on_from_there(
    ledger: Ledger, rows: list[dict[str, Any]]
) -> None:
    wanted = Wanted(tenant="shop:1", task="shop.none")
    page = ledger.search.find(wanted, limit=50)
    assert (page.rows, page.reached) == ([], None)  # all of the tenant's were looked at
    everything = ledger.search.find(Wanted(schedule="every/minute@home", task="shop.none"), limit=50)
    assert everything.rows == []
    assert everything.more is None or everything.reached is not None


def test_all_of_them_are_returned_where_a_command_asks(ledger: Ledger, rows: list[dict[str, Any]]) -> None:
    for asked in ({}, {"task": "shop.orders.pay", "state": "cancelled"}, {"schedule": "daily", "state": "dead"}):
        wanted = Wanted(**asked)
        found = [str(row["id"]) for row in ledger.search.runs(wanted, limit=1000)]
        assert found == expected(rows, wanted)
        assert [str(row["id"]) for row in ledger.search.runs(wanted, after=found[2], limit=4)] == found[3:7]
    assert ledger.search.runs(Wanted(), after=str(uuid.uuid4()), limit=5) == []


def test_what_has_no_word_in_it_is_refused(ledger: Ledger) -> None:
    with pytest.raises(ConfigurationError, match=r"error='\*\*\*': has no word in it"):
        ledger.search.find(Wanted(error="***"), limit=5)


@pytest.mark.parametrize(
    ("index", "statement"),
    [
        ("runs_wrong", run_walks.words_of("true")),
        ("runs_of_key", run_walks.key_of("true")),
        ("runs_ended_badly", run_walks.walk_of((run_walks.BADLY,), frozenset(), False)),
        ("runs_ended_badly", run_walks.walk_of((run_walks.BADLY,), frozenset({"since"}), True)),
    ],
    ids=["words", "key", "bad", "bad later"],
)
def test_a_search_goes_through_its_index(ledger: Ledger, index: str, statement: Any) -> None:
    values = {"words": "'x':*", "key": "k", "run": None, "schedule_of": None, "scheduled_for": None, "names": []}
    values |= {"row_count": 5, "examined_count": 10, "since": BEGAN, "instant": BEGAN, "after": str(uuid.uuid4())}
    explained = sql(f"EXPLAIN {statement.text}")
    rivals = {"runs_dead", "runs_ended_badly", "runs_of_task_ended_badly", "runs_wrong", "runs_recent"} - {index}
    with ledger.database.engine.connect() as connection:  # which is rolled back
        connection.execute(sa.text(f"DROP INDEX {', '.join(f'steadybeat.{each}' for each in sorted(rivals))}"))
        connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        given = {name: values[name] for name in explained._bindparams}
        plan = "\n".join(row[0] for row in connection.execute(explained, given))
    assert index in plan


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ({"task": "t"}, "runs_of_task"),
        ({"task": "t"}, "runs_open"),
        ({"task": "t", "state": "dead"}, "runs_of_task_ended_badly"),
        ({"tenant": "t"}, "runs_of_tenant"),
        ({"schedule": "s"}, "runs_of_schedule"),
        ({"state": "waiting"}, "runs_open"),
        ({"since": BEGAN}, "runs_recent"),
    ],
    ids=str,
)
def test_every_way_has_its_index(ledger: Ledger, asked: dict[str, Any], index: str) -> None:
    with ledger.database.transaction() as connection:
        connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        ways, more = ledger.search._ways(connection, asked)
        explained = sql(f"EXPLAIN {run_walks.walk_of(tuple(ways), frozenset(asked), False).text}")
        plan = "\n".join(
            row[0] for row in connection.execute(explained, {**asked, **more, "row_count": 5, "examined_count": 50})
        )
    assert f"{index} " in plan
