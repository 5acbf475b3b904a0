"""Claim: who may work on a run. One statement, arbitrated by the unique index of the processed keys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from steadybeat.ledger.connection import sql
from steadybeat.ledger.prepared import Prepared
from steadybeat.ledger.rows import Claim

ALIVE = """
    {run}.lease_until > clock_timestamp()
    AND EXISTS (SELECT FROM steadybeat.instances i
                 WHERE i.id = {run}.instance AND i.expires_at > clock_timestamp())"""

# An effect that was committed is only to be told of, whatever else is so by now.
UNDONE = """
    NOT EXISTS (SELECT FROM steadybeat.processed_keys k
                 WHERE k.task = run.task AND k.key = run.idempotency_key AND k.step = '' AND k.run = run.id
                   AND k.state = 'done')"""

# Most claims are of this kind: the first attempt of a run that no schedule asked for, whose key nobody has. It costs a
# third of `CLAIM`, which is asked where this finds nothing.
CLAIM_AT_ONCE = Prepared(
    sql("""
    WITH run AS MATERIALIZED (
        SELECT id, task, idempotency_key, correlation_id, retry_count, tenant, fan_out, enqueued_at
          FROM steadybeat.runs
         WHERE id = :run AND state = 'enqueued' AND attempt_count = 0 AND crash_count = 0 AND schedule IS NULL
           AND rerun_of IS NULL AND delivery_no <= :delivery_no AND cancel_requested_at IS NULL
           AND retry_until IS NULL AND replaced_at IS NULL
           AND (deadline IS NULL OR deadline > clock_timestamp())
           AND (not_before IS NULL OR not_before <= clock_timestamp())
           AND NOT EXISTS (SELECT FROM steadybeat.instances own
                            WHERE own.id = :instance AND own.expires_at <= clock_timestamp())
           FOR UPDATE
    ),
    key AS (
        INSERT INTO steadybeat.processed_keys (task, key, run, fence, state)
        SELECT task, idempotency_key, id, nextval('steadybeat.fences'), 'held' FROM run
        ON CONFLICT DO NOTHING
        RETURNING fence
    ),
    claimed AS (
        UPDATE steadybeat.runs
           SET state = 'running', reason = NULL, fence = key.fence, instance = :instance, claim_id = :claim_id,
               lease_until = clock_timestamp() + make_interval(secs => :lease_seconds), attempt_count = 1,
               retry_until = clock_timestamp() + make_interval(secs => :retry_for_seconds),
               started_at = clock_timestamp(), not_before = NULL, next_rescue_at = NULL
          FROM key
         WHERE id = :run
        RETURNING attempt_count
    ),
    attempt AS (
        INSERT INTO steadybeat.attempts (run, number, instance, fence)
        SELECT :run, claimed.attempt_count, :instance, key.fence FROM claimed, key
    )
    SELECT run.task, run.idempotency_key, run.correlation_id, run.retry_count, run.tenant, run.fan_out, key.fence,
           CAST(extract(epoch FROM clock_timestamp() - run.enqueued_at) AS double precision) AS waited_seconds,
           whole.schedule AS whole_schedule, whole.scheduled_for AS whole_scheduled_for
      FROM run CROSS JOIN key LEFT JOIN steadybeat.runs whole ON whole.id = run.fan_out
