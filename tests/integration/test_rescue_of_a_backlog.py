"""Rescue where very many messages wait: each has its turn to come, and looking for lost ones must not take for ever."""

from __future__ import annotations

import sqlalchemy as sa

from steadybeat.ledger import Ledger

BACKLOG = 20_000

# Sent one after the other within three minutes that began ten minutes ago; the first half has been worked off since.
SENT = """
    INSERT INTO steadybeat.runs (id, task, service, queue, idempotency_key, message, body, state, enqueued_at,
                                 attempt_count, started_at, finished_at)
    SELECT gen_random_uuid(), 'pay', 'orders', 'orders', 'sale:' || n, '{}', '[]',
           CASE WHEN done THEN 'succeeded' ELSE 'enqueued' END,
           clock_timestamp() - interval '10 minutes' + n * interval '3 minutes' / :count,
           CASE WHEN done THEN 1 ELSE 0 END,
           CASE WHEN done THEN clock_timestamp() - interval '6 minutes' + n * interval '6 minutes' / :count END,
           CASE WHEN done THEN clock_timestamp() - interval '6 minutes' + n * interval '6 minutes' / :count END
      FROM (SELECT n, n <= :count / 2 AND n % :every <> 0 AS done FROM generate_series(1, :count) n) each
"""


def sent(ledger: Ledger, *, every: int) -> None:
    """A long queue in its order; one in `every` of those whose turn has come was lost."""
    ledger.database.execute(sa.text(SENT), {"count": BACKLOG, "every": every})
    ledger.database.execute(sa.text("ANALYZE steadybeat.runs"))


def test_what_waits_for_its_turn_is_left_alone_however_much_that_is(ledger: Ledger) -> None:
    sent(ledger, every=BACKLOG)
    assert ledger.rescue.overdue_queues() == ["orders"]
    assert ledger.rescue.unstarted(["orders"], []) == []


def test_what_was_overtaken_is_found_in_a_long_queue(ledger: Ledger) -> None:
    sent(ledger, every=400)
    rescued = {each.run for each in ledger.rescue.unstarted(["orders"], [])}
    overtaken = ledger.database.execute(
        sa.text(
            "SELECT id FROM steadybeat.runs WHERE attempt_count = 0 AND enqueued_at <"
            " (SELECT max(enqueued_at) - interval '30 seconds' FROM steadybeat.runs WHERE attempt_count = 1)"
        )
    )
    assert rescued == {str(row.id) for row in overtaken}
    assert 0 < len(rescued) < 25


def test_everything_that_waits_on_an_empty_queue_is_sent_again_a_part_at_a_time(ledger: Ledger) -> None:
    sent(ledger, every=BACKLOG)
    assert [len(ledger.rescue.unstarted(["orders"], ["orders"])) for _ in range(3)] == [100, 100, 100]


def test_what_was_rescued_and_stood_in_front_has_overtaken_nobody(ledger: Ledger) -> None:
    sent(ledger, every=BACKLOG)
    in_front = (
        "UPDATE steadybeat.runs SET rescue_count = 1, enqueued_at = clock_timestamp(), started_at = clock_timestamp()"
    )
    ledger.database.execute(sa.text(f"{in_front} WHERE idempotency_key = 'sale:1'"))
    assert ledger.rescue.unstarted(["orders"], []) == []
