"""`celery -A … call`: a task that nobody has, and a queue that nobody consumes, do not look like success."""

from __future__ import annotations

import json
import uuid
from typing import Any

import click
import pytest
from celery.bin.celery import celery

from steadybeat.commands.calling import call
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import TaskRow
from tests.integration.commands.shop import MakeApp, Run, refusal, said


def consuming(book: Ledger, *queues: str, lease_is_over: bool = False) -> str:
    """A worker that takes runs from some queues."""
    worker = str(uuid.uuid4())
    book.instances.sign_of_life(worker, role="worker", host="a-host", pid=77, release="0", queues=queues)
    if lease_is_over:
        end = "UPDATE steadybeat.instances SET expires_at = '2026-01-01T06:00:00Z' WHERE id = %s"
        with book.database.transaction() as connection:
            connection.exec_driver_sql(end, (worker,))
    return worker


def runs(run: Run) -> list[Any]:
    return list(said(run("runs", "list", "--json")))


def test_it_is_celerys_own_command_that_is_careful() -> None:
    assert celery.commands["call"] is call


def test_a_task_that_nobody_has_is_refused_with_the_nearest_and_nothing_is_sent(run: Run, book: Ledger) -> None:
    consuming(book, "billing")
    line = refusal(run("call", "shop.billing.chrage", "-a", "[1]"))
    assert line == (
        "NAME='shop.billing.chrage': there is no such task; nothing was sent. Did you mean 'shop.billing.charge'?"
    )
    assert runs(run) == []


def test_a_call_that_a_worker_takes_prints_its_id_and_nothing_else(run: Run, book: Ledger) -> None:
    consuming(book, "billing")
    result = run("call", "shop.billing.charge", "-a", "[1]")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [each["id"] for each in runs(run)] == result.stdout.split()


def test_a_call_to_a_queue_that_nobody_ever_consumed_is_on_record_and_a_finding(run: Run, book: Ledger) -> None:
    consuming(book, "mail")
    result = run("call", "shop.billing.charge", "-a", "[1]")
    (one,) = runs(run)
    assert (result.exit_code, result.stdout) == (1, f"{one['id']}\n")
    assert result.stderr == (
        f"Run {one['id']} waits. No worker consumes from queue 'billing'. None ever did."
        " Start one: celery -A … worker -Q billing\n"
    )


def test_it_is_said_who_consumed_last(run: Run, book: Ledger) -> None:
    consuming(book, "billing", lease_is_over=True)
    result = run("call", "shop.billing.charge", "-a", "[1]")
    assert "'billing'. The last was a-host:77, until 2026-01-01 06:00:00Z. Start one:" in result.stderr


def test_of_a_worker_that_ended_in_good_order_it_is_said_when_it_began_last(
    run: Run, book: Ledger, app: Any, instance: str
) -> None:
    sent = app.send_task("shop.billing.charge", (1,)).id
    claim = book.runs.claim(sent, delivery_no=1, instance=instance, time_limit_seconds=60, crash_limit=3)
    assert claim.verdict == "claimed"
    book.instances.leave(instance)
    assert "One did last at 20" in run("call", "shop.billing.charge", "-a", "[1]").stderr


def test_a_worker_that_does_not_say_what_it_consumes_gets_the_benefit_of_the_doubt(run: Run, instance: str) -> None:
    assert run("call", "shop.billing.charge", "-a", "[1]").exit_code == 0


@pytest.mark.parametrize(("queue", "code"), [("mail", 0), ("billing", 1)])
def test_the_queue_that_is_named_counts(run: Run, book: Ledger, queue: str, code: int) -> None:
    consuming(book, "mail")
    found = said(run("call", "shop.billing.charge", "-a", "[1]", "--queue", queue, "--json"), code)
    assert (found["queue"], found["consumed"]) == (queue, not code)
    assert found["task"] == "shop.billing.charge"
    assert ("No worker consumes" in found["text"]) is bool(code)
    assert said(run("runs", "show", found["run"], "--json"))["queue"] == queue


