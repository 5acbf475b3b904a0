from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

import steadybeat
from steadybeat.delivery.sending import describe
from steadybeat.errors import ConfigurationError
from steadybeat.locks import turns_of
from steadybeat.settings import Settings


def new_app() -> Celery:
    app = Celery("shop", set_as_current=False)
    steadybeat.install(app)
    return app


def declared(bind: bool = False, **options: Any) -> Any:
    app = new_app()

    def pay(account: int, sale: Any = None) -> None: ...

    def pay_itself(self: Any, account: int, sale: Any = None) -> None: ...

    task = app.task(name="shop.orders.pay", bind=bind, shared=False, **options)(pay_itself if bind else pay)
    app.finalize()
    return app.tasks[task.name]


def names(task: Any, *args: Any, **kwargs: Any) -> list[str]:
    return [f"{turn} of {turn.count}" for turn in turns_of(task, args, kwargs)]


@pytest.mark.parametrize("bind", [True, False])
def test_a_lock_is_named_over_the_arguments_of_a_run(bind: bool) -> None:
    task = declared(bind, lock="account:{account}:{sale[id]}")
    assert names(task, 7, sale={"id": 3}) == ['lock "account:7:3" of 1']


def test_a_task_may_have_one_lock_of_its_own() -> None:
    assert names(declared(lock=True), 7) == ['lock "shop.orders.pay" of 1']
    assert names(declared(lock=False), 7) == []


def test_a_bound_is_the_tasks_or_that_of_a_key() -> None:
    assert names(declared(concurrency=5), 7) == ['concurrency "shop.orders.pay" of 5']
    task = declared(lock=True, concurrency=5, concurrency_key="account:{account}")
    assert names(task, 7) == ['lock "shop.orders.pay" of 1', 'concurrency "shop.orders.pay:account:7" of 5']


def test_a_name_that_no_store_could_hold_is_cut_and_told_apart_by_its_hash() -> None:
    task = declared(lock="{account}")
    long, other = (turns_of(task, ("x" * 5000 + end,), {})[0].name for end in "ab")
    assert long != other
    assert len(long) < 200
    strange = turns_of(task, ("a\0b\ud800",), {})[0].name
    assert strange.isprintable()
    assert strange.encode()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lock": 5}, "lock=5: must be True, or a text such as 'sale:{sale_id}'"),
        ({"lock": ""}, "lock='': must be True, or a text such as 'sale:{sale_id}'"),
        (
            {"lock": "account:{acount}"},
            "lock='account:{acount}': must be over the task's arguments, which are account, sale; not 'acount'. Did",
        ),
        ({"lock": "account:{0}"}, "lock='account:{0}': must be over the task's arguments, which are account, sale"),
        ({"lock": "account:{"}, "lock='account:{': must be a text with fields such as 'sale:{sale_id}'"),
        ({"key_template": "{acount}"}, "key_template='{acount}': must be over the task's arguments"),
        ({"key_template": 5}, "key_template=5: must be a text such as 'sale:{sale_id}'"),
        ({"concurrency": 0}, "concurrency=0: must be a count of at least 1"),
        ({"concurrency": True}, "concurrency=True: must be a count of at least 1"),
        ({"concurrency": 2, "concurrency_key": "{tenant}"}, "concurrency_key='{tenant}': must be over the task's"),
        ({"concurrency_key": "{account}"}, "concurrency_key='{account}': must be beside concurrency="),
        ({"lock": True, "on_locked": "wiat"}, "on_locked='wiat': must be one of wait, skip. Did you mean 'wait'?"),
        ({"on_locked": "skip"}, "on_locked='skip': must be beside lock= or concurrency="),
        ({"lock": True, "recorded": False}, "recorded=False: must be left out beside lock= or concurrency="),
    ],
)
@pytest.mark.parametrize("bind", [True, False])
def test_a_lock_that_cannot_be_is_refused_when_the_task_is_registered(
    bind: bool, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        declared(bind, **options)
    assert f"shop.orders.pay: {message}" in str(caught.value)


def test_an_argument_without_a_name_of_its_own_is_reached_through_the_one_that_gathers_it() -> None:
    app = new_app()

    @app.task(name="shop.orders.any", lock="{facts[account]}", shared=False)
    def anything(**facts: Any) -> None: ...

    app.finalize()
    assert names(app.tasks["shop.orders.any"], account=7) == ['lock "7" of 1']


def test_a_run_whose_arguments_do_not_say_its_lock_is_refused_where_it_is_called() -> None:
    task = declared(lock="account:{account}:{sale[id]}")
    message = task.app.amqp.create_task_message("0" * 32, task.name, (7,), {"sale": {}})
    with pytest.raises(ConfigurationError, match=r"shop\.orders\.pay: lock='account.*' does not fit the arguments"):
        describe(task.app, task.name, message, {})


@pytest.mark.parametrize(
    ("urls", "wrong"),
    [
        ("redis://a", "names 1 Redis server, of which the first to fail takes every lock along"),
        ("redis://a redis://b", "names 2 Redis servers, of which the first to fail"),
        ("redis://a redis://b redis://c redis://d", "names 4 Redis servers, which bears no more failures than one"),
        ("redis://a redis://A:6379/1 redis://c", "names 3 Redis servers, one of them twice"),
        ("redis://a redis://b sentinel://c/0?master_name=m", "names sentinels, behind which there is one Redis"),
    ],
)
def test_servers_without_a_clear_majority_are_refused_with_the_way_out(urls: str, wrong: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.read({}, {"STEADYBEAT_LOCK_URLS": urls})
    assert f"steadybeat_lock_urls {wrong}" in str(caught.value)
    assert "List three, five or seven Redis servers" in str(caught.value)


def test_no_password_of_a_lock_server_is_said() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.read({}, {"STEADYBEAT_LOCK_URLS": "redis://:secret@a, redis://:secret@b"})
    assert "secret" not in str(caught.value)
