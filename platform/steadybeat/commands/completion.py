"""Completion: what the shell's Tab key offers for the arguments of our commands.

The shell asks `celery` itself, with ``_CELERY_COMPLETE`` set; click answers. Its answers come from the ledger of the
app given to ``-A``. Where there is no app, no Postgres or no time, nothing is offered and nothing is said: the
person is in the middle of a line.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from steadybeat.ledger import Ledger

PATIENCE = timedelta(seconds=3)
"""How long finding the app and asking its ledger may take, together."""

LEDGER_PATIENCE = timedelta(seconds=1)
"""How long Postgres may take to answer."""

RECENT_COUNT = 200
"""Among how many runs, the newest, those that fit are looked for."""

Complete = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]
Offer = Iterator[tuple[str, str]]
"""Words, each with what is said beside it where the shell shows that (zsh, fish)."""


def _completes(offered: Callable[[Ledger], Offer]) -> Complete:
    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        words = {word: beside for word, beside in _asked(ctx, offered) if word.startswith(incomplete)}
        return [CompletionItem(word, help=beside or None) for word, beside in words.items()]

    return complete


def _asked(ctx: click.Context, offered: Callable[[Ledger], Offer]) -> Sequence[tuple[str, str]]:
    quiet = io.StringIO()
    try:
        with _at_most(PATIENCE), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            ledger = _ledger(ctx)
            if ledger is None:
                return []
            try:
                return list(offered(ledger))
            finally:
                ledger.database.close()
    except (Exception, SystemExit):  # noqa: BLE001 - whatever an app does when it is imported
        return []


def _ledger(ctx: click.Context) -> Ledger | None:
    """Return a less patient ledger of the app, which click leaves to us: no callback runs while it completes."""
    from celery.app.utils import find_app

    from steadybeat.ledger import Ledger

    app: Any = ctx.find_root().params.get("app")
    if not app:
        return None
    installed = getattr(find_app(app) if isinstance(app, str) else app, "steadybeat", None)
    if installed is None:
        return None
    return Ledger(replace(installed.settings, ledger_timeout_seconds=LEDGER_PATIENCE.total_seconds()))


@contextlib.contextmanager
def _at_most(patience: timedelta) -> Iterator[None]:
    def out_of_time(_number: int, _frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, out_of_time)
    signal.setitimer(signal.ITIMER_REAL, patience.total_seconds())
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _schedules(ledger: Ledger) -> Offer:
    return ((row.name, row.task if row.task != row.name else "") for row in ledger.schedules.all())


def _paused(ledger: Ledger) -> Offer:
    return ((row.name, row.paused_reason or "") for row in ledger.schedules.all() if row.paused_at is not None)


def _services(ledger: Ledger) -> Offer:
    for row in ledger.schedules.all():
        yield row.service, ""
    for run in ledger.story.runs(limit=RECENT_COUNT):
        yield run["service"], ""


def _tasks(ledger: Ledger) -> Offer:
    for row in ledger.schedules.all():
        yield row.task, ""
    for run in ledger.story.runs(limit=RECENT_COUNT):
        yield run["task"], ""
    for task in ledger.tasks.all():
        yield task.name, task.purpose or ""


def _owners(ledger: Ledger) -> Offer:
    return ((task.owner, "") for task in ledger.tasks.all() if task.owner)


def _tenants(ledger: Ledger) -> Offer:
    for policy in ledger.tenants.policies():
        for rule in ledger.tenants.rules(policy.name, RECENT_COUNT):
            yield rule.tenant, f"{rule.kind} under {policy.name}"
    for fan_out in ledger.overview.recent(1):
        for run in ledger.story.runs(fan_out=str(fan_out["run"]), limit=RECENT_COUNT):
            yield run["tenant"], _beside(run)


def _queues(ledger: Ledger) -> Offer:
    for instance in ledger.watched_platform.instances(timedelta(days=1)):
        for queue in instance.queues or ():
            yield queue, "" if instance.alive else "no worker"
    for row in ledger.schedules.all():
        yield row.service, ""


def _beside(run: Mapping[str, Any]) -> str:
    return f"{run['task']} {run['state']}"


def _runs(ledger: Ledger) -> Offer:
    return ((str(run["id"]), _beside(run)) for run in ledger.story.runs(limit=RECENT_COUNT))


def _ended_runs(ledger: Ledger) -> Offer:
    for state in ("dead", "cancelled", "succeeded"):
        for run in ledger.story.runs(state=state, limit=RECENT_COUNT):
            yield str(run["id"]), _beside(run)


def _open_runs(ledger: Ledger) -> Offer:
    for state in ("running", "waiting", "enqueued"):
        for run in ledger.story.runs(state=state, limit=RECENT_COUNT):
            yield str(run["id"]), _beside(run)


def _policies(ledger: Ledger) -> Offer:
    return ((policy.name, policy.paused_reason or "") for policy in ledger.tenants.policies())


def _fan_outs(ledger: Ledger) -> Offer:
    for run in ledger.overview.recent(RECENT_COUNT):
        yield run["run"], f"{run['task']} {run['state']}"


def _dead(ledger: Ledger) -> Offer:
    from steadybeat.ledger.dead import Which

    for letter in ledger.dead.find(Which(), limit=RECENT_COUNT):
        yield letter["id"], f"{letter['task'] or letter['queue']}: {letter['reason']}"


def _alerts(ledger: Ledger) -> Offer:
    for alert in ledger.alerts.find(limit=RECENT_COUNT):
        yield str(alert.id), f"{alert.rule}: {alert.subject}"


def _silences(ledger: Ledger) -> Offer:
    return ((str(each.id), each.reason) for each in ledger.silences.all())


def _channels(ledger: Ledger) -> Offer:
    return ((name, "") for name in ledger.settings.alert_channels)


schedule_names = _completes(_schedules)
"""Offers the names of schedules."""

paused_schedule_names = _completes(_paused)
"""Offers the names of schedules that are paused."""

service_names = _completes(_services)
"""Offers services that have schedules or recent runs."""

task_names = _completes(_tasks)
"""Offers tasks that a deploy has described, or that have schedules or recent runs."""

queue_names = _completes(_queues)
"""Offers queues that workers consume from, or did within a day, and those of services that have schedules."""

owner_names = _completes(_owners)
"""Offers the owners of tasks that a deploy has described."""

tenant_names = _completes(_tenants)
"""Offers tenants that policies have a rule for, and those of the newest fan-out."""

run_ids = _completes(_runs)
"""Offers recent runs."""

open_run_ids = _completes(_open_runs)
"""Offers runs that have not ended: those that are being worked on first."""

ended_run_ids = _completes(_ended_runs)
"""Offers recent runs that have ended: dead ones first."""

_schedules_and_runs = _completes(lambda ledger: itertools.chain(_schedules(ledger), _runs(ledger)))

policy_names = _completes(_policies)
"""Offers the policies that fan-outs have asked for, or that somebody has told anything."""

fan_out_ids = _completes(_fan_outs)
"""Offers runs that have fanned out, the newest first."""

alert_ids = _completes(_alerts)
"""Offers alerts that are not resolved, the newest first."""

silence_ids = _completes(_silences)
"""Offers silences that hold or will hold."""

channel_names = _completes(_channels)
"""Offers the ways to people."""

dead_ids = _completes(_dead)
"""Offers what waits for a person: those that died last first."""


def rule_names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer what can be wrong."""
    from steadybeat.rules import RULES

    return [name for name in RULES if name.startswith(incomplete)]


