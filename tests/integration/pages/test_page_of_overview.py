"""Promise: one glance says whether everything is all right, and what is not, the worst first."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from steadybeat.ledger import Ledger
from steadybeat.pages.ahead import Ahead
from steadybeat.schedule import cron
from tests.integration.looking import change, ended, leads, older, running, silenced, worker
from tests.integration.pages.conftest import Answer, Site
from tests.integration.records import every_minute, expect, recorded, sent

_OUTBOX = sa.text("""
    INSERT INTO steadybeat.outbox (publish_at, run, delivery_no, reason)
    VALUES (clock_timestamp() - interval '5 minutes', CAST(:run AS uuid), 2, 'retry')
""")
NAME = 'a/b "ü" <script>alert(1)</script> 🐌 ' + "x" * 150
ADDRESS = "/schedule/a%2Fb%20"


def beat(ledger: Ledger, host: str = "here", role: str = "beat") -> str:
    instance = str(uuid.uuid4())
    ledger.instances.sign_of_life(instance, role=role, host=host, pid=3, release="1")
    return instance


@pytest.fixture
def ledger(site: Site) -> Ledger:
    """A ledger in which all is well: a Beat leads, a watchdog acts, a worker consumes, a schedule succeeds."""
    book = site.ledger
    every_minute(book, name=NAME)
    beat(book)
    leads(book)
    book.duties.take("watch", beat(book, role="watchdog"), timedelta(minutes=1))
    worker(book, "orders", node="orders@here")
    ended(book, 3, schedule=NAME)
    return book


def verdict(answer: Answer) -> str:
    """What the page says first."""
    text = answer.text
    return text[: text.index(" Leader ")]


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def test_where_all_is_well_that_is_all_it_says(site: Site, ledger: Ledger) -> None:
    said = verdict(site.get("/overview"))
    assert said.endswith("Everything is all right.")


def test_in_an_empty_ledger_nothing_is_scheduled_and_what_does_not_run_is_said(site: Site) -> None:
    answer = site.get("/overview")
    assert "No watchdog is alive: nobody is told of what goes wrong." in verdict(answer)
    assert "Nothing runs: no worker, Beat or watchdog is alive." in answer.text
    assert "No Beat has ever led, and no schedule wants one." in answer.text
    beat(site.ledger, role="watchdog")
    assert "Everything is all right: nothing is scheduled yet." in site.get("/overview").text


def test_that_nobody_leads_is_worse_than_anything_else(site: Site, ledger: Ledger) -> None:
    ended(ledger, 1, schedule=NAME, state="dead")
    older(ledger, "leaderships", "renewed_at", 60)
    said = verdict(site.get("/overview"))
    assert said.index("No Beat leads: none was heard of for 1 min.") < said.index(
        "1 dead letter of the last day, of t."
    )


def test_it_says_who_leads_since_when_and_who_stands_by(site: Site, ledger: Ledger) -> None:
    beat(ledger, host="elsewhere")
    text = site.get("/overview").text
    assert "Who ✓ leads here Term" in text
    assert "Standing by here (3), elsewhere (3)" in text
    assert "Watchdog here (3), acts" in text
    ledger.leaderships.end(ledger.gauges.last_term())
    assert "No Beat leads" in verdict(site.get("/overview"))


def test_it_names_the_beat_that_leads_no_more_among_those_that_stand_by(site: Site, ledger: Ledger) -> None:
    ledger.leaderships.renew(ledger.fires.next_term(), instance=beat(ledger, host="leading"), host="leading")
    text = site.get("/overview").text
    assert "Who ✓ leads leading" in text
    assert "Standing by here (3) Watchdog" in text


def test_fires_that_nobody_dispatches_are_told_with_their_schedule(site: Site, ledger: Ledger) -> None:
    expect(ledger, now() - timedelta(minutes=5), now() - timedelta(minutes=4), name=NAME)
    answer = site.get("/overview")
    assert "2 fires of a/b" in verdict(answer)
    assert "not dispatched, the first 5 min past its time." in verdict(answer)
    assert any(each.startswith(ADDRESS) for each in answer.links("/schedule/"))
    assert " 2 fires, the first due 5 min ago" in answer.text
    assert "<script>alert" not in answer.html


def test_missed_fires_of_the_last_day_are_told_with_their_reason_and_older_ones_are_not(
    site: Site, ledger: Ledger
) -> None:
    expect(ledger, now() - timedelta(hours=30), now() - timedelta(hours=2), name=NAME)
    change(ledger, "fires SET state = 'missed', cause = 'outage', reason = 'no Beat led when it was due'")
    answer = site.get("/overview")
    assert "1 fire missed in the last day" in verdict(answer)
    assert "no Beat led when it was due" in answer.text
    assert "/schedules?state=missed" in answer.links()
    change(ledger, "fires SET cause = 'retired'")
    assert "Everything is all right." in verdict(site.get("/overview"))


def test_a_dispatched_fire_that_does_not_begin_is_late_by_the_policy_of_its_schedule(
    site: Site, ledger: Ledger
) -> None:
    sent(ledger, now() - timedelta(seconds=90), name=NAME)
    assert "not begun" not in verdict(site.get("/overview"))
    change(ledger, """schedules SET policies = policies || '{"late_after_seconds": 30}'""")
    said = verdict(site.get("/overview"))
    assert "1 fire dispatched and not begun, the first due 2 min ago" in said


def test_a_queue_on_which_runs_wait_and_that_nobody_consumes_is_told(site: Site, ledger: Ledger) -> None:
    recorded(ledger, queue="mail", service="mail")
    recorded(ledger, queue="mail", service="mail")
    answer = site.get("/overview")
    assert "No worker consumes from mail: 2 runs there" in verdict(answer)
    assert "mail ✕ no worker 0 2" in answer.text
    assert "orders ✓ consumed 1 0" in answer.text
    worker(ledger, "mail")
    assert "Everything is all right." in verdict(site.get("/overview"))
    older(ledger, "runs", "enqueued_at", 600, "queue = 'mail'")
    assert "2 runs on mail, the first for 10 min." in verdict(site.get("/overview"))


def test_a_worker_of_a_release_that_does_not_say_what_it_consumes_may_consume_anything(
    site: Site, ledger: Ledger
) -> None:
    recorded(ledger, queue="mail", service="mail")
    ledger.instances.sign_of_life(str(uuid.uuid4()), role="worker", host="old", pid=1, release="0")
    answer = site.get("/overview")
    assert "No worker consumes" not in answer.text
    assert "mail unknown 0 1" in answer.text


def test_a_queue_that_answers_no_canary_is_told(site: Site, ledger: Ledger) -> None:
    ledger.canaries.sent("orders", 1)
    older(ledger, "canaries", "unanswered_since", 300)
    answer = site.get("/overview")
    assert "orders has not answered a canary for 5 min." in verdict(answer)
    assert "orders ‖ silent" in answer.text
    ledger.canaries.answer("orders", 1, str(uuid.uuid4()))
    assert "Everything is all right." in verdict(site.get("/overview"))


def test_schedules_that_fail_are_told_most_failures_first(site: Site, ledger: Ledger) -> None:
    change(ledger, "schedules SET consecutive_failures = 2")
    assert ": the last 2 runs are dead." in verdict(site.get("/overview"))
    every_minute(ledger, name="worse")
    change(ledger, "schedules SET consecutive_failures = 7, retired_at = NULL WHERE name = 'worse'")
    change(ledger, "schedules SET consecutive_failures = 2, retired_at = NULL WHERE name <> 'worse'")
    answer = site.get("/overview")
    assert "2 schedules: the last runs are dead." in verdict(answer)
    assert answer.text.index("worse 7 in a row") < answer.text.index("2 in a row")


def test_dead_letters_of_the_last_day_are_trouble_and_older_ones_are_only_counted(site: Site, ledger: Ledger) -> None:
    ended(ledger, 2, schedule=None, state="dead", ago=2 * 86400.0)
    answer = site.get("/overview")
    assert "Everything is all right." in verdict(answer)
    assert "t 0 of the last day, 2 in all" in answer.text
    ended(ledger, 3, schedule=None, state="dead")
    answer = site.get("/overview")
    assert "3 dead letters of the last day, of t." in verdict(answer)
    assert "t 3 of the last day, 5 in all" in answer.text


def test_of_very_many_dead_letters_it_counts_the_newest_and_says_so(site: Site, ledger: Ledger) -> None:
    ended(ledger, 1100, schedule=None, state="dead")
    answer = site.get("/overview")
    assert "1,000 dead letters and more of the last day" in verdict(answer)
    assert "The figures are of the newest 1,000." in answer.text


def test_alerts_are_told_the_worst_first_and_what_somebody_sees_to_is_no_trouble_of_the_first_rank(
    site: Site, ledger: Ledger
) -> None:
    with ledger.alerts.deciding() as alerts:
        own = {"owner": None, "service": None, "task": None, "schedule": None, "run": None, "error": None}
        alerts.insert([
            {"rule": "slower", "subject": "s", "severity": "warning", "summary": "It takes long.", **own},
            {"rule": "missed", "subject": "<b>", "severity": "critical", "summary": "It was missed.", **own},
        ])  # fmt: skip
    answer = site.get("/overview")
    assert "2 alerts not resolved, the worst: missed <b>." in verdict(answer)
    assert 'class="sb-verdict sb-bad"' in answer.html
    assert answer.text.index("It was missed.") < answer.text.index("It takes long.")
    with ledger.alerts.deciding() as alerts:
        alerts.acknowledge([each["id"] for each in ledger.glance.alerts(9)], who="ann", reason="looking")
    answer = site.get("/overview")
    assert 'class="sb-verdict sb-wait"' in answer.html
    assert "ann sees to it" in answer.text


def test_messages_that_nobody_sends_are_told(site: Site, ledger: Ledger) -> None:
    run = recorded(ledger)
    change(ledger, "runs SET enqueued_at = clock_timestamp() + interval '1 hour'")
    ledger.database.execute(_OUTBOX, {"run": run.id})
    assert "1 message in the outbox, the first since 5 min: nobody sends them." in verdict(site.get("/overview"))


def test_an_instance_that_fell_silent_is_shown_for_an_hour(site: Site, ledger: Ledger) -> None:
    silenced(ledger, worker(ledger, "orders", node="gone@there"), 600)
    answer = site.get("/overview")
    assert "1 instance fell silent in the last hour without a farewell." in verdict(answer)
    assert "gone@there pid 7 ✕ silent" in answer.text
    change(ledger, "instances SET expires_at = expires_at - interval '2 hours' WHERE node = 'gone@there'")
    assert "gone@there" not in site.get("/overview").text


def test_the_next_herd_is_the_second_in_which_most_schedules_are_due(site: Site, ledger: Ledger) -> None:
    noon = f"{(datetime.now(UTC) + timedelta(hours=3)).hour} * * *"
    for n in range(4):
        every_minute(ledger, name=f"herd-{n}", service=f"s{n % 2}", spec=cron(f"17 {noon}").to_json())
    every_minute(ledger, name="odd", spec={"every": "never"})
    change(ledger, "schedules SET retired_at = NULL")
    text = site.get("/overview").text
    assert "5 fires in one second, in " in text
    assert ":17:00Z Of orders 1" not in text
    assert "Of s0 2, s1 2, orders 1" in text


def test_schedules_that_jitter_apart_are_no_herd(site: Site, ledger: Ledger) -> None:
    change(ledger, "schedules SET retired_at = clock_timestamp()")
    noon = f"{(datetime.now(UTC) + timedelta(hours=3)).hour} * * *"
    for n in range(4):
        every_minute(ledger, name=f"apart-{n}", spec=cron(f"17 {noon}").to_json(), jitter=timedelta(minutes=1))
    text = site.get("/overview").text
    assert "None: with their jitter no two schedules are due in one second until" in text
    assert "0 fires" not in text


def test_a_herd_that_is_still_counted_keeps_nobody_waiting(
    site: Site, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steadybeat.pages.ahead.PATIENCE_SECONDS", 0)
    monkeypatch.setattr("steadybeat.pages.ahead.threading.Thread.start", lambda self: None)
    monkeypatch.setattr("steadybeat.pages.ahead.threading.Thread.join", lambda self, seconds: None)
    looked = Ahead()
    assert looked.look(ledger, now()) is None


def test_schedules_that_are_paused_make_no_herd(site: Site, ledger: Ledger) -> None:
    change(ledger, "schedules SET paused_at = clock_timestamp(), paused_by = 'ann', paused_reason = 'a move'")
    assert "Nothing is due until" in site.get("/overview").text
    assert "1 paused" in site.get("/overview").text


def test_it_says_what_runs_now_by_service_most_first(site: Site, ledger: Ledger) -> None:
    assert "No run is being worked on." in site.get("/overview").text
    for queue in ("mail", "orders", "orders"):
        running(ledger, 5, queue=queue)
    answer = site.get("/overview")
    assert "Runs now orders 2 mail 1" in answer.text
    assert "/runs?service=orders&state=running" in answer.links()


def test_it_counts_instances_by_role_and_by_release_where_there_are_several(site: Site, ledger: Ledger) -> None:
    worker(ledger, "orders")
    assert "worker 2, release 1" in site.get("/overview").text
    worker(ledger, "mail", release="2")
    silenced(ledger, worker(ledger, "orders", release="3"), 600)
    assert "worker 2 of release 1, 1 of release 2" in site.get("/overview").text


def test_of_very_many_instances_it_shows_those_that_fell_silent_and_says_how_many_others_there_are(
    site: Site, ledger: Ledger
) -> None:
    for n in range(50):
        worker(ledger, "orders", node=f"n{n}@here")
    silenced(ledger, worker(ledger, "orders", node="gone@there"), 600)
    answer = site.get("/overview")
    assert "gone@there pid 7 ✕ silent" in answer.text
    assert answer.text.count("✓ alive") == 49
    assert "And 4 other instances" in answer.text


def test_it_counts_alerts_by_severity_also_those_that_are_not_shown(site: Site, ledger: Ledger) -> None:
    own = {"owner": None, "service": None, "task": None, "schedule": None, "run": None, "error": None}
    with ledger.alerts.deciding() as alerts:
        alerts.insert([
            {
                "rule": "slower",
                "subject": f"s{n}",
                "severity": "critical" if n < 2 else "warning",
                "summary": "?",
                **own,
            }
            for n in range(11)
        ])  # fmt: skip
    answer = site.get("/overview")
    assert "✕ 2 critical ‖ 9 warning" in answer.text
    assert "All 11" in answer.text
    assert "/alerts?severity=critical" in answer.links()


def test_while_nobody_leads_it_says_since_when(site: Site, ledger: Ledger) -> None:
    assert "Last renewal" in site.get("/overview").text
    older(ledger, "leaderships", "renewed_at", 300)
    assert "Leaderless since 5 min ago" in site.get("/overview").text
    change(ledger, "schedules SET created_at = clock_timestamp() - interval '2 hours'")
    ledger.database.execute(sa.text("DELETE FROM steadybeat.leaderships"))
    assert "No Beat has ever led; schedules want one since 2 h ago" in site.get("/overview").text


def test_the_next_herd_is_looked_for_within_a_day_and_it_says_when_it_was_counted(site: Site, ledger: Ledger) -> None:
    late = datetime.now(UTC) + timedelta(hours=20)
    for n in range(3):
        every_minute(ledger, name=f"night-{n}", spec=cron(f"{late.minute} {late.hour} * * *").to_json())
    change(ledger, "schedules SET retired_at = NULL")
    text = site.get("/overview").text
    assert re.search(r"4 fires in one second, in (19|20) h", text)
    assert "from the rules of all schedules." in text


def test_each_card_is_refreshed_by_itself_so_that_one_which_is_used_holds_up_no_other(
    site: Site, ledger: Ledger
) -> None:
    html = site.get("/overview").html
    for card in ("leader", "herd", "missed", "failures", "alerts", "queues", "running", "instances"):
        assert f'id="{card}" data-live="{card}"' in html
    assert html.index('data-live="verdict"') < html.index('id="verdict"')


def test_with_everything_wrong_at_once_each_sentence_leads_to_what_shows_it(site: Site, ledger: Ledger) -> None:
    older(ledger, "leaderships", "renewed_at", 600)
    change(ledger, "instances SET expires_at = clock_timestamp() - interval '1 minute'")
    change(ledger, "duties SET until = clock_timestamp() - interval '1 minute'")
    change(ledger, "schedules SET consecutive_failures = 4")
    expect(ledger, now() - timedelta(minutes=9), name=NAME)
    ended(ledger, 3, schedule=None, state="dead")
    run = recorded(ledger, queue="mail", service="mail")
    ledger.database.execute(_OUTBOX, {"run": run.id})
    ledger.canaries.sent("orders", 1)
    older(ledger, "canaries", "unanswered_since", 300)
    answer = site.get("/overview")
    said = verdict(answer)
    told = (
        "No Beat leads: none was heard of for",
        "No watchdog is alive",
        "in the outbox, the first since 5 min",
        "not dispatched, the first 9 min past its time.",
        "No worker consumes from mail",
        "the last 4 runs are dead.",
        "3 dead letters of the last day",
        "orders has not answered a canary for 5 min.",
        "fell silent in the last hour",
    )
    places = [said.find(each) for each in told]
    assert -1 not in places, [each for each, at in zip(told, places, strict=True) if at < 0]
    assert places[0] == min(places)
    block = answer.html[answer.html.index('id="verdict"') : answer.html.index('id="leader"')]
    for part in ("#leader", "#queues", "#instances", "/dead", "/runs?service=mail", "/schedule/"):
        assert f'href="{part}' in block, part
    assert block.count("<li><a ") == block.count("<li>") == len(told) - 1
    assert '</span>\n<a href="#leader">No Beat leads' in block
