from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from steadybeat.fanout.order import fraction_of, id_of, place_of, seed_of, shuffled

AT = datetime(2026, 11, 22, 6, tzinfo=UTC)
RUN = "019a1b7e-6c00-8d2f-9a3b-0c1d2e3f4a5b"
TENANTS = [f"account-{number}" for number in range(500)]


def test_a_seed_gives_the_same_order_whatever_order_tenants_come_in() -> None:
    assert shuffled(TENANTS, "7") == shuffled(reversed(TENANTS), "7")
    assert sorted(shuffled(TENANTS, "7")) == sorted(TENANTS)


def test_the_order_of_a_seed_never_changes() -> None:
    assert shuffled(TENANTS, "7")[:3] == ["account-437", "account-205", "account-266"]


def test_two_seeds_give_two_orders_in_which_nobody_always_comes_last() -> None:
    last = {shuffled(TENANTS, str(seed))[-1] for seed in range(50)}
    assert len(last) > 40


def test_runs_have_seeds_of_their_own_the_same_for_each_attempt() -> None:
    other = "019a1b7e-6c00-8d2f-9a3b-0c1d2e3f4a5c"
    assert seed_of(RUN) == seed_of(RUN) != seed_of(other)


def test_ids_sort_as_the_tenants_have_their_turn() -> None:
    ids = {id_of(RUN, AT, place_of("7", tenant), tenant): tenant for tenant in TENANTS}
    assert [ids[each] for each in sorted(ids)] == shuffled(TENANTS, "7")


def test_ids_are_uuids_that_begin_with_their_time() -> None:
    made = UUID(id_of(RUN, AT, place_of("7", "acme"), "acme"))
    assert (made.version, made.variant) == (8, UUID(RUN).variant)
    assert timedelta(milliseconds=made.int >> 80) == AT - datetime(1970, 1, 1, tzinfo=UTC)


def test_two_fan_outs_of_one_seed_and_one_instant_have_ids_of_their_own() -> None:
    place, other = place_of("7", "acme"), "019a1b7e-6c00-8d2f-9a3b-0c1d2e3f4a5c"
    assert id_of(RUN, AT, place, "acme") != id_of(other, AT, place, "acme")


def test_places_are_spread_evenly() -> None:
    fractions = [fraction_of(place_of("7", tenant)) for tenant in TENANTS]
    assert all(0 <= each < 1 for each in fractions)
    assert 200 < sum(each < 0.5 for each in fractions) < 300
