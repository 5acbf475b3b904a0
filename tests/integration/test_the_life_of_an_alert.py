from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from steadybeat.ledger.rows import Finding
from tests.integration.telling import Told, failed
from tests.receivers.web import WebReceiver

Make = Callable[..., Told]
ANSWER = {"who": "ann@desk", "reason": "on it"}


@pytest.fixture
def slack() -> Iterator[WebReceiver]:
    with WebReceiver() as receiver:
        yield receiver


@pytest.fixture
def oncall() -> Iterator[WebReceiver]:
    with WebReceiver() as receiver:
        yield receiver


@pytest.fixture
def make(ledger_url: str, slack: WebReceiver, oncall: WebReceiver) -> Iterator[Make]:
    """Makes installations with two channels, on one ledger."""
    made: list[Told] = []

    def one(*routes: Any, **settings: Any) -> Told:
        channels = settings.pop("channels", {"slack": slack.channel(), "oncall": oncall.channel()})
        made.append(Told(ledger_url, channels, routes or ([{"to": ["slack"]}] if channels else ()), **settings))
        return made[-1]

    yield one
    for each in made:
        each.close()


def test_an_alert_is_told_once_counted_and_resolved_by_itself(make: Make, slack: WebReceiver) -> None:
    told = make()
    for _ in range(3):
        told.passes(failed())
    (alert,) = told.ledger.alerts.find()
    assert (alert.state, alert.seen_count) == ("open", 3)
    assert told.ledger.alerts.open_counts() == {("failed", "error"): 1}
    told.passes()
    told.passes()
    assert slack.titles == [
        "[error] schedule fails: royalties",
        "[resolved] schedule fails: royalties",
    ]
    assert told.ledger.alerts.open_counts() == {}
    assert [what for what, _ in told.events(alert.id)] == ["opened", "told", "resolved", "told"]


def test_a_rule_that_was_not_judged_resolves_nothing(make: Make) -> None:
    told = make()
    told.passes(failed())
    told.passes(judged=["missed"])
    assert [alert.state for alert in told.ledger.alerts.find()] == ["open"]


def test_an_alert_that_comes_back_soon_is_the_same_one_and_says_so(make: Make, slack: WebReceiver) -> None:
    told = make()
    for findings in ([failed()], [], [failed()], [], [failed()]):
        told.passes(*findings)
        told.age(60)
    (alert,) = told.ledger.alerts.find(everything=True)
    assert (alert.state, alert.reopened_count) == ("open", 2)
    assert slack.titles[-1] == "[error] again, schedule fails: royalties"
    assert "again: the 3rd time in 4 min" in slack.taken[-1].document["message"]


def test_an_alert_that_comes_back_late_is_another_one(make: Make, slack: WebReceiver) -> None:
    told = make()
    told.passes(failed())
    told.passes()
    told.age(901)
    told.passes(failed())
    assert len(told.ledger.alerts.find(everything=True)) == 2
    assert slack.titles[-1] == "[error] schedule fails: royalties"


def test_one_that_flaps_is_told_at_most_once_an_hour(make: Make, slack: WebReceiver) -> None:
    told = make(alert_flap_seconds=7200)
    for _ in range(7):
        told.passes(failed())
        told.passes()
        told.age(60)
    assert sum("resolved" not in title for title in slack.titles) == 4
    assert slack.titles[-1].startswith("[resolved]")
    told.passes(failed())
    (alert,) = told.ledger.alerts.find()
    assert ("not_told", "it comes and goes") in told.events(alert.id)
    told.age(3600)
    told.passes(failed())
    assert slack.titles[-1] == "[error] again, schedule fails: royalties"


def test_nobody_is_told_more_of_what_somebody_sees_to_unless_it_becomes_worse(make: Make, slack: WebReceiver) -> None:
    told = make({"to": ["slack"], "escalate": [{"after": "15m", "to": ["oncall"]}]})
    told.passes(failed())
    (alert,) = told.ledger.alerts.find()
    assert told.alerts.life.acknowledge([alert.id], **ANSWER) == [alert.id]
    assert told.alerts.life.acknowledge([alert.id], **ANSWER) == []
    told.age(3600)
    told.passes(failed())
    assert slack.titles[1:] == ["[acknowledged] schedule fails: royalties"]
    told.passes(failed(severity="critical"))
    told.passes(failed(severity="critical"))
    assert slack.titles[2:] == ["[critical] worse, schedule fails: royalties"]
    assert told.rows("SELECT who, what, target, reason FROM steadybeat.operations") == [
        ("ann@desk", "alerts ack", str(alert.id), "on it")
    ]


def test_one_that_is_resolved_by_hand_and_still_found_is_opened_again(make: Make, slack: WebReceiver) -> None:
    told = make()
    told.passes(failed())
    (alert,) = told.ledger.alerts.find()
    assert told.alerts.life.resolve([alert.id], who="ann@desk", reason="fixed") == [alert.id]
    told.alerts.work()
    assert "resolved by ann@desk: fixed" in slack.taken[-1].document["message"]
    told.passes(failed())
    assert ("reopened", "ann@desk had resolved it: fixed; it is still so") in told.events(alert.id)
    assert slack.titles[-1] == "[error] again, schedule fails: royalties"


