"""Audited: one line of the checklist, asked of one task of an app that was made for a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import Celery

import steadybeat
from steadybeat.audit.answer import Answer
from steadybeat.audit.auditing import subjects
from steadybeat.audit.checking import checks
from steadybeat.audit.surroundings import Surroundings

NOWHERE = {
    "steadybeat_database_url": "postgresql://127.0.0.1:1/nowhere",
    "steadybeat_redis_url": "redis://127.0.0.1:1/0",
}
"""An app that no test wants a server of."""

ROUTED: dict[str, Any] = {
    "steadybeat_alert_channels": {"payments": "json://payments.example", "oncall": "json://oncall.example"},
    "steadybeat_alert_routes": [
        {"owner": "payments-team", "to": ["payments"], "escalate": [{"after": "15m", "to": ["oncall"]}]},
        {"to": ["oncall"]},
    ],
}
"""Somebody is told, and somebody else where she does not answer."""


def new_app(**conf: Any) -> Any:
    """Return an app without servers."""
    app = Celery("shop", set_as_current=False)
    app.conf.update({**NOWHERE, **conf})
    steadybeat.install(app)
    return app


def add_task(app: Any, name: str = "shop.till.settle", code: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Give an app a task that does nothing, or what is given; return it."""

    def nothing(self: Any) -> None:
        """Do nothing."""

    return app.task(name=name, bind=True, shared=False, **options)(code or nothing)


def ask(line: str, app: Any, name: str = "shop.till.settle") -> Answer:
    """Return the answer to a line of one task."""
    app.finalize()
    [subject] = subjects(app, task=name)
    return checks()[line](subject, Surroundings(app))


def said(line: str, app: Any, name: str = "shop.till.settle") -> tuple[str, str]:
    """Return verdict and evidence of a line of one task; a way out is named wherever one is wanted."""
    answer = ask(line, app, name)
    assert bool(answer.remedy) == (answer.verdict in {"FAIL", "PARTIAL", "UNKNOWN"}), answer
    return answer.verdict.value, answer.evidence
