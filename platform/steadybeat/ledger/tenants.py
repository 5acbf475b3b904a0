"""Tenants: who is to have a run of a fan-out, and who is not. Decided here, outside of any job's own query.

A policy is a name that fan-outs are told: everybody is in while the ledger knows nothing of it. Whoever is out is on
record with the reason, fire by fire. A roll-out of some percent has always the same tenants in: those whose hash with
the policy's name comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from steadybeat.ledger.connection import Database, sql

WITHDRAW_COUNT = 1_000
"""Runs in line that are looked at in one statement."""

# Needs `given` with tenant and whatever else is wanted, and the value `policy`, which may be NULL: everybody is in.
JUDGED = """
    SELECT given.*,
           CASE WHEN rule.kind IN ('paused', 'excluded') THEN rule.kind
                WHEN policy.paused_at IS NOT NULL THEN 'paused'
                WHEN rule.kind IS NULL AND policy.rollout_percent < 100
                     AND policy.rollout_percent <= 100.0 / 4294967296 * CAST(CAST(
                         'x' || left(md5(CAST(:policy AS text) || ':' || given.tenant), 8) AS bit(32)) AS bigint)
                     THEN 'rollout' END AS cause,
           CASE WHEN rule.kind IN ('paused', 'excluded')
                     THEN rule.kind || ' by ' || rule.who || ': ' || rule.reason
                WHEN policy.paused_at IS NOT NULL
                     THEN 'the policy is paused by ' || policy.paused_by || ': ' || policy.paused_reason
                ELSE 'not in the roll-out of ' || policy.rollout_percent || ' %' END AS reason
      FROM given
      LEFT JOIN steadybeat.tenant_policies policy
             ON policy.name = :policy
      LEFT JOIN steadybeat.tenant_rules rule
             ON rule.policy = :policy AND rule.tenant = given.tenant
            AND (rule.expires_at IS NULL OR rule.expires_at > clock_timestamp())"""


_JUDGE = sql(f"""
    WITH given AS (SELECT tenant FROM unnest(:names) AS given (tenant))
    SELECT tenant, cause, CASE WHEN cause IS NOT NULL THEN reason END AS reason FROM ({JUDGED}) judged
""")
_POLICIES = sql("""
    SELECT name, coalesce(p.rollout_percent, 100) AS rollout_percent, p.paused_at, p.paused_by, p.paused_reason,
           count(r.tenant) FILTER (WHERE r.kind = 'enabled') AS enabled_count,
           count(r.tenant) FILTER (WHERE r.kind = 'paused') AS paused_count,
           count(r.tenant) FILTER (WHERE r.kind = 'excluded') AS excluded_count,
           (SELECT max(f.begun_at) FROM steadybeat.fan_outs f WHERE f.policy = name) AS used_at
      FROM (SELECT name FROM steadybeat.tenant_policies
            UNION SELECT policy FROM steadybeat.tenant_rules
            UNION SELECT policy FROM steadybeat.fan_outs WHERE policy IS NOT NULL) known (name)
      LEFT JOIN steadybeat.tenant_policies p USING (name)
      LEFT JOIN steadybeat.tenant_rules r
             ON r.policy = name AND (r.expires_at IS NULL OR r.expires_at > clock_timestamp())
     GROUP BY name, p.rollout_percent, p.paused_at, p.paused_by, p.paused_reason
     ORDER BY name
""")
_RULES = sql("""
    SELECT policy, tenant, kind, who, reason, since, expires_at FROM steadybeat.tenant_rules
     WHERE policy = :policy AND (expires_at IS NULL OR expires_at > clock_timestamp())
       AND (CAST(:tenant AS text) IS NULL OR tenant = :tenant)
     ORDER BY kind, tenant LIMIT CAST(:row_count AS integer)
""")
_PAUSE = sql("""
    INSERT INTO steadybeat.tenant_policies AS p (name, paused_at, paused_by, paused_reason)
    VALUES (:policy, clock_timestamp(), :who, :reason)
    ON CONFLICT (name) DO UPDATE
       SET paused_at = coalesce(p.paused_at, excluded.paused_at), paused_by = excluded.paused_by,
           paused_reason = excluded.paused_reason, updated_at = clock_timestamp()
