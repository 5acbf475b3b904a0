"""RedBeat's keys are a projection of the ledger: rewritten when lost, and a way in for RedBeat's own tools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery.schedules import crontab, schedule
from redbeat import RedBeatSchedulerEntry

from steadybeat import every
from steadybeat.schedule import cron, from_json
from tests.integration.playing import Play, app_of, declare, played
from tests.integration.records import operations_of, schedule_of

MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
PAY, MAIL = "shop.orders.pay", "shop.mail.send"
BY: dict[str, Any] = {"who": "ann", "reason": "why"}


@pytest.fixture
def play(ledger_url: str, redis_url: str, tmp_path: Path) -> Iterator[Play]:
    """A Beat that leads two schedules, in whose keys everything is written."""
    app = app_of("shop", ledger_url, redis_url, tmp_path)
    declare(app, PAY, schedule=every(MINUTE), overlap="queue_one", catch_up="none")
    app.conf.beat_schedule = {
        "mails": {"task": MAIL, "schedule": cron("0 6 * * *"), "args": (1,), "kwargs": {"to": "ann"}}
    }
    declare(app, MAIL)
    with played(app, redis_url) as play:
        play.apply()
        look(play)
        yield play


def look(play: Play) -> None:
    """Tick, and do what is otherwise done once in a while; what is found there is written."""
    for _ in range(2):
        if play.leader is not None:
            play.leader._learner._looked.clear()
        play.tick(SECOND)


def entry(play: Play, name: str) -> Any:
    return RedBeatSchedulerEntry.from_key(f"redbeat:{name}", app=play.app)


def stored(play: Play) -> dict[str, dict[str, str]]:
    """RedBeat's keys as they are, but for when something fired last."""
    keys = [key.decode() for key in play.redis.keys("redbeat:*") if play.redis.type(key) == b"hash"]
    found = {key: {f.decode(): v.decode() for f, v in play.redis.hgetall(key).items()} for key in keys}
    return {key: {name: value for name, value in each.items() if name != "meta"} for key, each in found.items()}


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What was said of edits, and of which schedule."""
    return [(each.getMessage(), each.schedule) for each in caplog.records if "an edit of" in each.getMessage()]


TAKEN, LATE, WRONG = (
    f"an edit of a redbeat tool {what}" for what in ("was taken in", "came too late", "cannot be taken in")
)


# Written, lost, written again


def test_every_schedule_is_an_entry_that_redbeats_tools_can_read(play: Play) -> None:
    mails = entry(play, "mails")
    assert (mails.task, mails.args, mails.kwargs, mails.enabled) == (MAIL, [1], {"to": "ann"}, True)
    assert mails.schedule == crontab(minute="0", hour="6")
    assert entry(play, PAY).schedule == schedule(MINUTE)
    rows = {name: schedule_of(play.ledger, name) for name in ("mails", PAY)}
    for name, row in rows.items():
        found = stored(play)[f"redbeat:{name}"]
        assert int(found["steadybeat_revision"]) == row.revision
        assert json.loads(found["steadybeat_spec"]) == row.spec
        following = from_json(row.spec).next_after(play.clock.now)
        assert following is not None
        assert play.redis.zscore("redbeat::schedule", f"redbeat:{name}") == following.timestamp()
    assert int(play.redis.get("redbeat::steadybeat")) == max(row.revision for row in rows.values())


def test_when_a_schedule_fired_last_stands_in_its_entry(play: Play) -> None:
    at = every(MINUTE).next_after(play.clock.now)
    assert at is not None
    play.tick(at)
    play.tick(SECOND)
    assert entry(play, PAY).last_run_at == at
    assert play.redis.zscore("redbeat::schedule", f"redbeat:{PAY}") == (at + MINUTE).timestamp()


def test_what_redis_has_lost_is_written_again(play: Play) -> None:
    before = stored(play)
    play.redis.flushall()
    look(play)
    assert stored(play) == before
    assert play.redis.zcard("redbeat::schedule") == 2


def test_an_entry_of_an_older_revision_is_overwritten(play: Play) -> None:
    before, old = stored(play), f"redbeat:{PAY}"
    definition = json.loads(before[old]["definition"]) | {"task": "shop.orders.old"}
    text = json.dumps(definition)
    revision = int(before[old]["steadybeat_revision"]) - 1
    play.redis.hset(old, mapping={"definition": text, "steadybeat_revision": revision})
    look(play)
    assert stored(play) == before
    assert operations_of(play.ledger) == []


def test_a_redis_that_comes_back_with_an_older_state_is_brought_up_to_date(play: Play) -> None:
    dumped = {key: play.redis.dump(key) for key in play.redis.keys("redbeat:*")}
    play.ledger.interventions.put(replace(schedule_of(play.ledger, PAY), args=[7]), **BY)
    look(play)
    after = stored(play)
    for key, value in dumped.items():
        play.redis.restore(key, 0, value, replace=True)
    assert entry(play, PAY).args == []
    look(play)
    assert stored(play) == after
    assert entry(play, PAY).args == [7]


def test_an_entry_that_was_deleted_comes_back(play: Play) -> None:
    before = stored(play)
    entry(play, "mails").delete()
    assert stored(play) != before
    look(play)
    assert stored(play) == before


def test_a_paused_schedule_is_disabled_and_due_never(play: Play) -> None:
    play.ledger.interventions.pause(PAY, **BY)
    look(play)
    assert entry(play, PAY).enabled is False
    assert play.redis.zscore("redbeat::schedule", f"redbeat:{PAY}") == -1
    play.ledger.interventions.resume(PAY, **BY)
    look(play)
    assert entry(play, PAY).enabled is True


@pytest.mark.parametrize("led", [True, False], ids=["while a beat leads", "while none does"])
def test_the_entry_of_a_retired_schedule_goes(play: Play, led: bool) -> None:
    if not led:
        play.leader = None
    del play.app.conf.beat_schedule["mails"]
    play.apply()
    look(play)
    assert list(stored(play)) == [f"redbeat:{PAY}"]
    assert play.redis.zcard("redbeat::schedule") == 1


def test_an_entry_of_redbeats_own_is_left_alone(play: Play) -> None:
    RedBeatSchedulerEntry("theirs", MAIL, schedule(60), app=play.app).save()
    before = stored(play)
    play.leader = None
    look(play)
    assert stored(play) == before
    assert [row.name for row in play.ledger.schedules.all()] == ["mails", PAY]


# Edited by RedBeat's tools


def test_an_edit_of_what_holds_now_is_an_operators_edit(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    edited = entry(play, "mails")
    edited.schedule, edited.args, edited.kwargs = crontab(minute="30", hour="7"), [2], {"to": "bob"}
    edited.save()
    before = schedule_of(play.ledger, "mails")
    look(play)
    row = schedule_of(play.ledger, "mails")
    assert from_json(row.spec) == cron("30 7 * * *", tz="UTC")
    assert (row.args, row.kwargs, row.source) == ([2], {"to": "bob"}, "operator")
    assert (row.policies, row.code) == (before.policies, before.code)
    assert row.revision > before.revision
    assert operations_of(play.ledger) == [("schedules put", "mails", "redbeat", "changed with one of RedBeat's tools")]
    assert logged(caplog) == [(TAKEN, "mails")]
    assert int(stored(play)["redbeat:mails"]["steadybeat_revision"]) == row.revision
    look(play)
    assert schedule_of(play.ledger, "mails").revision == row.revision, "it is taken in once"


def test_the_exact_rule_stays_where_a_tool_left_its_likeness_alone(play: Play) -> None:
    exact = cron("0 6 * * *", tz="Europe/Riga")
    play.ledger.interventions.put(replace(schedule_of(play.ledger, "mails"), spec=exact.to_json()), **BY)
    look(play)
    edited = entry(play, "mails")
    edited.args = [9]
    edited.save()
    look(play)
    row = schedule_of(play.ledger, "mails")
    assert (from_json(row.spec), row.args) == (exact, [9])


def test_what_a_tool_disables_is_paused_and_what_it_enables_goes_on(play: Play) -> None:
    off = entry(play, PAY)
    off.enabled = False
    off.save()
    look(play)
    row = schedule_of(play.ledger, PAY)
    assert (row.paused_by, row.paused_reason) == ("redbeat", "changed with one of RedBeat's tools")
    assert row.source == "code", "nothing else was changed"
    on = entry(play, PAY)
    on.enabled = True
    on.save()
    look(play)
    assert schedule_of(play.ledger, PAY).paused_at is None
    assert [what for what, *_ in operations_of(play.ledger)] == ["schedules pause", "schedules resume"]


def test_an_edit_of_what_was_changed_since_is_not_taken_in(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody changes the schedule after the leader has read it, and before it finds the tool's edit."""
    edited = entry(play, PAY)
    edited.args = [2]
    edited.save()

    def passed(point: str) -> None:
        play.passed = lambda _: None
        play.ledger.interventions.put(replace(schedule_of(play.ledger, PAY), args=[1]), **BY)

    play.passed = passed
    look(play)
    assert schedule_of(play.ledger, PAY).args == [1]
    assert entry(play, PAY).args == [1]
    assert logged(caplog) == [(LATE, PAY)]
    assert [who for _, _, who, _ in operations_of(play.ledger)] == ["ann"]


