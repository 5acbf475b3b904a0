"""`celery -A … tenants`: who gets a run of a fan-out, and who does not: policies, told by people."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from steadybeat.commands import completion
from steadybeat.commands.installed import installed
from steadybeat.commands.output import Output, json_option
from steadybeat.commands.usage import Group, dry_run_option, reason_unless, reason_unless_dry
from steadybeat.commands.values import Duration, Instant

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from steadybeat.commands.policies import Change, Teller

_EXAMPLE = "their import is broken"

policy_argument = click.argument("policy", shell_complete=completion.policy_names)
until_option = click.option("--until", type=Instant(), metavar="AT", help="It holds until then: an instant.")
for_option = click.option("--for", "lasting", type=Duration(), help="It holds so long: 90m, 2d.")


@click.group(cls=Group, epilog="Example: celery -A tasks tenants why weekly-digest 17")
def tenants() -> None:
    """Say which tenants a fan-out has in.

    A policy is what eligible('weekly-digest') names. Everybody is in until somebody says otherwise here.
    """


@tenants.command("list", epilog="Example: celery -A tasks tenants list weekly-digest")
@click.argument("policy", required=False, shell_complete=completion.policy_names)
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="So many rules.")
@json_option
@click.pass_context
def list_(ctx: click.Context, policy: str | None, limit: int, as_json: bool) -> None:
    """List the policies, or the rules of one.

    With POLICY, its rules: what holds for single tenants, and who said so.

    \b
    --json: [{"policy": text, "rollout_percent": number, "paused_at": instant or null, "paused_by", "paused_reason",
              "enabled_count", "paused_count", "excluded_count", "used_at": instant or null}];
            with POLICY {"policy": {the same}, "rules": [{"tenant", "kind": "enabled" | "paused" | "excluded", "who",
              "reason", "since": instant, "expires_at": instant or null}], "more": bool}
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat.commands.policies import POLICY_COLUMNS, RULE_COLUMNS, documented, known, ruled, said_of
    from steadybeat.ledger import Ledger

    book, out = Ledger.of(installed(ctx)), Output(ctx)
    if policy is None:
        found = book.tenants.policies()
        if as_json:
            out.json([documented(each) for each in found])
        elif found:
            out.table(POLICY_COLUMNS, found)
        else:
            out.say("No policies yet: no fan-out has asked for one, and nobody has told one anything.")
        return
    one = known(book, policy)
    rules = book.tenants.rules(policy, limit + 1)
    more, rules = len(rules) > limit, rules[:limit]
    if as_json:
        out.json({"policy": documented(one), "rules": [ruled(each) for each in rules], "more": more})
        return
    out.facts(said_of(one))
    if rules:
        out.say("")
        out.table(RULE_COLUMNS, rules)
    if more:
        out.say("There are more: give a higher --limit.", "yellow")


@tenants.command(epilog="Example: celery -A tasks tenants enable weekly-digest 17 42 --reason 'they try it first'")
@policy_argument
@click.argument("tenant", nargs=-1, shell_complete=completion.tenant_names)
@until_option
@for_option
@dry_run_option
@reason_unless_dry
@json_option
@click.pass_context
def enable(ctx: click.Context, /, policy: str, tenant: tuple[str, ...], **given: Any) -> None:
    """Let tenants in, or resume a policy.

    Each TENANT is in, whatever the roll-out of POLICY says. Without one the policy itself goes on after a pause;
    roll-out and rules hold as before.

    \b
    --json: {"policy": text, "tenants": [text, …], "until": instant or null, "withdrawn_count": number,
             "used": bool, "text": text, "dry_run": bool}
    """  # noqa: D301
    _tell(ctx, "enabled", policy, tenant, given)


@tenants.command(epilog="Example: celery -A tasks tenants pause weekly-digest --reason 'the mail server is down'")
@policy_argument
@click.argument("tenant", nargs=-1, shell_complete=completion.tenant_names)
@until_option
@for_option
@dry_run_option
@reason_unless_dry
@json_option
@click.pass_context
def pause(ctx: click.Context, /, policy: str, tenant: tuple[str, ...], **given: Any) -> None:
    """Leave tenants out for a while, or all of them.

    Each TENANT is out until `tenants enable` or `tenants clear` of POLICY, or for the time that is given; without one
    everybody is. Runs of theirs that wait in line are cancelled; those that have begun go on.

    \b
    --json: {"policy": text, "tenants": [text, …], "until": instant or null, "withdrawn_count": number,
             "used": bool, "text": text, "dry_run": bool}
    """  # noqa: D301
    _tell(ctx, "paused", policy, tenant, given)


@tenants.command(epilog="Example: celery -A tasks tenants exclude weekly-digest 17 --reason 'their wish' --for 30d")
@policy_argument
@click.argument("tenant", nargs=-1, required=True, shell_complete=completion.tenant_names)
@until_option
@for_option
@dry_run_option
@reason_unless_dry
@json_option
@click.pass_context
def exclude(ctx: click.Context, /, policy: str, tenant: tuple[str, ...], **given: Any) -> None:
    """Leave tenants out.

    Each TENANT is out until `tenants enable` or `tenants clear` of POLICY, or for the time that is given. Runs of
    theirs that wait in line are cancelled; those that have begun go on.

    \b
    --json: {"policy": text, "tenants": [text, …], "until": instant or null, "withdrawn_count": number,
             "used": bool, "text": text, "dry_run": bool}
    """  # noqa: D301
    _tell(ctx, "excluded", policy, tenant, given)


