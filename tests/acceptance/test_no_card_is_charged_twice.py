"""Promise: a card is charged once and a token minted once, whatever the provider answers and whoever is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from steadybeat.dev.leash import Child, spawn
from steadybeat.dev.servers import free_port
from tasks import market
from tests.acceptance.installation import SHORT_TIMES
from tests.eventually import eventually, gone
from tests.integration.marketplace import add, add_account, add_order, marketplace
from tests.integration.payments import rows_of

ROOT = Path(__file__).parents[2]
PAYMENT_COUNT = 32
TICKET_COUNT = 6
KILL_COUNT = 8
CARDS = ("visa-1", "visa-2", "empty-3", "visa-4")

# What the provider does with its requests, over and over; two that go well come in a row, or nothing would ever end.
MISCHIEF = "well,well,lose,well,well,500,429,well,well,late,well,well,garble,503"

# The catalogue's app, with less patience.
QUICK = """
from datetime import timedelta
from tasks import app, gateway, minting
gateway.ANSWER_SECONDS = 1.0
minting.VALID, minting.MARGIN = timedelta(seconds=1.5), timedelta(seconds=0.2)
quick = {"retry_backoff": 0.1, "retry_backoff_max": 0.5, "max_retries": 200}
slow = ("cards.charge", "cards.retry_failed", "minting.mint", "minting.order_mints", "sync.pull_charges")
app.conf.task_annotations = {"tasks." + name: quick for name in slow}
"""

ORDER = """
import quick, sys
quick.app.loader.import_default_modules()
for name in sys.argv[1:]:
    quick.app.tasks["tasks." + name].apply_async()
