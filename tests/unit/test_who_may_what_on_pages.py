"""Promise: what somebody may do on a page is what the settings say, and nothing where nobody knows who she is."""

from __future__ import annotations

from typing import Any

import pytest

from steadybeat.errors import ConfigurationError
from steadybeat.pages.person import ANONYMOUS, Person, Role, role_of
from steadybeat.settings import Settings

ROLES = {"ann@shop.test": "admin", "*@shop.test": "operator", "*@partner.test": "viewer"}


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("ann@shop.test", Role.ADMIN),
        ("bob@shop.test", Role.OPERATOR),
        ("eve@partner.test", Role.VIEWER),
        ("eve@elsewhere.test", Role.VIEWER),
        ("ann@shop.test.elsewhere.test", Role.VIEWER),
        (ANONYMOUS, Role.VIEWER),
    ],
)
def test_a_name_comes_before_patterns_and_patterns_in_their_order(name: str, role: Role) -> None:
    assert role_of(name, Settings(page_roles=ROLES)) is role


def test_without_roles_whoever_signs_in_may_everything_as_in_flower_itself_and_others_may_look() -> None:
    assert role_of("ann", Settings()) is Role.ADMIN
    assert role_of(ANONYMOUS, Settings()) is Role.VIEWER


def test_a_pattern_gives_nothing_to_those_whom_nobody_knows_but_their_own_name_does() -> None:
    assert role_of(ANONYMOUS, Settings(page_roles={"*": "admin"})) is Role.VIEWER
    assert role_of(ANONYMOUS, Settings(page_roles={"*": "admin", ANONYMOUS: "operator"})) is Role.OPERATOR
    assert role_of("ann", Settings(page_roles={ANONYMOUS: "operator"})) is Role.VIEWER


def test_each_role_may_what_the_ones_before_it_may() -> None:
    may = {each: [role for role in Role if Person("ann", each).may(role)] for each in Role}
    assert may == {
        Role.VIEWER: [Role.VIEWER],
        Role.OPERATOR: [Role.VIEWER, Role.OPERATOR],
        Role.ADMIN: [Role.VIEWER, Role.OPERATOR, Role.ADMIN],
    }


def test_where_flower_is_read_only_an_administrator_may_look_and_is_told_why() -> None:
    person = Person("ann", Role.ADMIN, read_only=True)
    assert [person.may(role) for role in Role] == [True, False, False]
    assert "--read_only" in person.refusal(Role.OPERATOR)


def test_a_refusal_says_who_could_change_it() -> None:
    assert "--basic_auth" in Person(ANONYMOUS, Role.VIEWER).refusal(Role.OPERATOR)
    assert Person("eve", Role.VIEWER).refusal(Role.ADMIN) == (
        "This is for admins, and eve is a viewer. An administrator gives roles in steadybeat_page_roles."
    )


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"page_roles": {"ann": "boss"}}, "steadybeat_page_roles: 'boss': must be viewer or operator or admin."),
        ({"page_roles": {"ann": "admim"}}, "Did you mean 'admin'?"),
        ({"page_metrics": "opn"}, "steadybeat_page_metrics: 'opn': must be signed-in or open. Did you mean 'open'?"),
    ],
)
def test_a_role_that_does_not_exist_is_refused_at_the_start(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings(**values)
    assert says in refused.value.message