""")
_RESUME = sql("""
    UPDATE steadybeat.tenant_policies
       SET paused_at = NULL, paused_by = NULL, paused_reason = NULL, updated_at = clock_timestamp()
     WHERE name = :policy
""")
_ROLL_OUT = sql("""
    INSERT INTO steadybeat.tenant_policies (name, rollout_percent) VALUES (:policy, :percent)
    ON CONFLICT (name) DO UPDATE SET rollout_percent = excluded.rollout_percent, updated_at = clock_timestamp()
""")
_RULE = sql("""
    INSERT INTO steadybeat.tenant_rules (policy, tenant, kind, who, reason, expires_at)
    SELECT :policy, tenant, :kind, :who, :reason, :until FROM unnest(:names) AS given (tenant)
    ON CONFLICT (policy, tenant) DO UPDATE
       SET kind = excluded.kind, who = excluded.who, reason = excluded.reason, since = clock_timestamp(),
           expires_at = excluded.expires_at
""")
_CLEAR = sql("""
    DELETE FROM steadybeat.tenant_rules WHERE policy = :policy AND tenant = ANY(:names) RETURNING tenant
""")
_OPEN = sql("SELECT run FROM steadybeat.fan_outs WHERE policy = :policy AND ended_at IS NULL")
_TOLD_SINCE = sql("""
    SELECT FROM steadybeat.operations
     WHERE target = :policy AND starts_with(what, 'tenants ') AND at > :since LIMIT 1
""")
# Whoever was in when a fan-out was written, and is out by now, before his turn has come.
_WITHDRAW = sql(f"""
    WITH given AS MATERIALIZED (
        SELECT id, tenant FROM steadybeat.runs
         WHERE fan_out = :run AND in_line AND finished_at IS NULL AND attempt_count = 0
           AND id > coalesce(:after, CAST('00000000-0000-0000-0000-000000000000' AS uuid))
         ORDER BY id LIMIT CAST(:row_count AS integer) FOR UPDATE SKIP LOCKED
    ),
    judged AS MATERIALIZED ({JUDGED}),
    gone AS (
        UPDATE steadybeat.runs r
           SET state = 'cancelled', reason = judged.reason, finished_at = clock_timestamp(),
               cancel_requested_at = clock_timestamp(), cancel_reason = judged.reason
          FROM judged WHERE r.id = judged.id AND judged.cause IS NOT NULL
        RETURNING r.id
    )
    SELECT (SELECT count(*) FROM gone) AS gone_count, (SELECT count(*) FROM given) AS seen_count,
           (SELECT CAST(id AS text) FROM given ORDER BY given.id DESC LIMIT 1) AS last
""")
_WOULD_GO = sql(f"""
    WITH given AS (
        SELECT r.tenant FROM steadybeat.fan_outs f JOIN steadybeat.runs r ON r.fan_out = f.run
         WHERE f.policy = :policy AND f.ended_at IS NULL
           AND r.in_line AND r.finished_at IS NULL AND r.attempt_count = 0
    )
    SELECT count(*) AS count FROM ({JUDGED}) judged WHERE cause IS NOT NULL
""")
_NOTE = sql("""
    INSERT INTO steadybeat.operations (who, what, target, reason, details)
    VALUES (:who, :what, :policy, :reason, jsonb_build_object('tenants', CAST(:names AS text[])))
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy, and how many rules it has.

    Attributes:
        rollout_percent: Share of the tenants that are in.
        used_at: When a fan-out asked it last.
    """

    name: str
    rollout_percent: float
    paused_at: datetime | None
    paused_by: str | None
    paused_reason: str | None
    enabled_count: int
    paused_count: int
    excluded_count: int
    used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What holds for one tenant under a policy.

    Attributes:
        kind: ``enabled``: in, whatever the roll-out; ``paused`` and ``excluded``: out.
        expires_at: Until when; None: until somebody says otherwise.
    """

    policy: str
    tenant: str
    kind: str
    who: str
    reason: str
    since: datetime
    expires_at: datetime | None


