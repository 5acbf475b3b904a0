"""Policies: what people tell them, and what they say of a tenant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from steadybeat.commands.output import Column, Output, count, moment
from steadybeat.commands.progress import Progress
from steadybeat.commands.usage import NOTHING_CHANGED
from steadybeat.errors import ConfigurationError, did_you_mean
from steadybeat.fanout.writing import named
from steadybeat.ledger import Ledger
from steadybeat.ledger.tenants import Policy, Rule, Tenants
from steadybeat.operating.rerun import who
from steadybeat.telemetry.redaction import redact_text

_SHOWN = 5  # so many tenants are named in a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a person has told a policy.

    Attributes:
        policy: Its name.
        is_used: Whether a fan-out has asked for it.
        withdrawn: So many runs in line were cancelled, because their tenants are out now.
        said: What holds now, as a sentence.
        is_trial: Whether it is only what would be.
    """

    policy: str
    is_used: bool
    withdrawn: int
    said: str
    is_trial: bool = False

    @property
    def text(self) -> str:
        """All of it, as sentences."""
        were = "would be" if self.is_trial else "was" if self.withdrawn == 1 else "were"
        gone = f" {count(self.withdrawn, 'run')} in line {were} cancelled for it." if self.withdrawn else ""
        fresh = "" if self.is_used else f" No fan-out has asked for {self.policy!r} yet."
        if self.is_trial:
            return f"Would be so: {self.said}{gone}{fresh} {NOTHING_CHANGED}"
        return self.said + gone + fresh


@dataclass(frozen=True, slots=True, kw_only=True)
class Teller:
    """Who tells policies something, and whether it is meant.

    Attributes:
        tenants: The ledger's.
        reason: Why.
        is_trial: Whether nothing is to change.
        tell: Is called with how many runs in line were looked at, batch by batch.
    """

    tenants: Tenants
    reason: str
    is_trial: bool = False
    tell: Callable[[int], None] = lambda _number: None

    @property
    def by(self) -> dict[str, str]:
        """Who does it and why, as the ledger takes it."""
        return {"who": who(), "reason": self.reason}

    def change(self, policy: str, said: str, *, withdraws: bool = True) -> Change:
        """Return what has been told, with the runs in line that are cancelled for it."""
        gone = 0
        if withdraws:
            gone = self.tenants.would_go(policy) if self.is_trial else self.tenants.withdraw(policy, self.tell)
        is_used = any(each.name == policy and each.used_at is not None for each in self.tenants.policies())
        return Change(policy=policy, is_used=is_used, withdrawn=gone, said=said, is_trial=self.is_trial)


@contextmanager
def telling(out: Output | None, book: Ledger, reason: str, *, dry_run: bool) -> Iterator[Teller]:
    """Yield who tells policies something; a terminal sees how far it has come.

    Args:
        out: Where that is shown; None: nowhere.
        book: The ledger.
        reason: Why.
        dry_run: Whether everything is to be undone.
    """
    if dry_run:
        with book.tenants.trial() as tenants:
            yield Teller(tenants=tenants, reason=reason, is_trial=True)
        return
    with Progress.quiet(out, "runs in line") as progress:
        yield Teller(tenants=book.tenants, reason=reason, tell=progress.advance)


def checked(policy: str) -> str:
    """Return the name of a policy, which need not have been used.

    Raises:
        ConfigurationError: It is none.
    """
    if not policy.isprintable() or policy.split() != [policy]:
        raise ConfigurationError(f"POLICY={policy!r}: must be one word, such as weekly-digest.", policy=policy)
    return policy


def known(book: Ledger, policy: str) -> Policy:
    """Return a policy that a fan-out has asked, or that somebody has told something.

    Raises:
        ConfigurationError: Nobody has; names the nearest.
    """
    policies = {each.name: each for each in book.tenants.policies()}
    if policy not in policies:
        there_are = f" There are: {', '.join(policies)}." if policies else " There are none yet."
        near = did_you_mean(policy, policies) or there_are
        raise ConfigurationError(
            f"POLICY={policy!r}: no fan-out has asked for it, and nobody has told it anything.{near}", policy=policy
        )
    return policies[policy]


