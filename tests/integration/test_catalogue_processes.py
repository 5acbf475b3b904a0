"""The catalogue as it runs: workers that send the digest, and the mailbox that keeps it."""

from __future__ import annotations

import os
import re
import signal
import smtplib
import subprocess
import sys
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa
from celery import Celery
from click.testing import CliRunner
from kombu import pools

import steadybeat
from steadybeat.dev.leash import Child, spawn
from steadybeat.dev.servers import free_port
from tasks import digest, market
from tasks.mailbox import mailbox
from tests.eventually import eventually
from tests.integration.mailserver import MailServer, mail_server
from tests.integration.marketplace import add_account, marketplace

ROOT = Path(__file__).parents[2]

# The catalogue's app, which tries again sooner than a mail server would like.
QUICK = """
from tasks import app
app.conf.task_annotations = {"tasks.notifications.notify": {"retry_backoff": 0.1}}
"""

# Orders the same digest twice.
ORDER_TWICE = """
import sys
from tasks.notifications import notify
for _ in range(2):
    notify.apply_async((int(sys.argv[1]), sys.argv[2], "2026-W05"))
"""


class House:
    """A ledger with a marketplace, a mail server, and workers of notifications."""

    def __init__(
        self, folder: Path, database_url: str, redis_url: str, db_engine: sa.Engine, server: MailServer
    ) -> None:
        self.folder, self.db_engine, self.server = folder, db_engine, server
        self.env = {
            "STEADYBEAT_DATABASE_URL": database_url,
            "STEADYBEAT_REDIS_URL": redis_url,
            "STEADYBEAT_RETRY_BACKOFF_SECONDS": "0.1",
            "SMTP_URL": server.url,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        (folder / "quick.py").write_text(QUICK)
        self.workers: list[Child] = []
        self.relay = Celery("relay", set_as_current=False)
        self.relay.conf.update(steadybeat_database_url=database_url, steadybeat_redis_url=redis_url)
        steadybeat.install(self.relay)

    def work(self) -> Child:
        """Start a worker with one pool process."""
        name = f"worker{len(self.workers)}"
        options = ["-Q", "notifications", "-n", f"{name}@%h", "-c", "1", "--without-gossip", "--without-mingle"]
        argv = [sys.executable, "-m", "celery", "-A", "quick", "worker", "-l", "INFO", *options]
        self.workers.append(spawn(argv, env=self.env, cwd=self.folder, log=self.folder / f"{name}.log"))
        return self.workers[-1]

    def order_twice(self, account: int) -> None:
        argv = [sys.executable, "-c", ORDER_TWICE, str(account), digest.KIND]
        subprocess.run(argv, env={**os.environ, **self.env}, check=True, timeout=60)

    def ended(self) -> list[Any]:
        """Every run with its outcomes, once all have ended; nobody else relays, so this does."""
        self.relay.steadybeat.relay()
        statement = """
            SELECT state, result,
                ARRAY(SELECT outcome FROM steadybeat.attempts WHERE run = id ORDER BY number) AS outcomes
            FROM steadybeat.runs WHERE finished_at IS NOT NULL ORDER BY state
        """
        with self.db_engine.connect() as db:
            rows = list(db.execute(sa.text(statement)))
        return rows if len(rows) == 2 else []

    def logged(self) -> Any:
        """The only row of the notification log."""
        with self.db_engine.connect() as db:
            return db.execute(sa.select(market.notifications)).one()

    def close(self) -> None:
        for worker in self.workers:
            worker.end(((signal.SIGTERM, 5.0), (signal.SIGQUIT, 2.0)))
            print((self.folder / f"worker{self.workers.index(worker)}.log").read_text()[-4000:])
        self.relay.close()
        pools.reset()  # they are the process', by URL, and a closed one stays closed
        self.relay.steadybeat.ledger.database.close()


@pytest.fixture
def house(tmp_path: Path, ledger_url: str, redis_url: str) -> Iterator[House]:
    with mail_server() as server, marketplace(ledger_url) as db_engine:
        house = House(tmp_path, ledger_url, redis_url, db_engine, server)
        yield house
        house.close()


def test_two_workers_send_one_digest_though_it_is_ordered_twice_and_put_off_once(house: House) -> None:
    house.server.rcpt_replies = ["450 come back later"]
    account = add_account(house.db_engine)
    house.order_twice(account)
    house.work(), house.work()

    duplicate, sender = eventually(house.ended)

    assert (duplicate.state, sender.state) == ("cancelled", "succeeded")
    assert sender.outcomes == ["retried", "succeeded"]
    [message] = house.server.taken
    assert (house.logged().state, house.logged().message_id) == ("sent", message["Message-ID"])


def test_a_digest_whose_worker_died_while_the_server_had_it_is_unknown_and_not_sent_again(house: House) -> None:
    house.server.gate.clear()
    account = add_account(house.db_engine)
    house.order_twice(account)
    worker = house.work()
    eventually(house.server.arrived.is_set)
    [child] = psutil.Process(worker.pid).children()
    child.send_signal(signal.SIGKILL)
    eventually(lambda: not child.is_running())
    house.server.gate.set()

    _, second = eventually(house.ended)

    assert second.outcomes == ["lost", "succeeded"]
    assert second.result == {"state": "unknown"}
    assert len(house.server.taken) == 1
    assert (house.logged().state, house.logged().attempt_count) == ("unknown", 1)


@pytest.fixture
def start_mailbox(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(url: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "celery", "-A", "tasks", "mailbox", "--folder", str(tmp_path / "mail")]
        env = {**os.environ, "SMTP_URL": url, "PYTHONUNBUFFERED": "1"}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(argv, env=env, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_mailbox_keeps_what_it_gets_until_it_is_told_to_end(
    tmp_path: Path, start_mailbox: Callable[[str], subprocess.Popen[str]], number: signal.Signals
) -> None:
    port = free_port()
    process = start_mailbox(f"smtp://127.0.0.1:{port}")
    assert process.stdout is not None
    assert process.stdout.readline().startswith(f"mailbox at smtp://127.0.0.1:{port}, kept in ")
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Grüße", "a@x.example", "b@x.example"
    message.set_content("line\n.dot\n")
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as session:
        session.send_message(message)
        session.sendmail("a@x.example", ["c@x.example", "d@x.example"], b"no header\r\n")
    idle = smtplib.SMTP("127.0.0.1", port, timeout=30)  # one that hangs on does not keep it from ending

    process.send_signal(number)
    said, complaints = process.communicate(timeout=30)
    idle.close()

    assert process.returncode == 0, complaints
    assert complaints == ""
    first, second, last = said.splitlines()
    assert re.fullmatch(r"\d{8}T\d{6}\.\d{6}Z-1\.eml to b@x\.example: Grüße", first)
    assert second.endswith(" to c@x.example, d@x.example: (no subject)")
    assert last == "mailbox closed: 2 messages kept"
    one, two = (tmp_path / "mail" / line.split()[0] for line in (first, second))
    kept = message_from_bytes(one.read_bytes(), policy=policy.default)
    assert (kept["Subject"], kept["Return-Path"]) == ("Grüße", "<a@x.example>")
    assert kept.get_content().splitlines() == ["line", ".dot"]
    assert message_from_bytes(two.read_bytes())["Delivered-To"] == "c@x.example, d@x.example"
    assert sorted((tmp_path / "mail").iterdir()) == [one, two]


def test_the_mailbox_says_in_one_line_why_it_cannot_listen(tmp_path: Path) -> None:
    with mail_server() as server:
        for url, said in (
            (server.url, "nothing can listen there"),
            ("smtp://192.0.2.1:2525", "serves this machine only"),
            ("smtp://me:secret@127.0.0.1:2525", "serves this machine only"),
            ("", "SMTP_URL is not set"),
        ):
            refused = CliRunner().invoke(mailbox, ["--folder", str(tmp_path / "mail")], env={"SMTP_URL": url})
            assert refused.exit_code == 2
            assert said in refused.stderr
            assert refused.stderr.startswith("Error: SMTP_URL") and len(refused.stderr.splitlines()) == 1
            assert "secret" not in refused.stderr
