"""Sending: what runs tell is queued, and one thread of the process tells monitors; no run waits for it.

A worker and the processes of its pool have one sender: the parent's. What happens in a process of the pool goes
there through a socket that never blocks, so that the start of a run, its end and what the parent alone sees (a
time-out, a lost process) stay in order, and a process that ends need not wait until a monitor has answered.

    LIMIT_COUNT       heartbeats wait at the most; then the oldest are left out, and counted
    not answered      tried again after 0.5 s, 1 s, 2 s … 30 s; a lane for each host, so that none holds up another
    three times       the monitor counts as failing: it is noted, and of each schedule only the latest run is kept
    answered 4xx      not tried again (but for 408, 425, 429): noted as failing
    at the exit       FLUSH_SECONDS are given to what can be sent at once
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import socket
import threading
import time
import weakref
from collections.abc import Callable, Collection
from contextlib import suppress

from steadybeat.telemetry.heartbeats.asking import THREAD
from steadybeat.telemetry.heartbeats.heartbeat import Heartbeat, Watched
from steadybeat.telemetry.heartbeats.lanes import Addressed, Lane, Pace
from steadybeat.telemetry.heartbeats.standing import Standing
from steadybeat.telemetry.heartbeats.telling import Setup, Teller, is_told, monitor_of

LIMIT_COUNT = 1_000
FLUSH_SECONDS = 2.0

_KNOWN_SECONDS = 60.0
_AGAIN_SECONDS = 2.0
_DATAGRAM = 65_536

_log = logging.getLogger(__name__)


class Sender:
    """Sends heartbeats, from a thread that begins with the first one.

    Args:
        setup: What it is told.
        clock: Seconds that only go up.
    """

    def __init__(self, setup: Setup, clock: Callable[[], float] = time.monotonic) -> None:
        self.setup = setup
        self.dropped_count = 0
        self._clock = clock
        self._mouth: socket.socket | None = None
        self._ear: socket.socket | None = None
        self._begin()
        _senders.add(self)

    def _begin(self) -> None:
        """Be as new: made, or in a process that was forked."""
        self._is_child = self._mouth is not None
        self._inbox: queue.SimpleQueue[Heartbeat | Addressed | threading.Event] = queue.SimpleQueue()
        self._flush_seconds = FLUSH_SECONDS
        self._awaited: list[threading.Event] = []
        self._heard = threading.Event()
        self._listening = False
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._unrouted: list[Heartbeat] = []
        self._lanes: dict[str, Lane] = {}
        self._paces: dict[str, Pace] = {}
        self._known: dict[str, tuple[Watched | None, float]] = {}
        self._ask_again_at = float("-inf")
        self._standing = Standing(self.setup.note, self._clock)
        self._teller = Teller(self.setup)
        self._told_drops = 0

    # What runs call

    def tell(self, heartbeat: Heartbeat) -> None:
        """Have a heartbeat sent; returns at once, whatever a monitor does."""
        if self._is_child and self._mouth is not None:
            try:
                self._mouth.send(heartbeat.pack())
            except OSError:
                self.dropped_count += 1
            return
        if self._inbox.qsize() >= LIMIT_COUNT:
            self._drop()
        self._inbox.put(heartbeat)
        self._start()

    def tell_monitor(self, addressed: Addressed) -> None:
        """Have a heartbeat sent to a monitor that is no schedule's; returns at once."""
        self._inbox.put(addressed)
        self._start()

    def _drop(self) -> None:
        with suppress(queue.Empty):
            self._inbox.get_nowait()
            self.dropped_count += 1

    def share(self) -> None:
        """Have the processes that this one forks from now on send through it."""
        if self._mouth is None:
            self._ear, self._mouth = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._mouth.setblocking(False)
            self._mouth.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 2**20)

    def listen(self) -> None:
        """Begin to send what those processes tell."""
        if self._ear is not None and not self._is_child and not self._listening:
            self._listening = True
            threading.Thread(target=self._hear, args=(self._ear,), name=f"{THREAD}-ear", daemon=True).start()

    def _hear(self, ear: socket.socket) -> None:
        while True:
            try:
                data = ear.recv(_DATAGRAM)
                if data:
                    self.tell(Heartbeat.unpack(data))
                else:
                    self._heard.set()
            except (ValueError, TypeError):
                continue
            except OSError:
                return

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until what can be sent at once is sent; return whether it is.

        Args:
            seconds: How long at the most; all flushes of a process together take no longer than `FLUSH_SECONDS`.
        """
        if self._is_child:
            return True
        began = time.monotonic()
        try:
            return self._flush(began + min(seconds, self._flush_seconds))
        finally:
            self._flush_seconds = max(0.0, self._flush_seconds - (time.monotonic() - began))

    def _flush(self, until: float) -> bool:
        if self._ear is not None and self._mouth is not None and self._listening:
            self._heard.clear()
            try:
                self._mouth.send(b"")  # behind all that the processes of the pool have told
            except OSError:
                return False
            self._heard.wait(max(0.0, until - time.monotonic()))
        if self._thread is None:
            return True
        done = threading.Event()
        self._inbox.put(done)
        return done.wait(max(0.0, until - time.monotonic()))

    def _start(self) -> None:
        if self._thread is not None:
            return
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._work, name=THREAD, daemon=True)
                thread.start()
                self._thread = thread
                atexit.register(_flush_at_exit, weakref.ref(self), os.getpid())

    # The thread

    def _work(self) -> None:
        while True:
            try:
                self._take(self._pause())
                self.work()
            except Exception:  # noqa: BLE001 - a thread that ends would leave every monitor without news
                _log.exception("heartbeats not sent")
                threading.Event().wait(_AGAIN_SECONDS)

    def _take(self, pause: float | None) -> None:
        """Take what was told; wait for the first of it."""
        try:
            found = self._inbox.get(timeout=pause)
            while True:
                if isinstance(found, Heartbeat):
                    self._unrouted.append(found)
                elif isinstance(found, Addressed):
                    self._queue(found)
                else:
                    self._awaited.append(found)
                found = self._inbox.get_nowait()
        except queue.Empty:
            return

    def work(self) -> None:
        """Do what can be done now."""
        self._route()
        while self._send_one_of_each() and self._inbox.empty():
            pass
        self._standing.write()
        self._tell_drops()
        if not self._due():
            while self._awaited:
                self._awaited.pop().set()

    def _send_one_of_each(self) -> bool:
        """Send the first of each lane; return whether another may follow at once."""
        return sum(self._send_next(lane) for lane in [*self._lanes.values()]) > 0

    def _pause(self) -> float | None:
        """Return how long there is nothing to do unless something is told."""
        if self._due():
            return 0.0
        now = self._clock()
        waits = [lane.not_before - now for lane in self._lanes.values() if lane.waiting]
        waits += [self._ask_again_at - now] if self._unrouted else []
        wait = self._standing.wait()
        waits += [] if wait is None else [wait]
        return max(0.0, min(waits)) if waits else None

    def _due(self) -> bool:
        now = self._clock()
        return any(lane.waiting and lane.not_before <= now for lane in self._lanes.values())

    def _route(self) -> None:
        """Find out whom to tell."""
        now = self._clock()
        if not self._unrouted or not self._learn({each.schedule for each in self._unrouted}, now):
            del self._unrouted[: max(0, len(self._unrouted) - LIMIT_COUNT)]
            return
        unrouted, self._unrouted = self._unrouted, []
        for heartbeat in unrouted:
            watched, _ = self._known[heartbeat.schedule]
            monitor = None if watched is None else monitor_of(watched, self.setup.default)
            if watched is None or monitor is None or not is_told(monitor, watched, heartbeat):
                continue
            if self._paces.setdefault(heartbeat.schedule, Pace()).admits(heartbeat.event, monitor.kind, now):
                self._queue(Addressed(heartbeat, watched, monitor))

    def _queue(self, addressed: Addressed) -> None:
        lane = self._lanes.setdefault(f"{addressed.monitor.kind} {addressed.monitor.host}", Lane())
        lane.waiting.append(addressed)
        if len(lane.waiting) > LIMIT_COUNT:
            lane.waiting.popleft()
            self.dropped_count += 1

    def _learn(self, names: Collection[str], now: float) -> bool:
        """Know of schedules what the ledger knows, not older than a minute; return whether all are known."""
        missing = {name for name in names if self._known.get(name, (None, float("-inf")))[1] <= now - _KNOWN_SECONDS}
        if not missing:
            return True
        if now < self._ask_again_at:
            return all(name in self._known for name in names)
        try:
            found = self.setup.schedules(missing)
        except Exception as error:  # noqa: BLE001 - the ledger is away; it is asked again
            self._ask_again_at = now + _AGAIN_SECONDS
            _log.debug("schedules not known", extra={"error": str(error)})
            return all(name in self._known for name in names)
        self._known.update({name: (found.get(name), now) for name in missing})
        return True

    # One heartbeat

    def _send_next(self, lane: Lane) -> bool:
        """Send what is first in a lane if it is time; return whether the next may be."""
        if not lane.waiting or lane.not_before > self._clock():
            return False
        first = lane.waiting[0]
        answer = self._teller(first, lane.body_limit)
        lane.body_limit = answer.body_limit or lane.body_limit
        if answer.taken or not answer.is_passing:
            lane.answered()
            lane.waiting.popleft()
            self._standing.see(first, answer.error)
            return True
        lane.failed(self._clock(), answer.retry_after_seconds)
        if lane.is_failing:
            for each in lane.schedules():
                self._standing.see(each, answer.error)
        return False

    def _tell_drops(self) -> None:
        if self.dropped_count > self._told_drops:
            _log.warning("heartbeats left out", extra={"count": self.dropped_count - self._told_drops})
            self._told_drops = self.dropped_count


_senders: weakref.WeakSet[Sender] = weakref.WeakSet()


def _flush_at_exit(sender: weakref.ref[Sender], pid: int) -> None:
    found = sender()
    if found is not None and pid == os.getpid():
        found.flush()


def _after_fork() -> None:
    for sender in [*_senders]:
        sender._begin()


os.register_at_fork(after_in_child=_after_fork)
