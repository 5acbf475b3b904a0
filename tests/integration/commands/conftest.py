"""An app with three services, and its commands run in this process."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from celery.bin.celery import celery
from click.testing import CliRunner, Result

import steadybeat
from steadybeat import cron
from steadybeat.ledger import Ledger
from tests.integration.commands.shop import MakeApp, Run


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("STEADYBEAT_"):
            monkeypatch.delenv(name)


@pytest.fixture
def make_app(ledger_url: str, redis_url: str) -> Iterator[MakeApp]:
    """Makes apps of a shop, on one ledger: its mail and its billing."""
    made: list[Any] = []

    def make(rule: Any = None, **settings: Any) -> Any:
        app = Celery("shop", set_as_current=False)
        given = {"steadybeat_database_url": ledger_url, "steadybeat_redis_url": redis_url}
        app.conf.update(given | settings)
        steadybeat.install(app)
        rule = rule or cron("0 6 * * *", tz="UTC")

        @app.task(name="shop.mail.digest", schedule=rule, jitter=timedelta(minutes=1), shared=False)
        def digest() -> None: ...

        @app.task(name="shop.billing.charge", severity="critical", shared=False)
        def charge(account_id: int, token: str = "") -> None: ...

        @app.task(name="shop.billing.report", shared=False)
        def report(*_: Any) -> None: ...

        made.append(app)
        return app

    yield make
    for app in made:
        app.steadybeat.ledger.database.close()
        app.close()


@pytest.fixture
def app(make_app: MakeApp) -> Any:
    return make_app()


@pytest.fixture
def run(app: Any) -> Run:
    """Runs a sub-command as `celery -A … <arguments>`, in this process."""

    def invoke(*arguments: str, app: Any = app) -> Result:
        return CliRunner().invoke(celery, [str(each) for each in arguments], default_map={"app": app})

    return invoke


@pytest.fixture
def book(app: Any) -> Ledger:
    return Ledger.of(app)


@pytest.fixture
def instance(book: Ledger) -> str:
    instance = str(uuid.uuid4())
    book.instances.sign_of_life(instance, role="worker", host="here", pid=7, release="0")
    return instance
