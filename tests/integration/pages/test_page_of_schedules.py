"""Promise: every schedule is seen, with what became of its fires; and two people do not undo each other's change."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from steadybeat import schedules
from steadybeat.ledger.rows import TaskRow
from steadybeat.schedule import cron, every
from tests.eventually import eventually
from tests.integration.pages.conftest import Site
from tests.integration.records import blocked, operations_of

NOW = datetime.now(UTC).replace(microsecond=0)
EVIL = """<script>alert("1")</script>/ö '"&? %2F""" + "x" * 100


def write(site: Site, statement: str, **values: Any) -> None:
    site.ledger.database.execute(sa.text(statement), values)


def put(site: Site, name: str, rule: Any = None, **given: Any) -> None:
    task = given.pop("task", "shop.orders.pack")
    schedules.put(name, task=task, schedule=rule or every(timedelta(minutes=1)), reason="test", app=site.app, **given)


def fire(site: Site, name: str, at: datetime, state: str = "dispatched", reason: str | None = None) -> None:
    statement = """
        INSERT INTO steadybeat.fires (schedule, scheduled_for, state, reason, revision, due_at)
        VALUES (:name, :since, :state, :reason, 1, :since)"""
    write(site, statement, name=name, since=at, state=state, reason=reason)


def run(site: Site, name: str, at: datetime, state: str = "succeeded", seconds: float = 2, error: str = "") -> None:
    statement = """
        INSERT INTO steadybeat.runs (id, task, service, queue, idempotency_key, schedule, scheduled_for, state, reason,
                                     message, body, enqueued_at, started_at, finished_at, error)
        VALUES (uuidv7(), 'shop.orders.pack', 'orders', 'orders', uuidv7()::text, :name, :since, :state,
                CASE WHEN CAST(:state AS text) IN ('dead', 'cancelled') THEN 'for good: ' || CAST(:error AS text) END,
                '{}', '[[], {}, {}]',
                :since, :since, :since + make_interval(secs => :took_seconds), :error)"""
    write(site, statement, name=name, since=at, state=state, took_seconds=seconds, error=error)


def page_of(name: str, **values: str) -> str:
    query = "&".join(f"{key}={quote(value)}" for key, value in values.items())
    return f"/schedule/{quote(name, safe='')}{'?' + query if query else ''}"


def pack(**_: Any) -> None:
    """Pack."""


@pytest.fixture(autouse=True)
def orders(site: Site) -> None:
    site.app.conf.update(steadybeat_services=("orders",))
    site.app.task(name="shop.orders.pack", shared=False)(pack)
    site.ledger.tasks.describe(
        [TaskRow(name="shop.orders.pack", service="orders", owner="parcels-team", severity="error", purpose="Pack.")],
        ["orders"],
    )


def test_a_schedule_is_listed_with_its_rule_its_last_outcome_its_fires_and_its_owner(site: Site) -> None:
    put(site, "pack", cron("0 6 * * *", tz="Europe/Berlin"))
    fire(site, "pack", NOW - timedelta(hours=1))
    run(site, "pack", NOW - timedelta(hours=1))
    fire(site, "pack", NOW - timedelta(hours=2), "missed", "no Beat led")
    fire(site, "pack", NOW - timedelta(hours=3))
    run(site, "pack", NOW - timedelta(hours=3), "dead", error="KeyError: 'iban'")

    text = site.get("/schedules").text

    for each in ("pack", "orders", "At 06:00 every day (Europe/Berlin)", "parcels-team", "active", "succeeded"):
        assert each in text
    assert "1 succeeded, 1 missed, 1 dead" in text
    assert "2.0 s / 2.0 s" in text
    assert "no Beat led" in site.get("/schedules").html  # on the mark of that fire


def test_schedules_are_found_by_name_service_owner_and_state(site: Site) -> None:
    for name in ("alpha", "beta", "gamma"):
        put(site, name)
    schedules.pause("beta", reason="why", app=site.app)
    write(site, "UPDATE steadybeat.schedules SET consecutive_failures = 2 WHERE name = 'gamma'")
    fire(site, "alpha", NOW - timedelta(hours=1), "missed", "no Beat led")

    def found(query: str) -> list[str]:
        links = site.get(f"/schedules?{query}").links("/schedule/")
        return [*dict.fromkeys(each.removeprefix("/schedule/").partition("#")[0] for each in links)]

    assert found("") == ["alpha", "beta", "gamma"]
    assert found("q=ALP") == ["alpha"]
    assert found("state=paused") == ["beta"]
    assert found("state=active") == ["alpha", "gamma"]
    assert found("state=failing") == ["gamma"]
    assert found("state=missed") == ["alpha"]
    assert found("state=edited") == ["alpha", "beta", "gamma"]
    assert found("state=retired") == []
    assert found("sort=failures") == ["gamma", "alpha", "beta"]
    assert found("owner=parcels-team&service=orders&task=shop.orders.pack") == ["alpha", "beta", "gamma"]
    assert found("owner=nobody") == []


