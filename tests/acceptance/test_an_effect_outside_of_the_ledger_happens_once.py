"""Promise: an effect outside of the ledger's database happens once, too: in a service's own, or at a provider."""

from __future__ import annotations

import sqlalchemy as sa

import steadybeat
from tests.acceptance.installation import Shop
from tests.eventually import eventually

STATES = ("pending", "sent", "called", "unknown", "confirmed")


def test_a_provider_is_asked_for_one_charge_wherever_the_process_dies(shop: Shop) -> None:
    worker, beat = shop.worker("billing"), shop.beat()
    assert worker.ready()
    assert beat.ready()
    runs = {state: shop.send("billing.charge_card", state, dies=state) for state in STATES}

    eventually(lambda: {shop.run(run).state for run in runs.values()} == {"succeeded"})
    shop.settle()
    keys = {state: f"shop.billing.charge_card:{run}:charge" for state, run in runs.items()}
    assert {state: len(shop.effects(key)) for state, key in keys.items()} == dict.fromkeys(STATES, 1)
    assert {state: shop.run(run).result for state, run in runs.items()} == keys
    assert {state: shop.outcomes(run)[0] for state, run in runs.items()} == dict.fromkeys(STATES, "lost")
    steps = shop.rows("SELECT state FROM steadybeat.processed_keys WHERE step = 'charge'")
    assert [each.state for each in steps] == ["confirmed"] * len(STATES)


def test_an_attempt_that_was_stopped_past_its_lease_commits_nothing_in_a_services_own_database(
    shop: Shop, postgres_url: str
) -> None:
    own = sa.create_engine(sa.make_url(postgres_url).set(drivername="postgresql+psycopg"), poolclass=sa.NullPool)
    steadybeat.install_processed_keys(own)
    with own.begin() as db:
        db.execute(sa.text("CREATE TABLE public.effects (name text, retries int)"))
    stalled, beat = shop.worker("billing"), shop.beat()
    assert stalled.ready()
    assert beat.ready()
    run = shop.send("billing.book", "sale", own.url.render_as_string(hide_password=False))
    eventually(lambda: stalled.status == "paused")

    shop.worker("billing")
    eventually(lambda: shop.run(run).state == "succeeded")
    stalled.unpause()

    eventually(lambda: stalled.said("stale attempt refused", run_id=run))
    shop.settle()
    with own.connect() as db:
        assert db.execute(sa.text("SELECT count(*) FROM public.effects")).scalar() == 1
    assert shop.outcomes(run) == ["lost", "succeeded"]
    assert len(shop.starts("sale")) == 2
