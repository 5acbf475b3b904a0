"""Promise: of what must hold between settings of the running system, each is seen to hold, and seen when violated."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest

from steadybeat.audit import Verdict
from steadybeat.audit.live import INEQUALITIES, Answer, Readings, judge, unsafe
from steadybeat.audit.live.inequality import Inequality
from steadybeat.audit.live.readings import (
    CanaryRead,
    Silent,
)
from steadybeat.commands.audit_live import show
from steadybeat.commands.output import Output
from tests.documents import ROOT
from tests.unit.readings_of_a_shop import (
    ANSWERED,
    BEAT,
    LOCKED,
    MAIL,
    NOW,
    PAY,
    STANDBY,
    TERM,
    WATCHDOG,
    WELL,
    WORKER,
    ledger,
    postgres,
    redis,
    settings,
    task,
    without,
)
from tests.unit.readings_that_violate import VIOLATED

PAGE = ROOT / "docs/audit-live.md"
CASES = [(name, *case) for name, cases in VIOLATED.items() for case in cases]


def answers(name: str, seen: Readings) -> list[Answer]:
    return [each.answer for each in judge(seen, [INEQUALITIES[name]])]


def test_each_inequality_is_violated_by_some_readings_here() -> None:
    assert {*VIOLATED} == {*INEQUALITIES}


@pytest.mark.parametrize("name", INEQUALITIES)
def test_it_holds_where_all_is_well_and_says_what_was_read(name: str) -> None:
    found = answers(name, WELL)
    assert [each.verdict for each in found] == [Verdict.PASS]
    assert found[0].evidence
    assert not found[0].risks


@pytest.mark.parametrize(("name", "seen", "subject", "evidence", "remedy", "risks"), CASES)
def test_it_is_violated(name: str, seen: Readings, subject: str, evidence: str, remedy: str, risks: bool) -> None:
    found = {each.subject: each for each in answers(name, seen)}
    answer = found[subject]
    assert answer.verdict is Verdict.FAIL
    assert evidence in answer.evidence
    assert remedy in answer.remedy
    assert answer.risks is risks
    assert not risks or INEQUALITIES[name].risk


@pytest.mark.parametrize("name", INEQUALITIES)
def test_what_only_just_holds_or_does_not_is_told_apart(name: str) -> None:
    """The cases above stand on the wrong side by the smallest step; these are on the right one."""
    just = {
        "visibility_outlives_attempts": task(PAY, hard_seconds=3594.0),
        "lease_margin_outlives_kills": settings(lease_margin_seconds=1.0),
        "leases_outlive_signs_of_life": settings(lease_seconds=9.1),
        "locks_outlive_extensions": settings(lock_timeout_seconds=4.42),
        "leader_lock_outlives_polls": settings(leader_poll_seconds=0.99),
        "alarms_outlast_failovers": settings(leaderless_seconds=5.6, missed_seconds=5.6),
        "shutdowns_fit_their_grace": settings(stop_grace_seconds=18.1),
        "keys_outlive_messages": settings(retention_seconds=20406.0),
        "redis_has_memory_left": redis(used_bytes=80 << 20, limit_bytes=100 << 20),
        "redis_has_clients_left": redis(client_limit=126),
        "postgres_has_connections": postgres(max_connections="48"),
        "statements_end": postgres(statement_timeout="1"),
        "clocks_agree": ledger(instances=(replace(WORKER, clock_offset_seconds=-1.0),)),
        "canaries_are_answered": ledger(
            canaries=(CanaryRead(queue="money", unanswered_since=NOW - timedelta(seconds=120)),)
        ),
        "one_beat_leads": ledger(terms=(replace(TERM, heard_at=NOW - timedelta(seconds=10)),)),
        "postgres_keeps_commits": postgres(synchronous_commit="remote_apply"),
        "redis_persists": redis(fsync="always"),
    }.get(name, WELL)
    assert [each.verdict for each in answers(name, just)] == [Verdict.PASS]


def test_a_part_that_does_not_answer_makes_unknown_what_it_would_tell_and_says_what_to_run() -> None:
    away = Silent("Postgres", "Postgres at … does not answer", "start Postgres, then run this again")
    seen = replace(WELL, postgres=away, schema=away, ledger=away, differences=away)
    found = {each.inequality.name: each.answer for each in judge(seen)}
    unknown = {name for name, answer in found.items() if answer.verdict is Verdict.UNKNOWN}
    assert {"postgres_keeps_commits", "clocks_agree", "one_beat_leads", "schedules_are_applied"} <= unknown
    assert {"visibility_outlives_attempts", "redis_persists", "keys_outlive_messages"}.isdisjoint(unknown)
    for name in unknown:
        assert (found[name].evidence, found[name].remedy) == (away.why, away.ask)
    assert found["servers_answer"].verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("name", "seen", "remedy"),
    [
        ("shutdowns_fit_their_grace", settings(stop_grace_seconds=0.0), "set STEADYBEAT_STOP_GRACE_SECONDS"),
        ("redis_persists", redis(fsync=None, save=None), "look into the parameters of the managed service"),
        ("redis_has_memory_left", redis(limit_bytes=0, machine_bytes=0), "set maxmemory"),
    ],
)
def test_what_a_server_or_a_setting_does_not_say_is_unknown(name: str, seen: Readings, remedy: str) -> None:
    [answer] = answers(name, seen)
    assert answer.verdict is Verdict.UNKNOWN
    assert remedy in answer.remedy


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("visibility_outlives_attempts", replace(WELL, tasks=())),
        ("locks_outlive_extensions", replace(WELL, tasks=(PAY,))),
        ("key_ttls_outlive_messages", replace(WELL, tasks=(PAY,))),
        ("canaries_are_answered", settings(canary_seconds=0.0)),
        (
            "canaries_are_answered",
            ledger(canaries=(CanaryRead(queue="old", unanswered_since=NOW - timedelta(days=1)),)),
        ),
        ("one_beat_leads", ledger(has_schedules=False, terms=())),
        ("consumers_know_their_tasks", replace(WELL, workers=())),
        ("workers_answer", replace(without(WORKER), workers=())),
        ("pools_enforce_limits", replace(WELL, workers=())),
        ("workers_agree_on_visibility", replace(WELL, workers=(replace(ANSWERED, visibility_seconds=None),))),
        ("clocks_agree", ledger(instances=(STANDBY,))),
        ("queues_have_consumers", replace(WELL, tasks=())),
        ("services_have_workers", replace(WELL, tasks=())),
        ("routes_are_declared", replace(WELL, tasks=())),
        ("guarded_queues_are_declared", settings(guarded_queues=())),
    ],
)
def test_what_cannot_be_asked_counts_neither_way(name: str, seen: Readings) -> None:
    assert [each.verdict for each in answers(name, seen)] == [Verdict.NOT_APPLICABLE]


def test_what_is_violated_comes_first_and_before_all_what_puts_work_at_risk() -> None:
    seen = replace(without(STANDBY), settings=replace(WELL.settings, retention_seconds=3600.0, stop_grace_seconds=0.0))
    found = judge(seen)
    shown = [(each.answer.verdict.value, each.answer.risks) for each in found]
    assert shown == sorted(shown, key=lambda each: (["FAIL", "UNKNOWN", "PASS", "N/A"].index(each[0]), not each[1]))
    assert [each.inequality.name for each in found[:3]] == ["keys_outlive_messages"] * 3
    assert {each.inequality.name for each in found} == {*INEQUALITIES}


def test_a_question_that_fails_is_an_error_of_the_audit_and_hides_no_other() -> None:
    def ask(_: Readings) -> list[Answer]:
        raise ZeroDivisionError("by zero")

    wrong = Inequality(name="wrong", formula="x", otherwise="y", change="z", risk="", ask=ask)
    broken, well = judge(WELL, [wrong, INEQUALITIES["beats_are_two"]])
    assert broken.is_broken
    assert broken.answer.verdict is Verdict.UNKNOWN
    assert broken.answer.evidence == "the question failed: ZeroDivisionError: by zero"
    assert well.answer.verdict is Verdict.PASS


def test_every_answer_is_a_finding_of_the_audit() -> None:
    for name, seen, *_ in CASES:
        for each in judge(seen, [INEQUALITIES[name]]):
            assert (each.finding.line, each.finding.subject) == (name, each.answer.subject)


@pytest.mark.parametrize(
    ("seen", "queues", "names"),
    [
        (WELL, {"money", "mail"}, []),
        (settings(retention_seconds=3600.0), {"money"}, ["keys_outlive_messages"] * 2),
        (settings(retention_seconds=3600.0), {"mail"}, ["keys_outlive_messages"]),
        (postgres(fsync="off"), {"mail"}, ["postgres_keeps_commits"]),
        (redis(appends=False), {"mail"}, ["redis_persists"]),
        (redis(appends=False), {"orders"}, []),
        (task(MAIL, hard_seconds=4000.0), {"mail"}, ["visibility_outlives_attempts"]),
        (task(MAIL, hard_seconds=4000.0), {"money"}, []),
        (task(PAY, hard_seconds=4000.0), {"money"}, []),
        (without(WORKER, BEAT, STANDBY, WATCHDOG), {"money", "mail"}, []),
        (replace(WELL, workers=Silent("workers", "were not asked", "ask")), {"money"}, []),
        (redis(fsync=None), {"mail"}, []),
    ],
)
def test_a_start_is_refused_for_what_could_lose_or_double_work_of_its_queues_alone(
    seen: Readings, queues: set[str], names: list[str]
) -> None:
    assert [each.inequality.name for each in unsafe(seen, queues)] == names


def test_the_documentation_has_each_inequality_as_the_code_says_it() -> None:
    written = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \| (.+) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    assert sorted(written) == sorted(
        (each.name, each.formula, each.otherwise, each.change, each.risk) for each in INEQUALITIES.values()
    )


def test_a_terminal_is_told_each_violated_inequality_once_with_every_subject_and_fits_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    out = Output(SimpleNamespace(obj=SimpleNamespace(no_color=True)))  # type: ignore[arg-type]
    show(out, judge(settings(retention_seconds=3600.0, stop_grace_seconds=0.0)), everything=True, as_json=False)
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    first, *others = said.split("\n\n")
    words = " ".join(first.split())
    assert words.startswith(
        "FAIL keys_outlive_messages: work may be doubled must hold retention > visibility timeout ×"
    )
    for name in (PAY.name, LOCKED.name, MAIL.name):
        assert f"of {name} read steadybeat_retention_seconds=3600; a message may come back after" in words
    assert words.count("otherwise") == 1
    assert others[0].startswith("UNKNOWN shutdowns_fit_their_grace")
    assert "otherwise" not in others[0]
    assert "PASS   clocks_agree" in said
    assert " ".join(said.split()).endswith(
        "1 inequality violated, of which 1 could lose or double work;"
        f" {len(INEQUALITIES) - 2} hold, 1 not known, 0 cannot be asked."
    )
