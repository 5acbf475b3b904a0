"""The catalogue's two jobs for each of 5,000 accounts, with real workers: who fails, who is left out, who is served."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa
from celery import Celery
from kombu import pools

import steadybeat
from steadybeat.dev.leash import Child, spawn
from tasks import billing, trial_notice
from tasks.fill import fill
from tasks.sample import Sample
from tests.acceptance.installation import SHORT_TIMES
from tests.eventually import eventually
from tests.integration.mailserver import MailServer, mail_server
from tests.integration.marketplace import marketplace

ROOT = Path(__file__).parents[2]
ACCOUNT_COUNT = 5_000
sample = partial(Sample, account_count=ACCOUNT_COUNT, order_count=12_000, sale_count=12_500)

BILL, REMIND, CLOSE = "tasks.billing.bill_month", "tasks.notifications.remind", "tasks.billing.close_month"

# Every tenth account is on trial; all of these end in two days.
TRIALS = """
    UPDATE market.trials SET state = 'trial', ended_at = NULL,
           started_at = now() - interval '28 days', ends_at = now() + interval '2 days'
"""

BOUGHT = """
    SELECT buyer_id, sum(amount_cents) AS net FROM market.orders WHERE paid_at >= :begin AND paid_at < :end GROUP BY 1
"""


class House:
    """5,000 accounts, a mail server, a watchdog and workers of billing and notifications."""

    def __init__(
        self, folder: Path, database_url: str, redis_url: str, db_engine: sa.Engine, server: MailServer
    ) -> None:
        self.folder, self.db_engine, self.server = folder, db_engine, server
        self.env = {
            **SHORT_TIMES,
            "STEADYBEAT_DATABASE_URL": database_url,
            "STEADYBEAT_REDIS_URL": redis_url,
            "STEADYBEAT_HEALTH_FOLDER": str(folder / "health"),
            "SMTP_URL": server.url,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        self.processes: list[Child] = []
        self.caller: Any = Celery("caller", set_as_current=False)
        self.caller.conf.update(
            steadybeat_database_url=database_url,
            steadybeat_redis_url=redis_url,
            steadybeat_services=("billing", "notifications"),
        )
        steadybeat.install(self.caller)
        self.tenants = self.caller.steadybeat.ledger.tenants

    def start(self, *argv: str) -> Child:
        log = self.folder / f"{len(self.processes)}.log"
        argv = (sys.executable, "-m", "celery", "-A", "tasks", *argv, "-l", "WARNING")
        self.processes.append(spawn(argv, env=self.env, cwd=self.folder, log=log))
        return self.processes[-1]

    def work(self) -> Child:
        name = f"worker{len(self.processes)}@%h"
        quiet = ["--without-gossip", "--without-mingle"]
        return self.start("worker", "-Q", "billing,notifications", "-n", name, "-c", "2", *quiet)

    def rows(self, statement: str, **values: Any) -> list[Any]:
        with self.db_engine.connect() as db:
            return list(db.execute(sa.text(statement), values))

    def ids(self, condition: str) -> set[int]:
        return {row.id for row in self.rows(f"SELECT id FROM market.accounts WHERE {condition}")}

    def succeeded_count(self) -> int:
        [(count,)] = self.rows("SELECT count(*) FROM steadybeat.runs WHERE fan_out IS NOT NULL AND state = 'succeeded'")
        return int(count)

    def unfinished_count(self) -> int:
        [(count,)] = self.rows("SELECT count(*) FROM steadybeat.runs WHERE finished_at IS NULL")
        return int(count)

    def whole(self, task: str) -> Any:
        """The run of a task that fanned out."""
        [row] = self.rows("SELECT * FROM steadybeat.runs WHERE task = :task AND fan_out IS NULL", task=task)
        return row

    def dead_letters(self, task: str) -> dict[int, str]:
        """Why which tenants' runs of a fan-out are dead."""
        dead = self.rows(
            "SELECT tenant, reason FROM steadybeat.runs WHERE fan_out = :run AND state = 'dead'",
            run=self.whole(task).id,
        )
        return {int(row.tenant): row.reason for row in dead}

    def skipped(self, task: str) -> dict[int, str]:
        """Why which tenants of a fan-out were left out."""
        skipped = self.rows(
            "SELECT tenant, reason FROM steadybeat.skipped_tenants WHERE run = :run", run=self.whole(task).id
        )
        return {int(row.tenant): row.reason for row in skipped}

    def close(self) -> None:
        for process in self.processes:
            process.end(())
        for log in sorted(self.folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text()[-3000:]}")
        self.caller.close()
        pools.reset()  # they are the process', by URL, and a closed one stays closed
        self.caller.steadybeat.ledger.database.close()


