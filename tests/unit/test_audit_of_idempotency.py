"""Section 4 of the audit, but for what probes show: of each line a task that passes, and one that does not."""

from __future__ import annotations

import smtplib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from steadybeat import every
from tests.audited import add_task, new_app, said

engine: Any = None
other: Any = None
EACH_MINUTE = every(timedelta(minutes=1))


def nothing(self: Any) -> None:
    """Do nothing."""


def adds(self: Any) -> None:
    with engine.begin() as db:
        db.execute(sa.text("INSERT INTO payments (sale) VALUES (7)"))


def adds_once(self: Any) -> None:
    with self.exactly_once() as db:
        db.execute(sa.text("INSERT INTO payments (sale) VALUES (7)"))


def upserts(self: Any) -> None:
    with engine.begin() as db:
        db.execute(sa.text("INSERT INTO payments (sale) VALUES (7) ON CONFLICT (sale) DO NOTHING"))


def expires(self: Any) -> None:
    with engine.begin() as db:
        db.execute(sa.text("UPDATE orders SET state = 'expired' WHERE state = 'unpaid'"))


def counts_up(self: Any) -> None:
    with engine.begin() as db:
        db.execute(sa.text("UPDATE stock SET sold = sold + 1 WHERE id = 7"))


def locks_first(self: Any) -> None:
    with engine.begin() as db:
        if db.execute(sa.text("SELECT paid FROM sales WHERE id = 7 FOR UPDATE")).scalar():
            return
        db.execute(sa.text("UPDATE sales SET paid = true WHERE id = 7"))


def writes_loosely(self: Any) -> None:
    db = engine.connect()
    db.execute(sa.text("UPDATE sales SET state = 'paid' WHERE state = 'due'"))
    db.execute(sa.text("INSERT INTO payments (sale) VALUES (7) ON CONFLICT (sale) DO NOTHING"))


def writes_one(self: Any) -> None:
    engine.connect().execute(sa.text("UPDATE sales SET state = 'paid' WHERE state = 'due'"))


def posts(self: Any) -> None:
    requests.post("https://bank.example/charges", json={"sale": 7}, timeout=5)


def posts_with_key(self: Any) -> None:
    headers = {"Idempotency-Key": self.idempotency_key}
    requests.post("https://bank.example/charges", json={"sale": 7}, headers=headers, timeout=5)


def posts_resolved(self: Any) -> None:
    def send(key: str) -> Any:
        return requests.post("https://bank.example/charges", json={"sale": 7}, timeout=5).json()

    def resolve(key: str) -> Any:
        return requests.get("https://bank.example/charges/7", timeout=5).json()

    self.external("charge", send, resolve=resolve)


def posts_beside(self: Any) -> None:
    self.external("charge", lambda key: key, resolve=lambda key: None)
    requests.post("https://bank.example/charges", json={"sale": 7}, timeout=5)


def posted(key: str) -> Any:
    return requests.post("https://bank.example/charges", json={"sale": 7}, timeout=5).json()


def posts_by_a_function(self: Any) -> None:
    self.external("charge", posted, resolve=lambda key: None)


def posts_by_a_function_beside(self: Any) -> None:
    self.external("charge", lambda key: key, resolve=lambda key: None)
    posted("7")


def asked(method: str, path: str) -> Any:
    return requests.request(method, f"https://bank.example/{path}", timeout=5)


def reads_elsewhere(self: Any) -> None:
    asked("GET", "charges")


def mails(self: Any) -> None:
    smtplib.SMTP("localhost").send_message(self.letter)


def sends_by_one_id(self: Any) -> None:
    other.apply_async((7,), task_id="settle")


def of(line: str, code: Callable[..., Any], **options: Any) -> tuple[str, str]:
    """Return what a line says of one task with this code."""
    app = new_app()
    add_task(app, code=code, **options)
    return said(line, app)


def test_two_runs_never_have_one_id() -> None:
    verdict, evidence = of("4.1", nothing, schedule=EACH_MINUTE)
    assert verdict == "PASS"
    first, second = (word.rstrip(",") for word in evidence.split() if word.count("-") == 4)
    assert first != second
    assert of("4.1", nothing)[0] == of("4.1", nothing, recorded=False)[0] == "PASS"
    verdict, evidence = of("4.1", sends_by_one_id)
    assert (verdict, "task_id='settle'" in evidence) == ("FAIL", True)
    app = new_app(beat_schedule={
        "nightly": {"task": "shop.till.settle", "schedule": EACH_MINUTE, "options": {"task_id": "settle"}},
    })  # fmt: skip
    add_task(app)
    assert said("4.1", app) == ("FAIL", "nightly: options={'task_id': 'settle'}: each fire has this id")


