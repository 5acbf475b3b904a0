from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from steadybeat.alerts.routes import Routes, Step, Way
from steadybeat.errors import ConfigurationError
from steadybeat.ledger.rows import Finding

CHANNELS = ("slack", "oncall", "mail")


def finding(**facts: Any) -> Finding:
    return Finding(**({"rule": "failed", "subject": "royalties", "summary": "It fails."} | facts))


def way(*routes: dict[str, Any], without: tuple[str, ...] = (), **facts: Any) -> Way:
    return Routes.read(routes, CHANNELS).way(finding(**facts), without)


def test_without_routes_everybody_is_told_of_everything() -> None:
    assert way().to == CHANNELS
    assert Routes.read((), ()).way(finding()) == Way()


def test_the_first_route_that_fits_decides() -> None:
    routes = (
        {"owner": "payments-*", "severity": "error", "to": ["oncall"]},
        {"service": ["mail", "search"], "rule": "fail*", "to": "mail"},
        {"to": ["slack"]},
    )
    assert way(*routes, owner="payments-eu").to == ("oncall",)
    assert way(*routes, owner="payments-eu", severity="warning").to == ("slack",)
    assert way(*routes, service="search").to == ("mail",)
    assert way(*routes, service="search", rule="missed").to == ("slack",)


def test_a_route_may_have_later_ones_asked_as_well() -> None:
    found = way({"to": ["oncall"], "continue": True}, {"to": ["mail", "oncall"]}, {"to": ["slack"]})
    assert (found.to, found.routes) == (("oncall", "mail"), (1, 2))


def test_what_has_no_owner_fits_an_empty_pattern_and_a_star() -> None:
    assert way({"owner": "", "to": ["mail"]}).to == ("mail",)
    assert way({"owner": "?*", "to": ["mail"]}) == Way()
    assert way({"owner": "", "to": ["mail"]}, owner="x") == Way()


def test_where_a_channel_fails_own_fallbacks_come_first_then_the_steps_then_the_others() -> None:
    steps = [{"after": "5m", "to": ["oncall"]}]
    assert way({"to": ["slack"], "escalate": steps}).fallbacks == ("oncall", "mail")
    assert way({"to": ["slack"], "fallback": ["mail"], "escalate": steps}).fallbacks == ("mail", "oncall")


def test_others_stand_in_for_channels_that_are_known_to_fail() -> None:
    assert way({"to": ["slack"]}, without=("slack",)).to == ("oncall",)
    assert way({"to": ["slack", "mail"]}, without=("slack",)).to == ("mail",)
    assert way({"to": ["slack"]}, without=CHANNELS).to == ("slack",)


def test_the_last_step_comes_again_and_again() -> None:
    steps = [{"after": timedelta(minutes=5), "to": ["mail"]}, {"after": "1h30m", "to": ["oncall"]}]
    found = way({"to": ["slack"], "escalate": steps})
    assert found.step(0) == Step(timedelta(minutes=5), ("mail",))
    assert found.step(1) == found.step(7) == Step(timedelta(minutes=90), ("oncall",))
    assert way({"to": ["slack"]}).step(0) is None


@pytest.mark.parametrize(
    ("route", "message"),
    [
        ({"too": ["mail"]}, "there is no 'too'. Did you mean 'to'?"),
        ({}, "lacks 'to', the channels that are told."),
        ({"to": ["mial"]}, "to: there is no channel 'mial'. Did you mean 'mail'?"),
        ({"to": []}, "to=[]: must be a list of channels."),
        ({"to": ["mail"], "severity": "eror"}, "severity='eror': there is no such severity. Did you mean 'error'?"),
        ({"to": ["mail"], "rule": "faild"}, "rule='faild': there is no such rule. Did you mean 'failed'?"),
        ({"to": ["mail"], "owner": 3}, "owner=3: must be a pattern, such as payments-*, or a list of them."),
        ({"to": ["mail"], "recovery": "no"}, "recovery='no': must be true or false."),
        ({"to": ["mail"], "fallback": ["x"]}, "fallback: there is no channel 'x'. There are: slack, oncall, mail."),
        (
            {"to": ["mail"], "escalate": [{"after": 15, "to": ["mail"]}]},
            'escalate, step 1: after=15: must be a timedelta, or a text such as "15m", of a second or more.',
        ),
        (
            {"to": ["mail"], "escalate": [{"to": ["mail"]}]},
            'escalate, step 1: must be such as {"after": "15m", "to": ["oncall"]}.',
        ),
        (
            {"to": ["mail"], "quiet": {"from": "22:00", "until": "7"}},
            "quiet: until='7': must be a time of day, such as \"22:00\".",
        ),
        ({"to": ["mail"], "quiet": {"from": "22:00"}}, "quiet: lacks 'until', such as \"22:00\"."),
        (
            {"to": ["mail"], "quiet": {"from": "22:00", "until": "22:00"}},
            "quiet: from and until are the same, 22:00; a silence has no end.",
        ),
        (
            {"to": ["mail"], "quiet": {"from": "22:00", "until": "07:00", "tz": "Europe/Berln"}},
            "quiet: tz='Europe/Berln': there is no such time zone. Did you mean 'Europe/Berlin'?",
        ),
        (
            {"to": ["mail"], "quiet": {"from": "22:00", "until": "07:00", "below": "info"}},
            "quiet: below='info': must be warning, error or critical.",
        ),
        ({"to": ["mail"], "quiet": {"untill": "07:00"}}, "quiet: there is no 'untill'. Did you mean 'until'?"),
        (
            {"to": ["mail"], "quiet": {"from": "22:00", "until": "07:00", "days": ["monday"]}},
            "quiet: days=['monday']: must be a list of mon, tue, wed, thu, fri, sat, sun.",
        ),
    ],
)
def test_a_wrong_route_is_refused_with_its_number_the_field_and_the_way_out(route: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Routes.read([{"to": ["slack"]}, route], CHANNELS)
    assert str(caught.value) == f"steadybeat_alert_routes, route 2: {message}"


def test_routes_without_channels_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="steadybeat_alert_channels has none"):
        Routes.read([{"to": ["slack"]}], ())
