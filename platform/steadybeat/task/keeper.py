"""Keeper: the signs of life of a worker, to the ledger and to its machine, and its pause while the ledger is away."""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import os
import signal
import sys
import threading
from datetime import timedelta
from typing import Any

from celery import bootsteps, signals
from celery.utils.log import get_logger
from celery.worker import state

from steadybeat.errors import LedgerUnavailable
from steadybeat.ledger import Ledger
from steadybeat.ledger.cancelling import Overdue
from steadybeat.task import memory, pools
from steadybeat.task.ending import Ending
from steadybeat.telemetry import EVENT_LOOP, KEEPER, metrics

logger = get_logger(__name__)

_PR_SET_PDEATHSIG = 1


class Keeper(bootsteps.StartStopStep):
    """Worker step: renews the worker's row in `instances`, from a thread of the parent process.

    While the ledger does not answer, the worker takes no message: nothing starts that could not be recorded.
    """

    label = "Keeper"

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self._worker = worker
        self._platform = worker.app.steadybeat
        self._ledger = Ledger.of(worker.app)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._away = False
        self._ending: Any = None
        if pools.has_processes(worker.pool_cls):
            memory.watch(worker)  # not in `create`: Celery may have made the pool by then
            self._platform.heartbeats.share()

    def create(self, worker: Any) -> None:
        """Refuse to start where nothing could be recorded or received; else give the first sign of life."""
        pools.check(worker)
        self._platform.check_servers()
        self._platform.check_guarded(worker.app.amqp.queues.consume_from)
        self._platform.become("worker", pooled=pools.has_processes(worker.pool_cls))
        metrics.tell()
        if pools.has_processes(worker.pool_cls):
            gc.collect()
            gc.freeze()  # what has been imported is no garbage: no collection in a process of the pool looks at it
            signals.worker_process_init.connect(
                functools.partial(die_with_parent, os.getpid()), weak=False, dispatch_uid="steadybeat.die_with_parent"
            )
        signals.worker_shutdown.connect(sign_off, dispatch_uid="steadybeat.sign_off")
        signals.worker_shutting_down.connect(self._rest, weak=False, dispatch_uid="steadybeat.rest")
        self._platform.node = worker.hostname
        self._platform.consumed = lambda: worker.app.amqp.queues.consume_from
        self._platform.sign_of_life()
        self._platform.ending = self._ending = Ending(worker, self.sign_off)
        worker.wait_for_soft_shutdown = self._ending.wait
        worker.steadybeat_keeper = self
        atexit.register(self.sign_off)  # a signal in the middle of a shutdown keeps Celery from saying that it is over

    def start(self, worker: Any) -> None:
        """Begin to renew."""
        if not worker.use_eventloop:
            self._platform.rest(EVENT_LOOP)  # a pool of threads or greenlets has none that could be asked
        self._thread = threading.Thread(target=self._keep, name="steadybeat-keeper", daemon=True)
        self._thread.start()
        self._platform.heartbeats.listen()

    def close(self, worker: Any) -> None:
        """Begin to end, where no signal said so: somebody asked by remote control."""
        self._ending.begin_once()

    def sign_off(self) -> None:
        """End in good order, once the last run has ended: nobody need wait for the lease to pass.

        Not in `stop`: Celery may stop this step before the pool, whose runs must not look dead.
        """
        if self._stopped.is_set():
            return
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=self._ledger.settings.ledger_timeout_seconds)
        self._platform.heartbeats.flush()
        try:
            self._platform.sign_off()
            self._platform.fan_outs.tell_left(self._worker.app.amqp.queues.consume_from)
        except LedgerUnavailable as error:
            logger.warning("instance not signed off", extra={"error": str(error)})

    def _rest(self, **_: Any) -> None:
        """Celery signal `worker_shutting_down`: the event loop ends, while runs may go on for as long as they need."""
        self._platform.rest(EVENT_LOOP)
        self._ending.begin()

    def _keep(self) -> None:
        settings = self._ledger.settings
        # A ledger that is away takes a pool's, a connection's and a statement's time to say so, twice at the most.
        patience = timedelta(seconds=settings.health_seconds + 6 * settings.ledger_timeout_seconds)
        while not self._stopped.wait(settings.keeper_seconds):
            self._platform.beat(KEEPER, within=patience)
            try:
                self._platform.sign_of_life()
                self._terminate_overdue()
                self._resume()
            except Exception as error:  # noqa: BLE001 - a keeper that dies leaves a worker that nobody may trust
                self._pause(error)

    def _terminate_overdue(self) -> None:
        """End attempts of cancelled runs that have not stopped by themselves, where somebody asked for that."""
        consumer = getattr(self._worker, "consumer", None)
        for overdue in self._ledger.cancelling.overdue(self._platform.instance):
            if not pools.has_processes(self._worker.pool_cls):
                logger.warning("cannot be terminated in this pool", extra={"run_id": overdue.run})
            elif consumer is not None:
                consumer.call_soon(self._terminate, overdue)

    def _terminate(self, overdue: Overdue) -> None:
        # Not by `state.requests`: where a duplicate of the message was here, its run is not found there any more.
        for request in tuple(state.active_requests):
            if request.id == overdue.run and request.delivery_no == overdue.delivery_no:
                request.cancel_reason = overdue.reason
                request.terminate(self._worker.pool)

    def _pause(self, error: Exception) -> None:
        if not self._away:
            away = isinstance(error, LedgerUnavailable)
            logger.error(
                "worker paused: the ledger is away" if away else "worker paused: no sign of life can be given",
                extra={"error": str(error)},
                exc_info=None if away else error,
            )
        self._away = True
        metrics.show(metrics.table.LEDGER_AWAY, value=1)
        self._on_consumer("cancel")  # each time: a broker that reconnects would consume again

    def _resume(self) -> None:
        if self._away:
            logger.warning("worker resumed: the ledger answers")
            self._away = False
            metrics.show(metrics.table.LEDGER_AWAY, value=0)
            if not self._ending.begun:
                self._on_consumer("consume")
        consumer = getattr(self._worker, "consumer", None)
        while consumer is not None and self._platform.unrecorded:
            consumer.call_soon(self._platform.unrecorded.popleft())

    def _on_consumer(self, verb: str) -> None:
        consumer = getattr(self._worker, "consumer", None)
        if consumer is not None and getattr(consumer, "task_consumer", None) is not None:
            consumer.call_soon(getattr(consumer.task_consumer, verb))


def sign_off(sender: Any = None, **_: Any) -> None:
    """Celery signal `worker_shutdown`: everything has stopped."""
    keeper = getattr(sender, "steadybeat_keeper", None)
    if keeper is not None:
        keeper.sign_off()


def die_with_parent(parent: int, **_: Any) -> None:
    """Have Linux kill this pool process when its worker dies.

    Nobody else would enforce its time limits, and nobody gives the signs of life that its lease depends on.

    Args:
        parent: Process id of the worker. In a container that is 1, as it is elsewhere for a process that lost its own.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel was told
            os.kill(os.getpid(), signal.SIGKILL)
