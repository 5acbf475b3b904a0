"""Promise: dead letters are told by what they died of, and nothing is decided about many of them unseen."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from steadybeat.pages import dead_letters
from tests.integration.pages.conftest import Answer, Site
from tests.integration.pages.histories import EVIL, ago, dead, inserted, state_of, succeeded
from tests.integration.records import operations_of

TASK = "shop.orders.pay"
HEAD = "ConnectionError: no answer from #.#.#.#"


def group(site: Site, user: str = "bob", task: str = TASK, head: str = HEAD) -> Answer:
    return site.get(f"/dead-letters/of/{quote(task, safe='')}?head={quote(head)}", user)


def preview(site: Site, what: str = "requeue", user: str = "bob", task: str = TASK, head: str = HEAD) -> Answer:
    return site.post(f"/dead-letters/{what}/preview", user, task=task, head=head, reason="the bank is back")


def fields(answer: Answer) -> dict[str, str]:
    """The hidden fields of the form that confirms."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', answer.html)
    return {name: unescape(value) for name, value in found if name != "_xsrf"}


def foreign(site: Site, raw: bytes = b"{not json", queue: str = "orders", reason: str = "it is no JSON") -> int:
    statement = (
        "INSERT INTO steadybeat.foreign_messages (queue, raw, reason) VALUES (:queue, :raw, :reason) RETURNING id"
    )
    values = {"queue": queue, "raw": raw, "reason": reason}
    with site.ledger.database.transaction() as connection:
        return int(connection.execute(sa.text(statement), values).scalar_one())


def test_letters_that_differ_only_in_numbers_are_one_group_and_the_largest_comes_first(site: Site) -> None:
    for n in range(3):
        dead(site.ledger, f"ConnectionError: no answer from 10.0.0.{n}")
    dead(site.ledger, "KeyError: 'iban'")
    dead(site.ledger, "KeyError: 'iban'", task="shop.mail.send", service="mail")
    answer = site.get("/dead-letters")
    assert "5 dead letters in 3 groups" in answer.text
    links = answer.links("/dead-letters/of/")
    assert links[0] == f"/dead-letters/of/{TASK}?head={quote(HEAD, safe='').replace('%20', '+')}"
    assert "3 letters of shop.orders.pay" in answer.html
    assert "1 dead letter in 1 group" in site.get("/dead-letters?service=mail").text
    assert "2 dead letters in 2 groups" in site.get("/dead-letters?error=IBAN").text
    assert "No such dead letters" in site.get(f"/dead-letters?task={TASK}&until=3d").text


def test_a_group_shows_its_letters_page_by_page(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "ROWS", 2)
    made = {dead(site.ledger) for _ in range(5)}
    dead(site.ledger, "KeyError: 'iban'")
    seen, address = [], f"/dead-letters/of/{TASK}?head={quote(HEAD)}"
    for _ in range(3):
        answer = site.get(address)
        seen += [each.removeprefix("/run/") for each in answer.links("/run/")]
        address = next((each for each in answer.links("/dead-letters/of/") if "after=" in each), "")
    assert (address, len(seen), {*seen}) == ("", 5, made)


def test_a_preview_changes_nothing_and_names_what_would_be_requeued_and_what_would_be_left(site: Site) -> None:
    runs = [dead(site.ledger) for _ in range(2)]
    over = dead(site.ledger, idempotency_key="sale:1")
    by = succeeded(site.ledger, idempotency_key="sale:1")
    answer = preview(site)
    assert "2 dead letters would be requeued" in answer.text
    assert f"Nothing to do for run {over}: the effect happened" in answer.text
    assert by in answer.text
    assert {*fields(answer)["runs"].split()} == {*runs}
    assert [state_of(site.ledger, each) for each in (*runs, over)] == ["dead"] * 3
    assert operations_of(site.ledger) == []


def test_what_was_previewed_is_requeued_with_who_and_why(site: Site) -> None:
    runs = [dead(site.ledger) for _ in range(3)]
    answer = site.post("/dead-letters/requeue", "bob", **fields(preview(site)))
    assert (answer.status, answer.location) == (303, "/dead-letters")
    assert "3 dead letters of 3 requeued." in site.get(answer.location, "bob").text
    assert [state_of(site.ledger, each) for each in runs] == ["waiting"] * 3
    done = {(what, target, who, why) for what, target, who, why in operations_of(site.ledger)}
    assert done == {("dead requeue", each, "bob", "the bank is back") for each in runs}


