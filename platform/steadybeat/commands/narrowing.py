"""Narrowing: which runs a person means, by what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from steadybeat.commands import completion
from steadybeat.commands.values import Past
from steadybeat.errors import ConfigurationError

if TYPE_CHECKING:
    from steadybeat.ledger import Ledger

_OPTIONS = (
    click.option("--task", help="Only runs of this task.", shell_complete=completion.task_names),
    click.option("--service", help="Only runs of this service's tasks.", shell_complete=completion.service_names),
    click.option("--schedule", help="Only runs of this schedule's fires.", shell_complete=completion.schedule_names),
    click.option("--state", type=completion.RunState(), help="Only runs in this state."),
    click.option("--tenant", help="Only runs for this tenant.", shell_complete=completion.tenant_names),
    click.option(
        "--fan-out", metavar="RUN", help="Only runs of this fan-out's tenants.", shell_complete=completion.fan_out_ids
    ),
    click.option("--key", help="Only runs with this idempotency key."),
    click.option(
        "--since", type=Past(), metavar="WHEN", help="Only what was sent since then: an instant, or how long ago: 2h."
    ),
    click.option("--until", type=Past(), metavar="WHEN", help="Only what was sent up to then."),
    click.option("--error", metavar="TEXT", help="Only where this stands in the reason, or in the last error."),
)
NAMES = ("task", "service", "schedule", "state", "tenant", "fan_out", "key", "since", "until", "error")


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which runs are meant."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def narrowed(book: Ledger, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the options of `run_options` say, as the ledger takes it.

    Raises:
        ConfigurationError: There is no such schedule; a fan-out is no id; or the time between the two is none.
    """
    from steadybeat.commands.asked import id_given, schedule_of

    found = {name: given[name] for name in NAMES if given[name] is not None}
    if "schedule" in found:
        schedule_of(book, found["schedule"])
    if "fan_out" in found:
        found["fan_out"] = id_given(found["fan_out"], "--fan-out")
    if "since" in found and "until" in found and found["since"] > found["until"]:
        raise ConfigurationError(
            f"--since={found['since'].isoformat()}: is after --until={found['until'].isoformat()}."
        )
    return found
