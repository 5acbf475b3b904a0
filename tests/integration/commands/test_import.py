"""`schedules import --from redbeat` and `schedules check`, on entries that RedBeat's own code has saved."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis as redis_client
import sqlalchemy as sa
from celery import Celery
from celery.beat import ScheduleEntry
from celery.schedules import crontab, schedule
from redbeat import RedBeatScheduler, RedBeatSchedulerEntry
from redbeat.schedules import rrule
from redis.lock import Lock

from steadybeat.beat import definitions
from steadybeat.errors import ConfigurationError
from steadybeat.ledger import Ledger
from tests.integration.commands.shop import MakeApp, Run, refusal, said

REPORT = "shop.billing.report"
REASON = ("--reason", "we move in")
Save = Callable[..., RedBeatSchedulerEntry]


@pytest.fixture
def plain(redis_url: str) -> Iterator[Any]:
    """The app as it was: no steadybeat in it."""
    app = Celery("shop", set_as_current=False)
    app.conf.update(broker_url=redis_url, redbeat_redis_url=redis_url, redbeat_redis_options={}, timezone="Europe/Riga")
    yield app
    app.close()


@pytest.fixture
def save(plain: Any) -> Save:
    def save(name: str, rule: Any, last_run_at: datetime | None = None, task: str = REPORT, **more: Any) -> Any:
        entry = RedBeatSchedulerEntry(name, task, rule, app=plain, **more)
        entry.last_run_at = last_run_at
        return entry.save()

    return save


@pytest.fixture
def riga(make_app: MakeApp) -> Any:
    return make_app(timezone="Europe/Riga")


@pytest.fixture
def client(redis_url: str) -> Iterator[redis_client.Redis]:
    with redis_client.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def imported(run: Run, app: Any, *options: str, code: int = 0) -> dict[str, dict[str, Any]]:
    document = said(run("schedules", "import", "--from", "redbeat", "--json", *(options or REASON), app=app), code)
    return {each["name"]: each for each in document["entries"]}


def abouts(entry: dict[str, Any]) -> list[str]:
    return [note["about"] for note in entry["notes"]]


def ago(**duration: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(**duration)


def test_entries_keep_their_task_their_arguments_and_their_times(riga: Any, run: Run, save: Save, book: Ledger) -> None:
    save("friday the 13th", crontab(0, 6, "fri", "13"), ago(days=1), args=[1], kwargs={"b": 2}, options={"priority": 3})
    save("often", schedule(7), ago(seconds=3))
    save("weekly", rrule("WEEKLY", dtstart=datetime(2026, 1, 5, 6, tzinfo=UTC)), ago(seconds=1))
    entries = imported(run, riga)
    assert {each["verdict"] for each in entries.values()} == {"taken over"}
    rows = {row.name: row for row in book.schedules.all()}
    friday = rows["friday the 13th"]
    assert (friday.task, friday.service, friday.args, friday.kwargs) == (REPORT, "billing", [1], {"b": 2})
    assert friday.options == {"priority": 3}
    assert friday.spec == {"type": "cron", "expression": "0 6 13 * FRI", "tz": "Europe/Riga", "mode": "and"}
    assert friday.policies["overlap"] == "allow"
    assert abouts(entries["friday the 13th"])[:3] == ["days", "zone", "clock"]
    assert rows["weekly"].spec["rule"] == "FREQ=WEEKLY"
    assert {row.source for row in rows.values()} == {"operator"}


def test_what_was_sent_last_is_not_sent_again_and_what_is_owed_is_sent_once(
    riga: Any, run: Run, save: Save, book: Ledger
) -> None:
    sent, due, long_ago = ago(seconds=100), ago(hours=1, minutes=7), ago(days=90)
    save("sent", schedule(600), sent)
    save("owed", schedule(3600), due)
    save("owed long", crontab("*", "*"), long_ago)
    save("never sent", schedule(86400))
    entries = imported(run, riga)
    since = {row.name: row.expected_until for row in book.schedules.all()}
    assert entries["sent"]["next_fire_at"] == (sent + timedelta(seconds=600)).isoformat().replace("+00:00", "Z")
    owed = entries["owed"]
    assert owed["next_fire_at"] == (due + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    assert since["owed"] == due + timedelta(hours=1) - timedelta(microseconds=1)
    assert datetime.now(UTC) - since["owed long"] < timedelta(minutes=2)
    assert abouts(owed) == ["interval", "next"]
    assert "would have sent it at once" in entries["never sent"]["notes"][-1]["text"]


def test_a_second_import_has_nothing_to_do_and_apply_retires_none(
    riga: Any, run: Run, save: Save, book: Ledger
) -> None:
    save("nightly", crontab(0, 3))
    first = run("schedules", "import", "--from", "redbeat", *REASON, app=riga)
    assert first.stdout.endswith("1 schedule taken over, 0 left.\n")
    before = book.schedules.all()
    second = run("schedules", "import", "--from", "redbeat", *REASON, app=riga)
    assert second.stdout == "Nothing to do: RedBeat has no entries of its own in Redis.\n"
    changes = said(run("schedules", "apply", "--json", app=riga))["changes"]
    assert [(each["name"], each["verb"]) for each in changes] == [("shop.mail.digest", "added")]
    assert [row for row in book.schedules.all() if row.name == "nightly"] == before


def test_who_took_over_what_and_why_is_on_record(riga: Any, run: Run, save: Save, book: Ledger) -> None:
    save("nightly", crontab(0, 3))
    imported(run, riga)
    [row] = book.database.execute(sa.text("SELECT who, what, target, reason, details FROM steadybeat.operations"))
    assert (row.what, row.target, row.reason) == ("schedules import", "nightly", "we move in")
    assert "@" in row.who
    assert row.details["spec"]["expression"] == "0 3 * * *"


def test_the_keys_of_what_is_taken_over_become_the_ledgers_projection(
    riga: Any, run: Run, save: Save, client: redis_client.Redis
) -> None:
    entry, left = save("nightly", crontab(0, 3), ago(hours=1)), save("off", crontab(0, 3), enabled=False)
    meta, was = client.hget(entry.key, "meta"), client.hgetall(left.key)
    imported(run, riga)
    assert client.hget(entry.key, "steadybeat_revision")
    assert client.hget(entry.key, "meta") == meta
    assert client.hgetall(left.key) == was
    assert set(client.zrange("redbeat::schedule", 0, -1)) == {entry.key, left.key}


def test_redbeats_own_beat_reads_a_crontab_back_as_it_was(
    riga: Any, run: Run, save: Save, plain: Any, client: redis_client.Redis
) -> None:
    entry = save("nightly", crontab(0, 3, "mon", "13"))
    imported(run, riga)
    assert client.hget(entry.key, "steadybeat_revision")
    assert RedBeatSchedulerEntry.from_key(entry.key, app=plain).schedule == entry.schedule


def test_what_is_taken_over_stays_until_it_is_removed_by_hand_with_a_reason(
    riga: Any, run: Run, save: Save, book: Ledger
) -> None:
    save("nightly", crontab(0, 3))
    imported(run, riga)
    assert "must say why" in refusal(run("schedules", "remove", "nightly", "--reason", " ", app=riga))
    answer = said(run("schedules", "remove", "nightly", "--reason", "they left", "--json", app=riga))
    assert answer == {"removed": "nightly", "verb": "retired", "rule": None, "reason": "they left", "dry_run": False}
    assert not book.schedules.all()
    noted = book.database.execute(sa.text("SELECT what, target, reason FROM steadybeat.operations ORDER BY at"))
    assert tuple(noted[-1]) == ("schedules remove", "nightly", "they left")
    assert "was retired at" in refusal(run("schedules", "remove", "nightly", "--reason", "x", app=riga))


def test_what_the_code_defines_is_not_removed_by_hand(riga: Any, run: Run, book: Ledger) -> None:
    run("schedules", "apply", app=riga)
    assert "code defines it" in refusal(run("schedules", "remove", "shop.mail.digest", "--reason", "x", app=riga))
    assert [row.name for row in book.schedules.all()] == ["shop.mail.digest"]


def test_celerys_own_clean_up_is_left(riga: Any, run: Run, save: Save) -> None:
    save("celery.backend_cleanup", crontab("0", "4"), task="celery.backend_cleanup")
    entry = imported(run, riga)["celery.backend_cleanup"]
    assert (entry["verdict"], entry["needs_person"]) == ("left", False)


def test_what_cannot_be_taken_over_is_left_with_its_reason_and_the_rest_goes_on(
    riga: Any, run: Run, save: Save, client: redis_client.Redis
) -> None:
    save("nightly", crontab(0, 3))
    save("stranger", crontab(0, 3), task="shop.mial.digest")
    save("quick", schedule(0.5))
    save("astray", crontab(0, 3), options={"queue": "biling"})
    save("off", crontab(0, 3), enabled=False)
    save("over", rrule("DAILY", dtstart=ago(days=9), count=2), ago(days=7))
    for name, definition in (
        ("garbled", "{"),
        ("odd", json.dumps({"name": "odd", "task": REPORT, "schedule": {"__type__": "solar"}})),
        (
            "bad rule",
            json.dumps({"name": "bad rule", "task": REPORT, "schedule": {"__type__": "crontab", "minute": 99}}),
        ),
        ("nobody", json.dumps({"name": "nobody"})),
    ):
        client.hset(f"redbeat:{name}", "definition", definition)
        client.zadd("redbeat::schedule", {f"redbeat:{name}": 0})
    client.set("redbeat:no hash", "?")
    client.zadd("redbeat::schedule", {"redbeat:no hash": 0, "redbeat:gone": 0})
    entries = imported(run, riga, code=1)
    assert [name for name, each in entries.items() if each["verdict"] == "taken over"] == ["nightly"]
    reasons = {name: each["reason"] for name, each in entries.items()}
    assert reasons["stranger"].startswith("there is no task 'shop.mial.digest'. Did you mean 'shop.mail.digest'?")
    assert "steadybeat_services" in reasons["stranger"]
    assert "must be one second or more" in reasons["quick"]
    assert "queue='biling': there is no such queue. Did you mean 'billing'?" in reasons["astray"]
    assert "solar" in reasons["odd"]
    for name in ("garbled", "bad rule", "nobody", "no hash", "gone"):
        assert reasons[name].startswith("cannot be read (")
    assert {name: reasons[name] for name, each in entries.items() if not each["needs_person"]} == {
        "nightly": "",
        "off": "it is disabled",
        "over": "it has no fire left",
    }


def test_entries_of_the_code_come_in_as_the_code_says(make_app: MakeApp, plain: Any, run: Run, book: Ledger) -> None:
    written = {"task": REPORT, "schedule": crontab(0, 3)}
    plain.conf.result_expires = None
    plain.conf.beat_schedule = {"hourly": {"task": REPORT, "schedule": 3600}, "gone": written, "changed": written}
    RedBeatScheduler(plain)
    app = make_app(timezone="Europe/Riga")
    app.conf.beat_schedule = {
        "hourly": {"task": REPORT, "schedule": 3600, "relative": True},
        "changed": {"task": REPORT, "schedule": crontab(0, 4)},
    }
    entries = imported(run, app)
    assert entries["gone"]["reason"].startswith("it came from a beat_schedule that this program does not have")
    assert {name: each["source"] for name, each in entries.items()} == {
        "hourly": "code",
        "changed": "code",
        "gone": None,
    }
    assert entries["changed"]["spec"]["expression"] == "0 4 * * *"
    assert abouts(entries["hourly"])[:3] == ["code", "interval", "relative"]
    assert said(run("schedules", "apply", "--json", app=app))["changes"][0]["name"] == "shop.mail.digest"
    assert {row.name for row in book.schedules.all()} == {"hourly", "changed", "shop.mail.digest"}


def test_a_dry_run_changes_nothing_and_needs_no_reason(
    riga: Any, run: Run, save: Save, book: Ledger, client: redis_client.Redis
) -> None:
    entry = save("nightly", crontab(0, 3), ago(hours=30))
    was = client.hgetall(entry.key)
    shown = run("schedules", "import", "--from", "redbeat", "--dry-run", app=riga)
    assert shown.exit_code == 0
    assert "At 03:00 every day (Europe/Riga)" in shown.stdout
    assert shown.stdout.endswith("Would be: 1 schedule taken over, 0 left. Nothing was changed (--dry-run).\n")
    assert (book.schedules.all(), client.hgetall(entry.key)) == ([], was)


def test_a_plain_beat_that_still_runs_is_refused(
    riga: Any, run: Run, save: Save, book: Ledger, client: redis_client.Redis
) -> None:
    save("nightly", crontab(0, 3))
    lock = Lock(client, "redbeat::lock", timeout=1500)
    lock.acquire()
    line = refusal(run("schedules", "import", "--from", "redbeat", *REASON, app=riga))
    assert line.startswith("a Beat without steadybeat holds the lock, and would fire beside the ledger: stop it first.")
    assert "'redbeat::lock' lapses in 25 min" in line
    assert book.schedules.all() == []
    shown = said(run("schedules", "import", "--from", "redbeat", "--dry-run", "--json", app=riga))
    assert 1400 < shown["plain_beat_lock_seconds"] <= 1500
    lock.release()
    assert imported(run, riga)["nightly"]["verdict"] == "taken over"


def test_a_beat_of_ours_that_leads_is_no_hindrance(
    riga: Any, run: Run, save: Save, book: Ledger, client: redis_client.Redis
) -> None:
    save("nightly", crontab(0, 3))
    lock = Lock(client, "redbeat::lock", timeout=3)
    lock.acquire()
    refusal(run("schedules", "import", "--from", "redbeat", *REASON, app=riga))
    book.instances.sign_of_life(str(uuid.uuid4()), role="beat", host="here", pid=8, release="0")
    assert imported(run, riga)["nightly"]["verdict"] == "taken over"


def test_without_a_reason_nothing_is_imported(run: Run) -> None:
    line = "--reason='': must say why, such as --reason 'we move in'."
    assert refusal(run("schedules", "import", "--from", "redbeat")) == line


def test_check_says_of_each_entry_of_the_code_what_it_means_here(make_app: MakeApp, run: Run) -> None:
    app = make_app(timezone="Europe/Riga")
    app.conf.beat_schedule = {
        "both": {"task": REPORT, "schedule": crontab(0, 6, "fri", "13"), "options": {"expires": 60, "colour": "red"}},
        "off": {"task": REPORT, "schedule": 5, "enabled": False},
        "quick": {"task": REPORT, "schedule": 0.2},
        "typo": {"task": REPORT, "schedul": 5},
    }
    found = {each["name"]: each for each in said(run("schedules", "check", "--json", app=app), 1)["schedules"]}
    assert {name: each["verdict"] for name, each in found.items()} == {
        "both": "well", "off": "well", "quick": "refused", "typo": "refused", "shop.mail.digest": "well",
    }  # fmt: skip
    assert abouts(found["both"]) == ["days", "zone", "clock", "options", "options", "overlap"]
    assert abouts(found["shop.mail.digest"]) == []
    app.conf.beat_schedule = {}
    assert run("schedules", "check", app=app).exit_code == 0


# What `beat_schedule` may hold


def defined(make_app: MakeApp, **entry: Any) -> Any:
    app = make_app(timezone=entry.pop("timezone", "UTC"), enable_utc=entry.pop("enable_utc", True))
    written = entry.pop("as_entry", None)
    app.conf.beat_schedule = {"it": written or {"task": REPORT, "schedule": 60, **entry}}
    return next((row for row in definitions(app) if row.name == "it"), None)


def test_an_entry_may_be_a_schedule_entry_or_say_relative(make_app: MakeApp) -> None:
    plain = defined(make_app, args=(1,), options={"queue": "billing"})
    entry = ScheduleEntry("it", REPORT, schedule=60, args=(1,), options={"queue": "billing"}, app=make_app())
    assert defined(make_app, as_entry=entry) == plain
    assert defined(make_app, args=(1,), options={"queue": "billing"}, relative=True) == plain
    assert defined(make_app, enabled=False) is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"as_entry": 5}, "beat_schedule['it']=5: must be a dict such as {'task': …, 'schedule': …}."),
        ({"options": {"queue": "biling"}}, "schedule 'it': queue='biling': there is no such queue. Did you mean"),
        ({"options": {"serializer": "pickle"}}, "schedule 'it': serializer='pickle': must be json"),
        ({"schedule": None}, "beat_schedule['it']: lacks 'schedule'."),
        ({"relativ": True}, "beat_schedule['it']: has no option 'relativ'. Did you mean 'relative'?"),
        ({"schedule": crontab(), "enable_utc": False, "timezone": None}, "timezone=None: with enable_utc=False"),
    ],
)
def test_an_entry_that_cannot_be_is_one_line(entry: dict[str, Any], message: str, make_app: MakeApp) -> None:
    with pytest.raises(ConfigurationError) as caught:
        defined(make_app, **entry)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
