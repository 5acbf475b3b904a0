"""What a run that fans out comes to: who has a turn, when, and what it says in the end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import chain

from steadybeat import FanOut, Permanent, Transient, shuffled
from tests.integration.records import all_at_once, relayed
from tests.integration.working import Work, working

TENANTS = [f"t{number}" for number in range(40)]


class Shop:
    """Tasks of a service that mails: what they do for whom is in each test.

    Attributes:
        work: Its worker.
        told: What `report` was told.
        errors: What `send` raises, by tenant.
        options: Of the fan-out that `everybody` makes.
        tenants: Whom it is for.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.told: list[Any] = []
        self.errors: dict[str, Exception] = {}
        self.options: dict[str, Any] = {"concurrency": 5}
        self.tenants: Any = TENANTS
        app = work.app

        @app.task(name="shop.mail.send", bind=True, max_retries=2, retry_backoff=60, shared=False)
        def send(task: Any, tenant: str, **_: Any) -> str | None:
            if tenant in self.errors:
                raise self.errors[tenant]
            work.done.append(tenant)
            return task.tenant

        @app.task(name="shop.report.report", shared=False)
        def report(counts: Any) -> None:
            self.told.append(counts)

        @app.task(name="shop.main.everybody", bind=True, max_retries=3, retry_backoff=1, shared=False)
        def everybody(task: Any) -> Any:
            return task.fan_out(send, self.tenants, **self.options)

        self.send, self.report, self.everybody = send, report, everybody

    def fanned_out(self) -> str:
        """Have `everybody` fan out, and return its run."""
        run = self.everybody.delay().id
        self.work.work("main")
        return run

    def finish(self, run: str) -> Any:
        """Have everybody's turn come, and return the run as it is then."""
        self.work.work("mail")
        return self.work.run(run)


@pytest.fixture
def shop(ledger_url: str, redis_url: str) -> Iterator[Shop]:
    with working(ledger_url, redis_url) as work:
        yield Shop(work)


def counts(succeeded: int = 0, failed: int = 0, cancelled: int = 0, skipped: int = 0) -> dict[str, int]:
    return {"succeeded": succeeded, "failed": failed, "cancelled": cancelled, "skipped": skipped}


def test_each_tenant_has_a_run_of_its_own_in_the_order_of_the_seed(shop: Shop) -> None:
    shop.options["seed"] = "7"
    run = shop.fanned_out()
    rows = shop.work.rows(run)
    assert [row.tenant for row in rows] == shuffled(TENANTS, "7")
    assert {(str(row.parent_id), row.queue, row.service) for row in rows} == {(run, "mail", "mail")}
    assert {row.idempotency_key for row in rows} == {f"{run}:{tenant}" for tenant in TENANTS}
    waits = shop.work.run(run)
    assert (waits["state"], waits["reason"]) == ("waiting", "waits for 40 tenants")

    ended = shop.finish(run)
    assert shop.work.done == shuffled(TENANTS, "7")
    assert (ended["state"], ended["result"]) == ("succeeded", counts(succeeded=40))
    assert {row.result for row in shop.work.rows(run)} == set(TENANTS)


def test_another_run_has_another_order(shop: Shop) -> None:
    orders = []
    for _ in range(2):
        run = shop.fanned_out()
        seed = shop.work.ledger.fan_outs.whole(run).seed
        orders.append([row.tenant for row in shop.work.rows(run)])
        assert orders[-1] == shuffled(TENANTS, seed)
        shop.finish(run)
    assert orders[0] != orders[1]


def test_no_more_than_the_bound_are_let_in_and_a_place_that_is_free_is_taken_at_once(shop: Shop) -> None:
    run = shop.fanned_out()
    for left in range(40, 0, -1):
        assert shop.work.at_work(run) == shop.work.on("mail") == min(5, left)
        assert shop.work.work("mail", most=1) != [None]
    assert shop.work.run(run)["state"] == "succeeded"


def test_the_bound_holds_however_many_end_and_let_in_at_once(shop: Shop) -> None:
    shop.tenants = range(120)
    shop.options["concurrency"] = 8
    run = shop.fanned_out()
    fan_outs = shop.work.app.steadybeat.fan_outs
    while messages := [message for _ in range(8) if (message := shop.work.take("mail")) is not None]:
        ending = [lambda message=message: shop.work.perform(message) for message in messages]
        all_at_once(*ending, *[lambda: fan_outs.advance(run)] * 3)
        left = sum(row.finished_at is None for row in shop.work.rows(run))
        assert shop.work.at_work(run) == shop.work.on("mail") == min(8, left)
    assert shop.work.run(run)["result"] == counts(succeeded=120)


