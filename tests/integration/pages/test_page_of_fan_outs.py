"""Promise: how far each fan-out is can be seen at a glance, and tenant by tenant, those that failed first."""

from __future__ import annotations

import re
import uuid
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from steadybeat.ledger import fan_out_lists
from steadybeat.ledger.tenant_tables import fan_outs as table
from steadybeat.pages import fan_outs
from tests.integration.commands.fans import ended, fanned_out, runs_of
from tests.integration.pages.conftest import Site
from tests.integration.pages.histories import EVIL, ago, inserted, state_of
from tests.integration.records import alive, operations_of

NAMES = [f"shop-{n}" for n in range(6)]


def digest(*_: Any) -> None:
    """Digest."""


def charge(*_: Any) -> None:
    """Charge."""


@pytest.fixture(autouse=True)
def worker(site: Site) -> str:
    site.app.task(digest, name="shop.mail.digest", shared=False)
    site.app.task(charge, name="shop.billing.charge", shared=False)
    site.app.finalize()
    return alive(site.ledger)


def tenants(html: str) -> list[str]:
    return re.findall(r'<a [^>]*href="/run/[^"]*"[^>]*>(shop-\d+)</a>', html)


def test_a_fan_out_shows_its_tenants_by_state_as_a_bar_and_in_words(site: Site, worker: str) -> None:
    run = fanned_out(site.app, worker, NAMES, concurrency=2)
    for path in ("/fan-outs", f"/fan-out/{run}"):
        answer = site.get(path)
        assert 'role="img" aria-label="Tenants: 6 waiting"' in answer.html
        assert "6 waiting" in answer.text
    assert f"/fan-out/{run}" in site.get("/fan-outs").links()
    ended(site.app, worker, run, failing=NAMES[:2])
    answer = site.get(f"/fan-out/{run}")
    assert "Tenants: 4 succeeded, 2 failed" in answer.html
    assert "6 of 6 tenants have ended (100 %)" in answer.text
    assert "Tenants: 4 succeeded, 2 failed" in site.get("/fan-outs").html


def test_those_that_failed_come_first_and_others_by_state_or_by_name(site: Site, worker: str) -> None:
    run = fanned_out(site.app, worker, NAMES)
    ended(site.app, worker, run, failing=NAMES[:2])
    assert {*tenants(site.get(f"/fan-out/{run}").html)} == {*NAMES[:2]}
    assert {*tenants(site.get(f"/fan-out/{run}?state=succeeded").html)} == {*NAMES[2:]}
    assert {*tenants(site.get(f"/fan-out/{run}?state=all").html)} == {*NAMES}
    assert tenants(site.get(f"/fan-out/{run}?tenant=shop-4").html) == ["shop-4"]
    assert "This fan-out has no such tenant." in site.get(f"/fan-out/{run}?tenant=nobody").text
    assert "ValueError: no address" in site.get(f"/fan-out/{run}").text


@pytest.mark.parametrize("few", [0, 20_000])
def test_tenants_follow_each_other_page_by_page_in_the_order_of_their_turn(
    site: Site, worker: str, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(fan_outs, "TENANTS", 2)
    monkeypatch.setattr(fan_out_lists, "FEW_COUNT", few)
    run = fanned_out(site.app, worker, NAMES)
    order = [*runs_of(site.ledger, run)]
    for state in ("all", "waiting"):
        seen, address = [], f"/fan-out/{run}?state={state}"
        for _ in range(4):
            answer = site.get(address)
            seen += tenants(answer.html)
            address = next((each for each in answer.links(f"/fan-out/{run}?") if "after=" in each), "")
            if not address:
                break
        assert seen == order


def test_tenants_that_a_policy_leaves_out_are_listed_with_the_reason(site: Site, worker: str) -> None:
    run = fanned_out(site.app, worker, NAMES)
    with site.ledger.database.transaction() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO steadybeat.skipped_tenants (run, tenant, cause, reason)"
                " VALUES (:run, :tenant, 'excluded', 'they left us')"
            ),
            {"run": run, "tenant": EVIL},
        )
    answer = site.get(f"/fan-out/{run}?state=skipped")
    assert "they left us" in answer.text
    assert "<script>alert" not in answer.html
    assert "left out by its policy" in site.get(f"/fan-out/{run}?tenant={quote(EVIL)}").text


