"""Schedulers that die where it hurts, and processes that live and do nothing."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

from celery import bootsteps

from shop.witness import only_once
from steadybeat.beat import SteadyScheduler


class DiesBeforeMarking(SteadyScheduler):
    """Publishes a fire, and is killed before it can say so."""

    def _elect(self) -> Any:
        leader = super()._elect()
        if leader is not None:
            mark = leader._mark

            def die() -> None:
                if leader._unmarked:
                    os.kill(os.getpid(), signal.SIGKILL)
                mark()

            leader._mark = die
        return leader


def _stand_still_when_told() -> None:
    if (Path(os.environ["SHOP_FOLDER"]) / "stand-still").exists():
        threading.Event().wait()


class StandsStill(SteadyScheduler):
    """Never ends a tick once it is told to stand still."""

    def _elect(self) -> Any:
        _stand_still_when_told()
        return super()._elect()


class StuckEventLoop(bootsteps.StartStopStep):
    """Step of a worker's consumer: holds up its event loop once it is told to stand still."""

    def register_with_event_loop(self, parent: Any, hub: Any) -> None:
        hub.call_repeatedly(0.1, _stand_still_when_told)


class ClockIsOff(SteadyScheduler):
    """Has a clock that is two seconds fast while it is told so."""

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        platform = app.steadybeat
        offset = platform.sign_of_life

        def two_seconds_more() -> float:
            fast = (Path(os.environ["SHOP_FOLDER"]) / "clock-is-fast").exists()
            return float(offset() + (2.0 if fast else 0.0))

        platform.sign_of_life = two_seconds_more


class StopsBeforeSending(SteadyScheduler):
    """Is stopped, once it is told so, after it has decided to send fires and before it sends them."""

    def _elect(self) -> Any:
        leader = super()._elect()
        if leader is not None and "_send" not in vars(leader):
            send = leader._send

            def stop(batch: Any) -> Any:
                if (Path(os.environ["SHOP_FOLDER"]) / "stop-before-sending").exists() and only_once("stop-leader"):
                    os.kill(os.getpid(), signal.SIGSTOP)
                return send(batch)

            leader._send = stop
        return leader