def test_an_edit_that_is_written_over_a_newer_revision_is_overwritten(play: Play) -> None:
    edited = entry(play, PAY)
    edited.args = [2]
    play.ledger.interventions.put(replace(schedule_of(play.ledger, PAY), args=[1]), **BY)
    edited.save()
    look(play)
    assert schedule_of(play.ledger, PAY).args == [1]
    assert entry(play, PAY).args == [1]


@pytest.mark.parametrize(
    "change",
    [{"task": "shop.nowhere.nothing"}, {"schedule": "hourly"}, {"schedule": {"__type__": "unheard of"}},
     {"args": 3}, {"options": {"serializer": "pickle"}}],
    ids=str,
)  # fmt: skip
def test_an_edit_that_cannot_be_is_logged_and_written_over(
    play: Play, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    before = stored(play)
    wrong = json.loads(before[f"redbeat:{PAY}"]["definition"]) | change
    play.redis.hset(f"redbeat:{PAY}", "definition", json.dumps(wrong))
    look(play)
    assert stored(play) == before
    assert logged(caplog) == [(WRONG, PAY)]
    assert operations_of(play.ledger) == []


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "null", '{"task": 1}'])
def test_an_entry_that_is_no_definition_at_all_is_written_over(play: Play, text: str) -> None:
    before = stored(play)
    play.redis.hset(f"redbeat:{PAY}", "definition", text)
    look(play)
    assert stored(play) == before


def test_an_edit_stops_no_fire(play: Play) -> None:
    coming = every(MINUTE).next_after(play.clock.now)
    assert coming is not None
    edited = entry(play, PAY)
    edited.kwargs = {"how": "fast"}
    edited.save()
    play.tick(coming - 5 * SECOND)
    look(play)
    play.tick(coming)
    (message,) = play.take("orders")
    assert datetime.fromisoformat(message["steadybeat_scheduled_for"]) == coming
    story = play.ledger.story.run(message["id"])
    assert story is not None
    assert json.loads(story["body"])[1] == {"how": "fast"}
