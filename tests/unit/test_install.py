from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

import steadybeat
from steadybeat import SteadyTask, every
from steadybeat.beat import definitions
from steadybeat.channel import why_unreadable
from steadybeat.delivery import service_of, services_of
from steadybeat.delivery.sending import describe
from steadybeat.errors import ConfigurationError, ScheduleError, UnknownQueue, UnknownSetting


def new_app(**conf: Any) -> Celery:
    app = Celery("shop", set_as_current=False)
    app.conf.update(broker_url="redis://127.0.0.1:1/0", **conf)
    steadybeat.install(app)
    return app


def declare(app: Celery, name: str, **options: Any) -> None:
    """Give an app a task that does nothing."""

    def nothing(*_: Any) -> None:
        pass

    app.task(name=name, shared=False, **options)(nothing)


@pytest.fixture
def app() -> Iterator[Celery]:
    app = new_app()

    @app.task(bind=True, shared=False, name="shop.orders.add", key_template="sum:{a}:{b}")
    def add(self: SteadyTask, a: int, b: int = 1) -> int:
        return a + b

    yield app
    app.close()


def described(app: Celery, name: str, *args: Any, **options: Any) -> Any:
    message = app.amqp.create_task_message(options.pop("task_id", "0" * 32), name, args, {}, **options)
    return describe(app, name, message, options)


def test_safe_defaults_are_set() -> None:
    conf = new_app().conf
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost
    assert conf.worker_prefetch_multiplier == 1
    assert conf.accept_content == ["json"]
    assert conf.broker_transport_options["visibility_timeout"] == 3600
    assert conf.redbeat_redis_url == "redis://127.0.0.1:1/0"
    assert not conf.task_create_missing_queues


def test_what_the_configuration_says_is_left_alone() -> None:
    app = new_app(worker_prefetch_multiplier=4, broker_transport_options={"visibility_timeout": 60})
    assert app.conf.worker_prefetch_multiplier == 4
    assert app.conf.broker_transport_options["visibility_timeout"] == 60
    assert app.conf.broker_transport_options["socket_timeout"] == 5.0


def test_a_misspelt_setting_is_refused_at_install() -> None:
    with pytest.raises(UnknownSetting, match="Did you mean 'steadybeat_grace_seconds'"):
        new_app(steadybeat_grace_second=1)


def test_a_broker_that_is_not_redis_is_refused() -> None:
    app = Celery("shop", broker="amqp://guest:secret@localhost//", set_as_current=False)
    with pytest.raises(ConfigurationError, match="must be a URL of Redis") as caught:
        steadybeat.install(app)
    assert "secret" not in str(caught.value)


def test_install_after_first_use_is_refused() -> None:
    app = Celery("shop", set_as_current=False)
    app.finalize()
    with pytest.raises(ConfigurationError, match="comes too late"):
        steadybeat.install(app)


def test_tasks_are_steady_and_celerys_own_stay_plain(app: Celery) -> None:
    assert isinstance(app.tasks["shop.orders.add"], SteadyTask)
    assert not isinstance(app.tasks["celery.backend_cleanup"], SteadyTask)


@pytest.mark.parametrize(
    ("name", "service"),
    [
        ("tasks.royalties.settle", "royalties"),
        ("shop.orders.tasks.expire", "orders"),
        ("tasks.settle", "tasks"),
        ("settle", "settle"),
    ],
)
def test_a_task_belongs_to_the_service_of_its_module(name: str, service: str) -> None:
    assert service_of(name) == service


def test_a_task_goes_to_the_queue_of_its_service_unless_it_says_otherwise(app: Celery) -> None:
    declare(app, "shop.orders.bill", service="money")
    assert services_of(app) == ["money", "orders"]
    assert (
        app.amqp.router.route({}, "shop.orders.add", task_type=app.tasks["shop.orders.add"])["queue"].name == "orders"
    )
    assert (
        app.amqp.router.route({}, "shop.orders.bill", task_type=app.tasks["shop.orders.bill"])["queue"].name == "money"
    )


