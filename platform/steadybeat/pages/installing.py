"""How the pages get into the stock Flower: among its handlers, its templates, its tabs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tornado.web import StaticFileHandler, url

from steadybeat.pages import parts
from steadybeat.pages.alerts import Acknowledge, Alert, Alerts, Resolve, Silence, Unsilence
from steadybeat.pages.dead_letters import (
    DeadGroup,
    DeadLetters,
    Discard,
    DiscardMessage,
    ForeignMessage,
    PreviewDiscard,
    PreviewRequeue,
    Requeue,
    RequeueMessage,
)
from steadybeat.pages.fan_outs import FanOut, FanOutRerun, FanOuts
from steadybeat.pages.guarding import Discreet, guard
from steadybeat.pages.loading import Loader
from steadybeat.pages.operations import Operations
from steadybeat.pages.overview import Overview
from steadybeat.pages.page import Change, Page
from steadybeat.pages.run import Cancel, Rerun, Retry, Run
from steadybeat.pages.runs import Runs
from steadybeat.pages.schedule import Pause, Remove, Resume, Schedule, Trigger
from steadybeat.pages.schedules import Schedules

PAGES: tuple[type[Page] | type[Change], ...] = (
    Overview,
    *(Schedules, Schedule, Pause, Resume, Trigger, Remove),
    *(Runs, Run, Retry, Rerun, Cancel),
    *(DeadLetters, DeadGroup, PreviewRequeue, PreviewDiscard, Requeue, Discard),
    *(ForeignMessage, RequeueMessage, DiscardMessage),
    *(FanOuts, FanOut, FanOutRerun),
    *(Alerts, Alert, Acknowledge, Resolve, Silence, Unsilence),
    Operations,
)
"""Every page, and everything that can be changed on one."""


def install(app: Any) -> None:
    """Add the pages to the Flower that this process is about to start, and guard what Flower has itself.

    Args:
        app: On which steadybeat is installed.
    """
    from flower import app as flowers
    from flower import urls

    if any(getattr(each, "name", None) == "steadybeat_static" for each in urls.handlers):
        return
    _ = app.steadybeat.ledger
    guard(urls.handlers)
    flowers.Inspector = Discreet
    ours = [url(page.path, page, name=page.name) for page in PAGES]
    ours.append(
        url(r"/steadybeat/static/([\w.]+)", StaticFileHandler, {"path": str(parts.ASSETS)}, name="steadybeat_static")
    )
    urls.handlers[-1:-1] = ours  # the last of Flower's takes whatever is left
    urls.settings["template_loader"] = Loader(Path(urls.settings["template_path"]))
