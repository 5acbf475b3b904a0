from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from celery import Celery

import steadybeat
from steadybeat import FanOut, eligible
from steadybeat.errors import ConfigurationError
from steadybeat.fanout.writing import named


def new_app(**told: Any) -> Any:
    app: Any = Celery("shop", set_as_current=False)
    steadybeat.install(app, **told)
    return app


def declared(app: Any, **options: Any) -> Any:
    def send(self: Any, tenant: str) -> None: ...

    task = app.task(name="shop.mail.send", bind=True, shared=False, **options)(send)
    app.finalize()
    return app.tasks[task.name]


@pytest.mark.parametrize(
    ("option", "value", "way_out"),
    [
        ("concurrency", 0, "a count of at least 1"),
        ("concurrency", True, "a count of at least 1"),
        ("spread", 60, "a timedelta such as timedelta(hours=1)"),
        ("spread", timedelta(seconds=-1), "a timedelta"),
        ("abort_when", 0, "a share of all, such as 0.05"),
        ("abort_when", 1.5, "a share of all, such as 0.05"),
        ("abort_when", True, "a count of dead runs"),
        ("on_complete", "report", "a task, or the signature of one"),
        ("seed", 1.5, "a text or a whole number"),
        ("kwargs", ["period"], "named arguments"),
        ("kwargs", {1: 2}, "named arguments"),
    ],
)
def test_what_cannot_be_is_refused_with_its_name_its_value_and_the_way_out(
    option: str, value: Any, way_out: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        FanOut(["acme"], **{option: value})
    assert f"{option}={value!r}" in str(refused.value)
    assert way_out in str(refused.value)


@pytest.mark.parametrize("tenants", ["acme", b"acme", 7, None, {"acme": 1}])
def test_tenants_that_are_nothing_to_loop_over_are_refused(tenants: Any) -> None:
    with pytest.raises(ConfigurationError, match="ids to loop over"):
        FanOut(tenants)


@pytest.mark.parametrize("name", ["", "two words", " padded", None, 7])
def test_a_policy_has_a_name_of_one_word(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="one word such as 'weekly-digest'"):
        eligible(name)


def test_a_share_and_a_count_are_told_apart() -> None:
    assert (FanOut([], abort_when=1).abort_count, FanOut([], abort_when=1).abort_share) == (1, None)
    assert (FanOut([], abort_when=1.0).abort_count, FanOut([], abort_when=1.0).abort_share) == (None, 1.0)


def test_for_each_is_refused_when_the_task_is_registered() -> None:
    with pytest.raises(ConfigurationError, match=r"shop.mail.send: for_each: .*ids to loop over"):
        declared(new_app(), for_each="acme")
    with pytest.raises(ConfigurationError, match=r"shop.mail.send: recorded=False"):
        declared(new_app(), for_each=["acme"], recorded=False)


def test_for_each_takes_a_function_which_is_no_method_of_the_task() -> None:
    def tenants() -> list[str]:
        return ["acme"]

    task = declared(new_app(), for_each=tenants)
    assert list(task.for_each.source(None)) == ["acme"]


def test_a_policy_that_is_told_no_tenants_has_those_of_the_app() -> None:
    app = new_app(tenants=lambda: iter(["acme"]))
    assert list(FanOut(eligible("digest")).source(app.steadybeat.tenants)) == ["acme"]
    assert list(FanOut(eligible("digest", of=["other"])).source(app.steadybeat.tenants)) == ["other"]


def test_where_nobody_says_which_tenants_there_are_the_error_says_both_ways_out() -> None:
    with pytest.raises(ConfigurationError, match=r"of=….*install\(app, tenants=…\)"):
        FanOut(eligible("digest")).source(None)


def test_an_app_is_told_tenants_that_can_be_looped_over() -> None:
    with pytest.raises(ConfigurationError, match="ids to loop over"):
        new_app(tenants="acme")


def test_a_tenant_is_a_text_a_whole_number_a_uuid_or_a_row_of_one() -> None:
    account = UUID("019a1b7e-6c00-8d2f-9a3b-0c1d2e3f4a5b")
    given = ["acme", 7, account, (8,)]
    assert list(named(given)) == [("acme", "acme"), ("7", 7), (str(account), str(account)), ("8", 8)]


@pytest.mark.parametrize("tenant", ["", "a\0b", "x" * 201, True, 1.5, None, ("a", "b"), {"id": 1}, "\ud800"])
def test_what_is_no_tenant_is_refused_with_its_value(tenant: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be a printable text") as refused:
        list(named([tenant]))
    assert repr(tenant)[:200] in str(refused.value)


def test_called_as_a_function_a_fan_out_calls_the_task_for_each_tenant_whoever_fails() -> None:
    app = new_app()
    called = []

    @app.task(name="shop.mail.send", shared=False)
    def send(tenant: str, period: str) -> None:
        called.append((tenant, period))
        if tenant == "b":
            raise steadybeat.Permanent("no address")

    @app.task(name="shop.mail.all", bind=True, shared=False)
    def everybody(self: Any) -> Any:
        return self.fan_out(send, ["a", "b", "c"], kwargs={"period": "2026-11"})

    assert everybody() == {"succeeded": 2, "failed": 1, "cancelled": 0, "skipped": 0}
    assert called == [("a", "2026-11"), ("b", "2026-11"), ("c", "2026-11")]
