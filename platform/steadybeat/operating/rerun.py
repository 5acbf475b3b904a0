"""Rerun: a new run of what ran before, with everything its message carried."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kombu.serialization import loads

from steadybeat.errors import ConfigurationError, did_you_mean
from steadybeat.ledger import Ledger
from steadybeat.ledger.story import Story
from steadybeat.operating.fanned import fan_out_must_be
from steadybeat.schedule import new_run_id
from steadybeat.wording import count, moment

# What Celery writes into every message by itself; other headers were given by the caller, and are given again.
_OWN_HEADERS = frozenset({
    "lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id",
    "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting",
    "steadybeat_delivery", "steadybeat_former_attempt", "steadybeat_hidden_arguments",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Standing:
    """Why a run is not to be made again.

    Attributes:
        verdict: ``done``: its effect has happened. ``open``: it, or another run for its key, has not ended.
        text: The same as a sentence.
        effect_at: When the effect happened.
        effect_run: In which run.
    """

    verdict: str
    text: str
    effect_at: datetime | None = None
    effect_run: str | None = None


def check_task(app: Any, run: Mapping[str, Any], *, again: bool, force: bool) -> None:
    """Refuse a task that nobody could run, and a second effect where that is critical.

    Raises:
        ConfigurationError: With the way out.
    """
    name = task_of(run)
    task = app.tasks.get(name)
    if task is None and run["service"] not in app.steadybeat.settings.services:
        raise ConfigurationError(
            f"run {run['id']}: its task {name!r} is none of this program's.{did_you_mean(name, app.tasks)}"
            " A service whose tasks this program does not import is named in steadybeat_services.",
            task=name,
        )
    severity = getattr(task, "severity", "unknown here")
    if again and not force and severity in ("critical", "unknown here"):
        raise ConfigurationError(
            f"--again: {name} is of severity {severity}, and its effect would happen a second time; if that is meant,"
            " add --force.",
            task=name,
        )


def standing(book: Ledger, run: Mapping[str, Any], *, again: bool) -> Standing | None:
    """Return why a run is not to be made again, or None."""
    story = book.story
    if run["finished_at"] is None:
        return Standing("open", f"Run {run['id']} has not ended: it is {run['state']}.")
    for rerun in run["reruns"]:
        if rerun["state"] in ("enqueued", "running", "waiting"):
            return Standing("open", f"Run {run['id']} was rerun as {rerun['id']}, which is {rerun['state']}.")
    if again:
        return None
    key = story.processed_key(run["task"], run["idempotency_key"])
    if key is not None and key["state"] == "done":
        return _done(book, key["changed_at"], str(key["run"]))
    if run["state"] == "succeeded":
        return _done(book, run["finished_at"], str(run["id"]))
    holder = story.run(str(key["run"])) if key is not None else None
    if holder is not None and holder["finished_at"] is None:
        text = f"Run {holder['id']} has the same idempotency key, and has not ended: it is {holder['state']}."
        return Standing("open", text)
    return None


def _done(book: Ledger, at: datetime, run: str) -> Standing:
    text = f"Nothing to do: the effect happened at {moment(at)} in run {run}."
    failed = book.fan_outs.counts(run).failed
    if failed:
        text += f" {count(failed, 'tenant')} of it failed, though: --only failed has it go on with these."
    return Standing("done", text, at, run)


def key_of(story: Story, run: Mapping[str, Any], *, again: bool) -> str:
    """Return the idempotency key of a rerun: the run's own, or the first numbered one that nobody has used.

    Two people who ask at once get the same one, so that only one of their runs has an effect.
    """
    key, number = str(run["idempotency_key"]), 1
    if not again:
        return key
    while story.processed_key(run["task"], f"{key}#again-{number}") is not None:
        number += 1
    return f"{key}#again-{number}"


def send(app: Any, run: Mapping[str, Any], *, key: str, by: str, reason: str) -> str:
    """Send a run again under a new id, and return that; it is written to `operations` first.

    Args:
        app: The Celery app.
        run: The run as the ledger has it.
        key: The idempotency key of the new run.
        by: Who asks.
        reason: Why.
    """
    new_id = new_run_id(datetime.now(UTC), os.urandom(10))
    Ledger.of(app).story.note(
        by, "runs rerun", str(run["id"]), reason, new_run=new_id, idempotency_key=key, task=run["task"]
    )
    args, kwargs, embed = body_of(run)
    options = {"task_id": new_id, "idempotency_key": key, "rerun_of": str(run["id"]), **_options(run, embed)}
    app.send_task(task_of(run), args, kwargs, **options)
    return new_id


def go_on(book: Ledger, run: Mapping[str, Any], only: Sequence[str], *, by: str, reason: str) -> int:
    """Have a run that has fanned out go on with some of its tenants; return with how many.

    Args:
        book: The ledger.
        run: As the ledger has it.
        only: Which: ``failed``, ``cancelled``.
        by: Who asks.
        reason: Why.

    Raises:
        ConfigurationError: It has not fanned out.
    """
    states = _states(book, run, only)
    what = f"runs rerun --only {' --only '.join(dict.fromkeys(only))}"
    return book.reopening.reopen(str(run["id"]), states, who=by, what=what, reason=reason)


def would_go_on(book: Ledger, run: Mapping[str, Any], only: Sequence[str]) -> int:
    """Return with how many of its tenants a run would go on.

    Raises:
        ConfigurationError: It has not fanned out.
    """
    return book.reopening.would_be(str(run["id"]), _states(book, run, only))


def _states(book: Ledger, run: Mapping[str, Any], only: Sequence[str]) -> list[str]:
    fan_out = fan_out_must_be(book, run)
    if fan_out["written_at"] is None:
        raise ConfigurationError(
            f"RUN={run['id']}: has not fanned out to all of its tenants, so that none has begun; without --only it is"
            " run again.",
            run=str(run["id"]),
        )
    return [{"failed": "dead"}.get(each, each) for each in dict.fromkeys(only)]


def told_of_tenants(run: str, only: Sequence[str], number: int) -> str:
    """Return as a sentence how many tenants of a run are in line again."""
    if number:
        return f"{count(number, 'tenant')} of run {run} {'is' if number == 1 else 'are'} in line again."
    words = " or ".join(
        {"failed": "failed", "cancelled": "was cancelled with it"}[each] for each in dict.fromkeys(only)
    )
    return f"Nothing to do: no tenant of run {run} {words}."


def task_of(run: Mapping[str, Any]) -> str:
    """Return the task that the stored message is for: another than the run's where `self.replace` put it there."""
    return str(run["message"]["headers"].get("task") or run["task"])


