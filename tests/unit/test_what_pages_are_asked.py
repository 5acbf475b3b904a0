"""Promise: what stands in an address is read strictly, and what is wrong is named with the way out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from steadybeat.errors import ConfigurationError
from steadybeat.pages.asked import Asked
from steadybeat.pages.person import Person, Role

STATES = ("enqueued", "running", "dead")


def asked(**values: str) -> Asked:
    several = {name: [value] for name, value in values.items()}
    return Asked(Person("ann", Role.VIEWER), "/runs", (), values, several)


def test_what_is_not_there_is_nothing() -> None:
    nothing = asked()
    assert (nothing.text("q"), nothing.maybe("q"), nothing.one_of("state", STATES)) == ("", None, None)
    assert (nothing.count("limit", 50, most=100), nothing.instant("since")) == (50, None)


def test_an_instant_without_a_zone_is_one_of_utc() -> None:
    noon = datetime(2026, 11, 28, 12, tzinfo=UTC)
    for text in ("2026-11-28T12:00", "2026-11-28 12:00:00Z", "2026-11-28T13:00+01:00"):
        assert asked(since=text).instant("since") == noon


@pytest.mark.parametrize(
    ("values", "read", "says"),
    [
        ({"state": "ded"}, lambda a: a.one_of("state", STATES), "state='ded': must be one of enqueued, running, dead."),
        ({"state": "ded"}, lambda a: a.one_of("state", STATES), "Did you mean 'dead'?"),
        ({"limit": "0"}, lambda a: a.count("limit", 50, most=100), "limit='0': must be a whole number from 1 to 100"),
        ({"limit": "101"}, lambda a: a.count("limit", 50, most=100), "limit='101'"),
        ({"limit": "²"}, lambda a: a.count("limit", 50, most=100), "limit='²'"),
        ({"limit": "9" * 150}, lambda a: a.count("limit", 50, most=100), "…'"),
        ({"since": "yesterday"}, lambda a: a.instant("since"), "since='yesterday': must be an instant such as"),
        ({"since": "9999-12-31T23:59-23:00"}, lambda a: a.instant("since"), "must be an instant"),
        ({"q": "x" * 201}, lambda a: a.text("q"), "q='xxx"),
        ({"q": "a\x00b"}, lambda a: a.text("q"), "must be text"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, str], read: Callable[[Asked], Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(asked(**values))
    assert says in refused.value.message


def test_an_address_keeps_what_it_was_asked_and_begins_the_list_anew() -> None:
    page = asked(state="dead", task="tasks.a&b=c", after="17")
    assert page.address() == "/runs?state=dead&task=tasks.a%26b%3Dc"
    assert page.address(state=None, after=16) == "/runs?task=tasks.a%26b%3Dc&after=16"
    assert asked(state="dead").address(state="") == "/runs"
