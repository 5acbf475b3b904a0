"""The trial notice: who gets one, what it says, and that each gets it once, from Postgres through a mail server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from steadybeat import Permanent
from tasks import app, mail, market, notifications, trial_notice
from tests.integration.mailserver import MailServer, mail_server
from tests.integration.marketplace import add_account

app.finalize()  # while the tasks of its modules are still on offer to every app

DAY = timedelta(days=1)
NOW = datetime.now(UTC)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    with mail_server() as server:
        monkeypatch.setenv("SMTP_URL", server.url)
        yield server


@pytest.fixture(autouse=True)
def marketplace_of_the_tasks(market_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (notifications, trial_notice):
        monkeypatch.setattr(module, "engine", lambda: market_engine)


def trial(market_engine: sa.Engine, ends_in: timedelta, state: str = "trial", email: str = "") -> int:
    """Open an account with a trial and return its id."""
    account = add_account(market_engine, email or f"{ends_in.total_seconds()}.{state}@x.example", "Ada Kaya")
    values = {"started_at": NOW - 30 * DAY, "ends_at": NOW + ends_in, "ended_at": None if state == "trial" else NOW}
    with market_engine.begin() as db:
        db.execute(sa.insert(market.trials).values(account_id=account, state=state, **values))
    return account


def remind(account: int) -> str:
    return str(app.tasks["tasks.notifications.remind"].run(account)["state"])


def logged(market_engine: sa.Engine) -> list[Any]:
    with market_engine.connect() as db:
        return list(db.execute(sa.select(market.notifications).order_by(market.notifications.c.id)))


def test_whose_trial_ends_within_three_days_is_told_once(market_engine: sa.Engine, server: MailServer) -> None:
    near = trial(market_engine, 2 * DAY)
    others = [trial(market_engine, ends_in) for ends_in in (-DAY, 4 * DAY)]
    others.append(trial(market_engine, DAY, "converted"))

    assert list(trial_notice.ending()) == [near]
    assert [remind(account) for account in (near, near, *others)] == ["sent", "sent", *["not due"] * 3]

    [message] = server.taken
    [row] = logged(market_engine)
    day = f"{NOW + 2 * DAY:%Y-%m-%d}"
    assert (row.kind, row.period, row.state) == ("trial-notice", day, "sent")
    assert message["Subject"] == f"Your trial ends on {day}"
    assert f"Your trial ends on {day} at " in message.get_body(("plain",)).get_content()
    assert message["List-Unsubscribe"] is None
    assert list(trial_notice.ending()) == []


def test_a_trial_that_was_prolonged_gets_a_notice_of_its_new_end(market_engine: sa.Engine, server: MailServer) -> None:
    account = trial(market_engine, DAY)
    remind(account)
    with market_engine.begin() as db:
        db.execute(sa.update(market.trials).values(ends_at=market.trials.c.ends_at + DAY))

    assert list(trial_notice.ending()) == [account]
    assert remind(account) == "sent"
    assert len(server.taken) == len({row.period for row in logged(market_engine)}) == 2


def test_an_address_that_not_every_server_takes_is_refused_and_not_tried_on_the_next_day(
    market_engine: sa.Engine, server: MailServer
) -> None:
    account = trial(market_engine, DAY, email="ada.7@exämple.org")

    with pytest.raises(Permanent, match="is not ASCII"):
        remind(account)

    assert [row.state for row in logged(market_engine)] == ["refused"]
    assert list(trial_notice.ending()) == []
    assert server.taken == []


def test_what_the_server_puts_off_is_still_to_be_sent(market_engine: sa.Engine, server: MailServer) -> None:
    account = trial(market_engine, DAY)
    server.rcpt_replies = ["450 come back later"]

    with pytest.raises(mail.NotAccepted):
        remind(account)

    assert list(trial_notice.ending()) == [account]


def test_a_notice_of_an_end_that_is_none_is_a_permanent_error(market_engine: sa.Engine) -> None:
    account = trial(market_engine, DAY)

    with market_engine.connect() as db, pytest.raises(Permanent, match="has no trial that ends on 2020-01-01"):
        trial_notice.letter(db, account, "2020-01-01")


def test_the_connection_of_a_reader_that_stops_early_is_given_back(
    market_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hours in (1, 2, 3):
        trial(market_engine, timedelta(hours=hours))
    monkeypatch.setattr(trial_notice, "ROW_COUNT", 1)
    pool: Any = market_engine.pool

    reader = trial_notice.ending()
    next(reader)
    assert pool.checkedout() == 1
    reader.close()
    assert pool.checkedout() == 0
