"""Promise: every run is found, and its page tells what became of it and why, and lets those act who may."""

from __future__ import annotations

import json
import uuid
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from steadybeat.ledger.lines import Lines
from tests.integration.pages import histories
from tests.integration.pages.conftest import Site
from tests.integration.pages.histories import EVIL, ago, dead, inserted, retried, state_of, succeeded
from tests.integration.records import alive, operations_of, relayed


def pay(*_: Any, **__: Any) -> None:
    """Pay."""


def promo(*_: Any, **__: Any) -> None:
    """Promote."""


@pytest.fixture(autouse=True)
def orders(site: Site) -> None:
    site.app.task(pay, name="shop.orders.pay", severity="critical", shared=False)
    site.app.task(promo, name="shop.mail.promo", shared=False)
    site.app.finalize()


class Line:
    """What a run has logged."""

    def __init__(self, run: str, event: str, level: str = "info", **said: Any) -> None:
        self.run, self.event, self.level, self.fields = run, event, level, said
        self.at = ago(seconds=5)


@pytest.mark.parametrize(
    "asked",
    [
        "task=shop.orders.pay", "service=orders", "state=dead", "tenant=acme", "key=sale:7", "error=connection+answer",
        "since=1h", "until=2100-01-01T00:00Z&since=1d", "service=orders&state=dead&tenant=acme&error=Connection",
    ],
)  # fmt: skip
def test_a_run_is_found_by_each_thing_that_is_asked_for_and_by_all_together(site: Site, asked: str) -> None:
    wanted = dead(site.ledger, idempotency_key="sale:7", tenant="acme")
    other = inserted(site.ledger, task="other.task", service="other", enqueued_at=ago(days=40))
    answer = site.get(f"/runs?{asked}")
    assert answer.status == 200
    assert f'id="run-{wanted}"' in answer.html
    assert f'id="run-{other}"' not in answer.html
    assert f"/run/{wanted}" in answer.links()


@pytest.mark.parametrize(
    "asked", ["task=no", "service=no", "state=running", "tenant=no", "key=no", "error=no", "since=1m&until=1m"]
)
def test_a_search_that_finds_nothing_says_so(site: Site, asked: str) -> None:
    inserted(site.ledger, enqueued_at=ago(days=2), finished_at=ago(days=1), state="succeeded")
    answer = site.get(f"/runs?{asked}")
    assert (answer.status, "No such runs" in answer.text) == (200, True)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("state=deda", "must be one of enqueued"),
        ("since=tomorrow", "must be an instant such as"),
        ("since=1h&until=2h", "since: is later than until"),
        ("error=***", "has no word in it"),
        ("after=x", "is no place in this list"),
        ("after=2026-01-01T00:00:00%2B00:00~x", "is no id of a run"),
        ("tenant=" + "x" * 201, "200 characters at the most"),
        ("key=%00", "must be text"),
    ],
)
def test_a_search_that_cannot_be_says_what_is_wrong(site: Site, asked: str, said: str) -> None:
    answer = site.get(f"/runs?{asked}")
    assert answer.status in {400, 404}
    assert said in answer.text


