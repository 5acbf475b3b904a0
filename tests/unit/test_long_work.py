"""What long work is told and refused, without any server."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

import steadybeat
from steadybeat.errors import ConfigurationError
from steadybeat.task import pools
from steadybeat.task.progress import _storable


@pytest.fixture
def app() -> Celery:
    app = Celery("shop", set_as_current=False)
    steadybeat.install(app)
    return app


def test_called_as_a_function_a_task_just_gets_its_items(app: Celery) -> None:
    @app.task(bind=True, name="shop.walk")
    def walk(self: Any) -> list[int]:
        self.progress(1, 3, checkpoint=1)
        assert self.checkpoint is None
        assert not self.should_stop
        return [*self.iterate(iter([1, 2, 3]), total=3, checkpoint=lambda number: number)]

    assert walk() == [1, 2, 3]
    assert walk.apply().get() == [1, 2, 3]


@pytest.mark.parametrize("every", [0, -1, True, timedelta(0)])
def test_a_pace_that_cannot_be_is_refused_before_the_first_item(app: Celery, every: Any) -> None:
    @app.task(bind=True, name="shop.walk")
    def walk(self: Any) -> None:
        self.iterate([], every=every)

    with pytest.raises(ConfigurationError, match="every="):
        walk()


@pytest.mark.parametrize("mark", [float("nan"), "a\0b", object(), {1, 2}])
def test_a_checkpoint_that_cannot_be_stored_is_refused(mark: Any) -> None:
    with pytest.raises(ConfigurationError, match="checkpoint="):
        _storable(mark)
    assert _storable({"id": [7, "x"]}) == {"id": [7, "x"]}


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "256MB"])
def test_a_memory_limit_is_a_count_of_bytes(app: Celery, limit: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"shop\.walk: memory_limit="):

        @app.task(name="shop.walk", memory_limit=limit)
        def walk() -> None: ...

        _ = walk.name


def worker(pool: str, start_method: str = "fork") -> Any:
    return SimpleNamespace(pool_cls=type("TaskPool", (), {"__module__": pool}), pool_start_method=start_method)


@pytest.mark.parametrize("pool", ["celery.concurrency.gevent", "celery.concurrency.eventlet", "somebodys.pool"])
def test_a_pool_that_is_not_proven_is_refused_with_the_reason(pool: str) -> None:
    with pytest.raises(ConfigurationError, match="is not proven"):
        pools.check(worker(pool))


def test_pool_processes_must_be_forked() -> None:
    pools.check(worker(pools.PREFORK))
    with pytest.raises(ConfigurationError, match="worker_pool_start_method='spawn'"):
        pools.check(worker(pools.PREFORK, "spawn"))


@pytest.mark.parametrize("pool", [pools.THREADS, pools.SOLO])
def test_a_pool_in_which_nothing_can_be_terminated_says_so(pool: str, caplog: pytest.LogCaptureFixture) -> None:
    pools.check(worker(pool))
    assert "no time limit, memory limit or termination works in this pool" in caplog.text
