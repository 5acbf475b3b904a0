"""Whether a trial changed what one undisturbed run changes; numbers and instants made anew raise no alarm."""

from __future__ import annotations

from typing import Any

import pytest

from steadybeat.audit.probes.comparing import Apart, Effect, Yardstick
from steadybeat.ledger.scratch import changes

GENERATED = {"shop.payments": {"id", "paid_at"}}


def payment(number: int, *, cents: int = 500, paid_at: str | None = "2026-01-01", charge: str = "") -> dict[str, Any]:
    return {"id": number, "cents": cents, "paid_at": paid_at, "charge": charge or f"ch_{number}"}


def effect(*rows: dict[str, Any], before: tuple[dict[str, Any], ...] = (), **counts: int) -> Effect:
    return Effect(tables=changes({"shop.payments": [*before]}, {"shop.payments": [*rows]}), counts=counts)


def measure(*ignored: str) -> Yardstick:
    return Yardstick(effect(payment(1)), effect(payment(2, paid_at="2026-01-02")), GENERATED, ignored)


def test_a_row_with_other_numbers_and_instants_is_the_same_effect() -> None:
    yardstick = measure()
    assert yardstick.compared == ["shop.payments.cents"], "charge differs between two undisturbed runs"
    assert yardstick.against(effect(payment(7, paid_at="2030-01-01"))) == []


def test_a_second_row_is_seen_and_a_missing_one_too() -> None:
    told = measure().against(effect(payment(7), payment(8)))
    assert told == ["shop.payments: 2 rows new where one run leaves 1 row new"]
    assert measure().against(Effect()) == ["shop.payments: no row changed where one run leaves 1 row new"]


def test_a_row_of_a_table_that_one_run_does_not_touch_is_seen() -> None:
    both = Effect(tables=changes({}, {"shop.payments": [payment(7)], "shop.mails": [{"to": "ann"}]}))
    assert measure().against(both) == ["shop.mails: 1 row new where one run leaves no row changed"]


def test_another_value_is_seen_and_named() -> None:
    told = measure().against(effect(payment(7, cents=1000)))
    assert told == ["shop.payments.cents: 1000 where one run leaves 500"]


def test_an_instant_that_is_missing_is_seen_though_its_value_does_not_count() -> None:
    told = measure().against(effect(payment(7, paid_at=None)))
    assert told == ['shop.payments.paid_at: null where one run leaves "2026-01-01"']


def test_a_column_that_the_task_says_may_differ_may_differ() -> None:
    assert measure("shop.payments.cents").against(effect(payment(7, cents=1000))) == []
    assert measure("shop.payments.paid_at").against(effect(payment(7, paid_at=None))) == []
    assert measure("shop.payments.cents").against(effect(payment(7), payment(8))), "how many rows there are counts"


def test_a_changed_row_is_no_new_one() -> None:
    yardstick = Yardstick(
        effect(payment(1, cents=400), before=(payment(1),)), effect(payment(2, cents=400), before=(payment(2),)), {}, ()
    )
    assert yardstick.effect.in_words == "shop.payments: 1 row changed"
    assert yardstick.against(effect(payment(3, cents=400), before=(payment(3),))) == []
    told = yardstick.against(effect(payment(3, cents=300), before=(payment(3),)))
    assert told == ["shop.payments.cents: 300 where one run leaves 400"]


def test_values_that_have_changed_places_are_seen() -> None:
    rows = [{"to": "ann", "cents": 1}, {"to": "bob", "cents": 2}]
    swapped = [{"to": "ann", "cents": 2}, {"to": "bob", "cents": 1}]
    one = Effect(tables=changes({}, {"t": rows}))
    told = Yardstick(one, one, {}, ()).against(Effect(tables=changes({}, {"t": swapped})))
    assert told == ["t: its values stand in other rows than those that one run leaves"]


def test_what_the_task_counts_itself_is_held_against_one_run() -> None:
    yardstick = Yardstick(effect(mails=1), effect(mails=1), {}, ())
    assert yardstick.effect.in_words == "mails +1"
    assert yardstick.against(effect(mails=1)) == []
    assert yardstick.against(effect(mails=2)) == ["mails: +2 where one run makes +1"]
    assert yardstick.against(effect(mails=0)) == ["mails: +0 where one run makes +1"]


def test_undisturbed_runs_that_differ_leave_nothing_to_compare_with() -> None:
    with pytest.raises(Apart, match="2 rows new where one run leaves 1 row new"):
        Yardstick(effect(payment(1)), effect(payment(2), payment(3)), GENERATED, ())


def test_no_change_at_all_is_nothing() -> None:
    assert effect(payment(1), before=(payment(1),)).is_nothing
    assert not effect(payment(1)).is_nothing
    assert not effect(mails=1).is_nothing
