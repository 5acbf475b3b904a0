from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

import steadybeat
from steadybeat import every
from steadybeat.beat import definitions
from steadybeat.errors import ConfigurationError, ScheduleError
from steadybeat.schedule.policies import CATCH_UP, OVERLAP, POLICIES, Policies, policies, policies_from_json

RULE = every(timedelta(minutes=5))
DEFAULTS = {"jitter_seconds": 0.0, "catch_up": "latest", "catch_up_window_seconds": 3600.0, "overlap": "skip"}
EVERYTHING: dict[str, Any] = {
    "jitter": timedelta(seconds=30),
    "catch_up": "all",
    "catch_up_window": timedelta(days=1, milliseconds=250),
    "catch_up_limit": 7,
    "overlap": "queue_one",
    "start_deadline": timedelta(minutes=10),
    "pause_after_failures": 3,
    "fire_limit": 100,
    "late_after": timedelta(minutes=3),
    "failures_before_alert": 2,
    "expect": "items > 0",
    "heartbeat": "https://monitor.example/ping/settle",
}

REFUSED = [
    ("catch_up", "lates", "catch_up='lates': must be one of latest, all, none. Did you mean 'latest'?"),
    ("catch_up", "", "catch_up='': must be one of latest, all, none."),
    ("catch_up", True, "catch_up=True: must be one of latest, all, none."),
    (
        "overlap",
        "queue",
        "overlap='queue': must be one of skip, queue_one, queue_all, cancel_running, allow. Did you mean 'queue_one'?",
    ),
    ("overlap", "SKIP", "overlap='SKIP': must be one of skip, queue_one, queue_all, cancel_running, allow."),
    ("jitter", 3, "jitter=3: must be a timedelta of zero or more, such as timedelta(minutes=1)."),
    ("jitter", timedelta(seconds=-1), "must be a timedelta of zero or more"),
    ("catch_up_window", "1h", "catch_up_window='1h': must be a timedelta of zero or more"),
    ("start_deadline", 60.0, "start_deadline=60.0: must be a timedelta of zero or more"),
    ("catch_up_limit", 0, "catch_up_limit=0: must be a count of one or more."),
    ("fire_limit", 2**31, "fire_limit=2147483648: must be 2147483647 at the most; leave it out for no limit."),
    ("start_deadline", timedelta.max, "must be 3660 days at the most; leave it out for no limit."),
    ("catch_up_limit", 1.5, "catch_up_limit=1.5: must be a count of one or more."),
    ("pause_after_failures", True, "pause_after_failures=True: must be a count of one or more."),
    ("pause_after_failures", "3", "pause_after_failures='3': must be a count of one or more."),
    ("fire_limit", -1, "fire_limit=-1: must be a count of one or more."),
    ("failures_before_alert", 0, "failures_before_alert=0: must be a count of one or more."),
    ("late_after", 60, "late_after=60: must be a timedelta of zero or more, such as timedelta(minutes=1)."),
    ("heartbeat", " ", "heartbeat=' ': must be a text; leave it out for none."),
]


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("shop", set_as_current=False)
    app.conf.broker_url = "redis://127.0.0.1:1/0"
    steadybeat.install(app)
    yield app
    app.close()


def declare(app: Celery, name: str, **options: Any) -> Any:
    def nothing(*_: Any, **__: Any) -> None: ...

    return app.task(name=name, shared=False, **options)(nothing)


def found(app: Celery) -> dict[str, dict[str, Any]]:
    return {row.name: dict(row.policies) for row in definitions(app)}


def test_the_latest_fire_of_an_hour_is_made_up_for_and_runs_do_not_overlap_unless_a_schedule_says_so() -> None:
    assert policies({}).to_json() == DEFAULTS
    assert policies(dict.fromkeys(POLICIES)) == Policies()
    assert (Policies().start_deadline, Policies().fire_limit, Policies().pause_after_failures) == (None, None, None)


def test_policies_survive_json_and_are_one_object_then() -> None:
    assert set(EVERYTHING) == set(POLICIES), "a new policy belongs into this test"
    written = policies(EVERYTHING)
    read = policies_from_json(json.loads(json.dumps(written.to_json())))
    assert read == written
    assert policies_from_json(written.to_json()) is read


@pytest.mark.parametrize(("name", "words"), [("catch_up", CATCH_UP), ("overlap", OVERLAP)])
def test_every_word_is_taken(name: str, words: tuple[str, ...]) -> None:
    for word in words:
        given = policies({name: word})
        assert policies_from_json(given.to_json()) == given


def test_rows_of_an_older_release_are_read_with_the_defaults_of_what_they_do_not_say() -> None:
    assert policies_from_json(DEFAULTS) == Policies()
    assert policies_from_json({}) == Policies()


