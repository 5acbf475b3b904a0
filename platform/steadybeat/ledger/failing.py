"""Failing: what a run that ends badly means for others. Parts of the statements by which it ends."""

from __future__ import annotations

# Needs `run` with schedule, state and reason. A schedule whose runs fail so often in a row is paused.
COUNTED = """
    failed AS (
        UPDATE steadybeat.schedules s
           SET consecutive_failures = s.consecutive_failures + 1,
               paused_at = CASE WHEN judged.enough THEN clock_timestamp() ELSE s.paused_at END,
               paused_by = CASE WHEN judged.enough THEN 'steadybeat' ELSE s.paused_by END,
               paused_reason = CASE WHEN judged.enough
                    THEN judged.failures || ' failures in a row; the last: ' || judged.reason
                    ELSE s.paused_reason END,
               revision = CASE WHEN judged.enough THEN nextval('steadybeat.revisions') ELSE s.revision END
          FROM (SELECT o.name, run.reason, o.consecutive_failures + 1 AS failures,
                       o.paused_at IS NULL
                       AND o.consecutive_failures + 1 >= (o.policies->>'pause_after_failures')::integer AS enough
                  FROM run JOIN steadybeat.schedules o ON o.name = run.schedule
                 WHERE run.state = 'dead') judged
         WHERE s.name = judged.name
    )"""

# Needs `run` with id and state. What nothing depends on has no aftermath; in doubt there is one.
AFTERMATH = """
    aftermath AS (
        INSERT INTO steadybeat.aftermaths (run)
        SELECT ended.id FROM run JOIN steadybeat.runs ended ON ended.id = run.id
         WHERE run.state IN ('dead', 'cancelled')
           AND ended.body NOT LIKE '%"errbacks": null, "chain": null, "chord": null}]'
        ON CONFLICT DO NOTHING
    )"""

FAILED = f"{COUNTED},{AFTERMATH}"
"""What every statement contains by which a run may become dead or cancelled."""

# Needs `run` with group_id and state. The row's lock lets no two parts be the last.
PART = """
    part AS (
        UPDATE steadybeat.chords c SET pending = c.pending - 1 FROM run
         WHERE c.group_id = run.group_id AND run.state = 'succeeded'
    )"""
