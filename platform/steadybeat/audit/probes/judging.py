"""Judging: what the trials of a task say of the lines 4.6, 4.7 and 4.8 of the checklist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from steadybeat.audit.answer import Answer, failed, not_applicable, partly, passed, unknown
from steadybeat.audit.probes.comparing import Apart, Effect, Yardstick
from steadybeat.audit.probes.trials import DELIVERIES, DURING, KILLED_AT, OTHERS, NotEnded, Trial, Trials

_OWN_SERVERS = frozenset({"postgres", "postgresql", "redis"})
PROVEN = ("4.6", "4.7", "4.8")
"""The lines of the checklist that only a probe answers."""

DECLARE = (
    "say audit_args= on the task: arguments with which it may be tried, or a function that prepares rows in the scratch"
    " database and returns them; then run `celery -A … audit --probe`"
)
COUNT = (
    "say audit_count= on the task: a function that counts what it does there (mails, charges), or 0 where it only reads"
)
_ONCE = (
    "make the effect in `with self.exactly_once() as db`, by self.external(…) with the run's idempotency key, or by one"
    " statement that does nothing the second time (a unique key, a condition on the state)"
)


def judged(task: Any, trials: Trials, tables: Any, progress: Callable[[str], None]) -> dict[str, Answer]:
    """Try a task, and return what was shown for each line.

    Args:
        task: It has ``audit_args``.
        trials: Tries it.
        tables: The application's tables, a `ScratchTables`.
        progress: Called with what is tried next.
    """
    progress("undisturbed")
    first, second = trials.undisturbed(), trials.undisturbed()
    unfit = _unfit(task, first, second)
    try:
        yardstick = Yardstick(first.effect, second.effect, tables.generated, task.audit_ignore)
    except Apart as apart:
        unfit = unfit or unknown(
            f"two undisturbed runs from the same start differ: {_listed(apart.told)}",
            "let the function of audit_args= prepare the same rows each time: there is nothing to compare with",
        )
    if unfit is not None:
        return dict.fromkeys(PROVEN, unfit)
    if first.effect.is_nothing:
        return dict.fromkeys(PROVEN, _without_effect(task, first, tables.count))
    measure = _Measure(task, yardstick)
    seconds = min(first.attempt_seconds, second.attempt_seconds)
    return {
        "4.6": measure.proof("twice", trials.twice, progress),
        "4.7": measure.proof("killed", lambda: _killed(trials, seconds), progress),
        "4.8": measure.proof("concurrently", trials.concurrently, progress),
    }


def _killed(trials: Trials, seconds: float) -> Trial:
    """Kill a run, sooner where it was over too soon to be killed within its code; three times at the most."""
    for part in (1, 2, 4):
        trial = trials.killed(seconds / part)
        if DURING & {*trial.killed_at} or trial.state not in (None, "succeeded"):
            break
    return trial


def _unfit(task: Any, *trials: Trial) -> Answer | None:
    """Return why nothing can be compared with undisturbed runs, or None."""
    for trial in trials:
        if trial.state not in (None, "succeeded"):
            return unknown(
                f"one undisturbed run ended {trial.state}: {trial.reason[:300]}",
                "let audit_args= prepare what the task needs; name in steadybeat_audit_prepare and steadybeat_dev_run"
                " what the application needs beside it",
            )
        elsewhere = sorted({*task.depends_on} - _OWN_SERVERS)
        if task.audit_count is None and (trial.has_external or elsewhere):
            why = "uses external()" if trial.has_external else f"depends_on {', '.join(elsewhere)}"
            return unknown(f"{why}, and what it does there is not counted: audit_count is not said", COUNT)
    return None


def _without_effect(task: Any, trial: Trial, table_count: int) -> Answer:
    started = trial.run_count - 1 if trial.state is not None else trial.run_count
    if task.audit_count == 0 and started == 0:
        return not_applicable(
            f"it only reads: two undisturbed runs changed no row of {table_count} tables and started no other run, and"
            " audit_count=0 says that it does nothing elsewhere"
        )
    return unknown(
        f"one undisturbed run changed no row of {table_count} tables, and nothing else that is counted",
        f"let audit_args= prepare rows on which the task acts; or, if it acts elsewhere or only reads, {COUNT}",
    )


class _Measure:
    """What disturbed trials of one task are held against."""

    def __init__(self, task: Any, yardstick: Yardstick) -> None:
        self._task, self._yardstick = task, yardstick

    def proof(self, what: str, act: Callable[[], Trial], progress: Callable[[str], None]) -> Answer:
        """Make one trial, and return what it shows."""
        progress(what)
        try:
            trial = act()
        except NotEnded as error:
            remedy = (
                "let it come to rest sooner in a scratch place (what it waits for, how often it tries), and probe again"
            )
            return unknown(f"tried {what}, {error}", remedy)
        done = getattr(self, f"_{what}")(trial)
        apart = self._yardstick.against(trial.effect)
        if apart:
            return failed(f"{done}: {_listed(apart)}", _ONCE)
        if trial.state not in (None, "succeeded"):
            said = f"{done}: its run ended {trial.state}: {trial.reason[:300]}"
            return failed(said, "let the task bear that an attempt before it has died anywhere")
        seen = f"{done}: {self._seen(trial.effect)}"
        if what == "killed" and not DURING & {*trial.killed_at}:
            return self._not_in_the_middle(trial, seen)
        return passed(seen)

    def _not_in_the_middle(self, trial: Trial, seen: str) -> Answer:
        if not trial.killed_at:
            return unknown(
                "its process could not be killed: its runs come by no point at which one dies",
                "leave recorded=False out, or make its effect in a transaction by SQLAlchemy",
            )
        return partly(
            f"{seen}; but never between the beginning and the end of its own code",
            "make its effect in exactly_once(), external() or a transaction by SQLAlchemy, around which it is killed;"
            " or probe again, where it was over too soon to be killed halfway",
        )

    def _twice(self, _: Trial) -> str:
        again = "called again under the same key" if self._task.recorded else "called again"
        return f"delivered three times and {again}"

    def _killed(self, trial: Trial) -> str:
        points = [KILLED_AT[point] for point in trial.killed_at]
        if not points:
            return "killed nowhere"
        attempts = f", {trial.attempt_count} attempts" if trial.attempt_count else ""
        return f"killed {', '.join(points)}{attempts}"

    def _concurrently(self, _: Trial) -> str:
        return f"{DELIVERIES} deliveries and {OTHERS} other runs under the same key at once, to several workers"

    def _seen(self, effect: Effect) -> str:
        compared = self._yardstick.compared
        counted = "" if compared else "; rows were counted, and no value could be compared"
        values = f"; values compared in {', '.join(compared[:4])}{_more(len(compared) - 4)}"
        return f"{effect.in_words}, as one undisturbed run does{values if compared else counted}"


def _more(count: int) -> str:
    return f" and {count} more columns" if count > 1 else " and another column" if count == 1 else ""


def _listed(told: list[str]) -> str:
    return "; ".join(told[:4]) + (f"; and {len(told) - 4} more" if len(told) > 4 else "")
