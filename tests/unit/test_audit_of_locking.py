"""Section 2 of the audit: of each line a task that passes, and one that does not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from steadybeat import SteadyTask, every
from steadybeat.task.request import SteadyRequest
from tests.audited import ROUTED, add_task, new_app, said

SECTION = [f"2.{number}" for number in range(1, 12) if number != 10]


class Outer(SteadyTask):
    """A base class of the app's own that stands in front of the claim."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task past its claim."""
        return self.run(*args, **kwargs)


class OwnRequest(SteadyRequest):
    """A request of the app's own that forgets lost processes."""

    def on_failure(self, *_: Any, **__: Any) -> Any:
        """Forget it."""


@pytest.mark.parametrize("line", SECTION)
def test_a_task_past_the_ledger_that_holds_nothing_fails_every_line(line: str) -> None:
    app = new_app(**ROUTED)
    add_task(app, recorded=False)

    verdict, evidence = said(line, app)

    assert verdict == "FAIL"
    assert evidence.startswith("recorded=False: its runs take no lease")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"base": Outer}, "test_audit_of_locking.Outer.__call__ stands in the place of SteadyTask's"),
        ({"Request": OwnRequest}, "OwnRequest.on_failure stands in the place of SteadyRequest's"),
        ({"Request": "celery.worker.request:Request"}, "celery.worker.request.Request does not write down time-outs"),
    ],
)
def test_an_app_that_puts_something_in_the_place_of_the_guard_fails(options: dict[str, Any], why: str) -> None:
    app = new_app()
    add_task(app, **options)

    verdict, evidence = said("2.1", app)

    assert verdict == "FAIL"
    assert why in evidence


def test_an_app_without_a_keeper_of_its_workers_fails() -> None:
    app = new_app()
    add_task(app)
    app.steps["worker"].clear()

    assert said("2.5", app)[0] == "FAIL"
    assert "lacks steadybeat.task:Keeper" in said("2.5", app)[1]


def test_a_task_is_guarded_by_its_claim_and_its_lock() -> None:
    app = new_app()
    add_task(app, lock="till", on_locked="wait")

    verdict, evidence = said("2.1", app)
    assert verdict == "PASS"
    assert evidence.endswith("SteadyTask.__call__ claims each run, recorded=True; besides, lock='till'")


def test_a_key_is_the_tasks_own() -> None:
    def pay(self: Any, sale_id: int) -> None:
        """Pay a sale."""

    app = new_app()
    add_task(app, key_template="sale:{sale_id}", code=pay)
    add_task(app, "shop.till.close", key_template="one")
    add_task(app, "shop.till.open", lock="till")
    add_task(app, "shop.mail.send", lock="till")
    add_task(app, "shop.till.count", lock="drawer")
    add_task(app, "shop.till.empty", lock="drawer")

    assert said("2.2", app) == ("PASS", "processed key (task shop.till.settle, key_template='sale:{sale_id}')")
    assert said("2.2", app, "shop.till.close")[0] == "FAIL"
    verdict, evidence = said("2.2", app, "shop.till.open")
    assert (verdict, "is also that of shop.mail.send, of another service" in evidence) == ("PARTIAL", True)
    assert said("2.2", app, "shop.till.count")[1].endswith("lock='drawer', shared with shop.till.empty")


def test_a_lease_outlives_the_time_limit_by_a_margin() -> None:
    app, bare = new_app(), new_app(steadybeat_lease_margin_seconds=0)
    threads = new_app(worker_pool="threads")
    for each in (app, bare, threads):
        add_task(each, time_limit=60, soft_time_limit=50)

    assert said("2.3", app) == (
        "PASS",
        "lease: start + time_limit=60 s + steadybeat_lease_margin_seconds=5 s",
    )
    assert said("2.3", bare)[0] == "FAIL"
    assert said("2.3", threads)[0] == "FAIL"
    assert "worker_pool='threads' enforces no time limit" in said("2.3", threads)[1]