"""


class House:
    """A marketplace that is owed money, a provider, a watchdog and a worker of the money services."""

    def __init__(self, folder: Path, database_url: str, redis_url: str, db_engine: sa.Engine) -> None:
        self.folder, self.db_engine, self.book = folder, db_engine, folder / "provider.sqlite"
        self.port = free_port()
        self.env = {
            **SHORT_TIMES,
            "STEADYBEAT_CRASH_COUNT": "100",  # they are killed on purpose
            "STEADYBEAT_DATABASE_URL": database_url,
            "STEADYBEAT_REDIS_URL": redis_url,
            "STEADYBEAT_HEALTH_FOLDER": str(folder / "health"),
            "PROVIDER_URL": f"http://127.0.0.1:{self.port}",
            "PYTHONPATH": os.pathsep.join([".", str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        (folder / "quick.py").write_text(QUICK)
        self.processes: list[tuple[str, Child]] = []

    def start(self, name: str, *argv: str) -> Child:
        child = spawn([sys.executable, *argv], env=self.env, cwd=self.folder, log=self.folder / f"{name}.log")
        self.processes.append((name, child))
        return child

    def provide(self) -> Child:
        """Start the provider, from its book where it has one."""
        run = "import sys; from tasks.provider import provider; provider()"
        return self.start("provider", "-c", run, "--book", str(self.book))

    def work(self) -> Child:
        """Start a worker, and return before it is ready."""
        name = f"worker{len(self.processes)}"
        quiet = ["--without-gossip", "--without-mingle", "-l", "INFO"]
        queues = ["-Q", "cards,minting,sync", "-c", "2", "-n", f"{name}@%h"]
        return self.start(name, "-m", "celery", "-A", "quick", "worker", *queues, *quiet)

    def kill_one_at_work(self, worker: Child, chance: random.Random) -> None:
        """Kill one of the processes in which a worker, once it is ready, runs its tasks."""
        [log] = [self.folder / f"{name}.log" for name, child in self.processes if child is worker]
        eventually(lambda: '"event": "worker ready"' in log.read_text())
        with suppress(psutil.NoSuchProcess):
            chance.choice(eventually(psutil.Process(worker.pid).children)).kill()

    def order(self, *names: str) -> None:
        """Have tasks of the catalogue run once."""
        argv = [sys.executable, "-c", ORDER, *names]
        subprocess.run(argv, env={**os.environ, **self.env}, cwd=self.folder, check=True, timeout=60)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data=json.dumps(body).encode() if body else None, method=method
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def request_count(self) -> int:
        """How many requests the provider has had; -1 while it is not there."""
        try:
            return int(self.ask("GET", "/mischief")["request_count"])
        except OSError:
            return -1

    def rows(self, statement: sa.Executable | str) -> list[Any]:
        with self.db_engine.connect() as db:
            return list(db.execute(sa.text(statement) if isinstance(statement, str) else statement))

    def unfinished_count(self) -> int:
        [(count,)] = self.rows("SELECT count(*) FROM steadybeat.runs WHERE finished_at IS NULL")
        return int(count)

    def close(self) -> None:
        for name, child in self.processes:
            child.end(())
            print(f"--- {name}: {child.ending}")
        for log in self.folder.glob("*.log"):
            print(f"--- {log.name}\n{log.read_text()[-3000:]}")


@pytest.fixture
def house(tmp_path: Path, ledger_url: str, redis_url: str) -> Iterator[House]:
    with marketplace(ledger_url) as db_engine:
        house = House(tmp_path, ledger_url, redis_url, db_engine)
        yield house
        house.close()


def owe(db_engine: sa.Engine) -> None:
    """Owe the marketplace money for card payments, and somebody with a wallet tokens."""
    buyer = add_account(db_engine)
    ago = datetime.now(UTC) - timedelta(days=1)
    with db_engine.begin() as db:
        db.execute(sa.insert(market.wallets).values(account_id=buyer, address="0x01", opened_at=ago - timedelta(1)))
        for number in range(PAYMENT_COUNT):
            owed = {"account_id": buyer, "period": str(number), "amount_cents": 100 + number, "failed_at": ago}
            card = CARDS[number % len(CARDS)]
            add(db, market.card_payments, **owed, card=card, try_at=ago, reason="insufficient_funds")
    add_order(db_engine, buyer, state="paid", at=ago, seats=TICKET_COUNT)


def test_the_providers_book_and_ours_agree_after_kills_at_random_points(house: House) -> None:
    owe(house.db_engine)
    provider, worker = house.provide(), house.work()
    house.start("watchdog", "-m", "celery", "-A", "quick", "watchdog", "-l", "WARNING")
    eventually(lambda: house.request_count() >= 0)
    plan = {"plan": MISCHIEF.split(","), "repeat": True, "stall_seconds": 1.2}
    house.ask("PUT", "/mischief", plan)
    house.order("cards.retry_failed", "minting.order_mints")

    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for number in range(KILL_COUNT):
        before, more = house.request_count(), chance.randint(1, 8)
        eventually(lambda at=before + more: house.request_count() >= at or house.unfinished_count() == 0)
        if number % 6 == 3:
            provider.send(signal.SIGKILL)
            eventually(partial(gone, provider.pid))
            provider = house.provide()
            eventually(lambda: house.request_count() >= 0)
            house.ask("PUT", "/mischief", plan)
        elif number % 6 == 5:
            worker.send_group(signal.SIGKILL)
            worker = house.work()
        else:
            house.kill_one_at_work(worker, chance)

    eventually(lambda: house.unfinished_count() == 0, seconds=120)
    house.order("sync.pull_charges")
    eventually(lambda: house.unfinished_count() == 0)
    agrees(house)


def agrees(house: House) -> None:
    """Compare the provider's book with our tables; the ledger is not asked."""
    charges, tokens = rows_of(house.book, "charges"), rows_of(house.book, "tokens")
    payments = house.rows(sa.select(market.card_payments).order_by(market.card_payments.c.id))
    mints = house.rows(sa.select(market.mints))

    of_payment = Counter(each["reference"] for each in charges)
    assert of_payment == {f"card-payment:{each.id}": 1 for each in payments}
    assert {(each.charge_id, each.amount_cents) for each in payments if each.state == "paid"} == {
        (each["id"], each["amount_cents"]) for each in charges if each["state"] == "paid"
    }
    assert {(each.state, each.try_count) for each in payments if each.card.startswith("empty")} == {("failed", 1)}
    synced = house.rows(sa.select(market.provider_charges))
    assert {(each.id, each.state) for each in synced} == {(each["id"], each["state"]) for each in charges}
    assert Counter(each["ticket_id"] for each in tokens) == {each.ticket_id: 1 for each in mints}
    assert {each.token for each in mints} == {each["token"] for each in tokens}
    assert len(payments) == PAYMENT_COUNT and len(mints) == TICKET_COUNT
