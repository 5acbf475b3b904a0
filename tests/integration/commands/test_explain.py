from __future__ import annotations

from typing import Any

from celery.bin.celery import celery
from click.testing import CliRunner

from tests.integration.commands.shop import Run, refusal, said


def explained(*arguments: str) -> Any:
    return said(CliRunner().invoke(celery, ["schedules", "explain", *arguments, "--json"]))


RIGA = ("--tz", "Europe/Riga", "--year", "2026")


def test_an_expression_is_explained_without_an_app() -> None:
    found = explained("--cron", "30 3 * * *", *RIGA, "-n", "2")
    assert (found["schedule"], found["rule"], len(found["next_fires"])) == (None, "At 03:30 every day (Europe/Riga)", 2)
    assert "say what is meant on those days" in found["cautions"][0]
    spring, autumn = found["clock_changes"]
    assert (spring["at"], spring["from"], spring["to"]) == ("2026-03-29T01:00:00Z", "03:00", "04:00")
    assert (spring["fires"], spring["usual_fires"]) == (["04:00+03:00"], ["03:30+03:00"])
    assert (autumn["at"], autumn["fires"]) == ("2026-10-25T01:00:00Z", ["03:30+03:00"])


def test_the_days_of_clock_changes_go_by_what_dst_says() -> None:
    due = {
        dst: [each["fires"] for each in explained("--cron", "30 3 * * *", *RIGA, "--dst", dst)["clock_changes"]]
        for dst in ("once", "skip", "twice")
    }
    assert due == {
        "once": [["04:00+03:00"], ["03:30+03:00"]],
        "skip": [[], ["03:30+03:00"]],
        "twice": [["04:00+03:00"], ["03:30+03:00", "03:30+02:00"]],
    }


def test_what_is_due_often_is_counted() -> None:
    spring, autumn = explained("--cron", "*/15 * * * *", *RIGA)["clock_changes"]
    assert [(each["fire_count"], each["usual_count"]) for each in (spring, autumn)] == [(92, 96), (100, 96)]


def test_a_clock_that_changes_at_midnight_is_told_of_the_day_that_has_the_hour_twice() -> None:
    spring, autumn = explained("--cron", "30 23 * * *", "--tz", "America/Asuncion", "--year", "2023")["clock_changes"]
    assert {each["day"] for each in (spring, autumn)} == {"2023-03-25", "2023-10-01"}


def test_a_rule_of_real_time_has_no_such_days(run: Run) -> None:
    text = run("schedules", "explain", "--every", "5m", "--year", "2026").stdout
    assert text.startswith("Every 5 minutes.\n")
    assert text.endswith("No clock that it goes by changes in 2026.\n")


def test_the_number_of_h_is_the_schedules(run: Run) -> None:
    assert explained("--cron", "H 3 * * *")["next_fires"] == []
    assert "H is a number that the schedule's name chooses" in run("schedules", "explain", "--cron", "H 3 * * *").stdout
    one, other = (explained(name, "--cron", "H 3 * * *")["spec"] for name in ("a", "b"))
    assert one != other


def test_a_schedule_is_explained_as_the_ledger_has_it(run: Run) -> None:
    run("schedules", "apply")
    assert said(run("schedules", "explain", "shop.mail.digest", "--json"))["rule"] == "At 06:00 every day (UTC)"
    assert "Did you mean" in refusal(run("schedules", "explain", "shop.mail.digst"))
    assert refusal(run("schedules", "explain")).startswith("Give the name of a schedule, or a rule such as")


def test_what_is_over_is_never_due_again(run: Run) -> None:
    assert "It is never due again.\n" in run("schedules", "explain", "--once", "2020-01-01T00:00Z").stdout
