"""What becomes of deliveries and runs that are one too many, and of what is on record for a key."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from steadybeat.ledger import Ledger
from steadybeat.ledger.keys import Holder
from steadybeat.settings import Settings
from tests.integration.records import alive, claim, new_run, recorded, relayed


def test_a_run_that_waits_for_anothers_result_gets_it_once(ledger: Ledger) -> None:
    worker, following = alive(ledger), new_run()
    first, second = recorded(ledger, idempotency_key="k"), recorded(ledger, idempotency_key="k")
    held = claim(ledger, first, worker)
    found = claim(ledger, second, worker)
    assert (found.verdict, found.key_run) == ("duplicate", first.id)
    assert ledger.sharing.postpone(second.id, delivery_no=1, reason="waits", delay_seconds=0)
    assert not ledger.sharing.postpone(second.id, delivery_no=1, reason="waits", delay_seconds=0)
    assert [(each.run, each.delivery_no) for each in relayed(ledger)] == [(second.id, 2)]

    ledger.runs.finish(first.id, held.fence, result="[1]")
    assert claim(ledger, second, worker, delivery_no=2).verdict == "duplicate"
    answer = {"delivery_no": 2, "reason": "has it", "result": ledger.sharing.standing(first.id).result}
    assert ledger.sharing.answer(second.id, next_runs=[following], **answer)
    assert not ledger.sharing.answer(second.id, next_runs=[new_run()], **answer)
    assert [each.run for each in relayed(ledger)] == [following.id]
    standing = ledger.sharing.standing(second.id)
    assert (standing.state, standing.result) == ("succeeded", [1])


def test_what_has_happened_for_a_dead_letter_is_kept_as_long_as_that(
    new_database: Callable[[str | None], str], ledger_template: str
) -> None:
    ledger = Ledger(Settings(database_url=new_database(ledger_template), retention_seconds=3600))
    worker, dead, done = alive(ledger), recorded(ledger), recorded(ledger)
    for run in (dead, done):
        fence = claim(ledger, run, worker).fence
        holder = Holder(task=run.task, key=run.idempotency_key, run=run.id, fence=fence)
        assert ledger.keys.write(holder, "debit", "done")
        facts = {"task": run.task, "schedule": None, "cause": "rescue", "detail": "", "instance": worker}
        ledger.duplicates.note(run.id, **facts)
        if run is dead:
            ledger.runs.give_up(run.id, fence=fence, reason="r", error="e")
        else:
            ledger.runs.finish(run.id, fence, result=None)
    for table, column in (("runs", "finished_at"), ("processed_keys", "changed_at"), ("duplicates", "seen_at")):
        ledger.database.execute(sa.text(f"UPDATE steadybeat.{table} SET {column} = now() - interval '3 hours'"))
    deleted = ledger.prune()
    assert (deleted["processed_keys"], deleted["duplicates"]) == (2, 2)
    assert [each["step"] for each in ledger.keys.steps(dead.task, dead.idempotency_key)] == ["debit"]
    ledger.database.close()