def names_of(tenants: Sequence[str]) -> list[str]:
    """Return the names of tenants that a person gave, each once.

    Raises:
        ConfigurationError: One is none.
    """
    try:
        return [*dict.fromkeys(name for name, _ in named(tenants))]
    except ConfigurationError as error:
        raise ConfigurationError(str(error).replace("fan-out: tenant ", "TENANT=", 1)) from None


def ends_at(until: datetime | None, lasting: timedelta | None, tenants: Sequence[str]) -> datetime | None:
    """Return until when something holds.

    Raises:
        ConfigurationError: It says so twice, it has passed, or nobody is named for whom it could.
    """
    if until is not None and lasting is not None:
        raise ConfigurationError("--until and --for exclude each other.")
    if until is None and lasting is None:
        return None
    if not tenants:
        raise ConfigurationError(
            "--until and --for are for tenants that are named; a policy as a whole goes on with `tenants enable`."
        )
    now = datetime.now(UTC)
    try:
        end = now + lasting if lasting is not None else until
    except OverflowError:
        raise ConfigurationError(f"--for={lasting}: is too long; leave it out where it has no end.") from None
    if end is None or end <= now:
        raise ConfigurationError(f"--until={moment(end)}: has passed; write an instant that lies ahead, or --for 2d.")
    return end


def tell(by: Teller, policy: str, tenants: Sequence[str], kind: str, until: datetime | None) -> Change:
    """Say that tenants are ``enabled``, ``paused`` or ``excluded``; of all of them where none is named."""
    if tenants:
        by.tenants.rule(policy, tenants, kind, until=until, **by.by)
        end = f" until {moment(until)}" if until is not None else ""
        said = f"Under {policy} {_listed(tenants)} {'is' if len(tenants) == 1 else 'are'} {kind}{end}."
        paused = kind == "enabled" and _paused(by.tenants, policy)
        said += f" The policy itself is paused, though: `tenants enable {policy}` resumes it." if paused else ""
    elif kind == "enabled":
        was = _paused(by.tenants, policy)
        by.tenants.resume(policy, **by.by)
        said = f"Policy {policy} goes on." if was else f"Policy {policy} was not paused."
    else:
        by.tenants.pause(policy, **by.by)
        said = f"Policy {policy} is paused: everybody is out until `tenants enable {policy}`."
    return by.change(policy, said, withdraws=kind != "enabled")


def roll_out(by: Teller, policy: str, percent: float) -> Change:
    """Have a share of the tenants in."""
    by.tenants.roll_out(policy, percent, **by.by)
    said = f"Policy {policy} has {percent:g} % of the tenants in, and those that are enabled by name."
    return by.change(policy, said)


def forget(by: Teller, policy: str, tenants: Sequence[str]) -> tuple[Change, list[str]]:
    """Forget what was said of tenants; return also those of whom nothing was."""
    cleared = {*by.tenants.clear(policy, tenants, **by.by)}
    unknown = [name for name in tenants if name not in cleared]
    there = [name for name in tenants if name in cleared]
    said = f"Under {policy} nothing is said of {_listed(there)} any more." if there else ""
    said += f"{' ' if there else ''}Nothing was said of {_listed(unknown)}." if unknown else ""
    return by.change(policy, said, withdraws=bool(there)), unknown


