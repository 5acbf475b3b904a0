"""Ending: how a worker ends, and how the attempts in it learn that it does.

It starts nothing new. An attempt that iterates hands its run back at once, at its checkpoint. Another may finish
within Celery's ``worker_soft_shutdown_timeout``; then its process is ended, and its run handed back. A second signal
takes that time away.
"""

from __future__ import annotations

import logging
import mmap
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from celery.utils.log import get_logger
from celery.worker import state

from steadybeat.errors import LedgerUnavailable
from steadybeat.ledger import Ledger
from steadybeat.task.pools import has_processes

logger = get_logger(__name__)

_POLL_SECONDS = 0.1


class Stop(BaseException):
    """An attempt ends between two items. No `Exception`: what a task catches so must not keep it from ending.

    Attributes:
        outcome: Of the attempt: ``interrupted`` or ``cancelled``.
        reason: Why.
    """

    def __init__(self, outcome: str, reason: str) -> None:
        self.outcome, self.reason = outcome, reason
        super().__init__(reason)


class Ending:
    """The end of one worker, seen by its main process and by the processes of its pool.

    They share one byte of memory: children inherit it with the fork, and hear of nothing else that their worker is
    told.

    Args:
        worker: Celery's worker.
        sign_off: Ends the worker's lease, where its process is left at once.
    """

    def __init__(self, worker: Any, sign_off: Callable[[], None]) -> None:
        self._worker = worker
        self._sign_off = sign_off
        self._flag = mmap.mmap(-1, 1)
        self._hurry = threading.Event()
        self._soft_seconds = float(worker.app.conf.worker_soft_shutdown_timeout or 0)

    @property
    def begun(self) -> bool:
        """Whether the worker ends."""
        return self._flag[0] != 0

    def begin(self) -> None:
        """Begin, in a thread beside Celery's warm shutdown; asked again, do not wait any longer."""
        if self.begun:
            self._hurry.set()
            return
        self._flag[0] = 1
        threading.Thread(target=self._end, name="steadybeat-ending", daemon=True).start()

    def begin_once(self) -> None:
        """Begin, unless it has."""
        if not self.begun:
            self.begin()

    def wait(self) -> None:
        """Wait within Celery's cold shutdown; Celery cancels what still runs then.

        Celery waits in a signal handler, so that nothing comes in meanwhile: only the ledger knows what has ended.
        Work in the same thread cannot go on at all, and is not waited for.
        """
        if self.begun:
            self._hurry.set()
            return
        self._flag[0] = 1
        if not self._worker.pool_cls.__module__.endswith("solo"):
            logger.warning("work may finish", extra={"within_seconds": self._soft_seconds})
            self._let_finish(self._under_way)

    def _end(self) -> None:
        if state.active_requests:
            logger.warning("work may finish", extra={"within_seconds": self._soft_seconds})
        self._let_finish(lambda: bool(state.active_requests))
        consumer = self._worker.consumer
        if state.active_requests and consumer is not None:
            logger.warning("work handed back", extra={"run_ids": [each.id for each in tuple(state.active_requests)]})
            consumer.cancel_active_requests()

    def _let_finish(self, under_way: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._soft_seconds
        while under_way() and time.monotonic() < deadline and not self._hurry.wait(_POLL_SECONDS):
            pass

    def _under_way(self) -> bool:
        requests = tuple(state.active_requests)
        if not requests or not all(getattr(each.task, "recorded", False) for each in requests):
            return bool(requests)
        platform = self._worker.app.steadybeat
        try:
            return Ledger.of(self._worker.app).progress.under_way(platform.instance)
        except LedgerUnavailable:
            return True

    def leave(self) -> None:
        """End the process at once where its work cannot be ended without it, once everything is handed back."""
        if not self.begun or has_processes(self._worker.pool_cls):
            return
        consumer = self._worker.consumer
        try:
            consumer.task_consumer.channel.qos.restore_unacked_once()
        except Exception as error:  # noqa: BLE001 - the broker gives them back by itself, later
            logger.warning("messages not given back", extra={"error": str(error)})
        self._sign_off()
        logging.shutdown()
        os._exit(0)
