"""A service whose task runs for each tenant, as the tests of fan-outs want it."""

from __future__ import annotations

from typing import Any

from tests.integration.working import Work

TENANTS = [f"t{number}" for number in range(40)]


class Shop:
    """Tasks of a service that mails: what they do for whom is in each test.

    Attributes:
        work: Its worker.
        told: What `report` was told.
        errors: What `send` raises, by tenant.
        options: Of the fan-out that `everybody` makes.
        tenants: Whom it is for.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.told: list[Any] = []
        self.errors: dict[str, Exception] = {}
        self.options: dict[str, Any] = {"concurrency": 5}
        self.tenants: Any = TENANTS
        app = work.app

        @app.task(name="shop.mail.send", bind=True, max_retries=2, retry_backoff=60, shared=False)
        def send(task: Any, tenant: str, **_: Any) -> str | None:
            if tenant in self.errors:
                raise self.errors[tenant].with_traceback(None)  # else that of each time comes on top
            work.done.append(tenant)
            return task.tenant

        @app.task(name="shop.report.report", shared=False)
        def report(counts: Any) -> None:
            self.told.append(counts)

        @app.task(name="shop.main.everybody", bind=True, max_retries=3, retry_backoff=1, shared=False)
        def everybody(task: Any) -> Any:
            return task.fan_out(send, self.tenants, **self.options)

        self.send, self.report, self.everybody = send, report, everybody

    def fanned_out(self) -> str:
        """Have `everybody` fan out, and return its run."""
        run = self.everybody.delay().id
        self.work.work("main")
        return run

    def finish(self, run: str) -> Any:
        """Have everybody's turn come, and return the run as it is then."""
        self.work.work("mail")
        return self.work.run(run)


def counts(succeeded: int = 0, failed: int = 0, cancelled: int = 0, skipped: int = 0) -> dict[str, int]:
    return {"succeeded": succeeded, "failed": failed, "cancelled": cancelled, "skipped": skipped}