@tenants.command(epilog="Example: celery -A tasks tenants rollout weekly-digest 10 --reason 'first a tenth of them'")
@policy_argument
@click.argument("percent", type=click.FloatRange(0, 100))
@dry_run_option
@reason_unless_dry
@json_option
@click.pass_context
def rollout(ctx: click.Context, /, policy: str, percent: float, **given: Any) -> None:
    """Have a share of the tenants in.

    Of all tenants of POLICY PERCENT are in, from 0 to 100: always the same ones, and more as it grows. Runs in line of
    tenants that are out now are cancelled; those that have begun go on.

    \b
    --json: {"policy": text, "rollout_percent": number, "withdrawn_count": number, "used": bool, "text": text,
             "dry_run": bool}
    """  # noqa: D301
    from steadybeat.commands.policies import checked, roll_out

    with _telling(ctx, given, "first a tenth of them") as by:
        change = roll_out(by, checked(policy), percent)
    _answer(ctx, change, given["as_json"], rollout_percent=percent)


@tenants.command(epilog="Example: celery -A tasks tenants clear weekly-digest 17 --reason 'it is mended'")
@policy_argument
@click.argument("tenant", nargs=-1, required=True, shell_complete=completion.tenant_names)
@dry_run_option
@reason_unless_dry
@json_option
@click.pass_context
def clear(ctx: click.Context, /, policy: str, tenant: tuple[str, ...], **given: Any) -> None:
    """Forget what was said of tenants.

    For each TENANT pause and roll-out of POLICY hold again, as for everybody.

    Exits with 1 if nothing was said of one.

    \b
    --json: {"policy": text, "cleared": [text, …], "unknown": [text, …], "withdrawn_count": number, "used": bool,
             "text": text, "dry_run": bool}
    """  # noqa: D301
    from steadybeat.commands.policies import forget, known, names_of
    from steadybeat.ledger import Ledger

    names = names_of(tenant)
    with _telling(ctx, given, "it is mended") as by:
        known(Ledger.of(ctx.obj.app), policy)
        change, unknown = forget(by, policy, names)
    cleared = [name for name in names if name not in unknown]
    _answer(ctx, change, given["as_json"], cleared=cleared, unknown=unknown)
    ctx.exit(1 if unknown else 0)


@tenants.command(epilog="Example: celery -A tasks tenants why weekly-digest 17")
@policy_argument
@click.argument("tenant", shell_complete=completion.tenant_names)
@json_option
@click.pass_context
def why(ctx: click.Context, policy: str, tenant: str, as_json: bool) -> None:
    """Say whether a tenant is in, and why.

    It is what holds for TENANT under POLICY now; what a fan-out has done says `runs tenants`.

    Exits with 1 if the tenant is out.

    \b
    --json: {"policy": text, "tenant": text, "in": bool, "cause": "paused" | "excluded" | "rollout" or null,
             "text": text, "rule": {as in `tenants list`} or null}
    """  # noqa: D301
    from steadybeat.commands.policies import judged, known, names_of, ruled
    from steadybeat.ledger import Ledger

    (name,) = names_of([tenant])
    book, out = Ledger.of(installed(ctx)), Output(ctx)
    cause, text, rule = judged(book, known(book, policy), name)
    if as_json:
        said = {"policy": policy, "tenant": name, "in": cause is None, "cause": cause, "text": text}
        out.json({**said, "rule": None if rule is None else ruled(rule)})
    else:
        out.say(text, "green" if cause is None else "yellow")
    ctx.exit(0 if cause is None else 1)


def _telling(ctx: click.Context, given: dict[str, Any], example: str) -> AbstractContextManager[Teller]:
    from steadybeat.commands.policies import telling
    from steadybeat.ledger import Ledger

    reason = reason_unless(given["dry_run"], given["reason"], example)
    out = None if given["as_json"] else Output(ctx)
    return telling(out, Ledger.of(installed(ctx)), reason, dry_run=given["dry_run"])


def _tell(ctx: click.Context, kind: str, policy: str, tenant: tuple[str, ...], given: dict[str, Any]) -> None:
    """Say something of tenants, or of all of them where none is named."""
    from steadybeat.commands.policies import checked, ends_at, names_of, tell

    until: datetime | None = given["until"]
    lasting: timedelta | None = given["lasting"]
    names = names_of(tenant)
    until = ends_at(until, lasting, names)
    with _telling(ctx, given, _EXAMPLE) as by:
        change = tell(by, checked(policy), names, kind, until)
    _answer(ctx, change, given["as_json"], tenants=names, until=until)


def _answer(ctx: click.Context, change: Change, as_json: bool, **facts: Any) -> None:
    out = Output(ctx)
    if as_json:
        said = {"withdrawn_count": change.withdrawn, "used": change.is_used, "text": change.text}
        out.json({"policy": change.policy, **facts, **said, "dry_run": change.is_trial})
        return
    out.say(change.text, "" if change.is_trial else "green")