@pytest.mark.parametrize("sort", ["name", "next", "service", "owner", "failures", "changed"])
def test_a_list_goes_on_where_it_ended_in_every_order(site: Site, sort: str) -> None:
    write(
        site,
        """INSERT INTO steadybeat.schedules (name, task, service, spec, policies, source, revision, generation,
                                             expected_until, consecutive_failures, updated_at)
           SELECT 's' || lpad(n::text, 3, '0'), 'shop.orders.pack', 'svc' || n % 3,
                  jsonb_build_object('type', 'every', 'seconds', 60 * (1 + n % 7), 'anchor', NULL),
                  '{"jitter_seconds": 0}', 'code', n, 1, clock_timestamp(), n % 4,
                  clock_timestamp() - n % 5 * interval '1 h'
             FROM generate_series(1, 120) n""",
    )
    seen, path = list[str](), f"/schedules?sort={sort}"
    for _ in range(3):
        answer = site.get(path)
        assert answer.status == 200
        seen += [each for each in answer.links("/schedule/s") if "#" not in each]
        onward = [each for each in answer.links("/schedules?") if "after=" in each]
        path = onward[0] if onward else ""
    assert path == ""
    assert len(seen) == 120
    assert len({*seen}) == 120


def test_one_schedule_says_what_it_is_when_it_is_due_and_what_clocks_do_to_it(site: Site) -> None:
    put(site, "pack", cron("30 2 * * *", tz="Europe/Berlin", dst="skip"), kwargs={"password": "hunter2", "to": "dhl"})

    text = site.get(page_of("pack")).text

    assert "Pack." in text
    assert "catch-up latest within 1 h" in text
    assert "of the fires that nobody dispatched, the latest is made up for" in text
    assert "the clocks of Europe/Berlin go from 02:00 to 03:00. It is not due" in text
    assert text.count("02:30+") >= 19  # of the next twenty, one may be left out where the clocks skip it
    assert "dhl" in text
    assert "hunter2" not in text
    assert "schedules put" in text


def test_every_fire_is_there_with_its_reason_and_can_be_chosen_by_its_state(site: Site) -> None:
    put(site, "pack")
    for n in range(120):
        state, reason = ("skipped", f"overlap {n}") if n % 2 else ("dispatched", None)
        fire(site, "pack", NOW - timedelta(minutes=n + 1), state, reason)

    first = site.get(page_of("pack", state="skipped"))
    assert "overlap 1 " in first.text
    onward = next(each for each in first.links("/schedule/") if "after=" in each and "state=skipped" in each)
    second = site.get(onward.partition("#")[0])
    assert "overlap 119" in second.text
    assert "overlap 1 " not in second.text
    assert site.get(page_of("pack", state="missed")).text.count("None.") == 1


def test_the_year_shows_the_worst_of_each_day_in_words_too(site: Site) -> None:
    put(site, "pack")
    day = (NOW - timedelta(days=40)).replace(hour=12, minute=0, second=0)
    fire(site, "pack", day, "missed", "no Beat led")
    fire(site, "pack", day + timedelta(minutes=1))
    run(site, "pack", day + timedelta(days=1), "dead", error="KeyError")
    fire(site, "pack", day + timedelta(days=1))

    answer = site.get(page_of("pack"))

    assert f"{day.date()}: 2 fires: 1 dispatched, 1 missed" in answer.html
    assert f"{(day + timedelta(days=1)).date()}: 1 fire: 1 dispatched; 1 dead letter" in answer.html
    assert answer.html.count("sb-day-bad") == 3  # two days, and the legend
    assert "Days with trouble" in answer.text


def test_how_long_runs_took_is_drawn_and_said(site: Site) -> None:
    put(site, "pack")
    for n in range(10):
        run(site, "pack", NOW - timedelta(minutes=n + 1), seconds=n + 1)
    answer = site.get(page_of("pack"))
    assert "p50 5.5 s" in answer.text
    assert 'class="sb-chart"' in answer.html
    assert "Durations of 10 runs from" in answer.html


def revision(site: Site, name: str) -> str:
    row = site.ledger.story.schedule(name)
    assert row is not None
    return str(row["revision"])


