"""Its tasks: each leaves a line in a file when it has done something."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from celery import Task, shared_task

from depot.celery import app


def did(request: Any, what: str) -> None:
    with (Path(os.environ["DEPOT_FOLDER"]) / "effects").open("a") as file:
        file.write(json.dumps({"what": what, "run": request.id, "retries": request.retries}) + "\n")


class Logged(Task):
    """A base class of the project's own."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        did(self.request, f"around {self.name}")
        return self.run(*args, **kwargs)


@app.task(bind=True)
def count(self: Any, what: str = "count") -> None:
    did(self.request, what)


@shared_task(bind=True)
def sweep(self: Any) -> None:
    did(self.request, "sweep")


@app.task(bind=True, autoretry_for=(ConnectionError,), retry_backoff=1, retry_jitter=False, max_retries=3)
def fetch(self: Any) -> str:
    if self.request.retries < 1:
        raise ConnectionError("no answer")
    did(self.request, "fetch")
    return "fetched"


@app.task(base=Logged, bind=True)
def logged(self: Any) -> None:
    did(self.request, "logged")


@app.task(bind=True)
def report(self: Any) -> None:
    did(self.request, "report")
