"""Tenants: who is to have a run of a fan-out, and who is not. Decided here, outside of any job's own query.

A policy is a name that fan-outs are told: everybody is in while the ledger knows nothing of it. Whoever is out is on
record with the reason, fire by fire. A roll-out of some percent has always the same tenants in: those whose hash with
the policy's name comes first.
"""

from __future__ import annotations

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
