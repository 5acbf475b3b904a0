from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from steadybeat.alerts import delivering
from steadybeat.alerts.channels import Channels, Post
from steadybeat.alerts.emergency import Emergency
from steadybeat.alerts.routes import Routes
from steadybeat.alerts.wording import Links
from steadybeat.errors import ConfigurationError, LedgerUnavailable
from steadybeat.ledger.rows import Finding
from steadybeat.watchdog import Watchdog
from tests.eventually import eventually
from tests.integration.mailserver import mail_server
from tests.integration.telling import Told, failed
from tests.receivers.server import Said
from tests.receivers.web import WebReceiver

Make = Callable[..., Told]
HOOK = "TAAAAAAAA/BBBBBBBBB/hushhushhushhushhushhush"
POST = Post(
    kind="opened", severity="critical", key="steadybeat-shop-17", title="[critical] schedule fails: royalties",
    body="what: bad\nlook closer: celery -A shop runs why royalties last",
    markdown="what: bad\nlook closer: `celery -A shop runs why royalties last`", html="<h3>bad</h3><code>x</code>",
    short="[critical] schedule fails: royalties: bad",
)  # fmt: skip
AWAY = Finding(rule="ledger_away", subject="postgres", summary="Postgres does not answer.", severity="critical")


@pytest.fixture
def slack() -> Iterator[WebReceiver]:
    with WebReceiver() as receiver:
        yield receiver


@pytest.fixture
def ops() -> Iterator[WebReceiver]:
    with WebReceiver() as receiver:
        yield receiver


@pytest.fixture
def make(ledger_url: str, slack: WebReceiver, ops: WebReceiver) -> Iterator[Make]:
    """Makes an installation that tells slack, and ops where that fails."""
    made: list[Told] = []

    def one(*routes: Any, **settings: Any) -> Told:
        channels = {"slack": slack.channel("hushhushtoken"), "ops": ops.channel()}
        made.append(Told(ledger_url, channels, routes or [{"to": ["slack"]}], **settings))
        return made[-1]

    yield one
    for each in made:
        each.close()


def one_channel(url: str) -> Channels:
    return Channels({"it": url}, timedelta(seconds=2))


# Services, each as it is spoken to