def test_an_operator_pauses_resumes_and_triggers_and_it_is_on_record(site: Site) -> None:
    put(site, "pack")
    paused = site.post(f"{page_of('pack')}/pause", reason="the bank is down", revision=revision(site, "pack"))
    assert (paused.status, paused.location) == (303, "/schedule/pack")
    said = site.get(paused.location, "bob")
    assert "pack is paused." in said.text
    assert "Paused by bob at" in said.text
    assert "pack is paused." not in site.get(paused.location, "bob").text  # it is said once

    assert site.post(f"{page_of('pack')}/resume", reason="it is up", revision=revision(site, "pack")).status == 303
    at = (NOW - timedelta(hours=1)).isoformat()
    own = revision(site, "pack")
    assert site.post(f"{page_of('pack')}/trigger", reason="again", as_of=at, revision=own).status == 303
    found = site.ledger.story.fire("pack", NOW - timedelta(hours=1))
    assert found is not None
    assert found["asked"] == "trigger"
    who = [(who, what, reason) for what, _, who, reason in operations_of(site.ledger)][1:]
    assert who == [
        ("bob", "schedules pause", "the bank is down"),
        ("bob", "schedules resume", "it is up"),
        ("bob", "schedules trigger", "again"),
    ]


def test_the_second_of_two_who_change_a_schedule_is_told_who_was_quicker_and_changes_nothing(site: Site) -> None:
    put(site, "pack")
    looked_at = revision(site, "pack")
    assert site.post(f"{page_of('pack')}/pause", "ann", reason="the bank is down", revision=looked_at).status == 303
    second = site.post(f"{page_of('pack')}/pause", "bob", reason="a holiday", revision=looked_at)
    assert second.status == 409
    assert "ann did “schedules pause” at" in second.text
    assert "the bank is down" in second.text
    row = site.ledger.story.schedule("pack")
    assert row is not None
    assert row["paused_by"] == "ann"


def test_who_triggers_what_somebody_has_paused_meanwhile_is_told(site: Site) -> None:
    put(site, "pack")
    looked_at = revision(site, "pack")
    site.post(f"{page_of('pack')}/pause", "ann", reason="the bank is down", revision=looked_at)
    second = site.post(f"{page_of('pack')}/trigger", "bob", reason="now", revision=looked_at)
    assert second.status == 409
    assert "ann did “schedules pause” at" in second.text
    assert [what for what, *_ in operations_of(site.ledger)] == ["schedules put", "schedules pause"]
    assert site.post(f"{page_of('pack')}/trigger", "bob", reason="now").status == 409  # nor without a revision


def test_where_nobody_was_quicker_but_a_deploy_nobody_is_named(site: Site) -> None:
    put(site, "pack")
    looked_at = revision(site, "pack")
    write(site, "UPDATE steadybeat.operations SET at = at - interval '1 hour'")
    write(site, "UPDATE steadybeat.schedules SET revision = nextval('steadybeat.revisions')")
    second = site.post(f"{page_of('pack')}/pause", reason="a holiday", revision=looked_at)
    assert second.status == 409
    assert "A deploy, or the platform itself, changed it at" in second.text
    assert "did “" not in second.text


def test_a_schedule_is_paused_and_triggered_where_it_is_listed(site: Site) -> None:
    put(site, "pack")
    back = "/schedules?sort=failures"
    assert "/pause" not in site.get(back, "eve").html
    assert 'aria-label="Pause pack"' in site.get(back, "bob").html
    given = {"reason": "the bank is down", "revision": revision(site, "pack"), "back": back}
    assert site.post("/schedule/pack/pause", **given).location == back
    listed = site.get(back, "bob")
    assert "pack is paused." in listed.text
    assert 'aria-label="Resume pack"' in listed.html


@pytest.mark.parametrize("back", ["https://evil.example/schedules", "//evil.example", "/schedules/../x", "/operations"])
def test_a_form_leads_to_no_page_but_the_two_that_it_stands_on(site: Site, back: str) -> None:
    put(site, "pack")
    given = {"reason": "x", "revision": revision(site, "pack"), "back": back}
    assert site.post("/schedule/pack/pause", **given).location == "/schedule/pack"


def test_the_history_says_what_was_changed_and_by_which_revisions_fires_came(site: Site) -> None:
    put(site, "pack", cron("0 6 * * *"))
    put(site, "pack", cron("0 7 * * *"))
    fire(site, "pack", NOW - timedelta(hours=2))
    write(site, "UPDATE steadybeat.fires SET revision = 7")
    fire(site, "pack", NOW - timedelta(hours=1))
    given = {"reason": "again", "revision": revision(site, "pack"), "as_of": (NOW - timedelta(hours=3)).isoformat()}
    site.post("/schedule/pack/trigger", **given)
    text = site.get("/schedule/pack").text
    assert "new: At 06:00 every day (UTC)" in text
    assert "At 06:00 every day (UTC) → At 07:00 every day (UTC)" in text
    assert "schedules trigger 1 fire: " in text
    assert "7: 1 fire, " in text


