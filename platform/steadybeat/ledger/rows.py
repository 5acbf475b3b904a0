"""What the ledger is given and gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to be recorded, with the whole message that starts it.

    Attributes:
        id: Celery's task id, a UUID.
        message: ``{"headers": …, "properties": …}``.
        body: JSON of args, kwargs and what follows.
        not_before: When it is to be sent; at once if None.
        deadline: It is not started after this.
        enqueued_at: When its message is sent, where that is not now.
        group_id: The chord that it is a part of.
        group_index: Its place in that, as Celery counts.
    """

    id: str
    task: str
    service: str
    queue: str
    idempotency_key: str
    message: Mapping[str, Any]
    body: str
    priority: int | None = None
    schedule: str | None = None
    scheduled_for: datetime | None = None
    parent_id: str | None = None
    rerun_of: str | None = None
    not_before: datetime | None = None
    deadline: datetime | None = None
    correlation_id: str | None = None
    enqueued_at: datetime | None = None
    group_id: str | None = None
    group_index: int | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The answer to a claim.

    Attributes:
        verdict: ``claimed``: go ahead. ``unknown``: no such run is recorded. ``ended``: it is over. ``superseded``:
            a later delivery was sent. ``running``: another attempt has a live lease. ``duplicate``: another run
            holds the processed key, or has made the effect. ``skipped``: its fire is not to run. ``paused``,
            ``overlap``, ``too_late``: its schedule says by now that the fire is not to run. ``cancelled``, ``late``,
            ``poisonous``, ``exhausted`` (no attempt may begin so long after the first): it must be ended so.
            ``early``: not yet due. ``lapsed``: the claiming instance does not count as alive; nothing may be granted
            to it before its next sign of life.
        detail: What stood in the way, in words, for the log.
        task: Whose processed key it is: the task that was sent, also where another has replaced it since.
        effect_done: The effect was committed by an earlier attempt of this run, which did not live to say so.
        effect_result: What was kept with that effect.
        key_run: The run that has the processed key, where that is another.
        started_before: Some attempt worked on it.
        rerun: A person asked for this run, which runs again what another was.
        overlap: Of its schedule.
        waited_seconds: How long ago its message was sent last.
        tenant: For whom it does its share.
        fan_out: Of which run it is a share.
        fire_of: Schedule and nominal time of the fire that a share is for, through its fan-out.
    """

    verdict: str
    detail: str = ""
    fence: int = 0
    attempt: int = 0
    retry_count: int = 0
    task: str = ""
    idempotency_key: str = ""
    schedule: str | None = None
    scheduled_for: datetime | None = None
    correlation_id: str | None = None
    effect_done: bool = False
    effect_result: Any = None
    key_run: str | None = None
    rerun: bool = False
    started_before: bool = False
    overlap: str | None = None
    waited_seconds: float = field(default=0.0, compare=False)
    tenant: str | None = None
    fan_out: str | None = None
    fire_of: tuple[str, datetime] | None = None


DEFINED = ("task", "service", "spec", "policies", "args", "kwargs", "options")
"""What a definition says of a schedule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRow:
    """A schedule as the ledger has it; `spec`, `policies` and `code` are JSON.

    Attributes:
        source: ``code`` or ``operator``: whose definition holds.
        code: What the code defines, where it does: another thing than what holds where an operator has edited it.
    """

    name: str
    task: str
    service: str
    spec: Mapping[str, Any]
    policies: Mapping[str, Any]
    args: list[Any] = field(default_factory=list)
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    source: str = "code"
    revision: int = 0
    generation: int = 0
    expected_until: datetime | None = None
    retired_at: datetime | None = None
    code: Mapping[str, Any] | None = None
    paused_at: datetime | None = None
    paused_by: str | None = None
    paused_reason: str | None = None
    consecutive_failures: int = 0
    fire_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FireRow:
    """One expected occurrence of a schedule.

    Attributes:
        cause: The reason as one of few words, for counting.
        asked: ``trigger``, ``backfill`` or ``resume``, where a person asked for it.
    """

    schedule: str
    scheduled_for: datetime
    due_at: datetime
    revision: int = 0
    state: str = "expected"
    reason: str | None = None
    cause: str | None = None
    asked: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """What the ledger knows of a task, for those who tell people of it and do not have its code.

    Attributes:
        owner: Who answers for it.
        severity: How bad it is when it does not run: ``info``, ``warning``, ``error`` or ``critical``.
        purpose: The first sentence of its docstring.
    """

    name: str
    service: str
    owner: str | None = None
    severity: str = "error"
    purpose: str | None = None
    soft_time_limit_seconds: float | None = None
    time_limit_seconds: float | None = None
    depends_on: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is so and should not be, as one pass of the watchdog sees it. Alerts are made of these.

    Attributes:
        rule: The name of the rule, such as ``missed``; `ops/runbooks/<rule>.md` says what to do.
        subject: What it is about: the name of a schedule, task, queue, channel or monitor, or an instance. With the
            rule it says which alert this is; it must be the same at every pass.
        summary: One sentence for a person, without secrets.
        severity: ``info``, ``warning``, ``error`` or ``critical``.
        owner: Who is told; None: whoever is told of what has no owner.
        service: Of the task or the queue.
        run: The run in which it was seen last.
        since: Since when it is so, aware.
        facts: Counts, limits and instants behind the summary, for JSON; durations as ``*_seconds``.
        last_good_run: The id of the last run that did well, where the rule is about runs.
        error: The last error, in one line.
        cause: Rule and subject of the finding of which this is a consequence; people are told of that one instead.
    """

    rule: str
    subject: str
    summary: str
    severity: str = "error"
    owner: str | None = None
    service: str | None = None
    task: str | None = None
    schedule: str | None = None
    run: str | None = None
    since: datetime | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    last_good_run: str | None = None
    error: str | None = None
    cause: tuple[str, str] | None = None


class Envelope(NamedTuple):
    """A message that the outbox holds; a tuple, for there are thousands a second.

    Attributes:
        message: JSON, as the ledger has it: nobody has read it yet.
    """

    outbox_id: int
    run: str
    delivery_no: int
    reason: str
    task: str
    queue: str
    priority: int | None
    message: str
    body: str
    retry_count: int
