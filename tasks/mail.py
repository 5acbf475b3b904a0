"""Mail: the way to the SMTP server, and an exact answer to one question: can it have taken the message?

Where the server is and who the sender is stands in the environment, which is read here when a message is sent:

    SMTP_URL      smtp://user:password@host:587?starttls=1   or smtps://…; without user and password, no login
    SMTP_SENDER   Steady Tickets <news@tickets.example>      what stands in From, and the envelope's sender
"""

from __future__ import annotations

import os
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import parseaddr
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from steadybeat import NotSent, SteadybeatError

DEFAULT_SENDER = "Steady Tickets <news@tickets.example>"
STEP_SECONDS = 10.0  # for connecting, and for each reply before the message is handed over
ANSWER_SECONDS = 60.0  # for the reply to the message: giving up here leaves its fate unknown

FORM = "write it like smtp://user:password@host:587?starttls=1, or smtps://…"


class MailSettingWrong(SteadybeatError):
    """SMTP_URL or SMTP_SENDER is missing or wrong."""


class NotAccepted(NotSent):
    """The server has certainly not taken the message.

    Attributes:
        permanent: It refused this recipient or this message for good (a 5xx reply).
    """

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.permanent = permanent


class Server(NamedTuple):
    """What SMTP_URL says.

    Attributes:
        tls: `none`, `starttls`, or `whole` where the connection is encrypted from its first byte.
    """

    host: str
    port: int
    user: str | None
    password: str
    tls: str


def server() -> Server:
    """Return what SMTP_URL says.

    Raises:
        MailSettingWrong: It is missing or wrong; names what, and never the password.
    """
    text = os.environ.get("SMTP_URL", "")
    if not text:
        raise MailSettingWrong(f"SMTP_URL is not set: {FORM}.")
    try:
        url = urlsplit(text)
        port, options = url.port, parse_qsl(url.query, strict_parsing=bool(url.query))
    except ValueError as error:
        raise MailSettingWrong(f"SMTP_URL cannot be read ({error}): {FORM}.") from None
    shown = f"SMTP_URL={url.scheme}://{url.hostname or ''}{f':{port}' if port else ''}"
    if url.scheme not in {"smtp", "smtps"} or not url.hostname:
        raise MailSettingWrong(f"{shown}: is no address of a mail server; {FORM}.")
    for name, value in options:
        if name != "starttls" or value not in {"0", "1"} or url.scheme == "smtps":
            raise MailSettingWrong(f"{shown}: does not take the option {name}={value}; {FORM}.")
    starttls = ("starttls", "1") in options
    tls = "whole" if url.scheme == "smtps" else "starttls" if starttls else "none"
    usual = {"whole": 465, "starttls": 587, "none": 25}[tls]
    user = unquote(url.username) if url.username else None
    return Server(url.hostname, port or usual, user, unquote(url.password or ""), tls)


def sender() -> Address:
    """Return who mail is from: SMTP_SENDER, or the catalogue's own name.

    Raises:
        MailSettingWrong: SMTP_SENDER is no address.
    """
    text = os.environ.get("SMTP_SENDER") or DEFAULT_SENDER
    name, spec = parseaddr(text)
    try:
        return Address(name, addr_spec=spec)
    except (ValueError, IndexError):
        raise MailSettingWrong(f"SMTP_SENDER={text!r}: is no address; write it like {DEFAULT_SENDER!r}.") from None


def send(message: EmailMessage, recipient: str) -> str:
    """Hand one message to the server for one recipient; return the server's reply.

    Raises:
        MailSettingWrong: SMTP_URL or SMTP_SENDER is missing or wrong; the server was not asked.
        NotAccepted: The server has certainly not taken the message.
        Exception: Any other: the connection broke, or time was up, while the server had the message. It may have
            taken it.
    """
    where, envelope_from = server(), sender().addr_spec
    if not recipient.isascii():
        raise NotAccepted(f"{recipient!r} is not ASCII, and not every server takes such an address", permanent=True)
    content = message.as_bytes(policy=policy.SMTP)
    with _session(where, envelope_from, recipient) as session:
        try:
            code, reply = session.data(content)
            answer = _words(code, reply)
        except smtplib.SMTPDataError as error:  # it would not even have the message
            code, answer = error.smtp_code, _words(error.smtp_code, error.smtp_error)
    if code != 250:
        raise NotAccepted(answer, permanent=code >= 500)
    return answer


@contextmanager
def _session(where: Server, envelope_from: str, recipient: str) -> Iterator[smtplib.SMTP]:
    """Yield a session that has come as far as it can without the message; whatever fails on the way is `NotAccepted`.

    How the session ends is of no interest: by then the server has answered, or not.
    """
    session = None
    try:
        try:
            session = _connected(where)
            _check(session.mail(envelope_from))
            _check(session.rcpt(recipient), about_recipient=True)
        except NotAccepted:
            raise
        except smtplib.SMTPResponseException as error:
            raise NotAccepted(_words(error.smtp_code, error.smtp_error)) from error
        except Exception as error:
            raise NotAccepted(f"{where.host}:{where.port}: {str(error) or type(error).__name__}") from error
        if session.sock is not None:
            session.sock.settimeout(ANSWER_SECONDS)
        yield session
        if session.sock is not None:
            session.sock.settimeout(STEP_SECONDS)
        with suppress(OSError):
            session.quit()
    finally:
        if session is not None:
            session.close()


def _connected(where: Server) -> smtplib.SMTP:
    if where.tls == "whole":
        context = ssl.create_default_context()
        session: smtplib.SMTP = smtplib.SMTP_SSL(where.host, where.port, timeout=STEP_SECONDS, context=context)
    else:
        session = smtplib.SMTP(where.host, where.port, timeout=STEP_SECONDS)
    try:
        session.ehlo_or_helo_if_needed()
        if where.tls == "starttls":
            session.starttls(context=ssl.create_default_context())
            session.ehlo()  # what was said before counts no more
        if where.user is not None:
            session.login(where.user, where.password)
    except BaseException:
        session.close()
        raise
    return session


def _check(answer: tuple[int, bytes], *, about_recipient: bool = False) -> None:
    code, reply = answer
    if code not in {250, 251}:
        raise NotAccepted(_words(code, reply), permanent=about_recipient and code >= 500)


def _words(code: int, reply: bytes | str) -> str:
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    return f"{code} {' '.join(text.split())}"[:500]
