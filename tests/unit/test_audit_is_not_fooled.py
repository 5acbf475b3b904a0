"""The audit beside code that looks right and is not: of each such piece, what is wrong is seen."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from tests.audited import add_task, ask, new_app, said

engine: Any = None
URL = "https://bank.example/charges"


def charge(key: str) -> Any:
    return requests.post(URL, json={"sale": 7}, timeout=5).json()


def charge_all(key: str) -> Any:
    return charge(key)


def charges_twice(self: Any) -> None:
    charge("7")
    self.external("charge", charge, resolve=lambda key: None)


def charges_twice_by_way(self: Any) -> None:
    charge_all("7")
    self.external("charge", charge_all, resolve=lambda key: None)


def charges_twice_itself(self: Any) -> None:
    def send(key: str) -> Any:
        return requests.post(URL, json={"sale": 7}, timeout=5).json()

    send("7")
    self.external("charge", send, resolve=lambda key: None)


def charges_by_way(self: Any) -> None:
    self.external("charge", charge_all, resolve=lambda key: None)


def has_a_new_key_each_time(self: Any) -> None:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    requests.post(URL, json={"sale": 7}, headers=headers, timeout=5)


def has_one_key_for_all(self: Any) -> None:
    requests.post(URL, json={"sale": 7}, headers={"Idempotency-Key": "sale"}, timeout=5)


def has_its_key(self: Any) -> None:
    requests.post(URL, json={"sale": 7}, headers={"Idempotency-Key": f"sale:{self.idempotency_key}"}, timeout=5)


def adds_on_conflict(self: Any) -> None:
    with engine.begin() as db:
        db.execute(sa.text("INSERT INTO stock (id, n) VALUES (7, 1) ON CONFLICT (id) DO UPDATE SET n = stock.n + 1"))


def replaces_on_conflict(self: Any) -> None:
    with engine.begin() as db:
        db.execute(sa.text("INSERT INTO stock (id, n) VALUES (7, 1) ON CONFLICT (id) DO UPDATE SET n = excluded.n"))


def returns_in_finally(self: Any) -> Any:
    try:
        charge("7")
    finally:
        return None  # noqa: B012 - what the test is about


def ends_in_finally(self: Any) -> Any:
    try:
        return charge("7")
    finally:
        engine.dispose()


def loops_in_brackets(self: Any) -> Any:
    return [charge(f"{number}") for number in range(100_000)]


def counts_in_brackets(self: Any) -> Any:
    return [number * 2 for number in range(100_000)]


def of(line: str, code: Callable[..., Any], **options: Any) -> tuple[str, str]:
    """Return what a line says of one task with this code."""
    app = new_app()
    add_task(app, code=code, **options)
    return said(line, app)


@pytest.mark.parametrize("code", [charges_twice, charges_twice_by_way, charges_twice_itself])
def test_what_is_done_with_and_without_external_is_done_without_it(code: Callable[..., Any]) -> None:
    assert of("4.2", code)[0] == "PARTIAL"
    verdict, evidence = of("4.5", code)
    assert (verdict, evidence.endswith("no key goes with it")) == ("FAIL", True)
    assert of("4.2", charges_by_way)[0] == of("4.5", charges_by_way)[0] == "PASS"


@pytest.mark.parametrize(
    ("code", "verdict", "shown"),
    [
        (has_a_new_key_each_time, "FAIL", "its key `str(uuid.uuid4())` is another one with each attempt"),
        (has_one_key_for_all, "FAIL", "its key 'sale' is the same for all"),
        (has_its_key, "PASS", "with an idempotency key"),
    ],
)
def test_a_key_that_is_not_the_runs_own_is_none(code: Callable[..., Any], verdict: str, shown: str) -> None:
    found, evidence = of("4.5", code)
    assert (found, shown in evidence) == (verdict, True), evidence
    assert of("4.2", code)[0] == ("PASS" if verdict == "PASS" else "PARTIAL")


def test_an_upsert_that_adds_to_its_row_is_none() -> None:
    assert of("4.4", replaces_on_conflict)[0] == of("4.2", replaces_on_conflict)[0] == "PASS"
    verdict, evidence = of("4.4", adds_on_conflict)
    assert (verdict, "adds to itself" in evidence) == ("FAIL", True)
    assert of("4.2", adds_on_conflict)[0] == "PARTIAL"


def test_a_return_in_finally_hides_every_error() -> None:
    assert of("5.2", ends_in_finally)[0] == "PASS"
    for line in ("5.2", "5.3"):
        verdict, evidence = of(line, returns_in_finally)
        assert (verdict, "in `finally`" in evidence) == ("FAIL", True)


def test_a_comprehension_that_does_something_is_a_loop() -> None:
    verdicts = {line: of(line, loops_in_brackets)[0] for line in ("5.4", "5.9", "6.5")}
    assert verdicts == {"5.4": "FAIL", "5.9": "PARTIAL", "6.5": "FAIL"}
    assert of("6.5", counts_in_brackets)[0] == "N/A"


def test_a_pause_whose_longest_is_its_first_does_not_grow() -> None:
    assert of("5.6", charges_by_way, retry_backoff=2, retry_backoff_max=60)[0] == "PASS"
    assert of("5.6", charges_by_way, retry_backoff=2, retry_backoff_max=2)[0] == "FAIL"


def test_what_several_tasks_lack_alike_has_one_way_out() -> None:
    app = new_app(beat_schedule={
        name: {"task": f"shop.{name}", "schedule": 60} for name in ("settle", "count")
    })  # fmt: skip
    for name in ("settle", "count"):
        add_task(app, f"shop.{name}")
    answers = [ask("2.6", app, f"shop.{name}") for name in ("settle", "count")]
    assert {each.verdict.value for each in answers} == {"PARTIAL"}
    assert len({each.remedy for each in answers}) == 1


def changes_attributes(self: Any, session: Any) -> None:
    """Expire what is old."""
    for order in session.query("orders"):
        order.state = "expired"
    session.commit()


def test_what_is_committed_and_not_seen_is_unknown() -> None:
    verdict, evidence = of("4.3", changes_attributes)
    assert (verdict, "session.commit()" in evidence) == ("UNKNOWN", True)
    assert of("4.2", changes_attributes, recorded=False)[0] == "UNKNOWN"