def test_nobody_begins_before_all_are_on_record_and_an_attempt_that_died_is_made_up_for(shop: Shop) -> None:
    given: list[str] = []

    def half() -> Iterator[str]:
        given.append("asked")
        yield from TENANTS[:20]
        if len(given) == 1:
            raise Transient("the source broke")
        yield from TENANTS[20:]

    shop.tenants = half
    run = shop.fanned_out()
    assert shop.work.on("mail") == 0
    shop.work.app.steadybeat.fan_outs()
    assert shop.work.on("mail") == 0

    shop.work.forward(timedelta(minutes=5))
    shop.work.app.steadybeat.relay()
    shop.work.work("main")
    assert shop.finish(run)["result"] == counts(succeeded=40)
    assert sorted(shop.work.done) == sorted(TENANTS)


def test_a_tenant_that_comes_twice_has_one_run(shop: Shop) -> None:
    shop.tenants = ["acme", "other", "acme", *["acme"] * 2000]
    run = shop.fanned_out()
    assert shop.finish(run)["result"] == counts(succeeded=2)


def test_a_fan_out_for_nobody_is_over_at_once(shop: Shop) -> None:
    shop.tenants, shop.options["on_complete"] = [], shop.report
    run = shop.fanned_out()
    assert (shop.work.run(run)["state"], shop.work.run(run)["result"]) == ("succeeded", counts())


def test_what_one_tenant_fails_with_touches_nobody_else(shop: Shop) -> None:
    shop.errors = {"t3": Permanent("no address"), "t5": ValueError("a bug")}
    run = shop.fanned_out()
    assert shop.finish(run)["state"] == "waiting"
    assert shop.work.tenants(run)["t3"] == "dead"
    for _ in range(2):
        assert shop.work.tenants(run)["t5"] == "waiting"
        shop.work.forward(timedelta(hours=1))
        shop.work.app.steadybeat.fan_outs()
        shop.work.work("mail")
    ended = shop.work.run(run)
    assert (ended["state"], ended["result"]) == ("succeeded", counts(succeeded=38, failed=2))
    assert len(shop.work.done) == len(set(shop.work.done)) == 38


def test_another_attempt_waits_in_line_and_goes_before_those_who_have_not_begun(shop: Shop) -> None:
    shop.options["concurrency"] = 1
    run = shop.fanned_out()
    first = shop.work.rows(run)[0].tenant
    shop.errors = {first: Transient("not now")}
    shop.work.work("mail", most=1)
    row = shop.work.rows(run)[0]
    assert (row.state, row.in_line, shop.work.at_work(run)) == ("waiting", True, 1)
    assert not relayed(shop.work.ledger)

    shop.errors = {}
    shop.work.forward(timedelta(hours=1))
    second, again = shop.work.work("mail", most=2)
    assert second == shop.work.rows(run)[1].tenant
    assert again == first


def test_where_every_tenant_failed_the_run_is_dead(shop: Shop) -> None:
    shop.errors = {tenant: Permanent("the server is gone") for tenant in TENANTS}
    ended = shop.finish(shop.fanned_out())
    assert (ended["state"], ended["reason"]) == ("dead", "all 40 tenants failed")


@pytest.mark.parametrize(("when", "failed"), [(3, 3), (0.1, 4)])
def test_one_that_is_clearly_broken_is_given_up_and_says_so(shop: Shop, when: float, failed: int) -> None:
    shop.options |= {"abort_when": when, "concurrency": 1, "on_complete": shop.report}
    shop.errors = {tenant: Permanent("the server is gone") for tenant in TENANTS}
    run = shop.fanned_out()
    ended = shop.finish(run)
    assert (ended["state"], ended["reason"]) == ("dead", f"{failed} of 40 tenants failed (abort_when={when})")
    assert ended["result"] == counts(failed=failed, cancelled=40 - failed)
    reasons = {row.reason for row in shop.work.rows(run) if row.state == "cancelled"}
    assert reasons == {f"the fan-out was given up: {ended['reason']}"}
    shop.work.app.steadybeat.relay()
    shop.work.work("report")
    assert shop.told == [{"fan_out": run, "state": "dead", **counts(failed=failed, cancelled=40 - failed)}]


def test_who_is_told_the_counts_is_told_once_however_many_find_it_over(shop: Shop) -> None:
    shop.options |= {"on_complete": shop.report.s(), "concurrency": 40}
    run = shop.fanned_out()
    messages = [message for _ in range(40) if (message := shop.work.take("mail")) is not None]
    for message in messages[:-1]:
        shop.work.perform(message)
    fan_outs = shop.work.app.steadybeat.fan_outs
    all_at_once(lambda: shop.work.perform(messages[-1]), *[lambda: fan_outs.advance(run)] * 4, *[fan_outs] * 2)
    shop.work.app.steadybeat.relay()
    shop.work.work("report")
    assert shop.told == [{"fan_out": run, "state": "succeeded", **counts(succeeded=40)}]