class Tenants:
    """Keeps the policies. Whatever changes one is noted in `operations`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def policies(self) -> list[Policy]:
        """Return the policies that anybody has used or told anything, by name."""
        return [Policy(**row._mapping) for row in self._database.execute(_POLICIES)]

    def rules(self, policy: str, limit: int, tenant: str | None = None) -> list[Rule]:
        """Return the rules of a policy that hold now, by kind and tenant; only that of one tenant where it is given."""
        values = {"policy": policy, "row_count": limit, "tenant": tenant}
        return [Rule(**row._mapping) for row in self._database.execute(_RULES, values)]

    def judge(self, policy: str, tenants: Sequence[str]) -> dict[str, tuple[str, str] | None]:
        """Return of each tenant why it is out, as cause and reason; None where it is in."""
        rows = self._database.execute(_JUDGE, {"policy": policy, "names": list(tenants)})
        return {row.tenant: (row.cause, row.reason) if row.cause else None for row in rows}

    def pause(self, policy: str, *, who: str, reason: str) -> None:
        """Have everybody out until it is resumed."""
        self._change(_PAUSE, "tenants pause", policy, who, reason)

    def resume(self, policy: str, *, who: str, reason: str) -> None:
        """Undo a pause; roll-out and rules hold again."""
        self._change(_RESUME, "tenants enable", policy, who, reason)

    def roll_out(self, policy: str, percent: float, *, who: str, reason: str) -> None:
        """Have a share of the tenants in, always the same ones; more come in as it grows."""
        self._change(_ROLL_OUT, f"tenants rollout {percent:g}", policy, who, reason, percent=percent)

    def rule(
        self, policy: str, tenants: Sequence[str], kind: str, *, who: str, reason: str, until: datetime | None
    ) -> None:
        """Say of tenants that they are ``enabled``, ``paused`` or ``excluded``; what was said of them before goes."""
        what = {"enabled": "enable", "paused": "pause", "excluded": "exclude"}[kind]
        self._change(_RULE, f"tenants {what}", policy, who, reason, tenants, kind=kind, until=until)

    def clear(self, policy: str, tenants: Sequence[str], *, who: str, reason: str) -> list[str]:
        """Forget what was said of tenants; return those of whom something was."""
        rows = self._change(_CLEAR, "tenants clear", policy, who, reason, tenants)
        return [row.tenant for row in rows]

    @contextmanager
    def trial(self) -> Iterator[Tenants]:
        """Yield the policies; whatever is done to them is undone when the block ends."""
        with self._database.trial() as database:
            yield Tenants(database)

    def would_go(self, policy: str) -> int:
        """Return how many runs `withdraw` would cancel now."""
        return int(self._database.count(_WOULD_GO, {"policy": policy}).count)

    def withdraw(self, policy: str, tell: Callable[[int], None] | None = None) -> int:
        """Cancel the runs in line of tenants that are out by now; return how many.

        Args:
            policy: Its name.
            tell: Is called with how many were looked at, batch by batch.
        """
        found = self._database.execute(_OPEN, {"policy": policy})
        return sum(self._withdraw(policy, str(run), tell) for (run,) in found)

    def withdraw_late(self, policy: str, run: str, since: datetime) -> int:
        """Do so in one fan-out, where the policy was told something while that was written.

        Args:
            policy: Its name.
            run: Of the fan-out, all of whose runs are on record.
            since: When it began to be written.
        """
        told = self._database.execute(_TOLD_SINCE, {"policy": policy, "since": since})
        return self._withdraw(policy, run) if told else 0

    def _withdraw(self, policy: str, run: str, tell: Callable[[int], None] | None = None) -> int:
        count, after = 0, None
        while True:
            values = {"run": run, "policy": policy, "after": after, "row_count": WITHDRAW_COUNT}
            row = self._database.execute(_WITHDRAW, values)[0]
            count, after = count + row.gone_count, row.last
            if tell is not None:
                tell(row.seen_count)
            if after is None:
                return int(count)

    def _change(
        self,
        statement: Any,
        what: str,
        policy: str,
        who: str,
        reason: str,
        tenants: Sequence[str] | None = None,
        **values: Any,
    ) -> list[Any]:
        names = None if tenants is None else list(tenants)
        told = {"policy": policy, "who": who, "reason": reason, "names": names, **values}
        wanted = {name: told[name] for name in statement._bindparams}
        with self._database.transaction() as connection:
            result = connection.execute(statement, wanted)
            rows = list(result) if result.returns_rows else []
            connection.execute(_NOTE, {"who": who, "what": what, "policy": policy, "reason": reason, "names": names})
        return rows
