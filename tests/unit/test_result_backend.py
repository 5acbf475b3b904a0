"""Which result backend an app has, and what an error in the ledger is called in Python."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

import steadybeat
from steadybeat.canvas import LedgerBackend
from steadybeat.canvas.failures import described
from steadybeat.delivery.routing import SteadyRouter

STACK = 'Traceback (most recent call last):\n  File "shop.py", line 1, in pay\n    raise it\n'


def installed(**given: Any) -> Any:
    app = Celery("shop", broker="redis://127.0.0.1:1/0", set_as_current=False, **given)
    steadybeat.install(app)
    return app


def test_the_ledger_is_the_result_backend_unless_the_app_names_another(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(installed().backend, LedgerBackend)
    assert installed().backend.as_uri() == "the ledger"
    assert installed(backend="cache+memory://").conf.result_backend == "cache+memory://"
    assert installed(backend="disabled://").conf.result_backend == "disabled://"
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "cache+memory://")
    assert installed().conf.result_backend == "cache+memory://"


@pytest.mark.parametrize(
    ("reason", "error", "kind", "message"),
    [
        ("ValueError: no", f"{STACK}ValueError: no\n", "builtins.ValueError", ["no"]),
        (
            "Refused: no",
            f"{STACK}shop.errors.Refused: no\nfor two reasons\n",
            "shop.errors.Refused",
            ["no\nfor two reasons"],
        ),
        ("Gone: ", f"{STACK}ValueError: a\n\nDuring that:\n\n{STACK}shop.Gone\n", "shop.Gone", []),
        ("KeyError: 'a'", None, "builtins.KeyError", ["'a'"]),
        ("time limit of 2 s exceeded", "TimeLimitExceeded(2)", "billiard.exceptions.TimeLimitExceeded", None),
    ],
)
def test_an_error_is_known_by_the_end_of_its_stack(
    reason: str, error: str | None, kind: str, message: list[str] | None
) -> None:
    found = described("dead", reason, error, "timed_out")
    assert f"{found['exc_module']}.{found['exc_type']}" == kind
    assert found["exc_message"] == ([reason] if message is None else message)


@pytest.mark.parametrize("called", ["shop.orders.pay", {"task": "shop.orders.pay", "args": []}])
def test_map_and_starmap_go_where_the_task_goes_that_they_call(called: Any) -> None:
    app = installed()
    app.task(name="shop.orders.pay", shared=False)(_pay)
    assert isinstance(app.amqp.router, SteadyRouter)
    for name in ("celery.map", "celery.starmap"):
        assert app.amqp.router.route({}, name, (), {"task": called, "it": [1]})["queue"].name == "orders"
    assert app.amqp.router.route({}, "celery.backend_cleanup", (), {})["queue"].name == "celery"


def _pay(order: int) -> None:
    """A task."""