def test_what_follows_it_in_a_chain_comes_when_all_have_ended(shop: Shop) -> None:
    run = chain(shop.everybody.si(), shop.report.s()).apply_async().parent.id
    shop.work.work("main")
    shop.work.app.steadybeat.relay()
    assert shop.work.on("report") == 0
    assert shop.finish(run)["state"] == "succeeded"
    shop.work.app.steadybeat.relay()
    shop.work.work("report")
    assert shop.told == [counts(succeeded=40)]


def test_cancelling_it_cancels_those_in_line_and_asks_those_at_work(shop: Shop) -> None:
    run = shop.fanned_out()
    begun = shop.work.take("mail")
    assert begun is not None
    shop.work.ledger.cancelling.request([run], "wrong month (ann)")
    shop.work.app.steadybeat.fan_outs()
    rows = {row.tenant: row for row in shop.work.rows(run)}
    assert {row.state for row in rows.values()} == {"cancelled"}
    assert shop.work.run(run)["state"] == "cancelled"
    assert {row.reason for row in rows.values()} == {"the fan-out was given up: wrong month (ann)"}
    shop.work.perform(begun)
    assert shop.work.work("mail") and not shop.work.done


def test_a_run_of_it_that_is_worked_on_is_asked_to_end(shop: Shop) -> None:
    run = shop.fanned_out()
    asked = []

    def cancels(tenant: str) -> None:
        shop.work.ledger.cancelling.request([run], "wrong month (ann)")
        shop.work.app.steadybeat.fan_outs()
        (row,) = [row for row in shop.work.rows(run) if row.tenant == tenant]
        asked.append((row.state, row.cancel_requested_at is not None))

    shop.errors = Asking(cancels)
    shop.work.work("mail", most=1)
    assert asked == [("running", True)]


class Asking(dict[str, Exception]):
    """Errors of nobody, and a look at whoever begins."""

    def __init__(self, look: Any) -> None:
        self._look = look

    def __contains__(self, tenant: object) -> bool:
        self._look(tenant)
        return False


def test_they_begin_evenly_over_the_spread(shop: Shop) -> None:
    shop.options |= {"spread": timedelta(hours=1), "concurrency": 40}
    run = shop.fanned_out()
    due = [row.not_before for row in shop.work.rows(run)]
    assert due == sorted(due)
    assert timedelta(minutes=40) < due[-1] - due[0] < timedelta(hours=1)
    assert shop.work.on("mail") <= 1

    shop.work.forward(timedelta(minutes=30))
    shop.work.app.steadybeat.fan_outs()
    assert 10 < shop.work.on("mail") < 30
    shop.work.work("mail")
    shop.work.forward(timedelta(minutes=30))
    shop.work.app.steadybeat.fan_outs()
    assert shop.finish(run)["result"] == counts(succeeded=40)


def test_named_arguments_come_with_each_tenant(shop: Shop) -> None:
    shop.options["kwargs"] = {"period": "2026-11"}
    shop.fanned_out()
    message = shop.work.take("mail")
    assert message is not None
    assert (message.args, message.kwargs) == ([message.tenant], {"period": "2026-11"})


def test_a_task_with_for_each_fans_out_where_it_is_called_without_arguments(shop: Shop) -> None:
    app = shop.work.app

    @app.task(name="shop.own.send", bind=True, for_each=FanOut(lambda: iter(TENANTS), concurrency=3), shared=False)
    def own(self: Any, tenant: str) -> None:
        shop.work.done.append(tenant)

    run = own.delay().id
    assert sorted(filter(None, shop.work.work("own"))) == sorted(TENANTS)
    assert shop.work.run(run)["result"] == counts(succeeded=40)

    own.delay("acme")
    assert shop.work.work("own") == [None]
    assert shop.work.done[40:] == ["acme"]


def test_a_message_that_redis_did_not_take_is_sent_by_the_relay(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise OSError("Redis is away")

    with monkeypatch.context() as patched:
        patched.setattr(shop.work.app.steadybeat.relay, "send", away)
        run = shop.fanned_out()
    assert shop.work.on("mail") == 0
    shop.work.app.steadybeat.relay()
    assert shop.work.on("mail") == 5
    assert shop.finish(run)["result"] == counts(succeeded=40)
