"""The way to a real provider that misbehaves: what was charged, what was not, and what nobody knows."""

from __future__ import annotations

import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from steadybeat import Transient
from tasks import app, gateway
from tasks.provider_server import Provider
from tests.integration.payments import ONE, charge, plan, provider_with, rows_of

app.finalize()  # while the tasks of its modules are still on offer to every app

WALLET = "0x00aa"


def test_the_same_key_is_one_charge_and_gets_the_same_answer(provider: Provider, book: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: charge(ONE), range(16)))

    [charged] = rows_of(book, "charges")
    assert answers == [charged] * 16
    assert (charged["state"], charged["amount_cents"], charged["reference"]) == ("paid", 900, "card-payment:1")
    assert gateway.charge_of("key") == charged
    assert gateway.charge_of("another key") is None


def test_a_key_with_other_parameters_is_refused(provider: Provider, book: Path) -> None:
    charge(ONE)

    with pytest.raises(gateway.Refused, match="422 idempotency key 'key' was used for other parameters"):
        charge(ONE._replace(amount_cents=901))

    assert len(rows_of(book, "charges")) == 1


@pytest.mark.parametrize("word", ["lose", "stall", "500", "garble"])
def test_what_was_done_without_a_word_is_found_by_asking(
    provider: Provider, book: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.setattr(gateway, "ANSWER_SECONDS", 0.3)
    plan(provider, word, stall_seconds=30.0)

    with pytest.raises(Transient) as caught:
        charge(ONE)

    assert not isinstance(caught.value, gateway.NotDone)
    monkeypatch.undo()
    monkeypatch.setenv("PROVIDER_URL", provider.url)
    [charged] = rows_of(book, "charges")
    assert gateway.charge_of("key") == charged


@pytest.mark.parametrize("word", ["drop", "503"])
def test_what_may_have_been_done_and_was_not_is_sent_again(provider: Provider, book: Path, word: str) -> None:
    plan(provider, word)

    with pytest.raises(Transient):
        charge(ONE)

    assert gateway.charge_of("key") is None
    assert charge(ONE)["state"] == "paid"
    assert len(rows_of(book, "charges")) == 1


def test_a_provider_with_too_much_to_do_says_how_long_to_wait(provider: Provider, book: Path) -> None:
    plan(provider, "429")

    with pytest.raises(gateway.NotDone, match="429 come back later") as caught:
        charge(ONE)

    assert caught.value.after == timedelta(seconds=1)
    assert rows_of(book, "charges") == []


def test_a_provider_that_is_not_there_has_done_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER_URL", "http://127.0.0.1:1")

    with pytest.raises(gateway.NotDone, match=r"no answer from the provider .*refused"):
        charge(ONE)


def test_the_book_survives_a_restart_of_the_provider(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = []
    for _ in range(2):
        with provider_with(book) as provider:
            monkeypatch.setenv("PROVIDER_URL", provider.url)
            answers += [charge(ONE), gateway.mint(7, WALLET, datetime.now(UTC) + timedelta(minutes=1))]

    assert answers[0] == answers[2]
    assert answers[1] != answers[3]  # it mints whatever it is sent
    assert [each["number"] for each in rows_of(book, "events")] == [1, 2, 3]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/charges", b'{"reference": "a", "amount_cents": 0, "card": "b"}', 400),
        ("POST", "/charges", b'{"reference": "a", "amount_cents": true, "card": "b"}', 400),
        ("POST", "/charges", b"[]", 400),
        ("POST", "/charges", b"{", 400),
        ("POST", "/mints", b'{"ticket_id": 1, "wallet": "0x1", "valid_until": "2026-01-01"}', 400),
        ("POST", "/mints", b'{"ticket_id": 1, "wallet": "0x1", "valid_until": "2026-01-01T00:00:00Z"}', 410),
        ("POST", "/refunds", b'{"charge_id": "x"}', 404),
        ("GET", "/events?after=-1", None, 400),
        ("GET", "/nowhere", None, 404),
        ("PUT", "/mischief", b'{"plan": ["explode"]}', 400),
        ("PUT", "/mischief", b'{"plans": []}', 400),
        ("PUT", "/mischief", b'{"stall_seconds": -1}', 400),
    ],
)
def test_the_provider_answers_a_wrong_request_with_its_reason(
    provider: Provider, method: str, path: str, body: bytes | None, status: int
) -> None:
    request = urllib.request.Request(provider.url + path, data=body, method=method, headers={"Idempotency-Key": "k"})

    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)

    with caught.value as answer:
        assert answer.code == status
        assert b'{"error": "' in answer.read()
