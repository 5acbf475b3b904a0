"""What SMTP_URL and SMTP_SENDER may say, and what a digest's mail is like, without a server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.headerregistry import Address

import pytest

from steadybeat import Permanent
from tasks import digest, letters, mail, notifications, trial_notice
from tasks.mailbox import subject_of

QUIET = digest.Digest(
    since=datetime(2026, 1, 19, tzinfo=UTC),
    name="Ada",
    email="ada@x.example",
    bought_count=0,
    bought_cents=0,
    sold_count=0,
    paid_cents=0,
    best_sold=[],
    on_sale=[],
)
SENDER = Address("Steady Tickets", addr_spec="news@tickets.example")


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example", ("mail.example", 25, None, "", "none")),
        ("smtp://127.0.0.1:2525", ("127.0.0.1", 2525, None, "", "none")),
        ("smtp://[::1]:2525", ("::1", 2525, None, "", "none")),
        ("smtp://me:p%40ss@mail.example?starttls=1", ("mail.example", 587, "me", "p@ss", "starttls")),
        ("smtp://mail.example:26?starttls=0", ("mail.example", 26, None, "", "none")),
        ("smtps://me%40x.example:a@mail.example", ("mail.example", 465, "me@x.example", "a", "whole")),
    ],
)
def test_the_mail_server_is_what_smtp_url_says(url: str, server: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_URL", url)
    assert mail.server() == server


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "SMTP_URL is not set"),
        ("mail.example:25", "is no address of a mail server"),
        ("http://mail.example", "SMTP_URL=http://mail.example: is no address of a mail server"),
        ("smtp://", "is no address of a mail server"),
        ("smtp://me:secret@mail.example:many", "cannot be read"),
        ("smtp://me:secret@mail.example?starttls=yes", "does not take the option starttls=yes"),
        ("smtp://me:secret@mail.example?tls=1", "does not take the option tls=1"),
        ("smtps://me:secret@mail.example?starttls=1", "does not take the option starttls=1"),
        ("smtp://me:secret@mail.example?starttls", "cannot be read"),
    ],
)
def test_a_wrong_smtp_url_is_refused_in_one_line_without_its_password(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTP_URL", url)
    with pytest.raises(mail.MailSettingWrong) as caught:
        mail.server()
    assert said in str(caught.value)
    assert "SMTP_URL" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_sender_has_a_default_and_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMTP_SENDER", raising=False)
    assert mail.sender() == SENDER
    monkeypatch.setenv("SMTP_SENDER", "Box Office <box@office.example>")
    assert mail.sender() == Address("Box Office", addr_spec="box@office.example")
    for wrong in ("Box Office", "a@", "a@b@c"):
        monkeypatch.setenv("SMTP_SENDER", wrong)
        with pytest.raises(mail.MailSettingWrong, match=f"SMTP_SENDER='{wrong}': is no address; write it like"):
            mail.sender()


def test_a_message_id_is_the_same_on_every_attempt_of_a_run() -> None:
    assert notifications.message_id("1:weekly-digest:2026-W05") == notifications.message_id("1:weekly-digest:2026-W05")
    assert notifications.message_id("1:weekly-digest:2026-W05") != notifications.message_id("1:weekly-digest:2026-W06")
    assert notifications.message_id("x").endswith("@tickets.example>")


@pytest.mark.parametrize(
    ("instant", "period"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-W01"),
        (datetime(2027, 1, 1, tzinfo=UTC), "2026-W53"),
        (datetime(2026, 1, 26, 0, 30, tzinfo=UTC).astimezone(), "2026-W05"),
    ],
)
def test_a_period_is_an_iso_week_in_utc(instant: datetime, period: str) -> None:
    assert digest.period_of(instant) == period
    assert digest.begin_of(period) <= instant < digest.begin_of(period) + timedelta(days=7)


@pytest.mark.parametrize("period", ["", "2026-W00", "2025-W53", "2026-5", "2026-W5", "2026-01-01", "2026W051"])
def test_what_is_no_iso_week_is_a_permanent_error(period: str) -> None:
    with pytest.raises(Permanent, match="is no ISO week; write it like 2026-W05"):
        digest.begin_of(period)


@pytest.mark.parametrize("period", ["", "2026-02-30", "2026-2-3", "20260203", "2026-W05", "2026-02-03T00:00"])
def test_what_is_no_day_is_a_permanent_error(period: str) -> None:
    with pytest.raises(Permanent, match="is no day; write it like 2026-02-03"):
        trial_notice.begin_of(period)


def test_a_quiet_week_is_told_too() -> None:
    message = letters.enveloped(digest.written(QUIET), sender=SENDER, message_id="<a@b>")
    assert message.get_body(("plain",)).get_content().startswith("Hello Ada,\n\nYou bought nothing this week.\n\nSeven")


def test_a_name_can_neither_add_a_header_nor_markup() -> None:
    hostile = replace(QUIET, name="Ada\r\nBcc: all@x.example <script>\u202e")
    message = letters.enveloped(digest.written(hostile), sender=SENDER, message_id="<a@b>")
    assert message["Bcc"] is None
    assert "<script>" not in message.get_body(("html",)).get_content()
    assert message.as_bytes().isascii()


def test_a_subject_in_the_mailboxes_output_is_one_plain_line() -> None:
    assert subject_of(b"Subject: =?utf-8?q?a=1b=5B31mb=0Ac?=\r\n\r\n") == "a [31mb c"
    assert subject_of(b"") == "(no subject)"
    assert subject_of(b"Subject: \xff\r\n\r\n") == "\ufffd"
