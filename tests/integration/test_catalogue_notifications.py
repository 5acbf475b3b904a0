"""The weekly digest, from a real Postgres through a real mail server."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from aiosmtpd.smtp import AuthResult

from steadybeat import Permanent
from tasks import app, digest, mail, market, notifications
from tests.integration.mailserver import CERTIFICATE, DROP, MailServer, mail_server, own_tls
from tests.integration.marketplace import NOW, add_account, add_free_seat, add_order, marketplace

app.finalize()  # while the tasks of its modules are still on offer to every app

PERIOD = "2026-W05"
MONDAY = datetime(2026, 1, 26, tzinfo=UTC)


@pytest.fixture
def db_engine(postgres_url: str) -> Iterator[sa.Engine]:
    with marketplace(postgres_url) as engine:
        yield engine


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    with mail_server() as server:
        monkeypatch.setenv("SMTP_URL", server.url)
        yield server


@pytest.fixture
def account(db_engine: sa.Engine) -> int:
    return add_account(db_engine, "ada@x.example", "Ada Kaya")


@pytest.fixture
def notice(account: int) -> notifications.Notice:
    return notifications.Notice(account, digest.KIND, PERIOD, "<one@tickets.example>")


def logged(db_engine: sa.Engine) -> Any:
    """The only row of the notification log."""
    with db_engine.connect() as db:
        return db.execute(sa.select(market.notifications)).one()


def subscribe(db_engine: sa.Engine, account: int, *, ended: bool = False, kind: str = digest.KIND) -> None:
    with db_engine.begin() as db:
        row = {"account_id": account, "kind": kind, "started_at": NOW, "ended_at": NOW if ended else None}
        db.execute(sa.insert(market.subscriptions).values(row))


def test_a_digest_is_sent_once_though_it_is_delivered_twice(
    db_engine: sa.Engine, server: MailServer, notice: notifications.Notice
) -> None:
    assert notifications.deliver(db_engine, notice) == "sent"
    assert notifications.deliver(db_engine, notice._replace(message_id="<two@tickets.example>")) == "sent"

    [message] = server.taken
    row = logged(db_engine)
    assert message["To"] == "Ada Kaya <ada@x.example>"
    assert (row.state, row.attempt_count, row.message_id) == ("sent", 1, message["Message-ID"])
    assert row.sending_at <= row.sent_at


def test_a_digest_tells_the_subscribers_own_week_and_what_is_on_sale(
    db_engine: sa.Engine, server: MailServer, account: int, notice: notifications.Notice
) -> None:
    add_order(db_engine, account, state="paid", at=MONDAY - timedelta(days=1), seats=2, event="Night <Ferry>")
    add_order(db_engine, account, state="paid", at=MONDAY)  # the next week's
    add_order(db_engine, account, state="paid", at=MONDAY - timedelta(days=8))  # the last week's
    add_free_seat(db_engine, account, "Paper Lions", price_cents=123_450)

    notifications.deliver(db_engine, notice)

    [message] = server.taken
    text = message.get_body(("plain",)).get_content()
    html = message.get_body(("html",)).get_content()
    assert "You bought 1 order for 10.00." in text
    assert "2 seats of your events were sold." in text
    assert "- Night <Ferry> by Ada Kaya: 2 seats, 20.10" in text
    assert "- Paper Lions by Ada Kaya: 1 free seat from 1,234.50" in text
    assert "event" not in text.replace("of your events", "")
    assert "<li>Night &lt;Ferry&gt; by Ada Kaya: 2 seats, 20.10</li>" in html
    assert message["Subject"] == "Your week in tickets, from 2026-01-19"
    assert message["List-Unsubscribe"].startswith("<mailto:news@tickets.example?subject=unsubscribe")
    assert message["Auto-Submitted"] == "auto-generated"


@pytest.mark.parametrize(("rcpt", "data"), [("450 come back later", None), (None, "452 no room")])
def test_what_the_server_puts_off_goes_out_with_the_next_attempt(
    db_engine: sa.Engine, server: MailServer, notice: notifications.Notice, rcpt: str | None, data: str | None
) -> None:
    server.rcpt_replies, server.data_replies = [rcpt] if rcpt else [], [data] if data else []

    with pytest.raises(mail.NotAccepted, match=rcpt or data):
        notifications.deliver(db_engine, notice)
    assert (logged(db_engine).state, logged(db_engine).reason) == ("pending", rcpt or data)

    assert notifications.deliver(db_engine, notice) == "sent"
    assert len(server.taken) == 1
    assert (logged(db_engine).reason, logged(db_engine).attempt_count) == (None, 2)


@pytest.mark.parametrize(("rcpt", "data"), [("550 no such user", None), (None, "554 no, thanks")])
def test_what_the_server_refuses_is_a_permanent_error_and_may_be_rerun(
    db_engine: sa.Engine, server: MailServer, notice: notifications.Notice, rcpt: str | None, data: str | None
) -> None:
    server.rcpt_replies, server.data_replies = [rcpt] if rcpt else [], [data] if data else []

    with pytest.raises(Permanent, match=rcpt or data):
        notifications.deliver(db_engine, notice)
    assert (logged(db_engine).state, logged(db_engine).reason) == ("refused", rcpt or data)

    assert notifications.deliver(db_engine, notice) == "sent"
    assert len(server.taken) == 1


def test_a_server_that_is_not_there_has_not_taken_the_message(
    db_engine: sa.Engine, notice: notifications.Notice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTP_URL", "smtp://127.0.0.1:1")

    with pytest.raises(mail.NotAccepted, match=r"127\.0\.0\.1:1: .*refused"):
        notifications.deliver(db_engine, notice)

    assert logged(db_engine).state == "pending"


@pytest.mark.parametrize(
    ("options", "said"),
    [("", "530 5.7.0 Authentication required"), ("?starttls=1", "STARTTLS extension not supported")],
)
def test_a_server_that_wants_something_else_has_not_taken_the_message(
    db_engine: sa.Engine, notice: notifications.Notice, monkeypatch: pytest.MonkeyPatch, options: str, said: str
) -> None:
    with mail_server(auth_required=True) as server:
        monkeypatch.setenv("SMTP_URL", server.url + options)
        with pytest.raises(mail.NotAccepted, match=said):
            notifications.deliver(db_engine, notice)

    assert logged(db_engine).state == "pending"


@pytest.mark.parametrize(
    ("scheme", "rest", "option"), [("smtps", "", "ssl_context"), ("smtp", "?starttls=1", "tls_context")]
)
def test_a_digest_goes_out_encrypted_where_smtp_url_says_so(
    db_engine: sa.Engine,
    notice: notifications.Notice,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    rest: str,
    option: str,
) -> None:
    with mail_server(**{option: own_tls()}) as server:
        monkeypatch.setenv("SMTP_URL", f"{scheme}://127.0.0.1:{server.port}{rest}")
        with pytest.raises(mail.NotAccepted, match="CERTIFICATE_VERIFY_FAILED"):
            notifications.deliver(db_engine, notice)
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))

        assert notifications.deliver(db_engine, notice) == "sent"
        assert len(server.taken) == 1


def test_a_user_is_signed_in_before_anything_is_sent(
    db_engine: sa.Engine, notice: notifications.Notice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def knows(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"me@x", b"p@ss"))

    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with mail_server(tls_context=own_tls(), auth_required=True, authenticator=knows) as server:
        monkeypatch.setenv("SMTP_URL", f"smtp://me%40x:p%40ss@127.0.0.1:{server.port}?starttls=1")
        assert notifications.deliver(db_engine, notice) == "sent"
        assert len(server.taken) == 1


def test_a_message_of_unknown_fate_is_not_sent_again(
    db_engine: sa.Engine, server: MailServer, notice: notifications.Notice
) -> None:
    server.data_replies = [DROP]

    with pytest.raises(OSError, match="closed"):
        notifications.deliver(db_engine, notice)
    assert logged(db_engine).state == "sending"

    assert notifications.deliver(db_engine, notice) == "unknown"
    assert notifications.deliver(db_engine, notice) == "unknown"
    assert len(server.taken) == 1
    assert "may have had the message" in logged(db_engine).reason


def test_of_two_attempts_at_once_one_sends_and_says_so_in_the_end(
    db_engine: sa.Engine, server: MailServer, notice: notifications.Notice
) -> None:
    server.gate.clear()

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(notifications.deliver, db_engine, notice)
        assert server.arrived.wait(30)
        assert notifications.deliver(db_engine, notice) == "unknown"
        server.gate.set()
        assert first.result() == "sent"

    assert len(server.taken) == 1
    assert (logged(db_engine).state, logged(db_engine).reason) == ("sent", None)


def test_an_attempt_that_others_called_unknown_sends_again_once_it_knows_that_it_did_not(
    db_engine: sa.Engine, server: MailServer, notice: notifications.Notice
) -> None:
    server.gate.clear()
    server.data_replies = ["451 not now"]

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(notifications.deliver, db_engine, notice)
        assert server.arrived.wait(30)
        assert notifications.deliver(db_engine, notice) == "unknown"
        server.gate.set()
        with pytest.raises(mail.NotAccepted):
            first.result()

    assert logged(db_engine).state == "pending"


def test_a_late_attempt_does_not_speak_for_a_row_that_a_later_one_holds(
    db_engine: sa.Engine, notice: notifications.Notice
) -> None:
    with db_engine.begin() as db:
        late = notifications.begin(db, notice)
        notifications.begin(db, notice)
        db.execute(sa.update(market.notifications).values(state="pending"))  # a person knows better
        notifications.begin(db, notice)
        notifications.put_back(db, notice, late, "450 too late", permanent=True)

    assert (logged(db_engine).state, logged(db_engine).attempt_count) == ("sending", 2)


def test_nothing_is_logged_for_what_can_never_be_a_mail(
    db_engine: sa.Engine, server: MailServer, notice: notifications.Notice, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong, said in (
        (notice._replace(account_id=999), "account 999: there is no such account"),
        (notice._replace(period="2026-W54"), "'2026-W54': is no ISO week"),
        (notice._replace(period="soon"), "'soon': is no ISO week"),
        (notice._replace(account_id=add_account(db_engine, "not an address")), "is no mail address"),
    ):
        with pytest.raises(Permanent, match=said):
            notifications.deliver(db_engine, wrong)
    monkeypatch.delenv("SMTP_URL")
    with pytest.raises(mail.MailSettingWrong, match="SMTP_URL is not set"):
        notifications.deliver(db_engine, notice)
    with db_engine.connect() as db:
        assert db.scalar(sa.select(sa.func.count()).select_from(market.notifications)) == 0


def test_every_subscriber_who_has_none_yet_gets_this_weeks_digest(
    db_engine: sa.Engine, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [add_account(db_engine, f"{number}@x.example") for number in range(6)]
    for account in ids[:4]:
        subscribe(db_engine, account)
    subscribe(db_engine, ids[4], ended=True)
    subscribe(db_engine, ids[5], kind="monthly")
    with db_engine.begin() as db:
        row = {"account_id": ids[1], "kind": digest.KIND, "period": digest.period_of(datetime.now(UTC))}
        db.execute(sa.insert(market.notifications).values(row | {"state": "sent", "sent_at": NOW}))
        db.execute(sa.insert(market.notifications).values(row | {"account_id": ids[2], "period": PERIOD}))
    monkeypatch.setattr(notifications, "engine", lambda: db_engine)
    monkeypatch.setattr(notifications, "BATCH_COUNT", 2)

    assert app.tasks["tasks.notifications.send_digests"].run()["succeeded"] == 3
    assert [message["To"] for message in server.taken] == [f"A <{number}@x.example>" for number in (0, 2, 3)]
    assert {message["Subject"][:20] for message in server.taken} == {"Your week in tickets"}


def test_only_kinds_that_there_are_can_be_sent() -> None:
    with pytest.raises(Permanent, match="there is 'weekly-digest' and 'trial-notice'"):
        app.tasks["tasks.notifications.notify"].run(1, "monthly", PERIOD)