def test_a_policy_of_a_newer_release_does_not_stop_an_older_one() -> None:
    assert policies_from_json({**DEFAULTS, "patience_seconds": 3, "overlap": "allow"}).overlap == "allow"


def test_durations_are_seconds_in_json_and_what_is_not_set_is_not_there() -> None:
    assert policies({"start_deadline": timedelta(minutes=2)}).to_json() == {**DEFAULTS, "start_deadline_seconds": 120.0}


@pytest.mark.parametrize(("name", "value", "message"), REFUSED)
def test_what_cannot_be_is_refused_with_its_name_its_value_and_the_way_out(name: str, value: Any, message: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        policies({name: value})
    assert message in str(caught.value)
    assert caught.value.facts["name"] == name


@pytest.mark.parametrize(("name", "value", "message"), REFUSED)
def test_a_task_with_a_policy_that_cannot_be_is_refused_when_it_is_registered(
    app: Celery, name: str, value: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        declare(app, "shop.orders.a", schedule=RULE, **{name: value})
        app.finalize()
    assert str(caught.value).startswith("shop.orders.a: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(("name", "value", "message"), REFUSED)
def test_an_entry_of_beat_schedule_with_a_policy_that_cannot_be_is_refused(
    app: Celery, name: str, value: Any, message: str
) -> None:
    declare(app, "shop.orders.a")
    app.conf.beat_schedule = {"nightly": {"task": "shop.orders.a", "schedule": RULE, name: value}}
    with pytest.raises(ConfigurationError) as caught:
        definitions(app)
    assert str(caught.value).startswith("schedule 'nightly': ")
    assert message in str(caught.value)


def test_a_policy_that_does_not_exist_is_refused_in_beat_schedule(app: Celery) -> None:
    declare(app, "shop.orders.a")
    app.conf.beat_schedule = {"nightly": {"task": "shop.orders.a", "schedule": RULE, "catchup": "all"}}
    with pytest.raises(ConfigurationError, match=r"has no option 'catchup'\. Did you mean 'catch_up'\?"):
        definitions(app)


def test_a_task_and_an_entry_of_beat_schedule_take_every_policy(app: Celery) -> None:
    declare(app, "shop.orders.a", schedule=RULE, **EVERYTHING)
    app.conf.beat_schedule = {"nightly": {"task": "shop.orders.a", "schedule": RULE, **EVERYTHING}}
    wanted = policies(EVERYTHING).to_json()
    assert found(app) == {"nightly": wanted, "shop.orders.a": wanted}


def test_the_schedules_of_one_task_have_policies_of_their_own_over_those_of_the_task(app: Celery) -> None:
    several = {
        "eu": {"schedule": RULE, "overlap": "allow", "args": (1,), "kwargs": {"region": "eu"}},
        "us": {"schedule": RULE, "start_deadline": timedelta(minutes=1), "catch_up": "none"},
        "asia": RULE,
    }
    declare(app, "shop.orders.a", schedules=several, catch_up="all", overlap="queue_all")
    assert found(app) == {
        "shop.orders.a:asia": {**DEFAULTS, "catch_up": "all", "overlap": "queue_all"},
        "shop.orders.a:eu": {**DEFAULTS, "catch_up": "all", "overlap": "allow"},
        "shop.orders.a:us": {**DEFAULTS, "catch_up": "none", "overlap": "queue_all", "start_deadline_seconds": 60.0},
    }
    rows = {row.name: row for row in definitions(app)}
    assert (rows["shop.orders.a:eu"].args, rows["shop.orders.a:eu"].kwargs) == ([1], {"region": "eu"})
    assert {row.task for row in rows.values()} == {"shop.orders.a"}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"schedule": RULE, "overlap": "queue"}, "overlap='queue': must be one of"),
        ({"schedule": RULE, "overlaps": "skip"}, "has no option 'overlaps'. Did you mean 'overlap'?"),
        ({"overlap": "skip"}, "lacks 'schedule'"),
    ],
)
def test_a_wrong_policy_of_one_of_several_schedules_names_that_one(
    app: Celery, written: dict[str, Any], message: str
) -> None:
    declare(app, "shop.orders.a", schedules={"eu": written})
    with pytest.raises(ConfigurationError) as caught:
        definitions(app)
    assert "'shop.orders.a:eu'" in str(caught.value)
    assert message in str(caught.value)


def test_a_task_may_have_one_schedule_of_its_own_name_and_several_beside_it(app: Celery) -> None:
    declare(app, "shop.orders.a", schedule=RULE, schedules={"eu": {"schedule": RULE, "catch_up": "none"}})
    assert [(name, rules["catch_up"]) for name, rules in found(app).items()] == [
        ("shop.orders.a", "latest"),
        ("shop.orders.a:eu", "none"),
    ]