def schedules_and_runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the names of schedules, and recent runs to somebody who has begun to type one."""
    return (_schedules_and_runs if incomplete else schedule_names)(ctx, param, incomplete)


def zone_names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer time zones."""
    from zoneinfo import available_timezones

    return sorted(name for name in available_timezones() if name.startswith(incomplete))


def instants(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the words that stand for an instant."""
    return [word for word in ("last", "next", "now") if word.startswith(incomplete)]


def past_instants(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the words that stand for an instant which has passed."""
    return [word for word in ("last", "now") if word.startswith(incomplete)]


class _Word(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """One of few words that the ledger knows; SQLAlchemy is loaded when one is asked for, not before."""

    name = "word"

    def _known(self) -> Sequence[str]:
        raise NotImplementedError

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the word.

        Raises:
            BadParameter: There is no such word; says which there are.
        """
        from steadybeat.errors import did_you_mean

        known = self._known()
        if value not in known:
            near, there_are = did_you_mean(value, known), ", ".join(known)
            self.fail(f"{value!r} is no {self.name}.{near} There are: {there_are}.", param, ctx)
        return str(value)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what the help shows in the place of a value."""
        return f"[{'|'.join(self._known())}]"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer the words."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(word) for word in self._known() if word.startswith(incomplete)]


class RunState(_Word):
    """The state of a run."""

    name = "state"

    def _known(self) -> Sequence[str]:
        from steadybeat.ledger.tables import RUN_STATES

        return RUN_STATES


class TenantState(_Word):
    """How far a tenant of a fan-out is."""

    name = "state"

    def _known(self) -> Sequence[str]:
        from steadybeat.ledger.tables import RUN_STATES

        return (*RUN_STATES, "failed", "skipped")


class Cause(_Word):
    """Why something is dead."""

    name = "cause"

    def _known(self) -> Sequence[str]:
        from steadybeat.ledger.dead import CAUSES

        return CAUSES