""")
)

CLAIM = Prepared(
    sql(f"""
    WITH run AS MATERIALIZED (
        SELECT r.*, f.state AS fire_state, f.reason AS fire_reason, f.asked, f.due_at,
               r.state = 'running' AND {ALIVE.format(run="r")} AS held,
               EXISTS (SELECT FROM steadybeat.instances own
                        WHERE own.id = :instance AND own.expires_at <= clock_timestamp()) AS lapsed,
               r.rerun_of IS NULL AND r.attempt_count = 0 AS starting,
               r.rerun_of IS NULL AND r.attempt_count = 0 AND s.name IS NOT NULL
                   AND coalesce(s.policies->>'overlap', 'allow') <> 'allow'
                   AND f.asked IS DISTINCT FROM 'backfill' AS in_turn,
               CASE WHEN f.asked = 'resume' THEN 'queue_all' ELSE s.policies->>'overlap' END AS overlap,
               s.turn_run, s.paused_at, s.paused_by, s.paused_reason,
               f.due_at + make_interval(secs => CAST(s.policies->>'start_deadline_seconds' AS double precision))
                   AS start_by
          FROM steadybeat.runs r
          LEFT JOIN steadybeat.fires f ON f.schedule = r.schedule AND f.scheduled_for = r.scheduled_for
          LEFT JOIN steadybeat.schedules s ON s.name = r.schedule
         WHERE r.id = :run
           FOR UPDATE OF r
    ),
    judged AS MATERIALIZED (
        SELECT *, CASE
            WHEN finished_at IS NOT NULL THEN 'ended'
            WHEN delivery_no > :delivery_no THEN 'superseded'
            -- the answer to this very claim was lost on its way
            WHEN state = 'running' AND claim_id = :claim_id AND NOT lapsed THEN 'mine'
            WHEN held AND coalesce(claim_id <> :claim_id, true) THEN 'running'
            WHEN cancel_requested_at IS NOT NULL AND {UNDONE} THEN 'cancelled'
            -- a person who asks for a rerun knows that its fire was not to run
            WHEN rerun_of IS NULL AND fire_state IN ('skipped', 'missed', 'coalesced', 'superseded') THEN 'skipped'
            WHEN deadline <= clock_timestamp() AND {UNDONE} THEN 'late'
            WHEN retry_until <= clock_timestamp() AND {UNDONE} THEN 'exhausted'
            WHEN starting AND start_by <= clock_timestamp() THEN 'too_late'
            WHEN starting AND asked IS NULL AND due_at > paused_at THEN 'paused'
            WHEN in_turn AND EXISTS (
                SELECT FROM steadybeat.runs o
                 WHERE o.schedule = run.schedule AND o.id <> run.id AND o.finished_at IS NULL
                   AND o.attempt_count > 0) THEN 'overlap'
            WHEN not_before > clock_timestamp() + interval '1 second' THEN 'early'
            WHEN lapsed THEN 'lapsed'
            WHEN crash_count + CASE WHEN state = 'running' THEN 1 ELSE 0 END >= :crash_limit AND {UNDONE}
                THEN 'poisonous'
            ELSE 'claimed' END AS verdict
          FROM run
    ),
    -- where runs may not overlap, and nobody took the turn since this statement began
    turn AS (
        UPDATE steadybeat.schedules s SET turn_run = judged.id
          FROM judged
         WHERE judged.verdict = 'claimed' AND judged.in_turn AND s.name = judged.schedule
           AND s.turn_run IS NOT DISTINCT FROM judged.turn_run
        RETURNING s.name
    ),
    before AS MATERIALIZED (
        SELECT k.run, k.fence, k.state, k.changed_at, k.result
          FROM judged j
          JOIN steadybeat.processed_keys k ON k.task = j.task AND k.key = j.idempotency_key AND k.step = ''
    ),
    key AS (
        INSERT INTO steadybeat.processed_keys AS k (task, key, run, fence, state)
        SELECT task, idempotency_key, id, nextval('steadybeat.fences'), 'held' FROM judged
         WHERE verdict = 'claimed' AND (NOT in_turn OR EXISTS (SELECT FROM turn))
        ON CONFLICT (task, key, step) DO UPDATE
           SET run = excluded.run, fence = excluded.fence, changed_at = clock_timestamp(), expires_at = NULL,
               state = CASE WHEN k.run = excluded.run THEN k.state ELSE 'held' END,
               result = CASE WHEN k.run = excluded.run THEN k.result END
         WHERE k.run = excluded.run
            OR k.expires_at < clock_timestamp()
            -- its holder is dead, and nobody took the key since this statement began
            OR (k.state = 'held'
                AND k.fence = (SELECT fence FROM before)
                AND NOT EXISTS (SELECT FROM steadybeat.runs o
                                 WHERE o.id = k.run AND o.finished_at IS NULL
                                   AND (o.state <> 'running' OR {ALIVE.format(run="o")})))
        RETURNING k.fence, k.state = 'done' AS effect_done, k.result
    ),
    claimed AS (
        UPDATE steadybeat.runs r
           SET state = 'running', reason = NULL, fence = key.fence, instance = :instance, claim_id = :claim_id,
               lease_until = clock_timestamp() + make_interval(secs => :lease_seconds),
               attempt_count = r.attempt_count + 1,
               crash_count = r.crash_count + CASE WHEN r.state = 'running' THEN 1 ELSE 0 END,
               retry_until = coalesce(
                   r.retry_until, clock_timestamp() + make_interval(secs => :retry_for_seconds)),
               started_at = clock_timestamp(), not_before = NULL, next_rescue_at = NULL, replaced_at = NULL
          FROM key
         WHERE r.id = :run
        RETURNING r.attempt_count
    ),
    lost AS (
        UPDATE steadybeat.attempts a SET outcome = 'lost', finished_at = clock_timestamp()
          FROM claimed
         WHERE a.run = :run AND a.number < claimed.attempt_count AND a.finished_at IS NULL
    ),
    attempt AS (
        INSERT INTO steadybeat.attempts (run, number, instance, fence)
        SELECT :run, claimed.attempt_count, :instance, key.fence FROM claimed, key
    ),
    fire AS (
        UPDATE steadybeat.fires f
           SET state = 'dispatched', reason = NULL, run_id = j.id,
               dispatched_at = coalesce(f.dispatched_at, clock_timestamp())
          FROM judged j, claimed
         WHERE f.schedule = j.schedule AND f.scheduled_for = j.scheduled_for AND f.state IN ('expected', 'waiting')
    )
    SELECT CASE WHEN j.verdict = 'claimed' AND j.in_turn AND turn.name IS NULL THEN 'overlap' ELSE j.verdict END
               AS verdict, j.id AS run,
           j.overlap, j.start_by, j.paused_by, j.paused_reason, j.state, j.reason, j.delivery_no,
           j.task, j.idempotency_key, j.rerun_of, j.schedule, j.scheduled_for, j.cancel_reason,
           j.correlation_id, j.retry_count, j.deadline, j.retry_until, j.fire_state, j.fire_reason, j.crash_count,
           key.fence, key.effect_done, claimed.attempt_count,
           CASE WHEN j.verdict = 'mine' THEN before.result ELSE key.result END AS effect_result,
           j.fence AS fence_before, j.attempt_count AS attempts_before,
           CAST(extract(epoch FROM clock_timestamp() - j.enqueued_at) AS double precision) AS waited_seconds,
           before.run AS key_run, before.state AS key_state, before.changed_at AS key_changed_at,
           j.tenant, j.fan_out, whole.schedule AS whole_schedule, whole.scheduled_for AS whole_scheduled_for
      FROM judged j
      LEFT JOIN steadybeat.runs whole ON whole.id = j.fan_out
      LEFT JOIN key ON true LEFT JOIN claimed ON true LEFT JOIN before ON true LEFT JOIN turn ON true