def test_slack_gets_markdown(slack: WebReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    channels = one_channel(f"slack://{HOOK}/#ops")
    monkeypatch.setattr(type(channels._opened("it")), "webhook_url", f"{slack.url}/services")
    assert channels.send("it", POST) is None
    (received,) = slack.taken
    assert received.path == f"/services/{HOOK}"
    text = json.dumps(received.document)
    assert "[critical] schedule fails: royalties" in text
    assert "`celery -A shop runs why royalties last`" in text
    assert "http" not in text


def test_pagerduty_has_one_incident_for_an_alert_and_resolves_it(
    slack: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apprise.plugins import pagerduty

    monkeypatch.setitem(pagerduty.PAGERDUTY_API_LOOKUP, "us", f"{slack.url}/v2/enqueue")
    channels = one_channel("pagerduty://hushhushkey@apikey/")
    assert channels.send("it", POST) is None
    assert channels.send("it", Post(kind="resolved", severity="critical", key=POST.key, title="over", body="b")) is None
    opened, resolved = (each.document for each in slack.taken)
    assert (opened["event_action"], opened["dedup_key"]) == ("trigger", "steadybeat-shop-17")
    assert opened["payload"]["severity"] == "critical"
    assert opened["payload"]["summary"].startswith("[critical] schedule fails: royalties")
    assert (resolved["event_action"], resolved["dedup_key"]) == ("resolve", "steadybeat-shop-17")


def test_opsgenie_counts_what_is_told_twice_as_one(slack: WebReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    from apprise.plugins import opsgenie

    monkeypatch.setitem(opsgenie.OPSGENIE_API_LOOKUP, "us", f"{slack.url}/v2/alerts")
    one_channel("opsgenie://hushhushkey/").send("it", POST)
    assert slack.taken[0].document["alias"] == "steadybeat-shop-17"


def test_mail_is_html_and_text() -> None:
    with mail_server() as post:
        url = f"mailto://127.0.0.1:{post.port}?from=beat@example.org&to=ann@example.org&mode=insecure&smtp=127.0.0.1"
        assert one_channel(url).send("it", POST) is None
        (mail,) = post.taken
    assert mail["Subject"] == "[critical] schedule fails: royalties"
    kinds = {part.get_content_type() for part in mail.walk()}
    assert {"text/plain", "text/html"} <= kinds


def test_what_is_too_long_for_a_service_is_cut(slack: WebReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    channels = one_channel(slack.channel())
    monkeypatch.setattr(type(channels._opened("it")), "body_maxlen", 1024)
    assert channels.send("it", replace(POST, body="x" * 5000)) is None
    assert len(slack.taken[0].document["message"]) <= 1024


def test_a_telephone_gets_one_line(slack: WebReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    channels = one_channel(slack.channel())
    monkeypatch.setattr(type(channels._opened("it")), "body_maxlen", 160)
    assert channels.send("it", POST) is None
    assert slack.taken[0].document["message"] == POST.short


def test_no_line_and_no_error_holds_the_url_of_a_channel(
    slack: WebReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    slack.worse = [Said(403)]
    channels = one_channel(f"slack://{HOOK}/#ops")
    monkeypatch.setattr(type(channels._opened("it")), "webhook_url", f"{slack.url}/services")
    error = channels.send("it", POST)
    assert error
    assert "403" in error
    monkeypatch.setattr(type(channels._opened("it")), "webhook_url", "http://127.0.0.1:1/services")
    assert channels.send("it", POST)
    with pytest.raises(ConfigurationError) as caught:
        one_channel("slack://hushhush").check()
    told = f"{caplog.text} {error} {caught.value} {channels.send('gone', POST)}"
    assert "hush" not in told
    assert "TAAAAAAAA" not in told


def test_routes_are_checked_at_install_and_urls_when_a_watchdog_starts(ledger_url: str, redis_url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"steadybeat_alert_routes, route 1: to: there is no channel 'slak'"):
        Told(ledger_url, {"slack": "json://127.0.0.1:1"}, [{"to": ["slak"]}])
    told = Told(ledger_url, {"slack": "nosuch://hushhush"}, redis_url=redis_url)
    with pytest.raises(ConfigurationError, match=r"channel 'slack': Apprise does not take its URL"):
        Watchdog(told.app)
    told.close()


# A channel that fails


def test_where_a_channel_fails_the_next_one_is_told_and_that_it_fails(
    make: Make, slack: WebReceiver, ops: WebReceiver
) -> None:
    told = make()
    slack.worse = [Said(500)]
    for _ in range(3):
        told.passes(failed())
        told.age(30)
    told.passes(failed())
    assert slack.taken == []
    assert sorted(ops.titles) == ["[error] channel fails: slack", "[error] schedule fails: royalties"]
    shown = next(each for each in ops.taken if "channel" in each.document["title"]).document["message"]
    assert "error=500" in shown
    assert "hush" not in shown
    assert "celery -A shop alerts test slack" in shown
    (alert,) = told.ledger.alerts.find(rule="failed")
    assert [what for what, _ in told.events(alert.id)] == ["opened", "failed", "failed", "failed", "told"]
    told.passes(failed(), failed("payouts"))
    told.passes(failed(), failed("payouts"))
    assert "[error] schedule fails: payouts" in ops.titles
    slack.worse = []
    told.passes(failed(), failed("payouts"), failed("mail"))
    told.passes(failed(), failed("payouts"), failed("mail"))
    assert slack.titles == ["[error] schedule fails: mail"]
    assert "[resolved] channel fails: slack" in ops.titles


def test_recovery_goes_to_whoever_was_told(make: Make, slack: WebReceiver, ops: WebReceiver) -> None:
    told = make()
    slack.worse = [Said(500)]
    for _ in range(4):
        told.passes(failed())
        told.age(30)
    slack.worse = []
    told.passes()
    told.passes()
    assert "[resolved] schedule fails: royalties" in ops.titles
    assert "[resolved] schedule fails: royalties" not in slack.titles


def test_nobody_hears_of_the_end_before_the_beginning(make: Make, slack: WebReceiver) -> None:
    told = make()
    slack.worse = [Said(500)]
    told.passes(failed())
    slack.worse = []
    told.passes()
    assert slack.titles == []
    told.age(10)
    told.alerts.work()
    assert slack.titles == ["[error] schedule fails: royalties", "[resolved] schedule fails: royalties"]


def test_a_channel_that_hangs_holds_up_neither_the_others_nor_the_pass(
    make: Make, slack: WebReceiver, ops: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = make({"to": ["slack", "ops"]})
    monkeypatch.setattr("steadybeat.alerts.told.WORK", timedelta(seconds=0.3))
    monkeypatch.setattr(told.alerts.channels, "bound", timedelta(seconds=0.5))
    slack.hang()
    told.passes(failed())
    eventually(lambda: ops.titles == ["[error] schedule fails: royalties"])

    def given_up() -> bool:
        told.alerts.work()
        (alert,) = told.ledger.alerts.find(rule="failed")
        return ("failed", "slack: no answer within 0.5 s") in told.events(alert.id)

    eventually(given_up)
    slack.go_on()
    eventually(lambda: len(slack.taken) == 1)


def test_a_notice_whose_sender_died_is_sent_by_another(make: Make, slack: WebReceiver) -> None:
    told = make()
    told.alerts.take([failed()], ["failed"])
    assert told.ledger.notices.claim("slack", timedelta(seconds=30)) is not None
    told.alerts.work()
    assert slack.taken == []
    told.age(31)
    told.alerts.work()
    told.alerts.work()
    assert len(slack.taken) == 1


def test_a_ledger_that_is_away_for_a_moment_doubles_nothing(
    make: Make, slack: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = make()
    real, answers = told.ledger.notices.sent, [LedgerUnavailable(), LedgerUnavailable()]

    def sent(notice: int) -> None:
        if answers:
            raise answers.pop()
        real(notice)

    monkeypatch.setattr(told.ledger.notices, "sent", sent)
    told.passes(failed())
    told.age(3600)
    told.passes(failed())
    assert slack.titles == ["[error] schedule fails: royalties"]


def test_what_was_sent_while_the_ledger_went_away_is_marked_when_it_is_back_and_not_sent_again(
    make: Make, slack: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = make()

    def sent(_: int) -> None:
        raise LedgerUnavailable

    with monkeypatch.context() as away:
        away.setattr(delivering, "MARGIN", timedelta())
        away.setattr(told.ledger.notices, "sent", sent)
        told.passes(failed())
        eventually(lambda: slack.titles)
    told.age(3600)
    told.passes(failed())
    told.passes()
    titles = ["[error] schedule fails: royalties", "[resolved] schedule fails: royalties"]
    eventually(lambda: slack.titles[1:])
    assert slack.titles == titles


def test_a_channel_that_is_no_more_gives_its_notices_to_the_next(make: Make, ledger_url: str, ops: WebReceiver) -> None:
    make().alerts.take([failed()], ["failed"])
    later = Told(ledger_url, {"ops": ops.channel()}, [{"to": ["ops"]}])
    for _ in range(4):
        later.alerts.work()
        later.age(30)
    later.close()
    assert "[error] schedule fails: royalties" in ops.titles


# The ledger is away


def test_while_the_ledger_is_away_people_are_told_once_an_hour_and_when_it_is_back(
    slack: WebReceiver, ops: WebReceiver
) -> None:
    clock = [datetime(2026, 11, 28, 12, tzinfo=UTC)]
    channels = Channels({"slack": slack.channel(), "ops": ops.channel()}, timedelta(seconds=2))
    routes = Routes.read([{"severity": "critical", "to": ["slack"]}], channels.names)
    tell = Emergency(channels.send, routes, Links(app="shop"), lambda: clock[0])
    slack.worse = [Said(503)]
    tell(None)
    tell(AWAY)
    tell(AWAY)
    eventually(lambda: ops.titles == ["[critical] ledger away: postgres"])
    clock[0] += timedelta(minutes=61)
    slack.worse = []
    tell(AWAY)
    eventually(lambda: slack.titles == ["[critical] ledger away: postgres"])
    assert "2026-11-28 12:00:00Z, 1 h 1 min ago" in slack.taken[0].document["message"]
    tell(None)
    tell(None)
    eventually(lambda: (slack.titles[1:], ops.titles[1:]) == (["[resolved] ledger away: postgres"],) * 2)


def test_where_no_channel_takes_it_it_is_tried_again_soon(slack: WebReceiver) -> None:
    clock = [datetime(2026, 11, 28, 12, tzinfo=UTC)]
    channels = one_channel(slack.channel())
    tell = Emergency(channels.send, Routes.read((), channels.names), Links(app="shop"), lambda: clock[0])
    slack.worse = [Said(503)]
    tell(AWAY)
    eventually(lambda: tell._next_at == clock[0] + timedelta(seconds=30))
    slack.worse = []
    clock[0] += timedelta(seconds=31)
    tell(AWAY)
    eventually(lambda: slack.titles == ["[critical] ledger away: postgres"])


def test_a_pass_without_a_ledger_says_so_to_whoever_called(slack: WebReceiver) -> None:
    told = Told("postgresql://127.0.0.1:1/nowhere", {"slack": slack.channel()})
    with pytest.raises(LedgerUnavailable):
        told.alerts.take([failed()], ["failed"])
    with pytest.raises(LedgerUnavailable):
        told.alerts.work()
    told.alerts.emergency(AWAY)
    eventually(lambda: slack.titles == ["[critical] ledger away: postgres"])
    told.close()