def test_what_a_task_takes_by_itself_has_to_be_given_back_too() -> None:
    client = Redis()

    def straight(self: Any) -> None:
        lock = client.lock("till", timeout=5)
        if lock.acquire(blocking=False):
            self.app.now()
            lock.release()

    def careful(self: Any) -> None:
        with client.lock("till", timeout=5):
            self.app.now()

    app = new_app()
    add_task(app, code=straight)
    add_task(app, "shop.till.careful", code=careful)

    assert said("2.4", app)[0] == "FAIL"
    assert "only where nothing is raised" in said("2.4", app)[1]
    assert said("2.4", app, "shop.till.careful")[0] == "PASS"


def test_a_lease_is_renewed_often_enough_to_miss_one() -> None:
    app, tight = new_app(), new_app(steadybeat_lease_seconds=4, steadybeat_keeper_seconds=2)
    slow = new_app(steadybeat_lock_timeout_seconds=4)
    for each in (app, tight, slow):
        add_task(each, lock=True, on_locked="skip")

    assert said("2.5", app)[0] == "PASS"
    assert said("2.5", tight)[0] == "PARTIAL"
    assert said("2.5", slow)[0] == "PARTIAL"
    assert "may take 4 s" in said("2.5", slow)[1]


def test_what_becomes_of_a_run_that_finds_something_held_is_stated() -> None:
    app = new_app()
    rule = every(timedelta(minutes=5))
    add_task(app, schedule=rule, overlap="queue_one", lock="till", on_locked="skip")
    add_task(app, "shop.till.silent", schedule=rule, lock="till")

    verdict, evidence = said("2.6", app)
    assert verdict == "PASS"
    assert "is cancelled, with that as its reason: on_locked='skip'" in evidence
    assert "waits, unless another waits already: overlap='queue_one'" in evidence
    verdict, evidence = said("2.6", app, "shop.till.silent")
    assert (verdict, evidence.endswith("by default: on_locked=, overlap= of shop.till.silent")) == ("PARTIAL", True)


def test_nothing_runs_twice_while_redis_is_away() -> None:
    client = Redis()

    def reckless(self: Any) -> None:
        try:
            if not client.set("till", "1", nx=True, ex=60):
                return
        except Exception:  # noqa: BLE001 - what the test is about
            self.app.now()
        self.app.now()

    app = new_app()
    add_task(app, lock="till", on_locked="wait")
    add_task(app, "shop.till.reckless", code=reckless)

    assert said("2.8", app)[0] == "PASS"
    assert "a run that cannot ask for its lock waits" in said("2.8", app)[1]
    assert said("2.8", app, "shop.till.reckless")[0] == "FAIL"


def test_servers_of_locks_are_independent() -> None:
    def of(*urls: str) -> Any:
        app = new_app(steadybeat_lock_urls=list(urls))
        add_task(app, lock="till", on_locked="wait")
        add_task(app, "shop.till.free")
        return app

    apart = of("redis://one:6379", "redis://two:6379", "redis://three:6379")

    verdict, evidence = said("2.10", apart)
    assert verdict == "PASS"
    assert evidence.endswith("2 have to agree, less 0.152 s for the drift of clocks")
    assert said("2.10", apart, "shop.till.free")[0] == "N/A"
    assert said("2.10", of())[0] == "N/A"
    together = of("redis://one:6379", "redis://one:6380", "redis://two:6379")
    assert said("2.10", together)[0] == "FAIL"
    assert "several on host one" in said("2.10", together)[1]


def test_who_has_lost_a_run_cannot_commit() -> None:
    database: Any = None

    def fenced(self: Any) -> None:
        with self.exactly_once() as db:
            db.execute("UPDATE accounts SET balance = 0 WHERE id = 7")

    def open_hearted(self: Any) -> None:
        with database.begin() as db:
            db.execute("UPDATE accounts SET balance = 0 WHERE id = 7")

    app = new_app()
    add_task(app, code=fenced)
    add_task(app, "shop.till.open", code=open_hearted)
    add_task(app, "shop.till.idle")

    assert said("2.11", app)[0] == "PASS"
    assert "exactly_once() at" in said("2.11", app)[1]
    assert said("2.11", app, "shop.till.open")[0] == "PARTIAL"
    assert said("2.11", app, "shop.till.idle")[0] == "PASS"


def test_code_that_cannot_be_read_is_not_known() -> None:
    app = new_app()
    made: dict[str, Any] = {}
    exec("def unseen(self):\n    pass", made)
    add_task(app, code=made["unseen"])

    assert said("2.11", app)[0] == "UNKNOWN"
