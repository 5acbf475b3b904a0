from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from steadybeat.audit.live import INEQUALITIES, asking
from steadybeat.audit.live.inequality import Inequality
from steadybeat.beat import definitions
from steadybeat.ledger import Ledger
from tests.integration.commands.shop import MakeApp, Run, refusal, said

FIELDS = [
    "name", "formula", "otherwise", "change", "risk", "verdict", "subject", "service", "evidence", "remedy",
]  # fmt: skip


def rows(run: Run, *options: str, exit_code: int = 1, **app: Any) -> list[dict[str, Any]]:
    document = said(run("audit", "--live", "--json", *options, **app), exit_code)
    assert [*document] == ["inequalities"]
    found: list[dict[str, Any]] = document["inequalities"]
    return found


@pytest.fixture
def well(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Leaves, of all that must hold, only some to be asked."""

    def only(*names: str) -> None:
        kept = {name: INEQUALITIES[name] for name in names}
        monkeypatch.setattr("steadybeat.audit.live.inequality.INEQUALITIES", kept)

    return only


def test_the_document_has_every_inequality_and_the_same_fields_of_each(run: Run) -> None:
    found = rows(run)
    assert {row["name"] for row in found} == {*INEQUALITIES}
    assert all([*row] == FIELDS for row in found)
    verdicts = [row["verdict"] for row in found]
    assert verdicts == sorted(verdicts, key=["FAIL", "UNKNOWN", "PASS", "N/A"].index)
    for row in found:
        one = INEQUALITIES[row["name"]]
        assert (row["formula"], row["otherwise"], row["change"]) == (one.formula, one.otherwise, one.change)
        assert row["risk"] in {"", one.risk}
        assert row["remedy"] or row["verdict"] in {"PASS", "N/A"}


def test_a_service_or_a_task_is_told_of_itself_and_of_what_is_nobodys_own(run: Run, app: Any) -> None:
    everything = {(row["name"], row["subject"]) for row in rows(run)}
    mail = {(row["name"], row["subject"]) for row in rows(run, "--service", "mail")}
    assert everything - mail == {("queues_have_consumers", "billing"), ("services_have_workers", "billing")}
    app.conf.broker_transport_options = {**app.conf.broker_transport_options, "visibility_timeout": 60}
    wanted = {"shop.billing.charge", "shop.billing.report", "shop.mail.digest"}
    assert {row["subject"] for row in rows(run) if row["name"] == "visibility_outlives_attempts"} == wanted
    only = rows(run, "--task", "shop.billing.charge")
    assert [row["subject"] for row in only if row["name"] == "visibility_outlives_attempts"] == ["shop.billing.charge"]
    assert not [row for row in only if row["service"] == "mail"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--service", "mal"], "--service='mal': there is no such service. Did you mean 'mail'?"),
        (
            ["--task", "shop.mail.digst"],
            "--task='shop.mail.digst': there is no such task. Did you mean 'shop.mail.digest'?",
        ),
        *(
            (options, "--live: leave --min, --probe, --markdown and --html out; it has no score.")
            for options in (["--min", "90"], ["--markdown"], ["--html"])
        ),
    ],
)
def test_what_it_cannot_take_is_refused_in_one_line(run: Run, options: list[str], line: str) -> None:
    assert refusal(run("audit", "--live", *options)) == line


def test_a_system_in_which_all_holds_exits_with_0(run: Run, well: Callable[..., None]) -> None:
    well("visibility_outlives_attempts", "redis_keeps_all", "guarded_queues_are_declared")
    result = run("audit", "--live")
    assert result.exit_code == 0
    assert result.stdout == "Nothing is violated; 2 hold, 0 not known, 1 cannot be asked.\n"
    everything = run("audit", "--live", "--all").stdout.splitlines()
    assert [line.split()[0] for line in everything[1:-1]] == ["PASS", "PASS", "N/A"]


def test_what_is_not_known_is_no_finding(run: Run, well: Callable[..., None]) -> None:
    well("shutdowns_fit_their_grace")
    result = run("audit", "--live")
    assert result.exit_code == 0
    title, line, summary = result.stdout.splitlines()
    assert title.split() == ["WORK", "MAY", "BE", "MUST", "HOLD", "OF", "READ", "CHANGE"]
    assert line.startswith("UNKNOWN  -            shutdowns_fit_their_grace  platform  ")
    assert summary == "Nothing is violated; 0 hold, 1 not known, 0 cannot be asked."


def test_what_could_double_work_is_counted_by_itself(run: Run, make_app: MakeApp, well: Callable[..., None]) -> None:
    well("leases_outlive_signs_of_life", "beats_are_two")
    result = run("audit", "--live", app=make_app(steadybeat_lease_seconds=5))
    assert result.exit_code == 1
    _, first, second, summary = result.stdout.splitlines()
    assert first.split()[:3] == ["FAIL", "doubled", "leases_outlive_signs_of_life"]
    assert first.endswith("set steadybeat_lease_seconds to more than 9")
    assert second.split()[:3] == ["FAIL", "-", "beats_are_two"]
    assert summary == (
        "2 inequalities violated, of which 1 could lose or double work; 0 hold, 0 not known, 0 cannot be asked."
    )


def test_a_question_that_fails_exits_with_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(_: Any) -> list[Any]:
        raise RuntimeError("no")

    wrong = Inequality(name="wrong", formula="x", otherwise="y", change="z", risk="", ask=ask)
    monkeypatch.setattr("steadybeat.audit.live.inequality.INEQUALITIES", {"wrong": wrong})
    [row] = rows(run)
    assert (row["verdict"], row["evidence"]) == ("UNKNOWN", "the question failed: RuntimeError: no")


def test_workers_are_asked_no_longer_than_they_are_given(run: Run, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The patience is a constant of the room, and what is passed to Celery is that."""
    asked: list[float] = []
    inspect = app.control.inspect

    def noted(*args: Any, timeout: float, **options: Any) -> Any:
        asked.append(timeout)
        return inspect(*args, timeout=timeout, **options)

    monkeypatch.setattr(app.control, "inspect", noted)
    Ledger.of(app).schedules.apply(definitions(app), ["mail", "billing"])
    assert {row["verdict"] for row in rows(run) if row["name"] == "schedules_are_applied"} == {"PASS"}
    assert asked == [asking.INSPECT_SECONDS]
