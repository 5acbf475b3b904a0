"""What a run that fans out comes to: who has a turn, when, and what it says in the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import chain

from steadybeat import FanOut, Permanent, Transient, shuffled, telemetry
from steadybeat.errors import ConfigurationError
from steadybeat.telemetry.facts import instant
from tests.integration.records import all_at_once, relayed
from tests.integration.shop_of_tenants import TENANTS, Shop, counts
from tests.integration.working import working


@pytest.fixture
def shop(ledger_url: str, redis_url: str) -> Iterator[Shop]:
    with working(ledger_url, redis_url) as work:
        yield Shop(work)


def test_each_tenant_has_a_run_of_its_own_in_the_order_of_the_seed(shop: Shop) -> None:
    shop.options["seed"] = "7"
    run = shop.fanned_out()
    rows = shop.work.rows(run)
    assert [row.tenant for row in rows] == shuffled(TENANTS, "7")
    assert {(str(row.fan_out), row.queue, row.service) for row in rows} == {(run, "mail", "mail")}
    assert {row.idempotency_key for row in rows} == {f"{run}:{tenant}" for tenant in TENANTS}
    waits = shop.work.run(run)
    assert (waits["state"], waits["reason"]) == ("waiting", "waits for 40 tenants")
    assert shop.everybody.AsyncResult(run).state == "STARTED"

    ended = shop.finish(run)
    assert shop.work.done == shuffled(TENANTS, "7")
    assert (ended["state"], ended["result"]) == ("succeeded", counts(succeeded=40))
    assert {row.result for row in shop.work.rows(run)} == set(TENANTS)
    assert shop.everybody.AsyncResult(run).get() == counts(succeeded=40)


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


def test_a_tenants_run_is_for_the_fire_of_its_fan_out_and_every_line_says_for_whom(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []

    @shop.work.app.task(name="shop.fire.send", bind=True, shared=False)
    def send(self: Any, tenant: str) -> None:
        seen.append((self.tenant, self.scheduled_for, {**telemetry.bound()}))

    @shop.work.app.task(name="shop.main.fire", bind=True, shared=False)
    def fire(self: Any) -> Any:
        assert self.tenant is None
        return self.fan_out(send, ["acme"])

    at = datetime(2026, 11, 22, 6, tzinfo=UTC)
    headers = {"steadybeat_schedule": "nightly", "steadybeat_scheduled_for": at.isoformat()}
    fire.apply_async(headers=headers, idempotency_key="nightly@6")
    shop.work.work("main")
    shop.work.work("fire")
    ((tenant, scheduled_for, facts),) = seen
    assert (tenant, scheduled_for) == ("acme", at)
    assert (facts["tenant"], facts["schedule"], facts["scheduled_for"]) == ("acme", "nightly", instant(at))


def test_of_two_fan_outs_on_one_queue_neither_waits_for_the_other(shop: Shop) -> None:
    shop.options["concurrency"] = 2
    first, second = shop.fanned_out(), shop.fanned_out()
    order = []
    while (message := shop.work.take("mail")) is not None:
        shop.work.perform(message)
        order.append(message.headers["parent_id"])
    for start in range(4, 76, 4):
        assert sorted(order[start : start + 4]) == sorted([first, second] * 2)


def test_a_fan_out_twice_in_one_run_is_refused(shop: Shop) -> None:
    @shop.work.app.task(name="shop.main.twice", bind=True, shared=False)
    def twice(self: Any) -> Any:
        self.fan_out(shop.send, ["a"])
        return self.fan_out(shop.send, ["b"])

    run = twice.delay().id
    shop.work.work("main")
    ended = shop.work.run(run)
    assert ended["state"] == "dead"
    assert "a run fans out once" in ended["reason"]
    shop.work.app.steadybeat.fan_outs()
    assert shop.work.tenants(run) == {"a": "cancelled"}


def test_a_task_that_goes_on_although_its_fan_out_failed_is_dead(shop: Shop) -> None:
    @shop.work.app.task(name="shop.main.careless", bind=True, shared=False)
    def careless(self: Any) -> str:
        with suppress(ConfigurationError):
            self.fan_out(shop.send, ["a", None])
        return "well done"

    run = careless.delay().id
    shop.work.work("main")
    ended = shop.work.run(run)
    assert (ended["state"], "let that pass" in ended["reason"]) == ("dead", True)


def test_a_fan_out_after_the_last_effect_of_a_run_is_refused(shop: Shop) -> None:
    @shop.work.app.task(name="shop.main.after", bind=True, shared=False)
    def after(self: Any) -> Any:
        with self.exactly_once():
            pass
        return self.fan_out(shop.send, ["a"])

    run = after.delay().id
    shop.work.work("main")
    assert "fan_out() after exactly_once()" in shop.work.run(run)["reason"]


def test_a_task_whose_runs_are_not_recorded_cannot_run_for_each(shop: Shop) -> None:
    @shop.work.app.task(name="shop.loose.send", recorded=False, shared=False)
    def loose(tenant: str) -> None: ...

    @shop.work.app.task(name="shop.main.loose", bind=True, shared=False)
    def everybody(self: Any) -> Any:
        return self.fan_out(loose, ["a"])

    run = everybody.delay().id
    shop.work.work("main")
    assert "leave recorded=False out" in shop.work.run(run)["reason"]


def test_a_task_that_takes_no_tenant_is_refused(shop: Shop) -> None:
    @shop.work.app.task(name="shop.other.send", shared=False)
    def other(*, period: str) -> None: ...

    @shop.work.app.task(name="shop.main.other", bind=True, shared=False)
    def everybody(self: Any) -> Any:
        return self.fan_out(other, ["a"], kwargs={"period": "2026-11"})

    run = everybody.delay().id
    shop.work.work("main")
    assert "cannot be called with a tenant" in shop.work.run(run)["reason"]


def test_a_task_of_another_program_is_named(shop: Shop) -> None:
    @shop.work.app.task(name="shop.main.named", bind=True, shared=False)
    def everybody(self: Any) -> Any:
        return self.fan_out("elsewhere.mail.send", ["acme", 7])

    shop.work.app.conf.task_create_missing_queues = True
    run = everybody.delay().id
    shop.work.work("main")
    assert {row.tenant: (row.task, row.queue) for row in shop.work.rows(run)} == {
        "acme": ("elsewhere.mail.send", "mail"),
        "7": ("elsewhere.mail.send", "mail"),
    }
