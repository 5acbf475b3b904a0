"""Proven: lines 4.6 to 4.8 of the checklist, which only a probe can answer; here is what the last one has shown."""

from __future__ import annotations

from pathlib import Path

from steadybeat.audit.answer import Answer, unknown
from steadybeat.audit.checking import check
from steadybeat.audit.finding import Verdict
from steadybeat.audit.probes.judging import COUNT
from steadybeat.audit.probes.proofs import Proofs
from steadybeat.audit.subject import Subject
from steadybeat.audit.surroundings import Surroundings


@check("4.6")
def run_twice(subject: Subject, around: Surroundings) -> Answer:
    """Run twice, one effect."""
    return _shown("4.6", subject, around)


@check("4.7")
def killed_in_the_middle(subject: Subject, around: Surroundings) -> Answer:
    """Killed in the middle, and resumed: one effect."""
    return _shown("4.7", subject, around)


@check("4.8")
def started_by_many(subject: Subject, around: Surroundings) -> Answer:
    """Concurrent, one effect."""
    return _shown("4.8", subject, around)


def _shown(line: str, subject: Subject, around: Surroundings) -> Answer:
    if around.settings is None:
        return unknown(
            "it was never tried: probes try tasks of apps on which steadybeat is installed",
            "call steadybeat.install(app), say audit_args= on the task, and run `celery -A … audit --probe`",
        )
    shown = Proofs(Path(around.settings.audit_proofs)).of(subject.task)[line]
    if shown.verdict is Verdict.PASS and subject.task.audit_count is None:
        calls = [each.call for each in subject.source.outside if each.changes] + [*subject.source.mails]
        if calls:
            where = f"{calls[0].name} ({calls[0].place})"
            return unknown(f"{where}: what it does there is not counted, since audit_count is not said", COUNT)
    return shown