def test_a_misspelt_queue_is_an_error_at_the_caller_that_names_the_known_ones(app: Celery) -> None:
    with pytest.raises(UnknownQueue) as caught:
        app.send_task("shop.orders.add", (1,), queue="ordres")
    assert "queue='ordres': there is no such queue. Did you mean 'orders'? Known are: celery, orders." in str(
        caught.value
    )


def test_a_service_of_another_program_is_named_in_the_settings() -> None:
    app = new_app(steadybeat_services=["mail"])
    assert app.amqp.router.route({}, "elsewhere.mail.send")["queue"].name == "mail"


def test_the_whole_message_is_recorded(app: Celery) -> None:
    run = described(app, "shop.orders.add", 1, 2, priority=3)
    assert json.loads(run.body) == [[1, 2], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    assert (run.task, run.service, run.priority) == ("shop.orders.add", "orders", 3)
    assert run.message["headers"]["task"] == "shop.orders.add"
    assert run.correlation_id == run.message["headers"]["steadybeat_correlation_id"]


def test_the_key_is_the_callers_then_the_templates_then_the_id(app: Celery) -> None:
    assert described(app, "shop.orders.add", 1, idempotency_key="mine").idempotency_key == "mine"
    assert described(app, "shop.orders.add", 1).idempotency_key == "sum:1:1"
    unknown = described(app, "shop.orders.other")
    assert unknown.idempotency_key == unknown.id


def test_a_template_that_does_not_fit_names_task_and_template(app: Celery) -> None:
    with pytest.raises(ConfigurationError, match=r"shop\.orders\.add: key_template='sum:\{a\}:\{b\}' does not fit"):
        described(app, "shop.orders.add")


def test_delays_and_deadlines_leave_the_message_for_the_ledger(app: Celery) -> None:
    run = described(app, "shop.orders.add", 1, countdown=60, expires=120)
    assert run.not_before and run.deadline
    assert timedelta(seconds=58) < run.not_before - datetime.now(UTC) < timedelta(seconds=62)
    assert run.message["headers"]["eta"] is None
    assert run.message["headers"]["expires"] is None


def test_a_naive_eta_is_refused(app: Celery) -> None:
    with pytest.raises(ConfigurationError, match="eta='2026-01-01T00:00:00': has no time zone"):
        described(app, "shop.orders.add", 1, eta=datetime(2026, 1, 1))


def test_arguments_that_are_not_json_are_refused(app: Celery) -> None:
    with pytest.raises(ConfigurationError, match=r"shop\.orders\.add: its arguments are not JSON"):
        described(app, "shop.orders.add", object())


def test_a_task_id_of_ones_own_is_refused_with_the_way_out(app: Celery) -> None:
    with pytest.raises(ConfigurationError, match="task_id='order-5': must be a UUID; a name of your own is given as"):
        described(app, "shop.orders.add", 1, task_id="order-5")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_retries": None}, "max_retries=None: must be a count, unless retry_for= or expires="),
        ({"severity": "criticle"}, "severity='criticle': must be one of info, warning, error, critical."),
        ({"depends_on": "postgres"}, "depends_on='postgres': must be a list of names, such as ['postgres']"),
        ({"soft_time_limit": 20, "time_limit": 10}, "soft_time_limit=20: must be less than time_limit=10 (seconds)"),
        ({"serializer": "pickle"}, "serializer='pickle': must be json"),
    ],
)
def test_a_wrong_option_of_a_task_is_refused_when_it_is_registered(options: dict[str, Any], message: str) -> None:
    app = new_app()
    declare(app, "shop.orders.bad", **options)
    with pytest.raises(ConfigurationError) as caught:
        app.finalize()
    assert f"shop.orders.bad: {message}" in str(caught.value)


def test_every_task_has_time_limits(app: Celery) -> None:
    task = app.tasks["shop.orders.add"]
    assert (task.soft_time_limit, task.time_limit) == (540.0, 600.0)


