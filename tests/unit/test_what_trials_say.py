"""What the trials of a task say of the lines 4.6, 4.7 and 4.8."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from steadybeat.audit.finding import Verdict
from steadybeat.audit.probes.comparing import Effect
from steadybeat.audit.probes.judging import judged
from steadybeat.audit.probes.trials import NotEnded, Trial
from steadybeat.ledger.scratch import changes

ROW = changes({}, {"shop.notes": [{"text": "hello"}]})
TWO = changes({}, {"shop.notes": [{"text": "hello"}] * 2})
ONCE = Trial(effect=Effect(tables=ROW), state="succeeded", run_count=1, attempt_count=1)
TABLES = SimpleNamespace(generated={}, count=2)


def trial(effect: Any = ROW, state: str | None = "succeeded", *killed_at: str, **facts: Any) -> Trial:
    return Trial(effect=Effect(tables=effect), state=state, killed_at=killed_at, **facts)


class Played:
    """Trials whose outcomes are given."""

    def __init__(self, undisturbed: list[Trial] | None = None, **outcomes: Trial | Exception) -> None:
        self._undisturbed = undisturbed or [ONCE, ONCE]
        self._outcomes = {
            "twice": ONCE,
            "killed": trial(ROW, "succeeded", "after_claim", "after_effect", "before_finish", attempt_count=4),
            "concurrently": ONCE,
        } | outcomes

    def undisturbed(self) -> Trial:
        return self._undisturbed.pop(0)

    def twice(self) -> Trial:
        return self._answer("twice")

    def killed(self, seconds: float) -> Trial:
        return self._answer("killed")

    def concurrently(self) -> Trial:
        return self._answer("concurrently")

    def _answer(self, what: str) -> Trial:
        outcome = self._outcomes[what]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def found(trials: Played, **options: Any) -> dict[str, tuple[Verdict, str, str]]:
    task = SimpleNamespace(
        **({"depends_on": ["postgres"], "audit_count": None, "audit_ignore": (), "recorded": True} | options)
    )
    answers = judged(task, trials, TABLES, lambda what: None)  # type: ignore[arg-type]
    return {line: (each.verdict, each.evidence, each.remedy) for line, each in answers.items()}


def test_what_changes_as_one_run_changes_it_passes() -> None:
    answers = found(Played())
    assert {verdict for verdict, _, _ in answers.values()} == {Verdict.PASS}
    assert answers["4.7"][1] == (
        "killed before its code, after its effect, before its end was on record, 4 attempts: shop.notes: 1 row new, as"
        " one undisturbed run does; values compared in shop.notes.text"
    )


@pytest.mark.parametrize(("what", "line"), [("twice", "4.6"), ("killed", "4.7"), ("concurrently", "4.8")])
def test_a_trial_that_changes_more_fails_its_own_line_only(what: str, line: str) -> None:
    answers = found(Played(**{what: trial(TWO, "succeeded", "after_commit")}))
    assert answers[line][0] is Verdict.FAIL
    assert "shop.notes: 2 rows new where one run leaves 1 row new" in answers[line][1]
    assert [verdict for each, (verdict, _, _) in answers.items() if each != line] == [Verdict.PASS] * 2


def test_a_killed_run_that_is_not_resumed_fails() -> None:
    verdict, evidence, _ = found(Played(killed=trial(ROW, "dead", "after_effect", reason="it may not")))["4.7"]
    assert verdict is Verdict.FAIL
    assert "its run ended dead: it may not" in evidence


def test_a_run_that_was_never_killed_within_its_code_is_proven_in_part() -> None:
    verdict, evidence, remedy = found(Played(killed=trial(ROW, "succeeded", "after_claim", "before_finish")))["4.7"]
    assert verdict is Verdict.PARTIAL
    assert "but never between the beginning and the end of its own code" in evidence
    assert remedy


def test_a_run_that_could_not_be_killed_is_unknown() -> None:
    assert found(Played(killed=trial()))["4.7"][0] is Verdict.UNKNOWN


def test_a_trial_that_does_not_come_to_rest_is_unknown() -> None:
    verdict, evidence, _ = found(Played(killed=NotEnded("it had not come to rest after 90 s")))["4.7"]
    assert (verdict, evidence) == (Verdict.UNKNOWN, "tried killed, it had not come to rest after 90 s")


def test_a_task_whose_undisturbed_run_fails_is_unknown() -> None:
    answers = found(Played([trial({}, "dead", reason="no such item"), ONCE]))
    assert {(verdict, evidence) for verdict, evidence, _ in answers.values()} == {
        (Verdict.UNKNOWN, "one undisturbed run ended dead: no such item")
    }


def test_a_task_that_does_not_do_the_same_twice_is_unknown() -> None:
    verdict, evidence, _ = found(Played([ONCE, trial(TWO)]))["4.6"]
    assert verdict is Verdict.UNKNOWN
    assert evidence == (
        "two undisturbed runs from the same start differ: shop.notes: 2 rows new where one run leaves 1 row new"
    )


@pytest.mark.parametrize(
    ("options", "facts", "verdict"),
    [
        ({"depends_on": ["postgres", "smtp"]}, {}, Verdict.UNKNOWN),
        ({"depends_on": ["postgres", "smtp"], "audit_count": 0}, {}, Verdict.PASS),
        ({}, {"has_external": True}, Verdict.UNKNOWN),
        ({"audit_count": lambda: 1}, {"has_external": True}, Verdict.PASS),
    ],
)
def test_what_is_done_elsewhere_must_be_counted(options: Any, facts: Any, verdict: Verdict) -> None:
    once = trial(**facts)
    assert found(Played([once, once]), **options)["4.6"][0] is verdict


@pytest.mark.parametrize(
    ("count", "runs", "verdict"),
    [(0, 1, Verdict.NOT_APPLICABLE), (None, 1, Verdict.UNKNOWN), (0, 2, Verdict.UNKNOWN)],
)
def test_a_task_that_changes_nothing_only_reads_if_it_says_so_and_starts_nothing(
    count: int | None, runs: int, verdict: Verdict
) -> None:
    nothing = trial({}, run_count=runs)
    assert {each[0] for each in found(Played([nothing, nothing]), audit_count=count).values()} == {verdict}
