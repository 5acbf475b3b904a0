"""Unfolding: what a signature consists of, and what of it will not run when it never starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from celery.canvas import _chain, _chord, group, maybe_signature
from celery.utils.functional import maybe_list


@dataclass(slots=True)
class Unfolded:
    """What of a canvas will not run.

    Attributes:
        ids: Celery's task ids.
        groups: The chords that wait for some of them.
        errbacks: Error callbacks, each with the id of the task that it is told of.
    """

    ids: list[str] = field(default_factory=list)
    groups: set[str] = field(default_factory=set)
    errbacks: list[tuple[str, Any]] = field(default_factory=list)


def rest_of_chain(app: Any, steps: Iterable[Any] | None) -> Unfolded:
    """Return what of a chain will not run. Nobody is told of that: the step that failed has told."""
    found = Unfolded()
    for step in steps or ():
        _unfold(app, step, found)
    return found


def body_of_chord(app: Any, body: Any) -> Unfolded:
    """Return what of a chord's body will not run, with the error callbacks that Celery calls for it.

    They are those of what would have run first: of a group, of each of its tasks; of a chord, of what that results in.
    """
    found = Unfolded()
    signature = maybe_signature(body, app=app)
    _unfold(app, signature, found)
    _collect(app, signature, [], found)
    return found


def _unfold(app: Any, step: Any, found: Unfolded) -> None:
    step = maybe_signature(step, app=app)
    options = step.options
    if options.get("chord") is not None and options.get("group_id"):
        found.groups.add(options["group_id"])
    if isinstance(step, _chord):
        _unfold(app, step.body, found)
    elif isinstance(step, group | _chain):
        for each in step.tasks:
            _unfold(app, each, found)
    elif options.get("task_id"):
        found.ids.append(options["task_id"])
    for each in options.get("chain") or ():
        _unfold(app, each, found)


def _collect(app: Any, step: Any, inherited: list[Any], found: Unfolded) -> None:
    step = maybe_signature(step, app=app)
    errbacks = [*inherited]
    errbacks += [each for each in maybe_list(step.options.get("link_error")) or () if each not in errbacks]
    if isinstance(step, _chord):
        _collect(app, step.body, errbacks, found)
    elif isinstance(step, group):
        for each in step.tasks:
            _collect(app, each, errbacks, found)
    elif isinstance(step, _chain):
        if step.tasks:
            _collect(app, step.tasks[0], errbacks, found)
    else:
        found.errbacks += [(step.options.get("task_id") or "", each) for each in errbacks]
