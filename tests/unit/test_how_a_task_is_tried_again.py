"""Whether a task is tried again and when, by its options; asked of tasks that no server knows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from celery import Celery, Task

import steadybeat
from steadybeat import Permanent, SteadyTask, Transient
from steadybeat.errors import ConfigurationError
from steadybeat.ledger.rows import Claim
from steadybeat.task.retrying import decision_on, pause_seconds
from steadybeat.task.verdicts import ending


def new_app(**given: Any) -> Celery:
    app = Celery("shop", set_as_current=False)
    app.conf.update(broker_url="redis://127.0.0.1:1/0", steadybeat_retry_backoff_seconds=4)
    steadybeat.install(app, **given)
    return app


def declared(app: Celery | None = None, **options: Any) -> Any:
    def nothing() -> None:
        pass

    return (app or new_app()).task(name="shop.orders.pay", shared=False, **options)(nothing)


def says(task: Any, error: Exception, retries: int = 0, **facts: Any) -> tuple[str, str]:
    found = decision_on(task, error, retries, **facts)
    return found.verdict, found.because


def test_a_task_is_tried_again_as_often_as_max_retries_says() -> None:
    task = declared(max_retries=2)
    assert [says(task, KeyError(), retries)[0] for retries in (0, 1, 2)] == ["retry", "retry", "dead"]
    assert says(task, Transient("busy"), 2) == ("dead", "no retry is left (max_retries=2)")
    assert says(task, steadybeat.Snooze(timedelta(seconds=1)), 2)[0] == "snooze"


def test_retry_for_bounds_retries_without_a_count() -> None:
    task = declared(max_retries=None, retry_for=timedelta(hours=1))
    assert says(task, KeyError(), 1000)[0] == "retry"


def test_retry_kwargs_keep_celerys_meaning() -> None:
    task = declared(autoretry_for=(OSError,), retry_kwargs={"max_retries": 5, "countdown": 7})
    assert says(task, Transient("busy"), 4)[0] == "retry"
    assert says(task, Transient("busy"), 5) == ("dead", "no retry is left (max_retries=5)")
    assert pause_seconds(task, 3) == 7.0


def test_what_celerys_retry_gave_up_is_not_tried_again_unless_the_error_says_so() -> None:
    task = declared(max_retries=9)
    assert says(task, KeyError(), gave_up=True) == ("dead", "no retry is left")
    assert says(task, Transient("busy"), gave_up=True)[0] == "retry"


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, ("retry", "the time limit")),
        ({"autoretry_for": ()}, ("retry", "the time limit")),
        ({"autoretry_for": (SoftTimeLimitExceeded,)}, ("retry", "autoretry_for has it")),
        ({"autoretry_for": (Exception,)}, ("retry", "autoretry_for has it")),
        ({"autoretry_for": (ConnectionError,)}, ("dead", "autoretry_for does not have it")),
        ({"classify": lambda error: Permanent}, ("dead", "the task's classifier says Permanent")),
        ({"max_retries": 0}, ("dead", "no retry is left (max_retries=0)")),
    ],
)
def test_a_hard_time_limit_is_retried_by_the_policies_of_the_task(
    options: dict[str, Any], wanted: tuple[str, str]
) -> None:
    assert says(declared(**options), TimeLimitExceeded(2)) == wanted


def test_the_pause_doubles_up_to_the_longest() -> None:
    task = declared(retry_backoff=3, retry_jitter=False, retry_backoff_max=20)
    assert [pause_seconds(task, retries) for retries in (0, 1, 2, 3, 99)] == [3, 6, 12, 20, 20]
    plain = declared(retry_jitter=False)
    assert [pause_seconds(plain, retries) for retries in (0, 1)] == [4, 8]
    assert all(2 <= pause_seconds(declared(), 0) <= 4 for _ in range(50))


def test_what_was_said_takes_the_place_of_the_back_off() -> None:
    task = declared(retry_backoff=3)
    decision = decision_on(task, Transient("busy", after=timedelta(minutes=1)), 1)
    assert pause_seconds(task, 1, decision) == 60.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retry_for": 60}, "retry_for=60: must be a timedelta of more than nothing"),
        ({"retry_for": timedelta(0)}, "retry_for=datetime.timedelta(0): must be a timedelta of more than nothing"),
        ({"retry_for": timedelta(1), "recorded": False}, "must be left out with recorded=False"),
        ({"classify": "permanent"}, "classify='permanent': must be a function of one argument, the error"),
        ({"classify": lambda: None}, "must be a function of one argument, the error"),
        ({"classify": ValueError}, "classify=<class 'ValueError'>: must be a function of one argument, the error"),
    ],
)
def test_a_wrong_option_is_refused_when_the_task_is_registered(options: dict[str, Any], message: str) -> None:
    app = new_app()
    with pytest.raises(ConfigurationError) as caught:
        declared(app, **options)
        app.finalize()
    assert str(caught.value).startswith("shop.orders.pay: ")
    assert message in str(caught.value)


# Classifiers, in every form that they can be written in


def stolen_is_permanent(error: Exception) -> type[Permanent] | None:
    return Permanent if "stolen" in str(error) else None


class AsMethod(Task):
    word = "stolen"

    def classify(self, error: Exception) -> type[Permanent] | None:
        return Permanent if self.word in str(error) else None


class AsStatic(Task):
    classify = staticmethod(stolen_is_permanent)


class AsFunction(Task):
    classify = stolen_is_permanent


class AsClassMethod(Task):
    @classmethod
    def classify(cls, error: Exception) -> type[Permanent] | None:
        return stolen_is_permanent(error)


class Callable:
    def __call__(self, error: Exception) -> type[Permanent] | None:
        return stolen_is_permanent(error)


@pytest.mark.parametrize(
    "options",
    [
        {"classify": stolen_is_permanent},
        {"classify": Callable()},
        {"base": AsMethod},
        {"base": AsStatic},
        {"base": AsFunction},
        {"base": AsClassMethod},
    ],
    ids=["function", "callable", "method", "static method", "attribute", "class method"],
)
@pytest.mark.parametrize("install_first", [True, False])
def test_a_classifier_may_be_a_function_or_a_method(options: dict[str, Any], install_first: bool) -> None:
    app = Celery("shop", set_as_current=False, broker="redis://127.0.0.1:1/0")
    if install_first:
        steadybeat.install(app)
    declared(app, **options)
    if not install_first:
        steadybeat.install(app)
    task = app.tasks["shop.orders.pay"]
    assert isinstance(task, SteadyTask)
    assert says(task, ValueError("stolen")) == ("dead", "the task's classifier says Permanent")
    assert says(task, ValueError("other"))[0] == "retry"


def test_the_app_has_a_classifier_for_all_of_its_tasks() -> None:
    task = declared(new_app(classify=stolen_is_permanent))
    assert says(task, ValueError("stolen")) == ("dead", "the app's classifier says Permanent")


def test_a_classifier_of_the_app_that_cannot_be_asked_is_refused_at_install() -> None:
    with pytest.raises(ConfigurationError, match="classify='x': must be a function of one argument, the error"):
        new_app(classify="x")


def test_celerys_autoretry_still_works_where_a_task_is_called_or_run_eagerly() -> None:
    asked: list[int] = []

    app = new_app()

    @app.task(name="shop.orders.eager", bind=True, shared=False, autoretry_for=(ConnectionError,), max_retries=2)
    def eager(self: Any) -> int:
        asked.append(self.request.retries)
        if self.request.retries < 2:
            raise ConnectionError("no answer")
        return self.request.retries  # type: ignore[no-any-return]

    assert eager.apply().get() == 2
    assert asked == [0, 1, 2]
    with pytest.raises(ConnectionError):
        eager()


def test_a_run_that_failed_before_its_deadline_passed_is_a_dead_letter_and_another_is_cancelled() -> None:
    assert (ending(Claim(verdict="late", retry_count=1)) or {})["state"] == "dead"
    assert (ending(Claim(verdict="late")) or {})["state"] == "cancelled"
    assert (ending(Claim(verdict="exhausted")) or {})["state"] == "dead"