def test_only_those_that_failed_are_run_again(site: Site, worker: str) -> None:
    run = fanned_out(site.app, worker, NAMES)
    ended(site.app, worker, run, failing=NAMES[:2])
    assert f'action="/fan-out/{run}/rerun"' not in site.get(f"/fan-out/{run}", "eve").html
    assert "2 tenants that failed" in site.get(f"/fan-out/{run}", "bob").text
    answer = site.post(f"/fan-out/{run}/rerun", "bob", reason="addresses are there", only="failed")
    assert (answer.status, answer.location) == (303, f"/fan-out/{run}")
    assert f"2 tenants of run {run} are in line again." in site.get(answer.location, "bob").text
    assert {*runs_of(site.ledger, run, "waiting", "enqueued")} == {*NAMES[:2]}
    assert ("runs rerun --only failed", run, "bob", "addresses are there") in operations_of(site.ledger)
    again = site.post(f"/fan-out/{run}/rerun", "bob", reason="again", only="failed")
    assert (again.status, "Nothing to do: no tenant of run" in again.text) == (409, True)


def test_a_fan_out_is_cancelled_with_its_tenants(site: Site, worker: str) -> None:
    run = fanned_out(site.app, worker, NAMES, concurrency=2)
    answer = site.post(f"/run/{run}/cancel", "bob", reason="wrong mail")
    assert (answer.status, answer.location) == (303, f"/fan-out/{run}")
    assert "6 tenants cancelled with it" in site.get(answer.location, "bob").text
    assert state_of(site.ledger, run) == "cancelled"


def test_the_list_is_narrowed_by_task_and_to_open_ones_and_goes_on_page_by_page(
    site: Site, worker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fan_outs, "ROWS", 1)
    first, second = (fanned_out(site.app, worker, NAMES[:2]) for _ in range(2))
    ended(site.app, worker, first)
    assert site.get("/fan-outs?which=open").links("/fan-out/") == [f"/fan-out/{second}"]
    assert site.get("/fan-outs?task=shop.none").links("/fan-out/") == []
    page = site.get("/fan-outs?task=shop.mail.digest")
    assert page.links("/fan-out/") == [f"/fan-out/{second}"]
    (onward,) = [each for each in page.links("/fan-outs?") if "after=" in each]
    assert site.get(onward).links("/fan-out/") == [f"/fan-out/{first}"]


def test_what_has_not_fanned_out_has_no_such_page(site: Site) -> None:
    answer = site.get(f"/fan-out/{inserted(site.ledger)}")
    assert (answer.status, "has not fanned out" in answer.text) == (404, True)


def test_odd_fan_outs_are_shown_all_the_same(site: Site) -> None:
    over = inserted(site.ledger, task=EVIL, finished_at=ago(seconds=1), state="dead", reason=EVIL)
    aborted = {"aborted_at": ago(seconds=1), "abort_reason": EVIL, "ended_at": ago(seconds=1)}
    facts = {"task": EVIL, "policy": EVIL, "seed": EVIL, "concurrency": 3, "spread_seconds": 0.0}
    with site.ledger.database.transaction() as connection:
        connection.execute(sa.insert(table), {"run": str(uuid.uuid4()), **facts})  # its own run was pruned
        connection.execute(sa.insert(table), {"run": over, **facts, **aborted})
    links = site.get("/fan-outs").links("/fan-out/")
    assert len(links) == 2
    for path in ("/fan-outs", *links):
        answer = site.get(path, "ann")
        assert answer.status == 200
        assert "<script>alert" not in answer.html
