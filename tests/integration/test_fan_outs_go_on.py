"""Fan-outs that go on: because a person asks for tenants that failed, or after their own run has died."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from steadybeat import Permanent
from tests.integration.shop_of_tenants import TENANTS, Shop, counts
from tests.integration.working import working

ANN = {"who": "ann", "reason": "the bank is back"}


@pytest.fixture
def shop(ledger_url: str, redis_url: str) -> Iterator[Shop]:
    with working(ledger_url, redis_url) as work:
        yield Shop(work)


def dead(shop: Shop, run: str) -> list[str]:
    return [str(row.id) for row in shop.work.rows(run) if row.state == "dead"]


def moved_on(shop: Shop) -> None:
    shop.work.app.steadybeat.fan_outs()
    shop.work.work("mail")


def reports(shop: Shop) -> list[Any]:
    shop.work.app.steadybeat.relay()
    shop.work.work("report")
    return [told["state"] for told in shop.told]


def test_only_the_tenants_that_failed_have_another_try(shop: Shop) -> None:
    shop.errors = {tenant: Permanent("no") for tenant in TENANTS[:3]}
    shop.options["on_complete"] = shop.report
    run = shop.fanned_out()
    assert shop.finish(run)["result"] == counts(succeeded=37, failed=3)
    before, shop.errors = [*shop.work.done], {}

    assert shop.work.ledger.reopening.reopen(run, ["dead"], what="runs rerun", **ANN) == 3
    again = shop.work.run(run)
    assert (again["state"], again["finished_at"]) == ("waiting", None)
    moved_on(shop)
    assert sorted(shop.work.done[len(before) :]) == TENANTS[:3]
    assert shop.work.run(run)["result"] == counts(succeeded=40)
    assert reports(shop) == ["succeeded", "succeeded"]


def test_where_nobody_failed_nothing_changes(shop: Shop) -> None:
    run = shop.fanned_out()
    ended = shop.finish(run)
    assert shop.work.ledger.reopening.reopen(run, ["dead"], what="runs rerun", **ANN) == 0
    assert shop.work.run(run) == ended


def test_a_dead_letter_of_a_tenant_that_is_requeued_goes_in_line_and_its_fan_out_goes_on(shop: Shop) -> None:
    shop.errors = {tenant: Permanent("no") for tenant in TENANTS[:2]}
    run = shop.fanned_out()
    shop.finish(run)
    shop.errors = {TENANTS[1]: Permanent("no")}
    assert len(shop.work.ledger.dead.requeue(dead(shop, run), **ANN)) == 2
    assert shop.work.run(run)["reason"] == "waits for tenants that have another try"
    assert shop.work.ledger.outbox.next_due() is None
    moved_on(shop)
    assert shop.work.run(run)["result"] == counts(succeeded=39, failed=1)


def test_one_that_was_given_up_goes_on_with_all_that_have_not_succeeded(shop: Shop) -> None:
    shop.options |= {"abort_when": 2, "concurrency": 1}
    shop.errors = {tenant: Permanent("no") for tenant in TENANTS[:20]}
    run = shop.fanned_out()
    assert shop.finish(run)["state"] == "dead"
    shop.errors = {}
    assert shop.work.ledger.dead.requeue([run], **ANN) == [run]
    assert shop.work.on("main") == 0
    moved_on(shop)
    ended = shop.work.run(run)
    assert (ended["state"], ended["result"]) == ("succeeded", counts(succeeded=40))
    assert len(shop.work.done) == len(set(shop.work.done)) == 40


def test_failures_of_before_do_not_give_it_up_again(shop: Shop) -> None:
    shop.options |= {"abort_when": 2, "concurrency": 1}
    shop.errors = {tenant: Permanent("no") for tenant in TENANTS}
    run = shop.fanned_out()
    shop.finish(run)
    first, second = dead(shop, run)
    tenants = {str(row.id): row.tenant for row in shop.work.rows(run)}
    shop.errors = {tenants[second]: Permanent("no")}
    assert shop.work.ledger.dead.requeue([first], **ANN) == [first]
    moved_on(shop)
    assert shop.work.tenants(run)[tenants[first]] == "succeeded"


def test_a_tenant_that_a_person_has_cancelled_stays_so(shop: Shop) -> None:
    shop.options |= {"abort_when": 1, "concurrency": 1}
    shop.errors = {tenant: Permanent("no") for tenant in TENANTS}
    run = shop.fanned_out()
    last = shop.work.rows(run)[-1]
    shop.work.ledger.cancelling.request([str(last.id)], "closed (ann)")
    shop.finish(run)
    shop.errors = {}
    shop.work.ledger.dead.requeue([run], **ANN)
    moved_on(shop)
    assert shop.work.run(run)["result"] == counts(succeeded=39, cancelled=1)
    assert shop.work.tenants(run)[last.tenant] == "cancelled"


def test_what_was_written_for_a_run_that_died_before_all_was_is_cancelled_and_revived_with_it(shop: Shop) -> None:
    broken = [True]

    def source() -> Iterator[str]:
        yield from (f"t{number}" for number in range(1500))
        if broken:
            raise Permanent("the source is broken")

    shop.tenants = source
    run = shop.fanned_out()
    assert shop.work.run(run)["state"] == "dead"
    shop.work.app.steadybeat.fan_outs()
    assert set(shop.work.tenants(run).values()) == {"cancelled"}
    assert shop.work.ledger.admitting.open(10) == []

    broken.clear()
    assert shop.work.ledger.dead.requeue([run], **ANN) == [run]
    shop.work.app.steadybeat.relay()
    shop.work.work("main")
    assert list(shop.work.tenants(run).values()) == ["enqueued"] * 5 + ["waiting"] * 1495


def test_a_worker_that_ends_says_who_is_left(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.errors = {TENANTS[0]: Permanent("no")}
    run = shop.fanned_out()
    shop.work.work("mail", most=25)
    left = [row.tenant for row in shop.work.rows(run) if row.finished_at is None]
    shop.work.app.steadybeat.fan_outs.tell_left(["mail"])
    shop.work.app.steadybeat.fan_outs.tell_left(["main"])
    (line,) = [record for record in caplog.records if record.getMessage() == "tenants left"]
    assert (line.fan_out, line.task, line.count, line.tenants) == (run, "shop.mail.send", 15, left)


def test_of_many_that_are_left_it_says_so_many_and_how_many_more(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.tenants = range(11_500)
    shop.fanned_out()
    shop.work.app.steadybeat.fan_outs.tell_left(["mail"])
    lines = [record for record in caplog.records if record.getMessage() == "tenants left"]
    assert [len(getattr(line, "tenants", ())) for line in lines] == [1000] * 10 + [0]
    assert lines[-1].more_count == 1500


def test_a_later_attempt_still_knows_its_tenant(shop: Shop) -> None:
    @shop.work.app.task(name="shop.again.send", bind=True, default_retry_delay=1, shared=False)
    def send(self: Any, tenant: str) -> str | None:
        if self.request.retries == 0:
            raise self.retry()
        return self.tenant

    @shop.work.app.task(name="shop.main.again", bind=True, shared=False)
    def everybody(self: Any) -> Any:
        return self.fan_out(send, ["acme"])

    run = everybody.delay().id
    shop.work.work("main")
    shop.work.work("again")
    shop.work.forward(timedelta(minutes=1))
    shop.work.app.steadybeat.fan_outs()
    assert shop.work.work("again") == ["acme"]
    (row,) = shop.work.rows(run)
    assert (row.state, row.result) == ("succeeded", "acme")
