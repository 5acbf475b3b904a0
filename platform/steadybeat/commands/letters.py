"""Letters: which dead letters a person means, and how they look in a list."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from steadybeat.commands import completion
from steadybeat.commands.output import Column, moment, nominal
from steadybeat.commands.values import Past
from steadybeat.errors import ConfigurationError

if TYPE_CHECKING:
    from steadybeat.ledger import Ledger

_FOREIGN = re.compile(r"foreign:(\d{1,18})")

_OPTIONS = (
    click.option("--task", help="Only runs of this task.", shell_complete=completion.task_names),
    click.option(
        "--service",
        help="Only runs of this service's tasks, and messages of its queue.",
        shell_complete=completion.service_names,
    ),
    click.option("--schedule", help="Only runs of this schedule's fires.", shell_complete=completion.schedule_names),
    click.option("--tenant", help="Only runs for this tenant.", shell_complete=completion.tenant_names),
    click.option(
        "--fan-out", metavar="RUN", help="Only runs of this fan-out's tenants.", shell_complete=completion.fan_out_ids
    ),
    click.option(
        "--since", type=Past(), metavar="WHEN", help="Only what died since then: an instant, or how long ago: 2h."
    ),
    click.option("--error", metavar="TEXT", help="Only where this stands in the reason, or in the last error."),
    click.option("--cause", type=completion.Cause(), help="Only what died of this."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which dead letters are meant, as the options say it."""

    task: str | None = None
    service: str | None = None
    schedule: str | None = None
    tenant: str | None = None
    fan_out: str | None = None
    since: datetime | None = None
    error: str | None = None
    cause: str | None = None


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which dead letters are meant."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def found(app: Any, given: Filters, *, limit: int, oldest_first: bool = False) -> list[dict[str, Any]]:
    """Return the dead letters that fit.

    Raises:
        ConfigurationError: There are none, and there is no such task, service or schedule.
    """
    from steadybeat.commands.asked import id_given, must_be_known, schedule_of
    from steadybeat.ledger import Ledger
    from steadybeat.ledger.connection import storable
    from steadybeat.ledger.dead import Which

    book = Ledger.of(app)
    if given.schedule is not None:
        schedule_of(book, given.schedule)
    which = asdict(given) | {"error": None if given.error is None else storable(given.error)}
    if given.fan_out is not None:
        which["fan_out"] = id_given(given.fan_out, "--fan-out")
    letters = book.dead.find(Which(**which), limit=limit, oldest_first=oldest_first)
    if not letters:
        must_be_known(app, book, task=given.task, service=given.service)
    return letters


def number_of(name: str) -> int | None:
    """Return the number of a foreign message, or None for what must be the id of a run."""
    match = _FOREIGN.fullmatch(name.strip())
    return int(match[1]) if match else None


def run_of_letter(book: Ledger, name: str) -> dict[str, Any]:
    """Return a dead run by its whole id.

    Raises:
        ConfigurationError: It is no id, nobody has it, or it is not dead.
    """
    from steadybeat.commands.asked import run_of

    found = run_of(book, _id_of(name))
    if found["state"] != "dead":
        raise ConfigurationError(
            f"RUN={found['id']}: is no dead letter but {found['state']}; `runs show` shows it.", run=str(found["id"])
        )
    return found


def foreign_of(book: Ledger, number: int) -> dict[str, Any]:
    """Return a foreign message by its number.

    Raises:
        ConfigurationError: It is not there, or not any more.
    """
    found = book.dead.foreign(number)
    if found is None:
        raise ConfigurationError(
            f"RUN=foreign:{number}: no such message is kept, or not any more; `celery -A … dead list --cause foreign`"
            " shows those that are."
        )
    return found


def parted(names: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the ids of runs and the numbers of foreign messages that a person gave, each once.

    Raises:
        ConfigurationError: One is neither.
    """
    runs: dict[str, None] = {}
    messages: dict[int, None] = {}
    for name in names:
        number = number_of(name)
        if number is None:
            runs[_id_of(name)] = None
        else:
            messages[number] = None
    return [*runs], [*messages]


def _id_of(name: str) -> str:
    try:
        return str(UUID(name))
    except ValueError:
        raise ConfigurationError(
            f"RUN={name!r}: must be the whole id of a run, a UUID, or foreign:N; `celery -A … dead list` shows them.",
            run=name,
        ) from None


def _reason(row: dict[str, Any]) -> str:
    from steadybeat.telemetry.redaction import redact_text

    return redact_text(row["reason"] or "")


COLUMNS = [
    Column(title="run", value=lambda row: row["id"]),
    Column(title="task", value=lambda row: row["task"] or f"queue {row['queue']}"),
    Column(title="cause", value=lambda row: row["cause"].replace("_", " ")),
    Column(title="died", value=lambda row: moment(row["died_at"])),
    Column(title="tenant", value=lambda row: row["tenant"] or "", shown_from=100),
    Column(title="attempts", value=lambda row: str(row["attempt_count"]), right=True, shown_from=120),
    Column(title="fire", value=lambda row: nominal(row["scheduled_for"]), shown_from=170),
    Column(title="reason", value=_reason, tight="cut", style="dim"),
]
"""How a list of dead letters looks."""
