"""Cancel: which runs are to end before their time, and what became of the request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from steadybeat.commands.asked import run_of
from steadybeat.commands.rerun import who
from steadybeat.errors import ConfigurationError
from steadybeat.ledger import Ledger

TIME_TO_STOP = timedelta(seconds=2)
"""How long work that is to be terminated has to stop by itself."""

_BATCH = 500


@dataclass(slots=True)
class Answer:
    """What became of a request, by the ids of its runs.

    Attributes:
        ended: Nothing worked on them: they are cancelled.
        asked: They are being worked on, and were told.
        over: They had ended before.
    """

    ended: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    over: list[str] = field(default_factory=list)

    def text(self, *, terminate: bool) -> str:
        """Return it as a sentence or more."""
        said = []
        if self.ended:
            said.append(f"{_runs(self.ended)} cancelled.")
        if self.asked:
            how = "; what has not stopped soon is terminated" if terminate else "; work that iterates stops"
            said.append(f"{_runs(self.asked)} told to stop{how}.")
        if self.over:
            said.append(f"{_runs(self.over)} had ended before.")
        return " ".join(said) or "No such runs."


def chosen(
    book: Ledger,
    runs: Sequence[str],
    *,
    task: str | None,
    service: str | None,
    schedule: str | None,
    state: str | None,
) -> list[str]:
    """Return the ids of the runs that a person means, by their ids or by what they have in common.

    Raises:
        ConfigurationError: Neither is given, or both; or there is no run of such an id.
    """
    filters = {"task": task, "service": service, "schedule": schedule, "state": state}
    if bool(runs) == any(filters.values()):
        raise ConfigurationError("Name runs by their ids, or by --task, --service, --schedule or --state, not both.")
    if runs:
        return [str(run_of(book, run)["id"]) for run in runs]
    return book.cancelling.open_runs(**filters)


def cancel(book: Ledger, runs: Sequence[str], reason: str, *, terminate: bool) -> Answer:
    """Ask for the end of runs; who asked, for which and why is written to `operations` first.

    Args:
        book: The ledger.
        runs: Their ids.
        reason: Why.
        terminate: Also end work that does not stop by itself.
    """
    answer, asker = Answer(), who()
    for start in range(0, len(runs), _BATCH):
        batch = list(runs[start : start + _BATCH])
        target = batch[0] if len(batch) == 1 else f"{len(batch)} runs"
        book.story.note(asker, "runs cancel", target, reason, runs=batch, terminate=terminate)
        terminate_after = TIME_TO_STOP if terminate else None
        found = book.cancelling.request(batch, f"{reason} ({asker})", terminate_after=terminate_after)
        answer.ended += found.ended
        answer.asked += found.asked
        answer.over += [run for run in batch if run not in {*found.ended, *found.asked}]
    return answer


def _runs(ids: Sequence[str]) -> str:
    return f"Run {ids[0]}" if len(ids) == 1 else f"{len(ids)} runs"
