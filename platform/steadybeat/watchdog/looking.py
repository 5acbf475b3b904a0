"""Looking: what the rules of one pass share. Each thing is asked of the ledger once, when a rule first wants it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import Finding, TaskRow
from steadybeat.rules import RULES
from steadybeat.settings import Settings
from steadybeat.wording import headline

REMEMBERED = timedelta(hours=1)
"""A worker that has been silent for longer is forgotten."""

PLATFORM = "platform"
_SEVERITIES = ("info", "warning", "error", "critical")
_ERROR_LENGTH = 300

Cause = tuple[str, str]


class NotJudged(Exception):
    """The ledger has not answered for long enough to tell: whoever could not give a sign of life is not silent."""


class Look:
    """One look at the ledger.

    Args:
        ledger: The ledger.
        settings: How long each thing may take.
        answering: For how long the ledger has answered without a gap.
        redis_error: What Redis said when it did not answer; None: it does, as far as is known.
        began_at: When this process began to watch.
        deserted_at: When queues were last seen without a consumer, by name.
        redis_away_at: When Redis was last known not to answer.
        deserted_since: Returns since when a queue has been seen without a consumer.
    """

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        answering: timedelta,
        redis_error: str | None = None,
        began_at: datetime | None = None,
        deserted_at: Mapping[str, datetime] | None = None,
        redis_away_at: datetime | None = None,
        deserted_since: Callable[[str], datetime | None] = lambda _: None,
    ) -> None:
        self.ledger = ledger
        self.settings = settings
        self.answering = answering
        self.redis_error = redis_error
        self._began_at = began_at
        self._deserted_at = deserted_at or {}
        self._redis_away_at = redis_away_at
        self._deserted_since = deserted_since
        self._troubles: dict[str, Cause | None] = {}

    # Who leads

    @cached_property
    def leading(self) -> Any:
        """How it stands with leading."""
        return self.ledger.watched_platform.leading()

    @property
    def now(self) -> datetime:
        """The ledger's time when it was first asked."""
        now: datetime = self.leading.now
        return now

    @cached_property
    def leaderless_since(self) -> datetime | None:
        """Since when no Beat is heard of that leads; None: one is, or no schedule needs one."""
        leading = self.leading
        if not leading.schedule_count:
            return None
        since: datetime = leading.heard_at or max(leading.first_at, self._began_at or leading.first_at)
        return since if self.now - since > timedelta(seconds=self.settings.leaderless_seconds) else None

    @property
    def has_new_leader(self) -> bool:
        """Whether a Beat leads that may not have had the time to decide what was due before."""
        since = self.leading.began_at
        return since is not None and self.now - since < timedelta(seconds=self.settings.missed_seconds)

    @property
    def is_leaderless(self) -> bool:
        """Whether it is sure that nobody leads."""
        return self.has_answered(self.settings.leaderless_seconds) and self.leaderless_since is not None

    @property
    def without_leader(self) -> Cause | None:
        """The cause of what is missing while nobody leads."""
        return ("no_leader", PLATFORM) if self.is_leaderless else None

    @property
    def without_redis(self) -> Cause | None:
        """The cause of what stands still while Redis does not answer: nobody can lead without it, or send."""
        return (self.without_leader or ("relay_stalled", PLATFORM)) if self.redis_error else None

    def has_answered(self, seconds: float) -> bool:
        """Return whether the ledger has answered for so long."""
        return self.answering >= timedelta(seconds=seconds)

    def wait_for_answers(self) -> None:
        """Go on only where everybody has had the time to write down what they did while the ledger was away.

        Raises:
            NotJudged: It is too early to tell.
        """
        if not self.has_answered(self.settings.lease_seconds):
            raise NotJudged

    # Who is there

    @cached_property
    def instances(self) -> list[Any]:
        """Who lives, and who was silent for less than an hour."""
        return self.ledger.watched_platform.instances(REMEMBERED)

    @cached_property
    def workers(self) -> list[Any]:
        """The workers that live."""
        return [each for each in self.instances if each.role == "worker" and each.alive]

    @property
    def knows_consumers(self) -> bool:
        """Whether every worker says what it consumes; those of an older release do not."""
        return all(worker.queues is not None for worker in self.workers)

    @cached_property
    def silent(self) -> list[Any]:
        """The workers that give no sign of life, have not signed off, and whose place nobody has taken since.

        Raises:
            NotJudged: It is too early to tell.
        """
        self.wait_for_answers()
        lease = self.settings.lease_seconds
        gone = [each for each in self.instances if each.role == "worker" and not each.alive and each.queues]
        return [each for each in gone if not self._is_replaced(each, timedelta(seconds=lease))]

    def _is_replaced(self, gone: Any, lease: timedelta) -> bool:
        later = [worker for worker in self.workers if worker.started_at > gone.expires_at - lease]
        taken = {queue for worker in later for queue in worker.queues or ()}
        return any(worker.node == gone.node is not None for worker in later) or taken.issuperset(gone.queues)

    @property
    def without_consumer(self) -> set[str]:
        """The queues from which nobody consumes, of those that somebody did lately or on which a run waits."""
        known = {queue for each in self.instances for queue in each.queues or ()}
        return {queue for queue in known | {*self.heads} if not self.consumers(queue)}

    def consumers(self, queue: str) -> list[Any]:
        """Return the workers that live and consume from a queue."""
        return [worker for worker in self.workers if queue in (worker.queues or ())]

    def silence_of(self, instances: Collection[str]) -> Cause | None:
        """Return the silent worker that is one of some instances, as a cause."""
        for each in self._silent_if_known:
            if each.id in instances:
                return "worker_silent", called(each)
        return None

    @property
    def _silent_if_known(self) -> list[Any]:
        try:
            return self.silent
        except NotJudged:
            return []

    @cached_property
    def troubled(self) -> list[Any]:
        """The schedules whose last runs are dead, and those that are paused."""
        return self.ledger.watched_schedules.troubled()

    # What becomes of queues

    @cached_property
    def running(self) -> list[Any]:
        """The runs of which an attempt goes on."""
        return self.ledger.watched_runs.running()

    @cached_property
    def open_runs(self) -> list[Any]:
        """The runs of dispatched fires that have not ended and may be late, or have not started."""
        soonest = min(self.settings.late_seconds, self.settings.never_started_seconds)
        return self.ledger.watched_fires.open_runs(timedelta(seconds=soonest))

    @cached_property
    def heads(self) -> dict[str, Any]:
        """The queues whose first run waits for too long."""
        stalled = timedelta(seconds=self.settings.stalled_seconds)
        return {row.queue: row for row in self.ledger.watched_platform.heads(stalled)}

    @cached_property
    def unanswered(self) -> dict[str, Any]:
        """The queues that do not answer their canary although they could, as far as the ledger tells."""
        if not self.settings.canary_seconds:
            return {}
        pause = self.settings.canary_seconds
        rows = self.ledger.canaries.unanswered(timedelta(seconds=pause))
        asked = {row.queue: row for row in rows if self.could(row.queue, pause)}
        asked = {queue: row for queue, row in asked.items() if not self.is_busy(queue, row.since)}
        began = self.ledger.watched_platform.began(sorted(asked)) if asked else {}
        return {queue: row for queue, row in asked.items() if (at := began[queue]) is None or at < row.since}

    @cached_property
    def stalled(self) -> dict[str, Any]:
        """The queues that have workers, and on which runs wait and none begins or goes on."""
        seconds = self.settings.stalled_seconds
        could = {queue: row for queue, row in self.heads.items() if self.could(queue, seconds)}
        waiting = {queue: row for queue, row in could.items() if not self.is_busy(queue, row.since)}
        began = self.ledger.watched_platform.began(sorted(waiting)) if waiting else {}
        oldest = self.now - timedelta(seconds=seconds)
        return {queue: row for queue, row in waiting.items() if (at := began[queue]) is None or at < oldest}

    def could(self, queue: str, seconds: float) -> bool:
        """Return whether a queue has had a consumer for so long, and Redis: what has just come needs its time."""
        soonest, deserted_at = self.now - timedelta(seconds=seconds), self._deserted_at.get(queue)
        if deserted_at is not None and deserted_at > soonest:
            return False
        if self.redis_error is None and self._redis_away_at is not None and self._redis_away_at > soonest:
            return False
        return any(worker.started_at <= soonest for worker in self.consumers(queue))

    def is_busy(self, queue: str, since: datetime | None = None) -> bool:
        """Return whether an attempt of a queue goes on, or each of its workers is taken up by its other queues.

        Args:
            queue: Its name.
            since: A worker that has answered a canary of another queue since then has places left.
        """
        if any(run.queue == queue for run in self.running):
            return True
        at_work, consumers = {run.instance for run in self.running}, self.consumers(queue)
        if not consumers or any(worker.id not in at_work for worker in consumers):
            return False
        answered = [at for worker in consumers if (at := self.answerers.get(worker.id)) is not None]
        return since is None or not any(at > since for at in answered)

    @cached_property
    def answerers(self) -> dict[str, datetime]:
        """When each worker has answered a canary last."""
        return self.ledger.canaries.answerers() if self.settings.canary_seconds else {}

    @cached_property
    def deserted(self) -> dict[str, Any]:
        """The queues on which runs wait for too long, and from which for so long no worker consumes that lives."""
        if not self.knows_consumers:
            return {}
        return {queue: row for queue, row in self.heads.items() if self._is_deserted(queue)}

    def _is_deserted(self, queue: str) -> bool:
        since = self._deserted_since(queue)
        return since is not None and self.now - since >= timedelta(seconds=self.settings.stalled_seconds)

    def trouble_of(self, queue: str) -> Cause | None:
        """Return why nothing of a queue begins, if something is wrong with it, as a cause."""
        if queue not in self._troubles:
            self._troubles[queue] = self._trouble_of(queue)
        return self._troubles[queue]

    def _trouble_of(self, queue: str) -> Cause | None:
        if not self.consumers(queue):
            silent = self.silent_worker_of(queue)
            return silent or (("no_consumer", queue) if queue in self.deserted else None)
        if queue in self.unanswered:
            return "not_consuming", queue
        return ("queue_stalled", queue) if queue in self.stalled else None

    def silent_worker_of(self, queue: str) -> Cause | None:
        """Return the silent worker that consumed from a queue, as a cause."""
        for each in self._silent_if_known:
            if queue in each.queues:
                return "worker_silent", called(each)
        return None

    # Whose it is

    @cached_property
    def tasks(self) -> dict[str, TaskRow]:
        """What the ledger knows of tasks, by name."""
        return {row.name: row for row in self.ledger.tasks.all()}

    def about_task(self, rule: str, subject: str, summary: str, *, task: str, **facts: Any) -> Finding:
        """Return a finding about what a task does, for its owner.

        Args:
            rule: Its name.
            subject: See `Finding`.
            summary: See `Finding`.
            task: The task.
            **facts: Other fields of a finding.
        """
        known, severity = self.tasks.get(task), RULES[rule].severity
        if known is not None:
            facts = {"owner": known.owner, "service": known.service, **facts}
            severity = as_bad_as(severity, known.severity)
        return Finding(rule=rule, subject=subject, summary=summary, task=task, severity=severity, **facts)

    def about_services(
        self, rule: str, subject: str, summary: str, *, services: Iterable[str], **facts: Any
    ) -> Finding:
        """Return a finding about what services share, for the owner of most of their tasks; as bad as for the worst.

        Args:
            rule: Its name.
            subject: See `Finding`.
            summary: See `Finding`.
            services: By name.
            **facts: Other fields of a finding.
        """
        services = sorted(services)
        tasks = [task for task in self.tasks.values() if task.service in services]
        owners = Counter(task.owner for task in tasks if task.owner)
        owner = min(owners, key=lambda each: (-owners[each], each), default=None)
        severity = RULES[rule].severity
        if severity == "error" and tasks:
            severity = max((task.severity for task in tasks), key=_SEVERITIES.index)
        service = services[0] if len(services) == 1 else None
        return Finding(
            rule=rule, subject=subject, summary=summary, severity=severity, owner=owner, service=service, **facts
        )


def called(instance: Any) -> str:
    """Return what an instance is called: a worker by its name in Celery."""
    return instance.node or f"{instance.role}@{instance.host}:{instance.pid}"


def as_bad_as(rule: str, task: str) -> str:
    """Return how bad it is: as bad as the task says, but for what is a warning at the most.

    >>> as_bad_as("error", "critical"), as_bad_as("warning", "critical"), as_bad_as("warning", "info")
    ('critical', 'warning', 'info')
    """
    return task if rule == "error" else min(rule, task, key=_SEVERITIES.index)


def line_of(error: str | None) -> str | None:
    """Return what went wrong in one line, or None."""
    return headline(error)[:_ERROR_LENGTH] or None
