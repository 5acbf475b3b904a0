"""Schedulers that die where it hurts."""

from __future__ import annotations

import os
import signal
from typing import Any

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