def test_a_queue_that_does_not_exist_is_refused_with_the_nearest(run: Run) -> None:
    assert "queue='bilin': there is no such queue. Did you mean 'billing'?" in refusal(
        run("call", "shop.billing.charge", "--queue", "bilin")
    )
    assert runs(run) == []


def test_a_task_of_another_service_is_known_by_what_its_deploy_has_told(
    run: Run, book: Ledger, make_app: MakeApp
) -> None:
    app = make_app(steadybeat_services=("stock",))
    told = [TaskRow(name="their.stock.count", service="stock", depends_on=[])]
    book.tasks.describe(told, ["stock"])
    consuming(book, "stock")
    assert run("call", "their.stock.count", app=app).exit_code == 0
    line = refusal(run("call", "their.stock.cuont", app=app))
    assert "Did you mean 'their.stock.count'?" in line


def test_a_service_that_has_told_nothing_of_its_tasks_is_believed(run: Run, book: Ledger, make_app: MakeApp) -> None:
    app = make_app(steadybeat_services=("stock",))
    assert run("call", "their.stock.count", app=app).exit_code == 1
    consuming(book, "stock")
    assert run("call", "their.stock.count", app=app).exit_code == 0


def test_a_call_by_an_exchange_is_left_to_whoever_names_one(run: Run) -> None:
    found = said(run("call", "shop.billing.charge", "-a", "[1]", "--routing-key", "billing", "--json"))
    assert (found["queue"], found["consumed"]) == (None, None)


def test_a_task_that_needs_no_ledger_is_sent_while_that_is_away_and_nobody_knows_who_takes_it(
    run: Run, make_app: MakeApp
) -> None:
    away = make_app(steadybeat_database_url="postgresql://127.0.0.1:1/nowhere")

    @away.task(name="shop.mail.ping", recorded=False, shared=False)
    def ping() -> None: ...

    result = run("call", "shop.mail.ping", app=away)
    assert result.exit_code == 1
    assert "Nobody knows whether a worker consumes from its queue: Postgres does not answer." in result.stderr
    assert "does not answer" in refusal(run("call", "shop.billing.charge", app=away))


def test_a_run_whose_message_redis_does_not_take_is_on_record_for_the_relay(
    run: Run, book: Ledger, make_app: MakeApp
) -> None:
    consuming(book, "billing")
    away = make_app(steadybeat_redis_url="redis://127.0.0.1:1/0")
    found = said(run("call", "shop.billing.charge", "-a", "[1]", "--json", app=away))
    assert said(run("runs", "show", found["run"], "--json"))["state"] == "enqueued"


def test_without_an_app_and_a_broker_it_says_where_the_app_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    from celery import Celery
    from click.testing import CliRunner

    plain = Celery(set_as_current=False)
    result = CliRunner().invoke(celery, ["call", "shop.mail.digest"], default_map={"app": plain})
    assert refusal(result) == (
        "No app is given, and no broker; nothing was sent. Name your app before the sub-command: celery -A tasks call"
        " shop.mail.digest"
    )


def test_an_app_without_steadybeat_is_left_to_celery(redis_url: str) -> None:
    from celery import Celery
    from click.testing import CliRunner

    theirs = Celery("theirs", broker=redis_url, set_as_current=False)
    result = CliRunner().invoke(celery, ["call", "nobody.has.it", "--json"], default_map={"app": theirs})
    assert result.exit_code == 0
    assert json.loads(result.stdout)["consumed"] is None
    theirs.close()


def test_the_options_of_celerys_command_are_all_there() -> None:
    names = [name for each in call.params if isinstance(each, click.Option) for name in each.opts]
    assert names == [
        "-a", "--args", "-k", "--kwargs", "--eta", "--countdown", "--expires", "--serializer", "--queue",
        "--exchange", "--routing-key", "--json",
    ]  # fmt: skip
