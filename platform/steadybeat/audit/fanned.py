"""Fanned: how a task deals with tenants: by a fan-out, by a loop of its own, or not at all."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from steadybeat.audit.source import Call, Loop, Source
from steadybeat.fanout import FanOut

_TENANTS = re.compile(
    r"(?:^|[^a-z])(?:tenant|account|customer|user|subscriber|member|merchant|client|compan(?:y|ie)|organi[sz]ation"
    r"|workspace|team|shop|store|creator|artist|seller|buyer)(?:s|_ids?|_list)?(?:$|[^a-z])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fan:
    """One fan-out of a task, as its code says it.

    Attributes:
        said: What was read, and where.
        policy: Whose tenants are in; None: all that it is given.
        concurrency: So many at a time; None: as the setting says, or the code does not tell.
        spread: They begin over this long; None: at once, or the code does not tell.
        abort_when: When it is given up; None: never, or the code does not tell.
        seed: A seed that is always the same; None: another one each time.
        target: The task that runs for each, by name; empty where the code does not tell.
    """

    said: str
    policy: str | None
    concurrency: int | None = None
    spread: timedelta | None = None
    abort_when: float | None = None
    seed: str | int | None = None
    target: str = ""


def fan_of(task: Any, source: Source) -> Fan | None:
    """Return the fan-out of a task, or None where it has none.

    Args:
        task: The task.
        source: Its code.
    """
    plan = inspect_plan(task)
    if plan is not None:
        return _of_plan(task, plan)
    calls = [call for call in source.called("fan_out") if call.written.startswith("self.") or "." in call.written]
    return _of_call(task, calls[0]) if calls else None


def inspect_plan(task: Any) -> FanOut | None:
    """Return what a task's ``for_each=`` means, or None."""
    plan = getattr(task, "for_each", None)
    return plan if isinstance(plan, FanOut) else None


def _of_plan(task: Any, plan: FanOut) -> Fan:
    return Fan(
        said=f"for_each=FanOut(policy={plan.policy!r}, concurrency={plan.concurrency})",
        policy=plan.policy,
        concurrency=plan.concurrency,
        spread=plan.spread,
        abort_when=plan.abort_when,
        seed=plan.seed,
        target=task.name,
    )


def _of_call(task: Any, call: Call) -> Fan:
    return Fan(
        said=f"fan_out() at {call.place}",
        policy=_policy(call),
        concurrency=_value(call, "concurrency", int),
        spread=_spread(call),
        abort_when=_value(call, "abort_when", float) or _value(call, "abort_when", int),
        seed=_value(call, "seed", str) or _value(call, "seed", int),
        target=_target(task, call),
    )


def _policy(call: Call) -> str | None:
    """Return the policy behind ``tenants=eligible(…)``."""
    given = call.keywords.get("tenants") or (call.arguments[1] if len(call.arguments) > 1 else None)
    found = None if given is None else call.names.standing_for(given)
    if not isinstance(found, ast.Call) or call.names.dotted(found.func).rpartition(".")[2] != "eligible":
        return None
    named = found.args[0] if found.args else None
    value = call.names.constant(named)
    return value if isinstance(value, str) else ast.unparse(named) if named is not None else None


def _value(call: Call, name: str, kind: type) -> Any:
    value = call.keyword(name)
    return value if isinstance(value, kind) and not isinstance(value, bool) else None


def _spread(call: Call) -> timedelta | None:
    seconds = call.seconds("spread")
    return None if seconds is None else timedelta(seconds=seconds)


def _target(task: Any, call: Call) -> str:
    """Return the name of the task that a fan-out runs for each tenant."""
    given = call.arguments[0] if call.arguments else call.keywords.get("task")
    value = None if given is None else call.names.value(given)
    name = getattr(value, "name", value)
    return name if isinstance(name, str) and name in task.app.tasks else ""


def loop_of(source: Source) -> Loop | None:
    """Return the loop in which a task's code goes through tenants by itself, or None."""
    loops = [each for each in source.loops if each.kind == "for" and _TENANTS.search(each.over)]
    return next(iter(loops), None)


def sent_in(source: Source, loop: Loop) -> Call | None:
    """Return the call that sends a task for each item of a loop, or None."""
    return next((each for each in source.sent if loop.place in each.around.loops), None)