""")
)


def granted(row: Any) -> Claim:
    """Return the answer that a row of `CLAIM_AT_ONCE` is."""
    return Claim(
        verdict="claimed",
        fence=row.fence,
        attempt=1,
        retry_count=row.retry_count,
        task=row.task,
        idempotency_key=row.idempotency_key,
        correlation_id=row.correlation_id,
        waited_seconds=row.waited_seconds,
        **_share(row),
    )


def judge(row: Any) -> Claim:
    """Return the answer that a row of `CLAIM` is."""
    claim = Claim(
        verdict=row.verdict,
        fence=row.fence or 0,
        attempt=row.attempt_count or 0,
        retry_count=row.retry_count,
        task=row.task,
        idempotency_key=row.idempotency_key,
        schedule=row.schedule,
        scheduled_for=row.scheduled_for,
        correlation_id=row.correlation_id,
        effect_done=bool(row.effect_done),
        effect_result=row.effect_result,
        overlap=row.overlap,
        started_before=row.attempts_before > 0,
        waited_seconds=row.waited_seconds,
        **_share(row),
    )
    if row.verdict == "mine":
        done = row.key_run == row.run and row.key_state == "done"
        mine: dict[str, Any] = {"fence": row.fence_before, "attempt": row.attempts_before}
        return replace(claim, verdict="claimed", effect_done=done, started_before=row.attempts_before > 1, **mine)
    if row.verdict == "claimed":
        if row.attempt_count is not None:
            return claim
        if row.key_state == "done":
            detail = f"the effect happened at {row.key_changed_at:%Y-%m-%d %H:%M:%S}Z in run {row.key_run}"
        else:
            detail = (
                f"run {row.key_run} holds the processed key" if row.key_run else "another run took the key just now"
            )
        holder = row.key_run and str(row.key_run)
        return replace(claim, verdict="duplicate", detail=detail, key_run=holder, rerun=row.rerun_of is not None)
    detail = {
        "ended": f"it is {row.state}" + (f": {row.reason}" if row.reason else ""),
        "superseded": f"delivery {row.delivery_no} was sent since",
        "running": "another attempt has a live lease",
        "cancelled": row.cancel_reason or "it was cancelled before it started",
        "skipped": f"its fire is {row.fire_state}: {row.fire_reason}",
        "late": f"its deadline {row.deadline} has passed",
        "exhausted": f"no attempt may begin after {row.retry_until}, when retry_for has passed",
        "too_late": f"it could not start by {row.start_by} (start_deadline)",
        "paused": f"paused by {row.paused_by}: {row.paused_reason}",
        "overlap": f"the run of an earlier fire goes on (overlap={row.overlap})",
        "early": "it is not yet due",
        "lapsed": "this worker gave no sign of life for a whole lease",
        "poisonous": f"{row.crash_count} workers died under it",
    }.get(row.verdict, "")
    return replace(claim, detail=detail)


def _share(row: Any) -> dict[str, Any]:
    """Return what a claim says of a run that is a tenant's, or a share of a fan-out."""
    if row.tenant is None and row.fan_out is None:
        return {}
    fire = (row.whole_schedule, row.whole_scheduled_for) if row.whole_schedule else None
    return {"tenant": row.tenant, "fan_out": row.fan_out and str(row.fan_out), "fire_of": fire}
