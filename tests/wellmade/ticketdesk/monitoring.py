"""Who is told of runs: a monitor elsewhere, the table of runs, metrics, and the owner where one fails or is slow."""

from __future__ import annotations

import logging
import socket
import time
from typing import Any

import requests
from celery.signals import setup_logging, task_failure, task_postrun, task_prerun, task_success
from prometheus_client import Counter, Histogram
from sqlalchemy import text

from ticketdesk import settings
from ticketdesk.celery_app import app
from ticketdesk.database import engine

SUCCEEDED = Counter("jobs_succeeded", "Runs that succeeded", ["task"])
FAILED = Counter("jobs_failed", "Runs that failed", ["task"])
DURATION = Histogram("jobs_duration_seconds", "How long runs took", ["task"])
_started: dict[str, float] = {}


@setup_logging.connect
def log_as_json(**_kwargs: Any) -> None:
    """Write lines with host, task, id and root id."""
    form = (
        f"%(asctime)s hostname={socket.gethostname()} %(levelname)s %(task_name)s %(task_id)s %(root_id)s %(message)s"
    )
    logging.basicConfig(level=logging.INFO, format=form)


@task_prerun.connect
def started(task_id: str, task: Any, **_kwargs: Any) -> None:
    """Tell the monitor that a run begins."""
    _started[task_id] = time.monotonic()
    requests.get(f"{settings.PING_URL}/{task.name}/start", timeout=5)


@task_success.connect
def succeeded(sender: Any, **_kwargs: Any) -> None:
    """Tell the monitor that a run has succeeded."""
    SUCCEEDED.labels(task=sender.name).inc()
    requests.get(f"https://hc-ping.com/key/{sender.name}", timeout=5)


@task_failure.connect
def failed(sender: Any, task_id: str, exception: BaseException, args: Any, kwargs: Any, **_kwargs: Any) -> None:
    """Keep what failed, count it, and tell the owner."""
    FAILED.labels(task=sender.name).inc()
    with engine().begin() as db:
        db.execute(
            text(
                "INSERT INTO failed_runs (id, task, args, kwargs, error) VALUES (:id, :task, :args, :kwargs, :error)"
                " ON CONFLICT (id) DO NOTHING"
            ),
            {"id": task_id, "task": sender.name, "args": args, "kwargs": kwargs, "error": repr(exception)},
        )
    page(getattr(sender, "owner", "payments-team"), f"{sender.name} failed: {exception!r}")


@task_postrun.connect
def ended(task_id: str, task: Any, state: str, **_kwargs: Any) -> None:
    """Note the run, and tell the owner where it was slow."""
    seconds = time.monotonic() - _started.pop(task_id, time.monotonic())
    DURATION.labels(task=task.name).observe(seconds)
    with engine().begin() as db:
        db.execute(
            text(
                "INSERT INTO job_runs (id, task, state, seconds) VALUES (:id, :task, :state, :s) ON CONFLICT DO NOTHING"
            ),
            {"id": task_id, "task": task.name, "state": state, "s": seconds},
        )
    alert_if_slow(task, seconds)


def alert_if_slow(task: Any, seconds: float) -> None:
    """Tell the owner of a run that took twice as long as 95 of 100 did."""
    with engine().connect() as db:
        usual = db.execute(
            text("SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) FROM job_runs WHERE task = :task"),
            {"task": task.name},
        ).scalar()
    if usual and seconds > 2 * usual:
        page(task.owner, f"{task.name} took {seconds:.0f} s, usually {usual:.0f} s")


def page(owner: str, message: str) -> None:
    """Tell an owner."""
    body = {"routing_key": settings.PAGERDUTY_KEYS[owner], "event_action": "trigger", "payload": {"summary": message}}
    requests.post(settings.PAGERDUTY_URL, json=body, timeout=5)


def failure_rate() -> float:
    """Return which share of the runs of the last day failed."""
    with engine().connect() as db:
        return float(
            db.execute(
                text("SELECT avg((state = 'FAILURE')::int) FROM job_runs WHERE ended_at > now() - interval '1 day'")
            ).scalar()
            or 0
        )


def replay(run_id: str) -> None:
    """Send a failed run again."""
    with engine().connect() as db:
        row = db.execute(text("SELECT task, args, kwargs FROM failed_runs WHERE id = :id"), {"id": run_id}).one()
    app.send_task(row.task, args=row.args, kwargs=row.kwargs)