def test_what_nobody_acknowledges_goes_on_until_somebody_does(
    make: Make, slack: WebReceiver, oncall: WebReceiver
) -> None:
    steps = [{"after": timedelta(minutes=15), "to": ["slack"]}, {"after": "1h", "to": ["oncall"]}]
    told = make({"to": ["slack"], "escalate": steps})
    told.passes(failed())
    told.passes(failed())
    assert len(slack.taken) == 1
    for seconds in (901, 3601, 3601):
        told.age(seconds)
        told.passes(failed())
        told.passes(failed())
    assert slack.titles[1:] == ["[error] nobody answers, schedule fails: royalties"]
    assert len(oncall.taken) == 2
    (alert,) = told.ledger.alerts.find()
    told.alerts.life.acknowledge([alert.id], **ANSWER)
    told.age(7200)
    told.passes(failed())
    told.passes()
    assert [len(slack.taken), len(oncall.taken)] == [4, 4]


def test_no_step_is_taken_in_quiet_hours_or_during_a_silence(make: Make, oncall: WebReceiver) -> None:
    steps = [{"after": "15m", "to": ["oncall"]}]
    loud = make({"to": ["slack"], "escalate": steps})
    hour = datetime.now(UTC).hour
    quiet = {"from": f"{(hour - 1) % 24:02}:00", "until": f"{(hour + 2) % 24:02}:00"}
    hushed = make({"to": ["slack"], "escalate": steps, "quiet": quiet})
    loud.passes(failed())
    loud.age(901)
    hushed.passes(failed())
    (alert,) = loud.ledger.alerts.find()
    assert alert.escalate_at is not None
    assert alert.escalate_at.minute == 0
    loud.age(3 * 3600)
    now = datetime.now(UTC)
    made = loud.ledger.silences.add(
        {"rule": None, "subject": "roy*", "owner": "pay*", "service": None},
        begins_at=now, ends_at=now + timedelta(hours=1), **ANSWER,
    )  # fmt: skip
    loud.passes(failed())
    assert oncall.taken == []
    loud.ledger.silences.end(made.id, **ANSWER)
    loud.passes(failed())
    assert oncall.titles == ["[error] nobody answers, schedule fails: royalties"]


def test_during_a_silence_alerts_are_kept_and_told_when_it_ends(make: Make, slack: WebReceiver) -> None:
    told = make()
    now = datetime.now(UTC)
    told.ledger.silences.add(
        {"rule": "fail*", "subject": None, "owner": None, "service": None},
        begins_at=now, ends_at=now + timedelta(hours=1), who="ann@desk", reason="we move the bank",
    )  # fmt: skip
    told.passes(failed(), failed("payouts"))
    told.passes(failed())
    assert slack.taken == []
    first, _ = told.events(told.ledger.alerts.find()[0].id)
    assert first[0] == "opened"
    assert "we move the bank" in str(told.events(told.ledger.alerts.find()[0].id)[1])
    told.age(3601)
    told.passes(failed())
    assert slack.titles == ["[error] schedule fails: royalties"]


def test_quiet_hours_hold_back_what_is_not_bad_enough_and_drop_it_if_it_is_over(make: Make, slack: WebReceiver) -> None:
    hour = datetime.now(UTC).hour
    quiet = {"from": f"{(hour - 1) % 24:02}:00", "until": f"{(hour + 2) % 24:02}:00", "below": "critical"}
    told = make({"to": ["slack"], "quiet": quiet})
    told.passes(failed(), failed("payouts"), failed("bank", severity="critical"))
    assert slack.titles == ["[critical] schedule fails: bank"]
    told.passes(failed("payouts"), failed("bank", severity="critical"))
    told.age(3 * 3600)
    told.passes(failed("payouts"), failed("bank", severity="critical"))
    assert slack.titles[1:] == ["[error] schedule fails: payouts"]
    assert told.notices("channel, error")[0] == ("slack", "it was over before this was told")


def test_forty_schedules_of_a_dead_queue_are_one_message_that_names_the_cause(make: Make, slack: WebReceiver) -> None:
    told = make()
    queue = Finding(rule="no_consumer", subject="orders", summary="No worker consumes from orders.", service="orders")
    late = [
        Finding(rule="never_started", subject=f"s{n}", summary="It waits.", cause=("no_consumer", "orders"))
        for n in range(40)
    ]
    told.passes(queue, *late[:38])
    told.passes(queue, *late)
    assert slack.titles == ["[error] queue without a consumer: orders"]
    assert "explains: 38 others: s0, s1, " in slack.taken[0].document["message"]
    cause = next(alert for alert in told.ledger.alerts.find() if alert.rule == "no_consumer")
    assert len(told.ledger.alerts.consequences(cause.id)) == 40
    consequence = told.ledger.alerts.consequences(cause.id)[0]
    assert ("not_told", f"alert {cause.id} is its cause") in told.events(consequence.id)
    told.passes(late[0])
    assert slack.titles[1:] == ["[resolved] queue without a consumer: orders"]
    assert "explains: 40 others" in slack.taken[-1].document["message"]
    told.passes(late[0])
    assert len(slack.taken) == 2
    told.age(121)
    told.passes(late[0])
    assert slack.titles[2:] == ["[error] run not started: s0"]