def judged(book: Ledger, policy: Policy, tenant: str) -> tuple[str | None, str, Rule | None]:
    """Return why a tenant is out as one word (None where it is in), that as a sentence, and its rule."""
    rule = next(iter(book.tenants.rules(policy.name, 1, tenant)), None)
    verdict = book.tenants.judge(policy.name, [tenant])[tenant]
    end = f", until {moment(rule.expires_at)}" if rule is not None and rule.expires_at is not None else ""
    if verdict is not None:
        cause, reason = verdict
        by_rule = rule is not None and cause == rule.kind
        text = f"{tenant} is out of {policy.name}: {redact_text(reason)}{end if by_rule else ''}."
        return cause, text, rule
    if rule is not None:
        because = f"enabled by {rule.who}: {redact_text(rule.reason)}{end}"
    elif policy.rollout_percent < 100:
        because = f"it is in the roll-out of {policy.rollout_percent:g} %"
    else:
        because = "everybody is"
    return None, f"{tenant} is in {policy.name}: {because}.", rule


def documented(policy: Policy) -> dict[str, Any]:
    """Return a policy for JSON."""
    return {
        "policy": policy.name,
        "rollout_percent": policy.rollout_percent,
        "paused_at": policy.paused_at,
        "paused_by": policy.paused_by,
        "paused_reason": policy.paused_reason and redact_text(policy.paused_reason),
        "enabled_count": policy.enabled_count,
        "paused_count": policy.paused_count,
        "excluded_count": policy.excluded_count,
        "used_at": policy.used_at,
    }


def ruled(rule: Rule) -> dict[str, Any]:
    """Return a rule for JSON."""
    return {
        "tenant": rule.tenant,
        "kind": rule.kind,
        "who": rule.who,
        "reason": redact_text(rule.reason),
        "since": rule.since,
        "expires_at": rule.expires_at,
    }


def said_of(policy: Policy) -> list[tuple[str, str]]:
    """Return what there is to say about a policy, a name and a text for each."""
    return [
        ("policy", policy.name),
        ("roll-out", f"{policy.rollout_percent:g} %"),
        ("paused", _pause_of(policy)),
        ("rules", _counts(policy) or "none"),
        ("last used", moment(policy.used_at) or "no fan-out has asked for it yet"),
    ]


def _pause_of(policy: Policy) -> str:
    if policy.paused_at is None:
        return ""
    return f"since {moment(policy.paused_at)} by {policy.paused_by}: {redact_text(policy.paused_reason or '')}"


def _counts(policy: Policy) -> str:
    counts = (("enabled", policy.enabled_count), ("paused", policy.paused_count), ("excluded", policy.excluded_count))
    return ", ".join(f"{number} {name}" for name, number in counts if number)


def _paused(tenants: Tenants, policy: str) -> bool:
    return any(each.name == policy and each.paused_at is not None for each in tenants.policies())


def _listed(tenants: Sequence[str]) -> str:
    if len(tenants) > _SHOWN:
        return f"{', '.join(tenants[:_SHOWN])} and {len(tenants) - _SHOWN} more"
    return ", ".join(tenants)


POLICY_COLUMNS = [
    Column(title="policy", value=lambda each: each.name),
    Column(title="roll-out", value=lambda each: f"{each.rollout_percent:g} %", right=True),
    Column(title="enabled", value=lambda each: str(each.enabled_count), right=True),
    Column(title="paused", value=lambda each: str(each.paused_count), right=True),
    Column(title="excluded", value=lambda each: str(each.excluded_count), right=True),
    Column(title="last used", value=lambda each: moment(each.used_at) or "never"),
    Column(title="pause", value=_pause_of, tight="cut", style="yellow"),
]
"""How a list of policies looks."""

RULE_COLUMNS = [
    Column(title="tenant", value=lambda rule: rule.tenant, tight="wrap"),
    Column(title="rule", value=lambda rule: rule.kind),
    Column(title="since", value=lambda rule: moment(rule.since), shown_from=100, style="dim"),
    Column(title="until", value=lambda rule: moment(rule.expires_at)),
    Column(title="who", value=lambda rule: rule.who, shown_from=80, style="dim"),
    Column(title="reason", value=lambda rule: redact_text(rule.reason), tight="cut"),
]
"""How the rules of a policy look."""
