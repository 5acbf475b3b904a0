"""Promise: a route says where the daily report of its owners goes, and the settings when."""

from __future__ import annotations

from datetime import time
from typing import Any

import pytest

from steadybeat.alerts.routes import Routes
from steadybeat.errors import ConfigurationError
from steadybeat.settings import Settings, report_time

CHANNELS = ["chat", "mail", "boss"]


@pytest.mark.parametrize(
    ("routes", "owner", "channels"),
    [
        ([], "payments", ("chat", "mail", "boss")),
        ([{"to": ["chat"]}], "payments", ()),
        ([{"to": ["chat"], "report": "mail"}], "payments", ("mail",)),
        ([{"to": ["chat"], "report": ["mail", "boss"]}], None, ("mail", "boss")),
        ([{"owner": "pay*", "to": ["chat"]}, {"to": ["chat"], "report": ["boss"]}], "payments", ("boss",)),
        ([{"owner": "pay*", "to": ["chat"], "report": []}, {"to": ["chat"], "report": ["boss"]}], "payments", ()),
        ([{"owner": "post", "to": ["chat"], "report": ["mail"]}], "payments", ()),
        ([{"rule": "failed", "severity": "critical", "to": ["chat"], "report": ["mail"]}], "payments", ("mail",)),
    ],
)
def test_the_first_route_of_an_owner_that_says_anything_of_reports_counts(
    routes: list[dict[str, Any]], owner: str | None, channels: tuple[str, ...]
) -> None:
    assert Routes.read(routes, CHANNELS).reports_of(owner) == channels


def test_a_report_to_a_channel_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"route 1: report: there is no channel 'male'. Did you mean 'mail'"):
        Routes.read([{"to": ["chat"], "report": ["male"]}], CHANNELS)


def test_the_time_of_reports_is_one_of_a_day_in_a_zone() -> None:
    assert report_time("") is None
    assert report_time("07:00 Europe/Berlin") == (time(7), "Europe/Berlin")
    assert report_time("07:30") == (time(7, 30), "UTC")


@pytest.mark.parametrize("text", ["7:00", "25:00", "07:00 Europe/Berlim", "soon", "07:00 ../etc"])
def test_a_time_of_reports_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(
        ConfigurationError, match="must be a time of day and a time zone, such as '07:00 Europe/Berlin'"
    ):
        Settings(report_at=text)
