"""Tasks of the service billing that fail, each in its own way."""

from __future__ import annotations

import os
import signal
import threading
import urllib.request
from datetime import timedelta
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded

from shop import app, witness
from steadybeat import Cancel, Permanent, Snooze, Transient

SOON = timedelta(seconds=0.3)
WORDS = {
    "transient": Transient("the bank is busy", after=SOON),
    "permanent": Permanent("the card is stolen"),
    "snooze": Snooze(SOON, "the bank is closed"),
    "cancel": Cancel("the order was withdrawn"),
}


def fail(task: Any, name: str, error: Exception, times: int) -> None:
    """Raise an error the first times, then make an effect."""
    witness.started(task, name)
    if witness.count(name) <= times:
        raise error
    with task.exactly_once() as db:
        witness.effect(task, db, name)


@app.task(bind=True, max_retries=2)
def say(self: Any, name: str, word: str, times: int) -> None:
    """Say what becomes of the run."""
    fail(self, name, WORDS[word], times)


@app.task(bind=True, autoretry_for=(Exception,), retry_backoff=True, max_retries=2)
def say_behind_autoretry(self: Any, name: str, word: str, times: int) -> None:
    """Say what becomes of the run, where Celery would retry whatever it is."""
    fail(self, name, WORDS[word], times)


@app.task(bind=True, autoretry_for=(OSError,), dont_autoretry_for=(ConnectionError,))
def listed(self: Any, name: str, kind: str) -> None:
    """Fail with an error that Celery's options have, or have not."""
    error = {"ConnectionError": ConnectionError, "OSError": OSError, "KeyError": KeyError}[kind]("no answer")
    fail(self, name, error, 1)


@app.task(bind=True, classify=lambda error: Permanent if "stolen" in str(error) else None)
def classified(self: Any, name: str, text: str) -> None:
    """Fail once, with an error that the task's classifier may know."""
    fail(self, name, ValueError(text), 1)


@app.task(bind=True)
def fetch(self: Any, name: str, url: str) -> None:
    """Ask a server, which may ask to be asked later."""
    witness.started(self, name)
    with urllib.request.urlopen(url):
        pass
    with self.exactly_once() as db:
        witness.effect(self, db, name)


@app.task(bind=True, max_retries=None, retry_for=timedelta(seconds=5))
def bounded(self: Any, name: str) -> None:
    """Never succeed."""
    fail(self, name, ConnectionError("no answer"), 1000)


@app.task(bind=True, retry_for=timedelta(milliseconds=50))
def bounded_and_lost(self: Any, name: str) -> None:
    """Kill its process."""
    witness.started(self, name)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True, max_retries=5)
def gives_up_early(self: Any, name: str) -> None:
    """Retry by hand, no more than once."""
    try:
        fail(self, name, ValueError("not yet"), 1000)
    except ValueError as error:
        raise self.retry(exc=error, countdown=0.2, max_retries=1) from error


@app.task(bind=True, soft_time_limit=1, time_limit=4, max_retries=1)
def deaf(self: Any, name: str) -> None:
    """Go on past the soft time limit once, until the process is killed."""
    if witness.only_once(f"deaf-{name}"):
        go_on()
    with self.exactly_once() as db:
        witness.effect(self, db, name)


@app.task(bind=True, soft_time_limit=1, time_limit=2, max_retries=0)
def stone_deaf(self: Any) -> None:
    """Go on past the soft time limit, until the process is killed."""
    go_on()


def go_on() -> None:
    """Heed no soft time limit."""
    while True:
        try:
            threading.Event().wait(30)
        except SoftTimeLimitExceeded:
            continue