@pytest.mark.parametrize(
    ("code", "guarded", "by_itself"),
    [
        (nothing, "PASS", "N/A"),
        (adds_once, "PASS", "FAIL"),
        (adds, "PARTIAL", "FAIL"),
        (upserts, "PASS", "PASS"),
        (expires, "PASS", "PASS"),
        (counts_up, "PARTIAL", "FAIL"),
        (locks_first, "PASS", "PASS"),
        (posts, "PARTIAL", "FAIL"),
        (posts_with_key, "PASS", "PASS"),
        (posts_resolved, "PASS", "FAIL"),
        (posts_beside, "PARTIAL", "FAIL"),
        (mails, "PARTIAL", "FAIL"),
    ],
)
def test_whether_it_has_happened_is_asked_first(code: Callable[..., Any], guarded: str, by_itself: str) -> None:
    assert of("4.2", code)[0] == guarded
    assert of("4.2", code, recorded=False)[0] == by_itself


def test_a_key_of_the_run_is_named() -> None:
    def pays(self: Any, sale_id: int) -> None:
        with self.exactly_once() as db:
            db.execute(sa.text("INSERT INTO payments (sale) VALUES (:sale)"), {"sale": sale_id})

    verdict, evidence = of("4.2", pays, key_template="sale:{sale_id}")
    assert verdict == "PASS"
    assert "key_template='sale:{sale_id}'; exactly_once() at " in evidence


@pytest.mark.parametrize(
    ("code", "verdict", "shown"),
    [
        (adds_once, "PASS", "with self.exactly_once()"),
        (upserts, "PASS", "engine.begin()"),
        (writes_one, "PASS", "one statement: UPDATE at "),
        (writes_loosely, "FAIL", "is in no transaction"),
        (posts, "N/A", "writes no rows"),
    ],
)
def test_what_belongs_together_is_one_transaction(code: Callable[..., Any], verdict: str, shown: str) -> None:
    found, evidence = of("4.3", code)
    assert (found, shown in evidence) == (verdict, True), evidence


@pytest.mark.parametrize(
    ("code", "verdict", "shown"),
    [
        (upserts, "PASS", "UPSERT at "),
        (adds_once, "PASS", "with the processed key"),
        (adds, "FAIL", "writes a second row"),
        (counts_up, "FAIL", "adds to itself"),
        (expires, "N/A", "writes no new rows"),
    ],
)
def test_a_row_that_is_written_twice_is_one_row(code: Callable[..., Any], verdict: str, shown: str) -> None:
    found, evidence = of("4.4", code)
    assert (found, shown in evidence) == (verdict, True), evidence


def test_a_row_that_only_the_processed_key_keeps_single_is_not_kept_without_it() -> None:
    assert of("4.4", adds_once, recorded=False)[0] == "FAIL"


@pytest.mark.parametrize(
    ("code", "verdict", "shown"),
    [
        (posts_with_key, "PASS", "with an idempotency key"),
        (posts_resolved, "PASS", "external() asks what became of the one before"),
        (posts, "FAIL", "no key goes with it"),
        (posts_by_a_function, "PASS", "external() asks"),
        (posts_beside, "FAIL", "no key goes with it"),
        (posts_by_a_function_beside, "FAIL", "no key goes with it"),
        (mails, "FAIL", "nothing says whether it was sent before"),
        (reads_elsewhere, "N/A", "changes nothing elsewhere"),
        (adds, "N/A", "changes nothing elsewhere"),
    ],
)
def test_what_is_asked_of_others_carries_a_key(code: Callable[..., Any], verdict: str, shown: str) -> None:
    found, evidence = of("4.5", code)
    assert (found, shown in evidence) == (verdict, True), evidence


def test_code_that_cannot_be_read_is_not_judged() -> None:
    made: dict[str, Any] = {}
    exec("def written(self): pass", made)  # code without a file
    for line in ("4.2", "4.3", "4.4", "4.5"):
        assert of(line, made["written"])[0] == "UNKNOWN"
