"""Rules: when a schedule is due and by which policies, as options of a command."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from steadybeat.commands import completion
from steadybeat.commands.values import NOTHING, Duration, Instant, Json, Number, Text, when
from steadybeat.errors import ConfigurationError

if TYPE_CHECKING:
    from steadybeat.schedule import Rule
    from steadybeat.schedule.policies import Policies

F = TypeVar("F", bound=Callable[..., Any])

RULES = ("cron", "every", "once", "rrule", "rule")
_DETAILS = {"tz": ("cron", "rrule"), "dst": ("cron",), "mode": ("cron",), "dtstart": ("rrule",)}

_RULE_OPTIONS = [
    click.option("--cron", metavar="EXPR", help="When: five fields, such as '0 6 * * MON-FRI'."),
    click.option(
        "--tz",
        metavar="ZONE",
        help="Of --cron, and of a --dtstart without one; UTC unless given.",
        shell_complete=completion.zone_names,
    ),
    click.option(
        "--dst",
        type=click.Choice(["once", "skip", "twice"]),
        help="Of --cron: a time that the clocks skip or repeat is due once, skipped, or due twice.",
    ),
    click.option(
        "--mode", type=click.Choice(["or", "and"]), help="Of --cron: whether either day field must fit, or both."
    ),
    click.option("--every", type=Duration(), metavar="DURATION", help="When: at this interval, such as 90s or 5m."),
    click.option("--once", type=Instant(), metavar="AT", help="When: at this instant, and never again."),
    click.option("--rrule", metavar="TEXT", help="When: a rule of RFC 5545, such as 'FREQ=MONTHLY;BYDAY=2FR'."),
    click.option("--dtstart", metavar="AT", help="Of --rrule: where it begins, such as 2026-01-05T06:00."),
    click.option(
        "--rule",
        type=Json(dict, '{"type": "cron", …}'),
        metavar="JSON",
        help="When: any rule, as `schedules show --json` prints it.",
    ),
]
_POLICY_OPTIONS = [
    click.option("--jitter", type=Duration(), metavar="DURATION", help="A fire is due up to this much later."),
    click.option(
        "--catch-up",
        type=click.Choice(["latest", "all", "none"]),
        help="Which of the fires that no scheduler was there for are made up for.",
    ),
    click.option(
        "--catch-up-window", type=Duration(), metavar="DURATION", help="No fire older than this is made up for."
    ),
    click.option(
        "--catch-up-limit",
        type=Number(),
        metavar="COUNT",
        help="No more than so many are made up for; or none for no limit.",
    ),
    click.option(
        "--overlap",
        type=click.Choice(["skip", "queue_one", "queue_all", "cancel_running", "allow"]),
        help="What becomes of a fire while a run of the schedule goes on.",
    ),
    click.option(
        "--start-deadline",
        type=Duration(or_none=True),
        metavar="DURATION",
        help="A fire that could not start within this is skipped; or none.",
    ),
    click.option(
        "--pause-after-failures",
        type=Number(),
        metavar="COUNT",
        help="So many dead runs in a row pause the schedule; or none.",
    ),
    click.option("--fire-limit", type=Number(), metavar="COUNT", help="It fires so often, and then no more; or none."),
    click.option(
        "--late-after",
        type=Duration(or_none=True),
        metavar="DURATION",
        help="A fire that has not begun so long after it was due is late; or none.",
    ),
    click.option(
        "--failures-before-alert",
        type=Number(),
        metavar="COUNT",
        help="So many dead runs in a row until people are told; or none for one.",
    ),
    click.option(
        "--expect", type=Text(), metavar="TEXT", help="What a run must have done, such as 'items > 0'; or none."
    ),
    click.option(
        "--heartbeat", type=Text(), metavar="URL", help="The monitor elsewhere that is told of its runs; off; or none."
    ),
]


def rule_options(command: F) -> F:
    """Give a command the options that say when."""
    return _with(_RULE_OPTIONS, command)


def policy_options(command: F) -> F:
    """Give a command an option for each policy."""
    return _with(_POLICY_OPTIONS, command)


def _with(options: Sequence[Callable[[F], F]], command: F) -> F:
    for option in reversed(options):
        command = option(command)
    return command


def rule_of(given: Mapping[str, Any]) -> Rule | None:
    """Return the rule that the options of `rule_options` say, or None where they say none.

    Raises:
        ConfigurationError: They say two, or one that cannot be.
    """
    said = [name for name in RULES if given[name] is not None]
    if len(said) > 1:
        raise ConfigurationError(f"--{said[0]} and --{said[1]}: a schedule has one rule; give one of them.")
    for detail, of in _DETAILS.items():
        if given[detail] is not None and not set(said) & set(of):
            raise ConfigurationError(f"--{detail}={given[detail]!r}: is of --{' and of --'.join(of)}; give that too.")
    return _READ[said[0]](given) if said else None


def _cron(given: Mapping[str, Any]) -> Rule:
    from steadybeat.schedule.wallclock import make

    return make(given["cron"], given["tz"] or "UTC", given["mode"] or "or", given["dst"])


def _every(given: Mapping[str, Any]) -> Rule:
    from steadybeat.schedule import every

    return every(given["every"])


def _once(given: Mapping[str, Any]) -> Rule:
    from steadybeat.schedule import once

    return once(given["once"])


def _rrule(given: Mapping[str, Any]) -> Rule:
    from steadybeat.schedule import rrule
    from steadybeat.schedule.zones import zone_of

    if given["dtstart"] is None:
        raise ConfigurationError("--rrule: must be told where it begins, such as --dtstart 2026-01-05T06:00.")
    start = when(given["dtstart"])
    if start is None:
        example = f"{datetime.now(UTC):%Y-%m-%d}T06:00"
        raise ConfigurationError(f"--dtstart={given['dtstart']!r}: must be a time such as {example}.")
    if given["tz"] is not None and start.tzinfo is not None:
        raise ConfigurationError(f"--dtstart={given['dtstart']!r}: has a time zone itself; leave --tz out.")
    return rrule(given["rrule"], dtstart=start if start.tzinfo else start.replace(tzinfo=zone_of(given["tz"] or "UTC")))


def _rule(given: Mapping[str, Any]) -> Rule:
    from steadybeat.schedule import from_json

    return from_json(given["rule"])


_READ: Mapping[str, Callable[[Mapping[str, Any]], Rule]] = {
    "cron": _cron, "every": _every, "once": _once, "rrule": _rrule, "rule": _rule
}  # fmt: skip


def policies_of(given: Mapping[str, Any], former: Policies | None) -> dict[str, Any]:
    """Return the policies that the options of `policy_options` say; those not named are as they were.

    Args:
        given: The options.
        former: What the schedule has.
    """
    from steadybeat.schedule.policies import POLICIES

    found = {}
    for name in POLICIES:
        value = given[name] if given[name] is not None else former and getattr(former, name)
        if value is not None and value is not NOTHING:
            found[name] = value
    return found