def test_what_has_changed_since_the_preview_is_told_and_left(site: Site) -> None:
    first, second = dead(site.ledger), dead(site.ledger)
    seen = fields(preview(site))
    assert site.ledger.dead.requeue([first], who="eve", reason="quicker") == [first]
    later = dead(site.ledger)
    answer = site.post("/dead-letters/requeue", "bob", **seen)
    text = site.get(answer.location, "bob").text
    assert "1 dead letter of 2 requeued." in text
    assert f"1 changed since the preview and were left: Run {first} is no dead letter: it is waiting." in text
    assert "1 of the group were not in the preview." in text
    assert (state_of(site.ledger, second), state_of(site.ledger, later)) == ("waiting", "dead")


def test_where_nothing_of_a_preview_is_left_that_is_said(site: Site) -> None:
    run = dead(site.ledger)
    seen = fields(preview(site))
    site.ledger.dead.discard([run], who="eve", reason="quicker")
    answer = site.post("/dead-letters/requeue", "bob", **seen)
    assert answer.status == 409
    assert "None of the 1 was requeued." in answer.text


def test_a_run_that_was_pruned_since_is_told(site: Site) -> None:
    seen = fields(preview_of_one(site))
    seen["runs"] += " 00000000-0000-0000-0000-000000000001"
    answer = site.post("/dead-letters/requeue", "bob", **seen)
    assert "00000000-0000-0000-0000-000000000001 is not on record any more." in site.get(answer.location, "bob").text


def preview_of_one(site: Site) -> Answer:
    dead(site.ledger)
    return preview(site)


@pytest.mark.parametrize("runs", ["", "x", "1 2"])
def test_ids_that_no_preview_gives_are_refused(site: Site, runs: str) -> None:
    answer = site.post("/dead-letters/requeue", "bob", task=TASK, head=HEAD, runs=runs, reason="no")
    assert answer.status in {400, 404}


def test_only_an_administrator_discards_and_sees_first_what(site: Site) -> None:
    run = dead(site.ledger)
    assert "Discard all" not in group(site, "bob").text
    assert "Discard all" in group(site, "ann").text
    assert preview(site, "discard", "bob").status == 403
    seen = fields(preview(site, "discard", "ann"))
    assert site.post("/dead-letters/discard", "bob", **seen).status == 403
    assert state_of(site.ledger, run) == "dead"
    assert site.post("/dead-letters/discard", "ann", **seen).status == 303
    assert state_of(site.ledger, run) == "cancelled"
    assert operations_of(site.ledger) == [("dead discard", run, "ann", "the bank is back")]


def test_no_more_are_decided_about_at_a_time_than_a_statement_can(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "MOST", 2)
    for _ in range(3):
        dead(site.ledger)
    answer = preview(site)
    assert len(fields(answer)["runs"].split()) == 2
    assert "More than 2 fit." in answer.text


def test_groups_of_odd_letters_can_be_opened(site: Site) -> None:
    facts: dict[str, Any] = {"state": "dead", "finished_at": ago(seconds=1)}
    inserted(site.ledger, task=EVIL, reason=EVIL, error=EVIL, tenant=EVIL, **facts)
    inserted(site.ledger, task="a/b", reason="\n\nnothing on the first line", **facts)
    inserted(site.ledger, task="%2F", reason="x" * 5000 + " 7", **facts)
    links = site.get("/dead-letters").links("/dead-letters/of/")
    assert len(links) == 3
    for link in links:
        answer = site.get(link)
        assert answer.status == 200
        assert len(answer.links("/run/")) == 1
        assert "<script>alert" not in answer.html


def test_a_message_that_nobody_could_read_is_shown_without_harm_and_thrown_away_by_an_administrator(site: Site) -> None:
    number = foreign(site, b"\x80\x04password=hunter2 <script>alert(1)</script>\x00", reason=EVIL)
    page = f"/dead-letters/message/{number}"
    assert page in site.get("/dead-letters").links("/dead-letters/message")
    answer = site.get(page)
    assert answer.status == 200
    assert "hunter2" not in answer.html
    assert "<script>alert" not in answer.html
    assert site.post(f"{page}/discard", "bob", reason="a test").status == 403
    assert site.post(f"{page}/discard", "ann", reason="a test").status == 303
    assert site.get(page).status == 404
    assert operations_of(site.ledger) == [("dead discard", f"foreign:{number}", "ann", "a test")]
    assert site.post(f"{page}/discard", "ann", reason="again").status == 409


def test_while_redis_is_away_a_message_is_kept(site: Site) -> None:
    number = foreign(site)
    answer = site.post(f"/dead-letters/message/{number}/requeue", "bob", reason="it is right")
    assert (answer.status, "Redis does not answer" in answer.text) == (503, True)
    assert site.get(f"/dead-letters/message/{number}").status == 200


def test_a_number_that_is_too_high_is_not_on_record(site: Site) -> None:
    assert site.get(f"/dead-letters/message/{'9' * 40}").status == 404
    assert site.get(f"/alert/{'9' * 40}").status == 404