def test_consequences_are_told_where_nobody_is_told_of_their_cause(make: Make, slack: WebReceiver) -> None:
    told = make({"rule": "never_started", "to": ["slack"]})
    queue = Finding(rule="no_consumer", subject="orders", summary="No worker consumes from orders.")
    late = Finding(rule="never_started", subject="s", summary="It waits.", cause=("no_consumer", "orders"))
    told.passes(queue, late)
    assert slack.titles == ["[error] run not started: s"]


def test_a_storm_without_a_known_cause_is_one_message_a_minute(make: Make, slack: WebReceiver) -> None:
    told = make(alert_storm_count=3)
    many = [failed(f"s{n}") for n in range(30)]
    told.passes(*many[:2])
    told.passes(*many[:9])
    told.passes(*many)
    assert slack.titles[2:] == ["[error] schedule fails: 7 schedules"]
    told.age(61)
    told.passes(*many)
    assert slack.titles[3:] == ["[error] schedule fails: 21 schedules"]
    assert "and 1 more" in slack.taken[-1].document["message"]
    told.passes()
    assert slack.titles[4:] == ["[resolved] schedule fails: 30 schedules"]


def test_an_answer_to_a_storm_is_an_answer_to_all_of_it(make: Make, slack: WebReceiver) -> None:
    told = make({"to": ["slack"], "escalate": [{"after": "15m", "to": ["oncall"]}]}, alert_storm_count=3)
    storm = [failed(f"s{n}") for n in range(9)]
    told.passes(*storm)
    told.age(901)
    told.passes(*storm)
    assert slack.titles == ["[error] schedule fails: 9 schedules"]
    (escalated,) = [title for _, title in told.notices("channel, title") if title.startswith("[error] nobody")]
    assert escalated == "[error] nobody answers, schedule fails: 9 schedules"
    first = min(alert.id for alert in told.ledger.alerts.find())
    assert len(told.alerts.life.acknowledge([first], **ANSWER)) == 9
    told.alerts.work()
    assert slack.titles[1:] == ["[acknowledged] schedule fails: 9 schedules"]


def test_without_channels_alerts_are_kept_and_logged(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    told = make(channels={})
    told.passes(failed(error="password=hunter2"))
    (alert,) = told.ledger.alerts.find()
    assert (alert.error, alert.told_at) == ("password=***", None)
    assert told.events(alert.id)[1] == ("not_told", "there is no channel: steadybeat_alert_channels is empty")
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == ["alert opened"]


def test_a_finding_that_postgres_could_not_keep_stands_in_nobodys_way(make: Make) -> None:
    told = make()
    bad = failed("a\0b", run="no id", last_good_run="1", severity="dreadful", facts={"a\0": {"b": ["\ud800"]}})
    told.passes(bad, failed())
    assert {alert.severity for alert in told.ledger.alerts.find()} == {"error"}


def test_two_watchdogs_at_once_open_and_tell_once(make: Make, slack: WebReceiver) -> None:
    dogs = [make(), make()]
    findings = [failed(f"s{n}") for n in range(5)]
    for given in (findings, [], findings):
        threads = [threading.Thread(target=dog.passes, args=given) for dog in dogs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for dog in dogs:
        dog.passes(*findings)
    assert len(dogs[0].ledger.alerts.find(everything=True)) == 5
    assert len(slack.taken) == 15


@pytest.mark.parametrize("given", [[failed()], [failed(severity="critical")], []], ids=["opened", "worse", "over"])
def test_a_crash_between_any_two_statements_loses_and_doubles_nothing(
    make: Make, slack: WebReceiver, given: list[Finding], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = make()
    if given != [failed()]:
        told.passes(failed())
    before = len(slack.taken)
    real = sa.Connection.execute
    left = [0]

    def execute(self: Any, *arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return real(self, *arguments, **options)

    for number in range(1, 40):
        left[0] = number
        with monkeypatch.context() as patch:
            patch.setattr(sa.Connection, "execute", execute)
            try:
                told.alerts.take(given, ["failed"])
            except KeyboardInterrupt:
                continue
        break
    assert number > 5
    told.passes(*given)
    assert len(slack.taken) == before + 1


def test_it_is_told_as_worse_only_when_it_is_worse_than_people_know(make: Make, slack: WebReceiver) -> None:
    told = make()
    for severity in ("critical", "warning", "critical"):
        told.passes(failed(severity=severity))
    assert slack.titles == ["[critical] schedule fails: royalties"]