def body_of(run: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """Return the arguments of a run, and what follows it (callbacks, chain, chord)."""
    args, kwargs, embed = loads(run["body"], "application/json", "utf-8", accept={"application/json"})
    return list(args), dict(kwargs), dict(embed or {})


def _options(run: Mapping[str, Any], embed: Mapping[str, Any]) -> dict[str, Any]:
    headers = run["message"]["headers"]
    time_limit, soft_time_limit = headers.get("timelimit") or (None, None)
    options = {
        "queue": run["queue"],
        "priority": run["priority"],
        "time_limit": time_limit,
        "soft_time_limit": soft_time_limit,
        "link": embed.get("callbacks"),
        "link_error": embed.get("errbacks"),
        "chain": embed.get("chain"),
        "chord": embed.get("chord"),
        "group_id": headers.get("group"),
        "group_index": headers.get("group_index"),
        "root_id": headers.get("root_id"),
        "parent_id": headers.get("parent_id"),
        "shadow": headers.get("shadow"),
        "reply_to": run["message"]["properties"].get("reply_to"),
        "ignore_result": headers.get("ignore_result"),
        "headers": {name: value for name, value in headers.items() if value is not None and name not in _OWN_HEADERS},
    }
    return {name: value for name, value in options.items() if value is not None} | {"expires": None}


def who() -> str:
    """Return who asks: the person behind sudo where there is one, and the host."""
    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # an id without a name, as in many containers
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