def test_a_rule_that_this_release_cannot_read_takes_no_page_away(site: Site) -> None:
    put(site, "pack")
    write(site, """UPDATE steadybeat.schedules SET spec = '{"type": "moon", "phase": "full"}'""")
    for path in ("/schedules", "/schedules?sort=next", "/schedule/pack", "/overview"):
        answer = site.get(path)
        assert answer.status == 200
        assert "A rule that this release cannot read" in answer.text or path == "/overview"


def test_behind_the_last_of_a_list_there_is_nothing(site: Site) -> None:
    put(site, "pack", every(timedelta(days=300)))
    for sort, place in (("next", "2999-01-01T00:00:00+00:00"), ("name", "")):
        answer = site.get(f"/schedules?sort={sort}&after={quote(json.dumps([place, 'zzz']))}")
        assert "/schedule/pack" not in answer.html


def test_only_an_admin_removes_a_schedule_and_says_its_name(site: Site) -> None:
    put(site, "pack")
    given = {"reason": "not needed", "revision": revision(site, "pack")}
    assert site.post(f"{page_of('pack')}/remove", "bob", confirm="pack", **given).status == 403
    assert site.post(f"{page_of('pack')}/remove", "ann", confirm="park", **given).status == 400
    assert site.post(f"{page_of('pack')}/remove", "ann", confirm="pack", **given).status == 303
    assert "Retired at" in site.get(page_of("pack")).text


def test_forms_are_shown_to_those_who_may(site: Site) -> None:
    put(site, "pack")
    titles = ("Pause", "Trigger", "Remove")
    shown = {user: [each for each in titles if f">{each}</summary>" in site.get(page_of("pack"), user).html]
             for user in ("eve", "bob", "ann")}  # fmt: skip
    assert shown == {"eve": [], "bob": ["Pause", "Trigger"], "ann": ["Pause", "Trigger", "Remove"]}


def test_a_schedule_of_an_odd_name_has_its_page_and_can_be_paused(site: Site) -> None:
    put(site, EVIL)
    fire(site, EVIL, NOW - timedelta(minutes=1), "missed", EVIL)
    for path in ("/schedules", page_of(EVIL)):
        answer = site.get(path)
        assert answer.status == 200
        assert "<script>alert" not in answer.html
    assert page_of(EVIL) in [each.partition("#")[0] for each in site.get("/schedules").links("/schedule/")]
    paused = site.post(f"{page_of(EVIL)}/pause", reason=EVIL, revision=revision(site, EVIL))
    assert (paused.status, paused.location) == (303, page_of(EVIL))
    assert "is paused." in site.get(paused.location, "bob").text


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/schedules?sort=size", "sort='size': must be one of name, next"),
        ("/schedules?after=x", "is no place in this list"),
        ("/schedules?sort=next&after=" + quote(json.dumps(["x", "y"])), "is no place in this list"),
        ("/schedules?state=pausd", "Did you mean 'paused'?"),
        ("/schedule/pack?state=x", "state='x': must be one of expected"),
        ("/schedule/pack?after=noon", "after='noon': must be an instant"),
    ],
)
def test_what_cannot_be_asked_is_said(site: Site, path: str, says: str) -> None:
    put(site, "pack")
    answer = site.get(path)
    assert answer.status == 400
    assert says in answer.text


def test_a_trigger_of_a_time_that_lies_ahead_is_refused(site: Site) -> None:
    put(site, "pack")
    answer = site.post(f"{page_of('pack')}/trigger", reason="x", as_of="2100-01-01T00:00Z")
    assert answer.status == 400
    assert "lies ahead: it fires by itself" in answer.text


def test_who_waits_to_change_a_schedule_that_somebody_holds_keeps_nobody_from_looking(site: Site) -> None:
    put(site, "pack")
    looked_at = revision(site, "pack")
    site.get("/schedules", "bob")  # the token of his forms
    with ThreadPoolExecutor(8) as people:
        with site.ledger.database.transaction() as holder:
            holder.execute(sa.text("SELECT FROM steadybeat.schedules WHERE name = 'pack' FOR UPDATE"))
            pausing = [
                people.submit(site.post, f"{page_of('pack')}/pause", "bob", reason="why", revision=looked_at)
                for _ in range(8)
            ]
            eventually(lambda: blocked(site.ledger))
            assert site.get("/schedules").status == 200
            assert site.get(page_of("pack")).status == 200
            assert not any(each.done() for each in pausing)
        statuses = sorted(each.result(60).status for each in pausing)
    assert statuses == [303, *[409] * 7]
