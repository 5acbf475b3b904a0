"""Promise: what is wrong is seen at a glance, the worst first, and whoever answers is on record and told of."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from steadybeat.ledger.alert_tables import alerts as table
from steadybeat.ledger.rows import Finding
from steadybeat.pages import alerts
from tests.integration.pages.conftest import Site
from tests.integration.pages.histories import EVIL, ago
from tests.integration.records import operations_of
from tests.integration.telling import failed


def found(site: Site, *findings: Finding, judged: tuple[str, ...] = ()) -> None:
    """Let the watchdog find something."""
    site.app.steadybeat.alerts.life.take(findings, judged)


def one(site: Site, **facts: Any) -> int:
    """An alert of a schedule whose last runs are dead."""
    found(site, failed(**facts))
    return int(max(each.id for each in site.ledger.alerts.find()))


def inserted(site: Site, **facts: Any) -> int:
    """An alert as it stands, however odd."""
    values = {"rule": "failed", "subject": str(uuid.uuid4()), "severity": "error", "summary": "It fails.", **facts}
    with site.ledger.database.transaction() as connection:
        return int(connection.execute(sa.insert(table).returning(table.c.id), values).scalar_one())


def listed(html: str) -> list[int]:
    return [int(each) for each in re.findall(r'<tr id="alert-(\d+)"', html)]


def test_open_alerts_come_before_acknowledged_ones_and_the_worst_first(site: Site) -> None:
    answered = {"state": "acknowledged", "acknowledged_at": ago(hours=1), "acknowledged_by": "ann"}
    calm = inserted(site, severity="critical", **answered)
    mild, bad, worst = (inserted(site, severity=each) for each in ("info", "error", "critical"))
    over = inserted(site, state="resolved", resolved_at=ago(minutes=1))
    answer = site.get("/alerts")
    assert listed(answer.html) == [worst, bad, mild, calm]
    assert "by ann" in answer.text
    assert listed(site.get("/alerts?which=over").html) == [over]


@pytest.mark.parametrize("asked", ["rule=missed", "severity=critical", "owner=ops", "service=mail", "subject=NIGHT"])
def test_alerts_are_narrowed_by_each_thing_that_is_asked_for(site: Site, asked: str) -> None:
    meant = {"rule": "missed", "severity": "critical", "owner": "ops", "service": "mail", "subject": "a nightly job"}
    wanted = {state: inserted(site, **meant, **facts) for state, facts in STATES.items()}
    for facts in STATES.values():
        inserted(site, **facts)
    assert listed(site.get(f"/alerts?{asked}").html) == [wanted["open"]]
    assert listed(site.get(f"/alerts?which=over&{asked}").html) == [wanted["over"]]


STATES: dict[str, dict[str, Any]] = {"open": {}, "over": {"state": "resolved", "resolved_at": ago(minutes=1)}}


@pytest.mark.parametrize("which", ["open", "over"])
def test_pages_of_alerts_follow_each_other_to_the_last(site: Site, monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    monkeypatch.setattr(alerts, "ROWS", 2)
    made = [inserted(site, severity="error" if n % 2 else "warning", **STATES[which]) for n in range(5)]
    seen, address = [], f"/alerts?which={which}"
    for _ in range(3):
        answer = site.get(address)
        seen += listed(answer.html)
        address = next((each for each in answer.links("/alerts?") if "after=" in each), "")
    assert (address, len(seen), {*seen}) == ("", 5, {*made})


def test_what_another_alert_explains_stands_below_it(site: Site) -> None:
    cause = inserted(site, rule="no_leader", subject="platform")
    consequence = inserted(site, rule="missed", subject="nightly", cause_id=cause)
    answer = site.get("/alerts")
    assert listed(answer.html) == [cause]
    assert "explains 1 other" in answer.text
    assert f"/alert/{consequence}" in answer.links()
    assert f"/alert/{cause}" in site.get(f"/alert/{consequence}").links()
    assert f"/alert/{consequence}" in site.get(f"/alert/{cause}").links()


def test_an_alert_tells_what_is_wrong_since_when_whose_it_is_and_what_has_happened_to_it(open_site: Any) -> None:
    site = open_site(
        steadybeat_runbooks_url="https://wiki.example/runbooks", steadybeat_logs_url="https://logs/{run_id}"
    )
    run = str(uuid.uuid4())
    alert = one(
        site, run=run, error="ConnectionError: password=hunter2", since=ago(hours=2), facts={"token": "hunter2"}
    )
    answer = site.get(f"/alert/{alert}")
    assert "schedule fails: royalties" in answer.text
    assert "Its last 3 runs are dead." in answer.text
    assert "payments" in answer.text
    assert "Opened" in answer.text
    assert "hunter2" not in answer.html
    links = answer.links("https://")
    assert links[-2:] == [f"https://logs/{run}", "https://wiki.example/runbooks/failed.md"]
    assert f"/run/{run}" in answer.links()


def test_the_runbook_is_named_where_no_setting_says_where_they_are(site: Site) -> None:
    assert "ops/runbooks/failed.md" in site.get(f"/alert/{one(site)}").text


def test_who_acknowledges_is_on_record_and_a_second_one_is_told(site: Site) -> None:
    alert = one(site)
    assert "/acknowledge" not in site.get(f"/alert/{alert}", "eve").html
    answer = site.post(f"/alert/{alert}/acknowledge", "bob", reason="the bank is down, they know")
    assert (answer.status, answer.location) == (303, f"/alert/{alert}")
    text = site.get(f"/alert/{alert}", "bob").text
    assert "is acknowledged: nobody else is told." in text
    assert "by bob: the bank is down, they know" in text
    assert operations_of(site.ledger) == [("alerts ack", str(alert), "bob", "the bank is down, they know")]
    again = site.post(f"/alert/{alert}/acknowledge", "ann", reason="me too")
    assert (again.status, f"Alert {alert} is acknowledged already." in again.text) == (409, True)


def test_an_alert_is_resolved_by_hand_once(site: Site) -> None:
    alert = one(site)
    assert site.post(f"/alert/{alert}/resolve", "bob", reason="the schedule was retired").status == 303
    assert site.ledger.alerts.one(alert).state == "resolved"  # type: ignore[union-attr]
    again = site.post(f"/alert/{alert}/resolve", "bob", reason="again")
    assert (again.status, "is resolved already" in again.text) == (409, True)
    found(site, failed())
    assert "bob had resolved it" in site.get(f"/alert/{alert}").text


def test_an_administrator_silences_exactly_one_alert_for_a_while_and_takes_it_back(site: Site) -> None:
    alert, other = one(site, subject="a*b?[c]"), one(site, subject="aXbYc")
    assert "Silence" not in site.get(f"/alert/{alert}", "bob").text
    assert site.post(f"/alert/{alert}/silence", "bob", reason="the bank moves").status == 403
    answer = site.post(f"/alert/{alert}/silence", "ann", reason="the bank moves", lasting="4 hours", of="it")
    assert answer.status == 303
    (silence,) = site.ledger.silences.all()
    assert round((silence.ends_at - silence.begins_at).total_seconds()) == 4 * 3600
    assert f"silenced silence {silence.id} of ann" in site.get(f"/alert/{alert}").text
    assert "silenced" not in site.get(f"/alert/{other}").text
    assert "holds" in site.get("/alerts?which=silences").text
    assert site.post(f"/alerts/silence/{silence.id}/end", "bob", reason="quicker").status == 403
    assert site.post(f"/alerts/silence/{silence.id}/end", "ann", reason="quicker").status == 303
    assert site.post(f"/alerts/silence/{silence.id}/end", "ann", reason="again").status == 409
    assert site.ledger.silences.all() == []
    assert [each[0] for each in operations_of(site.ledger)] == ["alerts silence", "alerts unsilence"]


def test_a_whole_rule_is_silenced_where_that_is_meant(site: Site) -> None:
    alert, other = one(site, subject="one"), one(site, subject="two")
    site.post(f"/alert/{alert}/silence", "ann", reason="all of them", lasting="1 day", of="rule")
    assert "silenced silence" in site.get(f"/alert/{other}").text


@pytest.mark.parametrize(
    "asked", ["which=x", "severity=bad", "after=x", "which=over&after=2026-01-01T00:00:00%2B00:00~x", "after=1~x"]
)
def test_a_list_that_cannot_be_says_what_is_wrong(site: Site, asked: str) -> None:
    answer = site.get(f"/alerts?{asked}")
    assert (answer.status, "This cannot be asked" in answer.text) == (400, True)


def test_who_was_told_and_who_was_not_is_shown(site: Site) -> None:
    alert = one(site)
    with site.ledger.database.transaction() as connection:
        for channel, sent, given_up, error in (("mail", True, False, None), ("pager", False, True, "token=hunter2")):
            connection.execute(
                sa.text(
                    "INSERT INTO steadybeat.notices (alert, kind, channel, severity, title, body, sent_at, given_up_at,"
                    " error, try_count) VALUES (:alert, 'opened', :channel, 'error', 't', 'b',"
                    " CASE WHEN :sent THEN clock_timestamp() END, CASE WHEN :given_up THEN clock_timestamp() END,"
                    " :error, 3)"
                ),
                {"alert": alert, "channel": channel, "sent": sent, "given_up": given_up, "error": error},
            )
    answer = site.get(f"/alert/{alert}")
    assert "sent mail : opened" in answer.text
    assert "given up pager : opened" in answer.text
    assert "hunter2" not in answer.html


def test_odd_alerts_are_shown_all_the_same(site: Site) -> None:
    facts = {"rule": EVIL, "subject": EVIL, "owner": EVIL, "service": EVIL, "task": EVIL, "schedule": EVIL}
    gone = {"cause_id": 999, "storm_id": 999, "run": uuid.uuid4(), "last_good_run": uuid.uuid4()}
    odd = [
        inserted(site, **facts, **gone, summary=EVIL, error=EVIL, facts={"a": None, EVIL: EVIL}),
        inserted(site, **facts, summary="", state="resolved", resolved_at=ago(days=1), resolved_by=EVIL, facts={}),
    ]
    for path in ("/alerts", "/alerts?which=over", *(f"/alert/{each}" for each in odd)):
        answer = site.get(path, "ann")
        assert answer.status == 200
        assert "<script>alert" not in answer.html
