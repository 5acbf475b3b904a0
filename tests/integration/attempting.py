"""Attempts in this process: of a task that is no plain function then, and ends nothing unless it is asked to."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from steadybeat.task.attempt import Attempt
from tests.integration.records import alive


class Killed(BaseException):
    """What a task does not survive, and does not notice."""


@contextmanager
def attempt(task: Any, run: str, delivery_no: int = 1, *, lives: bool = False) -> Iterator[Any]:
    """Make an attempt of a run, and leave it where the block ends, as a process that is killed leaves it.

    Args:
        task: Of an app on which steadybeat is installed.
        run: The id of its run.
        delivery_no: Of its message.
        lives: Whether its process goes on, so that no other attempt gets the run.
    """
    platform = task.app.steadybeat
    platform.instance = alive(platform.ledger) if lives else str(uuid.uuid4())
    task.push_request(
        id=run,
        called_directly=False,
        delivery_info={},
        retries=0,
        timelimit=None,
        steadybeat_delivery=delivery_no,
        callbacks=None,
        chain=None,
    )
    try:
        made = Attempt(task, task.request)
        made.claim()
        task.request.steadybeat_attempt = made
        yield made
    except Killed:
        pass
    finally:
        task.pop_request()
