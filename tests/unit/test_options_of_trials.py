"""How a task says with what it may be tried, and what of it is counted."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

import steadybeat
from steadybeat.errors import ConfigurationError


def task(**options: Any) -> Any:
    app = Celery("shop", set_as_current=False)
    steadybeat.install(app)

    def pay(self: Any, sale_id: int, cents: int = 1) -> None:
        """Pay."""

    registered = app.task(bind=True, name="shop.pay", **options)(pay)
    app.finalize()
    return app.tasks[registered.name]


def a_sale(db: Any) -> tuple[int]:
    return (db,)


def one() -> int:
    return 1


@pytest.mark.parametrize("given", [(7,), [7, 2], {"sale_id": 7}, None])
def test_arguments_may_be_a_tuple_or_a_dict(given: Any) -> None:
    assert task(audit_args=given).audit_args == given


def test_functions_are_no_methods_of_the_task() -> None:
    tried = task(audit_args=a_sale, audit_count=one)
    assert tried.audit_args(7) == (7,)
    assert tried.audit_count() == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"audit_args": "seven"}, "audit_args='seven': must be a tuple of arguments, such as (7,)"),
        ({"audit_args": ()}, "audit_args=(): must be arguments that the task takes (missing"),
        ({"audit_args": (1, 2, 3)}, "audit_args=(1, 2, 3): must be arguments that the task takes"),
        ({"audit_args": {"sale": 7}}, "audit_args={'sale': 7}: must be arguments that the task takes"),
        ({"audit_args": ({7},)}, "audit_args=({7},): must be JSON"),
        ({"audit_args": one}, "must be a function of one argument, a connection to the scratch database"),
        ({"audit_count": a_sale}, "must be a function of no arguments that returns a count"),
        ({"audit_count": 3}, "audit_count=3: must be a function that returns a count, or 0"),
        ({"audit_count": False}, "audit_count=False: must be a function that returns a count, or 0"),
        ({"audit_ignore": "mails.state"}, "audit_ignore='mails.state': must be a list of columns"),
        ({"audit_ignore": ["state"]}, "audit_ignore=['state']: must be a list of columns with their tables"),
    ],
)
def test_what_could_never_be_is_refused_where_the_task_is_registered(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        task(**options)
    assert str(error.value).startswith("shop.pay: audit_")
    assert said.replace("(missing", "(") in str(error.value)


def test_a_task_that_fans_out_may_be_tried_without_arguments() -> None:
    assert task(for_each=[1, 2], audit_args=()).audit_args == ()