def test_pages_of_runs_follow_each_other_to_the_last(site: Site) -> None:
    made = [inserted(site.ledger, enqueued_at=ago(minutes=n // 3)) for n in range(120)]
    seen, address = [], "/runs?task=t"
    for _ in range(9):
        answer = site.get(address)
        seen += [each.removeprefix("/run/") for each in answer.links("/run/")]
        onward = [each for each in answer.links("/runs?") if "after=" in each]
        if not onward:
            break
        address = onward[0]
    assert len(seen) == len(made) == len({*seen})
    assert {*seen} == {*made}


def test_the_page_of_a_run_tells_its_story_from_the_call_to_the_effect(site: Site) -> None:
    book = site.ledger
    parent = succeeded(book)
    run = succeeded(book, result=json.dumps({"paid": 7, "secret": "hunter2"}), parent_id=parent)
    text = site.get(f"/run/{run}").text
    order = ["On record", "called it", "Attempt 1 began", "Attempt 1 succeeded", "Effect", "Succeeded"]
    places = [text.index(each) for each in order]
    assert places == sorted(places)
    assert "It succeeded, after 1 attempt." in text
    assert '"paid": 7' in text
    assert f"/run/{parent}" in site.get(f"/run/{run}").links()
    assert f"/run/{run}" in site.get(f"/run/{parent}").links()  # which it called


def test_each_retry_says_which_error_it_came_of_and_when_the_next_attempt_begins(site: Site) -> None:
    run = retried(site.ledger)
    answer = site.get(f"/run/{run}")
    assert "Attempt 1 failed, another follows" in answer.text
    assert "It waits: retry in 1 h: ConnectionError" in answer.text
    assert "It goes on at" in answer.text
    assert "Next message (to come)" in answer.text
    assert "ConnectionError: https://user:***@bank.example/pay answered 502" in answer.text
    assert "<details" in answer.html


def test_a_run_at_work_says_on_which_instance_until_when_and_how_far_it_is(site: Site) -> None:
    book = site.ledger
    instance = alive(book)
    run = histories.sent(book)
    claim = histories.claimed(book, run, instance)
    book.progress.write(run.id, claim.fence, done=250, total=1000, checkpoint={"token": "hunter2", "sale": 250})
    answer = site.get(f"/run/{run.id}")
    assert f"Attempt 1 is at work on here:1, under fence {claim.fence}." in answer.text
    assert "Its lease ends at" in answer.text
    assert "gives signs of life" in answer.text
    assert "250 of 1,000 items (25 %)" in answer.text
    assert '<progress max="1000" value="250"' in answer.html
    assert '"sale": 250' in answer.text


def test_a_run_that_nobody_fetches_says_that_no_worker_consumes(site: Site) -> None:
    run = histories.sent(site.ledger, queue="nowhere")
    assert "No worker that is alive consumes from that queue." in site.get(f"/run/{run.id}").text


def test_duplicates_people_and_lines_are_in_the_story(site: Site) -> None:
    book = site.ledger
    run = dead(book)
    book.duplicates.note(run, task="t", schedule=None, cause="sent_twice", detail="it is dead", instance=alive(book))
    book.story.note("ann", "runs cancel", run, "password=hunter2 was wrong")
    lines = [Line(run, "paying", amount=3, token="hunter2"), Line(run, "refused", "error", stack="Trace\nhunter: x")]
    Lines(book.database, book.settings.__class__(database_url="postgresql://x/y", log_lines_count=50)).keep(lines)
    text = site.get(f"/run/{run}").text
    assert "A duplicate was turned away" in text
    assert "sent twice: it is dead." in text
    assert "Runs cancel ann password=*** was wrong" in text
    assert "paying amount=3" in text.replace("token=*** ", "")
    assert "hunter2" not in text


def test_no_page_shows_a_secret_of_arguments_results_errors_and_lines(site: Site) -> None:
    book = site.ledger
    ids = [
        dead(book, reason="ConnectionError: password=hunter2"),
        retried(book),
        succeeded(book, result='{"token": "hunter2"}'),
    ]
    for path in [
        *(f"/run/{each}" for each in ids),
        "/runs",
        "/dead-letters",
        *site.get("/dead-letters").links("/dead-letters/of"),
    ]:
        answer = site.get(path)
        assert answer.status == 200
        assert "hunter2" not in answer.html, path
        assert "<script>alert" not in answer.html


def test_odd_runs_are_shown_all_the_same(site: Site) -> None:
    gone = uuid.uuid4()
    facts: dict[str, Any] = {"task": EVIL, "service": EVIL, "queue": EVIL, "tenant": EVIL, "idempotency_key": EVIL}
    over = {"finished_at": ago(seconds=1), "reason": EVIL}
    at_work = {"state": "running", "instance": gone, "attempt_count": 2, "started_at": ago(seconds=9)}
    odd = [
        inserted(site.ledger, **facts, parent_id=gone, rerun_of=gone, fan_out=gone, result=None, checkpoint=None),
        inserted(site.ledger, body="no JSON", message={"headers": None}, state="dead", error=EVIL, **over),
        inserted(site.ledger, schedule=EVIL, scheduled_for=ago(days=99), state="cancelled", **over),
        inserted(site.ledger, state="succeeded", items_done=5, items_total=0, **over),
        inserted(site.ledger, items_done=3, progressed_at=ago(seconds=1), **at_work),
        inserted(site.ledger, state="waiting", in_line=True, reason=EVIL, not_before=ago(hours=-2), group_id=EVIL),
    ]
    for path in [
        *(f"/run/{each}" for each in odd),
        "/runs",
        f"/runs?task={quote(EVIL)}",
        f"/runs?tenant={quote(EVIL)}",
        "/dead-letters",
    ]:
        answer = site.get(path)
        assert answer.status == 200, (path, answer.text)
        assert "<script>alert" not in answer.html
        assert 'alert("1")' not in answer.html


@pytest.mark.parametrize("written", ["nope", "00000000-0000-0000-0000-000000000000", quote(EVIL, safe="")])
def test_a_run_that_is_not_on_record_is_said_to_be_so(site: Site, written: str) -> None:
    answer = site.get(f"/run/{written}")
    assert (answer.status, "Not on record" in answer.text) == (404, True)


def test_only_those_who_may_act_see_how(site: Site) -> None:
    run = dead(site.ledger)
    assert '<form method="post"' not in site.get(f"/run/{run}", "eve").html
    assert f'action="/run/{run}/retry"' in site.get(f"/run/{run}", "bob").html
    assert "second time" not in site.get(f"/run/{run}", "bob").html  # its task is critical
    assert "second time" in site.get(f"/run/{run}", "ann").html


def test_a_dead_run_is_tried_at_once_and_who_asked_is_on_record(site: Site) -> None:
    run = dead(site.ledger)
    answer = site.post(f"/run/{run}/retry", "bob", reason="the bank is back")
    assert (answer.status, answer.location) == (303, f"/run/{run}")
    assert "It gets another attempt at once." in site.get(f"/run/{run}", "bob").text
    assert state_of(site.ledger, run) == "waiting"
    assert operations_of(site.ledger) == [("dead requeue", run, "bob", "the bank is back")]
    assert site.post(f"/run/{run}/retry", "bob", reason="again").status in {303, 409}


def test_a_run_that_waits_for_its_time_goes_on_at_once(site: Site) -> None:
    run = retried(site.ledger)
    assert relayed(site.ledger) == []
    assert site.post(f"/run/{run}/retry", "bob", reason="the bank is back").status == 303
    assert [each.run for each in relayed(site.ledger)] == [run]
    assert operations_of(site.ledger) == [("runs hasten", run, "bob", "the bank is back")]
    claim = site.ledger.runs.claim(run, delivery_no=2, instance=alive(site.ledger), time_limit_seconds=9, crash_limit=3)
    assert claim.verdict == "claimed"


def test_what_does_not_wait_for_a_time_is_not_hastened(site: Site) -> None:
    run = histories.sent(site.ledger).id
    answer = site.post(f"/run/{run}/retry", "bob", reason="hurry")
    assert answer.status == 409
    assert f"Run {run} does not wait for a time: it is enqueued." in answer.text
    assert operations_of(site.ledger) == []


def test_a_run_is_cancelled_and_a_second_time_it_is_too_late(site: Site) -> None:
    run = histories.sent(site.ledger).id
    assert site.post(f"/run/{run}/cancel", "bob", reason="wrong tariff").status == 303
    assert state_of(site.ledger, run) == "cancelled"
    assert "wrong tariff (bob)" in site.get(f"/run/{run}").text
    assert operations_of(site.ledger) == [("runs cancel", run, "bob", "wrong tariff")]
    again = site.post(f"/run/{run}/cancel", "bob", reason="wrong tariff")
    assert (again.status, "had ended before" in again.text) == (409, True)


def test_a_rerun_of_what_has_had_its_effect_is_refused_unless_it_is_to_happen_again(site: Site) -> None:
    run = succeeded(site.ledger, task="shop.mail.promo", message={"headers": {}, "properties": {}})
    answer = site.post(f"/run/{run}/rerun", "bob", reason="not sure")
    assert answer.status == 303
    assert "Nothing to do: the effect happened" in site.get(answer.location, "bob").text
    assert operations_of(site.ledger) == []


def test_a_second_effect_of_a_critical_task_takes_an_administrator(site: Site) -> None:
    run = succeeded(site.ledger)
    refused = site.post(f"/run/{run}/rerun", "bob", reason="pay twice", again="1")
    assert refused.status == 400
    assert "is of severity critical, and its effect would happen a second time" in refused.text
    assert "This is for admins, and bob is an operator" in refused.text
    assert site.ledger.story.run(run)["reruns"] == []  # type: ignore[index]


def test_a_rerun_is_on_record_before_it_is_sent_and_leads_to_the_new_run(site: Site) -> None:
    run = dead(site.ledger)
    answer = site.post(f"/run/{run}/rerun", "bob", reason="the bank is back")  # Redis is away: the relay sends it
    (rerun,) = site.ledger.story.run(run)["reruns"]  # type: ignore[index]
    assert (answer.status, answer.location) == (303, f"/run/{rerun['id']}")
    assert f"This is the rerun of {run}" in site.get(answer.location, "bob").text
    assert operations_of(site.ledger) == [("runs rerun", run, "bob", "the bank is back")]
    again = site.post(f"/run/{run}/rerun", "bob", reason="and again")
    assert (again.status, "which is" in again.text) == (409, True)


def test_the_lines_elsewhere_are_linked_where_a_setting_says_where_they_are(open_site: Any) -> None:
    site = open_site(steadybeat_logs_url="https://logs.example/?q={run_id}&task={task}")
    run = succeeded(site.ledger)
    assert f"https://logs.example/?q={run}&task=shop.orders.pay" in site.get(f"/run/{run}").links("https://")


def test_pace_and_what_is_left_are_told_of_a_run_at_work(site: Site) -> None:
    run = inserted(
        site.ledger, state="running", attempt_count=1, items_done=100, items_total=300, progressed_at=ago(seconds=0),
        started_at=ago(seconds=100), instance=alive(site.ledger),
    )  # fmt: skip
    with site.ledger.database.transaction() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO steadybeat.attempts (run, number, instance, fence, started_at)"
                " VALUES (:run, 1, :run, 1, clock_timestamp() - interval '100 seconds')"
            ),
            {"run": run},
        )
    text = site.get(f"/run/{run}").text
    assert "100 of 300 items (33 %), 1.0 a second, 3 min left" in text
