"""What a fan-out comes to when a person cancels, requeues or pauses in the middle of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from steadybeat import Cancel, Permanent, Transient, eligible, shuffled
from steadybeat.errors import BrokerUnavailable
from tests.eventually import eventually
from tests.integration.records import blocked
from tests.integration.shop_of_tenants import TENANTS, Shop, counts
from tests.integration.working import working

ANN = {"who": "ann", "reason": "the bank is back"}
DOWN = Permanent("the server is gone")


@pytest.fixture
def shop(ledger_url: str, redis_url: str) -> Iterator[Shop]:
    with working(ledger_url, redis_url) as work:
        yield Shop(work)


def dead(shop: Shop, run: str) -> list[str]:
    return [str(row.id) for row in shop.work.rows(run) if row.state == "dead"]


def moved_on(shop: Shop) -> Any:
    shop.work.app.steadybeat.fan_outs()
    shop.work.work("mail")


def aborted(shop: Shop) -> str:
    """A fan-out that was given up after two of 40 have failed."""
    shop.options |= {"abort_when": 2, "concurrency": 1}
    shop.errors |= {tenant: DOWN for tenant in TENANTS if tenant not in shop.errors}
    run = shop.fanned_out()
    assert shop.finish(run)["state"] == "dead"
    shop.errors = {}
    return run


# Cancelling


def test_one_that_is_cancelled_while_it_is_written_begins_with_nobody(shop: Shop) -> None:
    def source() -> Iterator[str]:
        yield from TENANTS
        (run,) = shop.work.ledger.cancelling.open_runs(task="shop.main.everybody")
        assert shop.work.ledger.cancelling.request([run], "wrong month (ann)").asked == [run]

    shop.tenants, shop.options["on_complete"] = source, shop.report
    run = shop.fanned_out()
    ended = shop.work.run(run)
    assert (ended["state"], ended["reason"]) == ("cancelled", "wrong month (ann)")
    moved_on(shop)
    assert not shop.work.done
    assert {row.reason for row in shop.work.rows(run)} == {"the fan-out was given up: wrong month (ann)"}
    shop.tenants = TENANTS
    shop.everybody.apply_async(idempotency_key=run)
    shop.work.work("main")
    assert shop.work.on("mail") == 5, "its key is free again"


def test_one_that_was_cancelled_is_left_alone_while_who_was_asked_to_end_goes_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shop.fanned_out()
    holders: list[str] = []

    def cancels(tenant: str) -> None:
        fan_outs = shop.work.app.steadybeat.fan_outs
        shop.work.ledger.cancelling.request([run], "wrong month (ann)")
        fan_outs()
        held = shop.work.ledger.admitting.held
        with monkeypatch.context() as patched:
            patched.setattr(
                shop.work.ledger.admitting, "held", lambda *args, **named: holders.append("") or held(*args, **named)
            )
            fan_outs(timedelta(seconds=0.2))

    shop.errors = Looking(cancels)
    shop.work.work("mail", most=1)
    assert not holders
    assert shop.work.ledger.fan_outs.whole(run).ended_at is not None


class Looking(dict[str, Exception]):
    """Errors of nobody, and a look at whoever begins."""

    def __init__(self, look: Any) -> None:
        self._look = look

    def __contains__(self, tenant: object) -> bool:
        self._look(tenant)
        return False


# Requeueing


def test_a_single_tenant_that_has_another_try_does_not_make_a_success_of_what_was_given_up(shop: Shop) -> None:
    run = aborted(shop)
    shop.work.ledger.dead.requeue(dead(shop, run)[:1], **ANN)
    moved_on(shop)
    ended = shop.work.run(run)
    assert ended["result"] == counts(succeeded=1, failed=1, cancelled=38)
    assert (ended["state"], ended["reason"]) == ("dead", "38 tenants that were given up before have had no turn")


def test_a_single_tenant_that_has_another_try_does_not_undo_that_the_others_were_cancelled(shop: Shop) -> None:
    shop.options["concurrency"] = 1
    shop.errors = dict.fromkeys(TENANTS, DOWN)
    run = shop.fanned_out()
    shop.work.work("mail", most=2)
    shop.work.ledger.cancelling.request([run], "wrong month (ann)")
    shop.work.app.steadybeat.fan_outs()
    shop.errors = {}
    shop.work.ledger.dead.requeue(dead(shop, run)[:1], **ANN)
    moved_on(shop)
    ended = shop.work.run(run)
    assert (ended["state"], ended["reason"]) == ("cancelled", "wrong month (ann)")
    assert ended["result"] == counts(succeeded=1, failed=1, cancelled=38)


def test_who_was_discarded_or_has_cancelled_itself_stays_so_when_the_whole_goes_on(shop: Shop) -> None:
    first, discarded, failed = shuffled(TENANTS, "7")[:3]
    shop.options["seed"] = 7
    shop.errors = {first: Cancel("nothing to send")}
    run = aborted(shop)
    of = {row.tenant: str(row.id) for row in shop.work.rows(run)}
    shop.work.ledger.dead.discard([of[discarded]], **ANN)
    shop.work.ledger.dead.requeue([run], **ANN)
    moved_on(shop)
    assert shop.work.run(run)["result"] == counts(succeeded=38, cancelled=2)
    assert shop.work.tenants(run)[first] == shop.work.tenants(run)[discarded] == "cancelled"
    assert shop.work.tenants(run)[failed] == "succeeded"


def test_a_fan_out_and_all_its_dead_are_requeued_together(shop: Shop) -> None:
    shop.errors = dict.fromkeys(TENANTS, DOWN)
    run = shop.fanned_out()
    assert shop.finish(run)["state"] == "dead"
    runs = [run, *dead(shop, run)]
    assert sorted(shop.work.ledger.dead.requeue(runs, **ANN)) == sorted(runs)


def test_a_fan_out_of_which_nobody_is_requeued_stays_over(shop: Shop) -> None:
    shop.errors, shop.options["on_complete"] = {"t2": DOWN}, shop.report
    over, other = shop.fanned_out(), shop.fanned_out()
    shop.work.work("mail")
    served = next(str(row.id) for row in shop.work.rows(over) if row.state == "succeeded")
    failed = dead(shop, other)
    assert shop.work.ledger.dead.requeue([served, *failed], **ANN) == failed
    shop.errors = {}
    moved_on(shop)
    shop.work.app.steadybeat.relay()
    shop.work.work("report")
    assert sorted(told["fan_out"] for told in shop.told) == sorted([over, other, other])


def test_failures_count_as_before_for_who_is_not_requeued(shop: Shop) -> None:
    shop.options |= {"abort_when": 3, "concurrency": 1}
    shop.errors = dict.fromkeys(TENANTS, DOWN)
    run = shop.fanned_out()
    shop.work.work("mail", most=2)
    shop.work.ledger.dead.requeue(dead(shop, run), **ANN)
    moved_on(shop)
    assert shop.work.run(run)["result"] == counts(failed=3, cancelled=37)


def test_a_tenant_that_is_requeued_while_its_fan_out_ends_has_its_turn(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = shuffled(TENANTS, "7")[-1]
    shop.options |= {"seed": 7, "concurrency": 1}
    shop.errors = {tenant: DOWN for tenant in TENANTS if tenant == shuffled(TENANTS, "7")[0]}
    run = shop.fanned_out()
    shop.work.work("mail", most=39)
    fan_outs, requeued = shop.work.app.steadybeat.fan_outs, list[str]()
    end = fan_outs._end
    person = threading.Thread(
        target=lambda: requeued.extend(shop.work.ledger.dead.requeue(dead(shop, run), **ANN)), daemon=True
    )

    def meddled_with(held: Any) -> Any:
        person.start()
        eventually(lambda: blocked(shop.work.ledger))
        return end(held)

    with monkeypatch.context() as patched:
        patched.setattr(fan_outs, "_end", meddled_with)
        assert shop.work.work("mail") == [last]
    person.join()
    shop.errors = {}
    moved_on(shop)
    assert len(requeued) == 1
    ended = shop.work.run(run)
    assert (ended["state"], ended["result"]) == ("succeeded", counts(succeeded=40))


def test_who_goes_on_with_a_fan_out_and_who_requeues_a_tenant_do_not_wait_for_each_other(shop: Shop) -> None:
    shop.errors = dict.fromkeys(TENANTS, DOWN)
    run = shop.fanned_out()
    shop.finish(run)
    some, requeued = dead(shop, run)[:3], list[list[str]]()
    book = shop.work.ledger
    person = threading.Thread(target=lambda: requeued.append(book.dead.requeue(some, **ANN)), daemon=True)
    with book.database.transaction() as connection:
        book.reopening.hold_those_of(connection, some)
        person.start()
        eventually(lambda: blocked(book))
        connection.exec_driver_sql("UPDATE steadybeat.runs SET reason = reason WHERE state = 'dead'")
    person.join()
    assert [sorted(each) for each in requeued] == [sorted(some)]


def test_a_fan_out_that_was_dead_and_goes_on_to_succeed_has_its_key(shop: Shop) -> None:
    shop.errors = dict.fromkeys(TENANTS, DOWN)
    run = shop.everybody.apply_async(idempotency_key="november").id
    shop.work.work("main")
    shop.finish(run)
    shop.errors = {}
    shop.work.ledger.dead.requeue([run], **ANN)
    moved_on(shop)
    assert shop.work.run(run)["state"] == "succeeded"
    again = shop.everybody.apply_async(idempotency_key="november").id
    shop.work.work("main")
    assert shop.work.run(again)["state"] == "cancelled"


def test_what_follows_its_success_comes_once_although_it_goes_on_later(shop: Shop) -> None:
    shop.errors = {"t2": DOWN}
    run = shop.everybody.apply_async(link=shop.report.s()).id
    shop.work.work("main")
    shop.finish(run)
    shop.errors = {}
    shop.work.ledger.reopening.reopen(run, ["dead"], what="runs rerun", **ANN)
    moved_on(shop)
    assert shop.work.run(run)["result"] == counts(succeeded=40)
    shop.work.app.steadybeat.relay()
    shop.work.work("report")
    assert shop.told == [counts(succeeded=39, failed=1)]


# And others


def test_what_a_policy_is_told_while_a_fan_out_is_written_holds_for_all_of_it(shop: Shop) -> None:
    def source() -> Iterator[str]:
        yield from (f"early {number}" for number in range(1_200))
        shop.work.ledger.tenants.pause("digest", **ANN)
        yield from (f"late {number}" for number in range(50))

    shop.tenants = eligible("digest", source)
    run = shop.fanned_out()
    shop.work.work("mail")
    assert not shop.work.done
    result = shop.work.run(run)["result"]
    assert result["cancelled"] + result["skipped"] == 1_250


def test_another_attempt_that_redis_did_not_take_is_sent_by_the_relay(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise BrokerUnavailable("Redis does not answer")

    shop.options["concurrency"] = 1
    run = shop.fanned_out()
    first = shop.work.rows(run)[0].tenant
    shop.errors = {first: Transient("not now")}
    shop.work.work("mail", most=1)
    shop.work.forward(timedelta(hours=1))
    second, shop.errors = shop.work.take("mail"), {}
    assert second is not None
    with monkeypatch.context() as patched:
        patched.setattr(shop.work.app.steadybeat.relay, "send", away)
        shop.work.perform(second)
    assert shop.work.on("mail") == 0
    shop.work.app.steadybeat.relay()
    assert shop.work.work("mail", most=1) == [first]


def test_a_place_is_free_when_a_run_is_turned_away(shop: Shop) -> None:
    shop.options["concurrency"] = 1
    run = shop.fanned_out()
    first = shop.work.take("mail")
    assert first is not None
    shop.send.apply_async((first.tenant,), idempotency_key=f"{run}:{first.tenant}")
    done_before = shop.work.take("mail")
    assert done_before is not None
    shop.work.perform(first)
    shop.work.perform(done_before)
    assert shop.work.on("mail") == 1
    assert len(shop.work.done) == 1


def test_an_effect_without_a_step_is_refused_once_a_run_fans_out(shop: Shop) -> None:
    @shop.work.app.task(name="shop.main.effect", bind=True, shared=False)
    def everybody(self: Any) -> None:
        self.fan_out(shop.send, TENANTS)
        with self.exactly_once():
            pass

    run = everybody.delay().id
    shop.work.work("main")
    assert "exactly_once() after fan_out()" in shop.work.run(run)["reason"]


def test_a_run_that_is_not_on_record_does_not_fan_out(shop: Shop) -> None:
    refused: list[str] = []

    @shop.work.app.task(name="shop.main.unrecorded", bind=True, recorded=False, shared=False)
    def everybody(self: Any) -> None:
        try:
            self.fan_out(shop.send, eligible("digest", TENANTS))
        except Permanent as error:
            refused.append(str(error))

    everybody.delay()
    shop.work.work("main")
    assert "leave recorded=False out" in refused[0]
    assert not shop.work.done
