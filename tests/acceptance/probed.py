"""An app whose tasks are tried by probes: some make their effect once, others do not, and nobody could tell by looking.

``python -m tests.acceptance.probed`` makes its tables in the scratch database.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from celery import Celery

import steadybeat

URL = sa.make_url(os.environ.get("STEADYBEAT_DATABASE_URL", "postgresql://nowhere")).set(
    drivername="postgresql+psycopg"
)
MAILS = Path("mails")  # where the driver of a probe, and what the application keeps running, have their folder

metadata = sa.MetaData(schema="shop")
notes = sa.Table(
    "notes", metadata, sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True), sa.Column("text", sa.Text)
)
stock = sa.Table(
    "stock", metadata, sa.Column("item", sa.Text, primary_key=True), sa.Column("left_count", sa.Integer, nullable=False)
)

app: Any = Celery("probed")
app.conf.steadybeat_audit_prepare = (f"$ {sys.executable} -m tests.acceptance.probed",)
app.conf.steadybeat_audit_environment = ("MAILS={folder}/commands/mails",)
steadybeat.install(app)


def engine() -> sa.Engine:
    return sa.create_engine(URL, poolclass=sa.NullPool)


def an_item(db: sa.Connection) -> tuple[str]:
    db.execute(sa.insert(stock).values(item="lamp", left_count=10))
    return ("lamp",)


def mail_count() -> int:
    return len(MAILS.read_text().splitlines()) if MAILS.exists() else 0


@app.task(bind=True, audit_args=("hello",))
def note_once(self: Any, text: str) -> None:
    with self.exactly_once() as db:
        db.execute(sa.insert(notes).values(text=text))


@app.task(bind=True, audit_args=("hello",))
def note_again(self: Any, text: str) -> None:
    """Nothing keeps an attempt after a killed one from writing a second row."""
    with engine().begin() as db:
        db.execute(sa.insert(notes).values(text=text))


@app.task(audit_args=("hello",), recorded=False)
def note_unrecorded(text: str) -> None:
    with engine().begin() as db:
        db.execute(sa.insert(notes).values(text=text))


@app.task(audit_args=an_item)
def take_from_stock(item: str) -> None:
    """As many rows as there were, and another value in one of them each time."""
    with engine().begin() as db:
        db.execute(sa.update(stock).where(stock.c.item == item).values(left_count=stock.c.left_count - 1))


@app.task(audit_args=an_item)
def set_stock(item: str) -> None:
    with engine().begin() as db:
        db.execute(sa.update(stock).where(stock.c.item == item).values(left_count=7))


@app.task(audit_args=an_item, audit_count=0)
def read_stock(item: str) -> int:
    with engine().connect() as db:
        return int(db.scalar(sa.select(stock.c.left_count).where(stock.c.item == item)) or 0)


@app.task(audit_args=("ann@example.com",), audit_count=mail_count)
def mail_again(address: str) -> None:
    """Its attempt is killed while it waits: the mail has gone out, and the next attempt sends it again."""
    with Path(os.environ["MAILS"]).open("a") as sent:
        sent.write(f"{address}\n")
    with engine().begin() as db:
        db.execute(sa.text("SELECT 1"))


@app.task(audit_args=("ann@example.com",), depends_on=["smtp"])
def mail_uncounted(address: str) -> None:
    with engine().begin() as db:
        db.execute(sa.insert(notes).values(text=address))


@app.task(audit_args=("nothing",))
def fails(item: str) -> None:
    raise steadybeat.Permanent(f"{item}: there is no such item")


@app.task
def untried(item: str) -> None:
    raise AssertionError("nobody may try what says nothing of how")


if __name__ == "__main__":
    with engine().begin() as connection:
        connection.execute(sa.schema.CreateSchema("shop"))
        metadata.create_all(connection)
