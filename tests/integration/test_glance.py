"""Promise: a glance at the ledger is short, however much is in it."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa

from steadybeat.ledger import Ledger, glance

VALUES = {"missed_seconds": 30.0, "late_seconds": 120.0, "row_count": 8}
ASKED = {name: each for name, each in vars(glance).items() if isinstance(each, sa.TextClause)}


def plan(ledger: Ledger, statement: sa.TextClause) -> str:
    values = {name: value for name, value in VALUES.items() if name in statement._bindparams}
    explained = sa.text(f"EXPLAIN {statement.text}").bindparams(*statement._bindparams.values())
    with ledger.database.transaction() as connection:
        connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        return "\n".join(row[0] for row in connection.execute(explained, values))


@pytest.mark.parametrize("name", ASKED)
def test_no_statement_reads_runs_fires_or_the_outbox_as_a_whole(ledger: Ledger, name: str) -> None:
    found = plan(ledger, ASKED[name])
    assert not re.search(r"Seq Scan on (runs|fires|outbox)\b", found), found
    assert not re.search(r"(Index Scan|Index Only Scan).* using (runs|outbox)_pkey", found), found


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("_OVERDUE", "fires_due"),
        ("_MISSED", "fires_missed"),
        ("_LATE", "runs_open_of_schedule"),
        ("_DEAD", "runs_dead"),
        ("_WAITING", "runs_open"),
        ("_OUTBOX", "outbox_publish_at"),
    ],
)
def test_what_is_open_due_dead_or_missed_has_an_index_of_its_own(ledger: Ledger, name: str, index: str) -> None:
    assert re.search(rf"on {index}\b|using {index}\b", plan(ledger, ASKED[name])), plan(ledger, ASKED[name])


@pytest.mark.parametrize("name", ["_OVERDUE", "_MISSED", "_LATE", "_DEAD", "_WAITING", "_OUTBOX"])
def test_of_what_can_be_very_much_so_many_rows_are_looked_at(name: str) -> None:
    most = glance.MOST_WAITING if name == "_WAITING" else glance.MOST
    assert f"LIMIT {most + 1}" in ASKED[name].text
