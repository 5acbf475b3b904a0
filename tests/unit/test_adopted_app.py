"""Tasks and queues of an app as it was written for plain Celery, once steadybeat is installed on it."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, Task
from kombu import Queue

import steadybeat
from steadybeat import SteadyTask
from steadybeat.delivery.sending import _is_recorded
from steadybeat.errors import ConfigurationError, UnknownQueue

# Celery means to drop ``queue=`` of a task one day; until then it keeps its meaning.
pytestmark = pytest.mark.filterwarnings(r"ignore:\s*The 'queue' task attribute")


class Wrapped(Task):
    """A base class as Flask's documentation has it."""

    owner = "warehouse"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return ("wrapped", self.run(*args, **kwargs))


class CallsParent(Task):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return ("wrapped", super().__call__(*args, **kwargs))


def plain_app(**conf: Any) -> Celery:
    app = Celery("shop", set_as_current=False, **conf.pop("given", {}))
    app.conf.update(broker_url="redis://127.0.0.1:1/0", **conf)
    return app


def with_tasks(app: Celery, *, install_first: bool = False, **options: Any) -> Celery:
    """Write an app's tasks and install steadybeat on it, in this order or in the other."""
    if install_first:
        steadybeat.install(app)

    @app.task(name="shop.orders.add", shared=False, **options)
    def add() -> int:
        return 1

    @app.task(name="shop.orders.report", queue="reports", shared=False)
    def report() -> None: ...

    @app.task(name="shop.orders.bill", service="money", shared=False)
    def bill() -> None: ...

    if not install_first:
        steadybeat.install(app)
    return app


def queue_of(app: Celery, task: str) -> str:
    return str(app.amqp.router.route({}, task, task_type=app.tasks[task])["queue"].name)


@pytest.mark.parametrize(
    ("conf", "queue"),
    [
        ({}, "orders"),
        ({"task_default_queue": "jobs"}, "jobs"),
        ({"task_default_queue": "celery"}, "celery"),
        ({"task_queues": [Queue("celery"), Queue("slow")]}, "celery"),
        ({"task_queues": [Queue("slow")]}, "orders"),
        ({"task_routes": {"shop.orders.add": "fast"}}, "fast"),
        ({"task_routes": [{"shop.orders.a*": {"queue": "fast"}}]}, "fast"),
        ({"task_routes": [[("shop.orders.add", {"queue": Queue("fast")})]]}, "fast"),
    ],
)
def test_queues_that_the_configuration_names_keep_their_meaning(conf: dict[str, Any], queue: str) -> None:
    app = with_tasks(plain_app(**conf))
    assert queue_of(app, "shop.orders.add") == queue
    assert queue_of(app, "shop.orders.bill") == "money"


def test_a_worker_takes_what_it_took_before_and_the_queues_of_services() -> None:
    app = with_tasks(plain_app(task_routes={"shop.orders.add": "fast"}))
    assert sorted(app.amqp.queues.consume_from) == ["celery", "money", "orders"]
    app.amqp.queues.select(["reports", "fast"])
    assert sorted(app.amqp.queues.consume_from) == ["fast", "reports"]


def test_a_worker_that_is_told_to_take_a_queue_that_nobody_has_is_told_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="Did you mean 'reports'") as refusal:
        with_tasks(plain_app(task_routes={"shop.orders.add": "reports"})).amqp.queues.select(["report"])
    assert not isinstance(refusal.value, KeyError)  # Celery would wrap it in its own words, with a stack


def test_queues_may_still_be_made_as_they_are_named() -> None:
    app = with_tasks(plain_app(task_create_missing_queues=True))
    assert app.amqp.router.route({"queue": "anything"}, "shop.orders.add")["queue"].name == "anything"
    with pytest.raises(UnknownQueue):
        with_tasks(plain_app()).amqp.router.route({"queue": "anything"}, "shop.orders.add")


@pytest.mark.parametrize("install_first", [True, False])
@pytest.mark.parametrize("way", ["base", "task_cls", "attribute"])
def test_a_base_class_of_the_apps_own_becomes_steady_and_keeps_its_call(way: str, install_first: bool) -> None:
    app = plain_app(given={"task_cls": Wrapped} if way == "task_cls" else {})
    if way == "attribute":
        app.Task = Wrapped
    options = {"base": Wrapped} if way == "base" else {}
    task = with_tasks(app, install_first=install_first, **options).tasks["shop.orders.add"]
    assert isinstance(task, SteadyTask)
    assert isinstance(task, Wrapped)
    assert task() == ("wrapped", 1)
    assert (task.owner, task.recorded, task.time_limit) == ("warehouse", True, 600)


@pytest.mark.parametrize("install_first", [True, False])
@pytest.mark.parametrize("base", [Wrapped, CallsParent])
def test_the_call_of_a_base_class_happens_inside_the_attempt(base: type[Task], install_first: bool) -> None:
    app = with_tasks(plain_app(), base=base, install_first=install_first)
    task, seen = app.tasks["shop.orders.add"], []
    task.run = lambda: seen.append((task.request.id, task._attempt))
    task.push_request(id="7", called_directly=False, steadybeat_attempt=(attempt := object()))
    try:
        task._work()
    finally:
        task.pop_request()
    assert seen == [("7", attempt)]


@pytest.mark.parametrize("install_first", [True, False])
def test_a_task_whose_base_class_is_celerys_own_becomes_steady(install_first: bool) -> None:
    task = with_tasks(plain_app(), base=Task, install_first=install_first).tasks["shop.orders.add"]
    assert isinstance(task, SteadyTask)
    assert (task(), task.recorded, task.time_limit) == (1, True, 600)


def test_a_task_that_is_written_as_a_class_becomes_steady() -> None:
    class Old(Task):
        name = "shop.orders.old"

        def run(self) -> int:
            return 2

    app = with_tasks(plain_app())
    task = app.register_task(Old())
    assert isinstance(task, SteadyTask)
    assert (task(), task.time_limit) == (2, 600)
    assert _is_recorded(app, "shop.orders.old")


def test_a_task_that_is_not_steady_is_not_recorded_as_if_it_were() -> None:
    app = with_tasks(plain_app())
    assert app.tasks["shop.orders.add"].recorded
    app.tasks["shop.orders.add"].__class__ = Task
    assert not _is_recorded(app, "shop.orders.add")
    assert _is_recorded(app, "elsewhere.mail.send")


def test_redbeats_scheduler_in_the_configuration_is_replaced() -> None:
    for name in ("redbeat.RedBeatScheduler", "redbeat:RedBeatScheduler", "redbeat.schedulers:RedBeatScheduler"):
        assert with_tasks(plain_app(beat_scheduler=name)).conf.beat_scheduler == "steadybeat.beat:SteadyScheduler"
