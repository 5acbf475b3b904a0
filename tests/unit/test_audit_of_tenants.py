"""Section 8 of the audit: of each line a task that passes, and one that does not."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from steadybeat import FanOut, cron, eligible, every
from tests.audited import add_task, new_app, said

ASKED = [f"8.{number}" for number in range(1, 8)]
ACCOUNTS: Sequence[int] = (1, 2, 3)


def work_for(account: int) -> None:
    """Work for one account."""


@pytest.fixture
def app() -> Any:
    return new_app()


def share(self: Any, account: int) -> None:
    """Do the share of one account."""
    work_for(account)


def by_loop(self: Any) -> None:
    for account in ACCOUNTS:
        work_for(account)


@pytest.mark.parametrize("line", ASKED)
def test_a_fan_out_over_a_policy_passes(app: Any, line: str) -> None:
    add_task(app, code=share, for_each=FanOut(eligible("digest", of=ACCOUNTS), concurrency=10, abort_when=0.1))

    verdict, evidence = said(line, app)

    assert verdict == "PASS"
    assert evidence.startswith("for_each=FanOut(policy='digest', concurrency=10)")


@pytest.mark.parametrize("line", ASKED)
def test_a_fan_out_that_the_code_makes_passes(app: Any, line: str) -> None:
    target = add_task(app, "shop.till.share", code=share)

    def fans_out(self: Any) -> Any:
        return self.fan_out(target, tenants=eligible("digest", of=ACCOUNTS), concurrency=10)

    add_task(app, code=fans_out)

    verdict, evidence = said(line, app)

    assert verdict == "PASS"
    assert "fan_out() at " in evidence


@pytest.mark.parametrize("line", ASKED)
def test_a_loop_over_tenants_does_not_pass(app: Any, line: str) -> None:
    add_task(app, code=by_loop)

    verdict, evidence = said(line, app)

    assert verdict in {"FAIL", "PARTIAL"}
    assert "`for … in ACCOUNTS` (" in evidence


@pytest.mark.parametrize("line", ASKED)
def test_of_a_task_without_tenants_they_are_not_asked(app: Any, line: str) -> None:
    add_task(app)

    assert said(line, app)[0] == "N/A"


@pytest.mark.parametrize("line", ASKED)
def test_a_fan_out_past_the_ledger_is_none(app: Any, line: str) -> None:
    def fans_out(self: Any) -> Any:
        for account in ACCOUNTS:
            self.fan_out("shop.till.share", tenants=[account])

    add_task(app, code=fans_out, recorded=False)

    assert said(line, app)[0] in {"FAIL", "PARTIAL"}


@pytest.mark.parametrize(
    ("line", "plan", "shown"),
    [
        ("8.1", FanOut(ACCOUNTS), "no policy is asked"),
        ("8.2", FanOut(ACCOUNTS), "is not written down"),
        ("8.3", FanOut(eligible("digest", of=ACCOUNTS), seed="always"), "seed='always'"),
        ("8.5", FanOut(eligible("digest", of=ACCOUNTS), abort_when=1), "the first dead run ends all others"),
    ],
)
def test_a_fan_out_can_be_told_wrongly(app: Any, line: str, plan: FanOut, shown: str) -> None:
    add_task(app, code=share, for_each=plan)

    assert said(line, app)[0] == "FAIL"
    assert shown in said(line, app)[1]


def test_how_many_tenants_at_a_time_the_setting_says_where_the_fan_out_does_not() -> None:
    few, many = new_app(), new_app(steadybeat_fan_out_count=100_000)
    for app in (few, many):
        add_task(app, code=share, for_each=eligible("digest", of=ACCOUNTS))

    assert said("8.4", few)[0] == "PASS"
    assert "steadybeat_fan_out_count=50" in said("8.4", few)[1]
    assert said("8.4", many)[0] == "PARTIAL"


@pytest.mark.parametrize("line", ["8.6", "8.7"])
def test_runs_of_tenants_past_the_ledger_are_nobodys(app: Any, line: str) -> None:
    target = add_task(app, "shop.till.share", code=share, recorded=False)

    def fans_out(self: Any) -> Any:
        return self.fan_out(target, tenants=eligible("digest", of=ACCOUNTS))

    add_task(app, code=fans_out)

    assert said(line, app)[0] == "FAIL"
    assert "shop.till.share: recorded=False" in said(line, app)[1]


def in_some_order(self: Any) -> None:
    accounts = list(ACCOUNTS)
    random.shuffle(accounts)
    for account in accounts:
        try:
            work_for(account)
        except Exception:  # noqa: BLE001 - what the test is about
            self.app.log.get_default_logger().exception("account failed")


def stops(self: Any) -> None:
    for account in self.iterate(ACCOUNTS):
        work_for(account)


@pytest.mark.parametrize(
    ("line", "code", "verdict"),
    [
        ("8.3", in_some_order, "PASS"),
        ("8.5", in_some_order, "PASS"),
        ("8.5", by_loop, "FAIL"),
        ("8.6", stops, "PARTIAL"),
        ("8.6", by_loop, "FAIL"),
        ("8.7", by_loop, "FAIL"),
    ],
)
def test_a_loop_is_as_good_as_its_code(app: Any, line: str, code: Callable[..., Any], verdict: str) -> None:
    add_task(app, code=code)

    assert said(line, app)[0] == verdict


def test_a_loop_that_sends_a_task_for_each_bounds_nothing(app: Any) -> None:
    target = add_task(app, "shop.till.share", code=share)

    def sends(self: Any) -> None:
        for account in ACCOUNTS:
            target.apply_async((account,))

    add_task(app, code=sends)

    assert said("8.4", app)[0] == "FAIL"
    assert said("8.5", app)[0] == said("8.7", app)[0] == "PASS"


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        ({"schedule": cron("0 6 * * *", tz="UTC")}, "FAIL"),
        ({"schedule": every(timedelta(minutes=5))}, "FAIL"),
        ({"schedule": cron("0 6 * * *", tz="UTC"), "jitter": timedelta(minutes=5)}, "PASS"),
        ({"schedule": cron("H 6 * * *", tz="UTC")}, "PASS"),
        ({}, "N/A"),
    ],
)
def test_fires_leave_the_round_second(app: Any, options: dict[str, Any], verdict: str) -> None:
    add_task(app, **options)

    assert said("8.8", app)[0] == verdict


def test_a_fan_out_may_spread_its_tenants_instead(app: Any) -> None:
    plan = FanOut(eligible("digest", of=ACCOUNTS), spread=timedelta(hours=1))
    add_task(app, code=share, for_each=plan, schedule=cron("0 6 * * *", tz="UTC"))

    assert said("8.8", app)[0] == "PASS"


def test_each_line_and_report_says_whose_it_is() -> None:
    app, foreign = new_app(), new_app(worker_hijack_root_logger=False)
    for each in (app, foreign):
        add_task(each)
    add_task(app, "shop.till.unrecorded", recorded=False)

    assert said("8.9", app)[0] == "PASS"
    assert said("8.9", foreign)[0] == "PARTIAL"
    assert said("8.9", app, "shop.till.unrecorded")[0] == "FAIL"
