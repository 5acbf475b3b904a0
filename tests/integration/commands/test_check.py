from __future__ import annotations

from typing import Any

import pytest

from steadybeat import ScheduleWarning, cron
from tests.integration.commands.shop import MakeApp, Run, said

DIGEST = "shop.mail.digest"


def at(expression: str, **options: Any) -> dict[str, Any]:
    return {"task": "shop.billing.report", "schedule": cron(expression, **options)}


def test_a_time_in_the_hours_of_clock_changes_is_a_note_and_where_it_is_strict_a_finding(
    make_app: MakeApp, run: Run
) -> None:
    app = make_app()
    with pytest.warns(ScheduleWarning):
        app.conf.beat_schedule = {"night": at("30 2 * * *", tz="Europe/Berlin")}
    checked = said(run("schedules", "check", "--json", app=app))
    night = next(each for each in checked["schedules"] if each["name"] == "night")
    assert night["verdict"] == "well"
    assert "say what is meant on those days" in night["notes"][0]["text"]
    strict = said(run("schedules", "check", "--strict", "--json", app=app), 1)["schedules"]
    assert {each["name"]: each["verdict"] for each in strict} == {DIGEST: "well", "night": "doubtful"}
    app.conf.beat_schedule = {"night": at("30 2 * * *", tz="Europe/Berlin", dst="once")}
    assert run("schedules", "check", "--strict", app=app).exit_code == 0


def test_two_of_one_name_are_refused_and_the_rest_is_checked(make_app: MakeApp, run: Run) -> None:
    app = make_app()
    app.conf.beat_schedule = {DIGEST: at("0 7 * * *"), "wrong": {"task": "shop.mail.digst", "schedule": 60}}
    checked = said(run("schedules", "check", "--json", app=app), 1)["schedules"]
    refused = {each["name"]: each["reason"] for each in checked if each["verdict"] == "refused"}
    assert refused[DIGEST] == (
        f"is defined twice, for {DIGEST} and for shop.billing.report; give one of them another name"
    )
    assert "Did you mean 'shop.mail.digest'?" in refused["wrong"]
    assert [each["verdict"] for each in checked] == ["well", "refused", "refused"]


def test_many_in_one_second_are_a_finding_with_the_way_out(make_app: MakeApp, run: Run) -> None:
    app = make_app()
    app.conf.beat_schedule = {f"tenant-{n}": at("0 6 * * *") for n in range(5)}
    assert run("schedules", "check", app=app).exit_code == 0
    result = run("schedules", "check", "--herd", "4", app=app)
    assert result.exit_code == 1
    *_, found, way_out = result.stdout.splitlines()
    assert "06:00:00Z: 5 schedules are due in one second: " in found
    assert found.endswith(" and 3 others.")
    assert "jitter=timedelta(minutes=…)" in way_out
    [herd] = said(run("schedules", "check", "--herd", "4", "--json", app=app), 1)["herds"]
    assert (herd["count"], len(herd["schedules"])) == (5, 6)
    app.conf.beat_schedule = {f"tenant-{n}": at("H 6 * * *") for n in range(5)}
    assert said(run("schedules", "check", "--herd", "4", "--json", app=app))["herds"] == []