def test_both_forms_of_a_schedule_are_found() -> None:
    rule = every(timedelta(seconds=5))
    app = new_app(
        beat_schedule={"nightly": {"task": "shop.orders.a", "schedule": 60, "args": (1,), "overlap": "allow"}}
    )
    declare(app, "shop.orders.a", schedule=rule, jitter=timedelta(seconds=1))
    declare(app, "shop.orders.b", schedules={"eu": rule, "us": rule})
    found = {row.name: row for row in definitions(app)}
    assert list(found) == ["nightly", "shop.orders.a", "shop.orders.b:eu", "shop.orders.b:us"]
    assert found["nightly"].args == [1]
    assert found["nightly"].policies["overlap"] == "allow"
    assert found["shop.orders.a"].policies == {
        "jitter_seconds": 1.0,
        "catch_up": "latest",
        "catch_up_window_seconds": 3600.0,
        "overlap": "skip",
    }


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"task": "shop.orders.ad", "schedule": 5},
            "there is no task 'shop.orders.ad'. Did you mean 'shop.orders.add'?",
        ),
        ({"schedule": 5}, "beat_schedule['x']: lacks 'task'"),
        (
            {"task": "shop.orders.add", "schedule": 5, "overlaps": 1},
            "has no option 'overlaps'. Did you mean 'overlap'?",
        ),
        (
            {"task": "shop.orders.add", "schedule": 5, "overlap": "skp"},
            "overlap='skp': must be one of skip, queue_one, queue_all, cancel_running, allow. Did",
        ),
        ({"task": "shop.orders.add", "schedule": 5, "jitter": 3}, "jitter=3: must be a timedelta of zero or more"),
        ({"task": "shop.orders.add", "schedule": 5, "args": (object(),)}, "args=[<object"),
    ],
)
def test_a_wrong_entry_of_beat_schedule_names_schedule_option_value_and_way_out(
    app: Celery, entry: dict[str, Any], message: str
) -> None:
    app.conf.beat_schedule = {"x": entry}
    with pytest.raises(ConfigurationError) as caught:
        definitions(app)
    assert message in str(caught.value)


def test_a_wrong_rule_names_its_schedule(app: Celery) -> None:
    app.conf.beat_schedule = {"x": {"task": "shop.orders.add", "schedule": "hourly"}}
    with pytest.raises(ScheduleError, match="schedule 'x': "):
        definitions(app)


def test_two_schedules_of_one_name_are_refused(app: Celery) -> None:
    declare(app, "shop.orders.a", schedule=every(timedelta(seconds=5)))
    app.conf.beat_schedule = {"shop.orders.a": {"task": "shop.orders.add", "schedule": 5}}
    with pytest.raises(ConfigurationError, match=r"schedule 'shop\.orders\.a': is defined twice"):
        definitions(app)


def test_a_task_called_as_a_function_is_a_plain_function(app: Celery) -> None:
    add = app.tasks["shop.orders.add"]
    assert add(1, 2) == 3
    assert add.apply((1, 2)).get() == 3
    assert add.scheduled_for is None
    assert add.idempotency_key == ""


MESSAGE: dict[str, Any] = {
    "body": "W10=",
    "headers": {},
    "properties": {"delivery_tag": "x", "delivery_info": {"exchange": "", "routing_key": "orders"}},
}


def test_a_message_as_kombu_writes_it_is_readable() -> None:
    assert why_unreadable(json.dumps(MESSAGE).encode()) == ""


@pytest.mark.parametrize(
    "item",
    [
        b"garbage",
        b"\xff\xfe",
        b"5",
        b"[]",
        b"{}",
        b"[" * 100_000,
        json.dumps(MESSAGE | {"properties": None}).encode(),
        json.dumps(MESSAGE | {"properties": {"delivery_tag": "x"}}).encode(),
        json.dumps(MESSAGE | {"properties": {"delivery_tag": "x", "delivery_info": {}}}).encode(),
        json.dumps(MESSAGE | {"headers": None}).encode(),
        json.dumps(MESSAGE | {"body": 5}).encode(),
    ],
)
def test_an_item_that_is_no_message_is_told_by_a_reason(item: bytes) -> None:
    assert why_unreadable(item)