@pytest.fixture
def house(tmp_path: Path, ledger_url: str, redis_url: str) -> Iterator[House]:
    with mail_server() as server, marketplace(ledger_url) as db_engine:
        with db_engine.begin() as db:
            as_of = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            fill(db, sample(as_of), lambda part, written_count: None)
            db.execute(sa.text(TRIALS))
        house = House(tmp_path, ledger_url, redis_url, db_engine, server)
        yield house
        house.close()


def test_of_5000_accounts_each_is_billed_and_reminded_once_but_for_those_who_lack_something_or_are_left_out(
    house: House,
) -> None:
    month = billing.month_before(datetime.now(UTC))
    everybody, on_trial = house.ids("true"), house.ids("id % 10 = 0")
    untaxed, unreachable = house.ids("country = 'AQ'"), house.ids("email LIKE '%ä%' AND id % 10 = 0")
    left_out = {4_000, 4_444, min(untaxed), min(unreachable)}
    for policy in (billing.POLICY, trial_notice.KIND):
        names = [str(each) for each in left_out]
        house.tenants.rule(policy, names, "excluded", who="ada", reason="in court", until=None)
    house.server.slow = {row.email for row in house.rows("SELECT email FROM market.accounts WHERE id % 100 = 0")}

    workers = [house.work(), house.work()]
    house.start("watchdog")
    house.caller.send_task(BILL, kwargs={"month": month})
    house.caller.send_task(REMIND)
    eventually(lambda: house.succeeded_count() > 500)
    psutil.Process(workers[0].pid).children()[0].send_signal(signal.SIGKILL)  # whatever it is at
    eventually(lambda: house.unfinished_count() == 0, seconds=120)

    for task, tenants, lacking, said in (
        (BILL, everybody, untaxed - left_out, "has no tax rate"),
        (REMIND, on_trial, unreachable - left_out, "is not ASCII"),
    ):
        dead, skipped = house.dead_letters(task), left_out & tenants
        assert dead.keys() == lacking
        assert all(said in reason for reason in dead.values())
        assert house.skipped(task) == dict.fromkeys(skipped, "excluded by ada: in court")
        counts = {"failed": len(dead), "cancelled": 0, "skipped": len(skipped)}
        counts["succeeded"] = len(tenants) - len(dead) - len(skipped)
        assert (house.whole(task).state, house.whole(task).result) == ("succeeded", counts)
    billed_once(house, month, untaxed | left_out)
    reminded_once(house, on_trial - unreachable - left_out)


def billed_once(house: House, month: str, without: set[int]) -> None:
    """Everybody who bought something has one invoice, over what was bought, and the month is closed once."""
    begin, end = billing.bounds_of(month)
    bought = house.rows(BOUGHT, begin=begin, end=end)
    invoices = house.rows(
        "SELECT account_id, net_cents FROM market.invoices WHERE month = :month AND state = 'issued'", month=month
    )
    assert Counter((row.account_id, row.net_cents) for row in invoices) == Counter(
        (row.buyer_id, row.net) for row in bought if row.buyer_id not in without
    )
    assert len(invoices) > 500
    [closed] = house.rows("SELECT * FROM market.billed_months")
    assert (closed.month, closed.state, closed.invoice_count) == (month, "succeeded", len(invoices))
    assert (closed.billed_count, closed.failed_count + closed.skipped_count) == (
        ACCOUNT_COUNT - len(without),
        len(without),
    )
    assert len(house.rows("SELECT FROM steadybeat.runs WHERE task = :task", task=CLOSE)) == 1


def reminded_once(house: House, accounts: set[int]) -> None:
    """Each has one mail; but the one that a process was killed with, of which nobody may ever know."""
    wanted = {row.email for row in house.rows("SELECT id, email FROM market.accounts") if row.id in accounts}
    taken = Counter(message["To"].addresses[0].addr_spec for message in house.server.taken)
    log = Counter(row.state for row in house.rows("SELECT state FROM market.notifications WHERE kind = 'trial-notice'"))
    assert taken.keys() <= wanted
    assert set(taken.values()) == {1}
    assert len(wanted - taken.keys()) <= log["unknown"] <= 1
    assert log["sent"] + log["unknown"] == len(wanted)
