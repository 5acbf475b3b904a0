"""Letters: what somebody is told, as one mail: plain text, and the same as HTML."""

from __future__ import annotations

from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from html import escape
from typing import NamedTuple

from steadybeat import Permanent


class Letter(NamedTuple):
    """A letter to one account.

    Attributes:
        name: What its reader is called.
        email: Where it goes.
        subject: What it is about.
        text: What it says, below "Hello …,".
        html: The same, as markup.
        subscribed: Whether its reader asked for letters of this kind, and may ask for no more of them.
    """

    name: str
    email: str
    subject: str
    text: str
    html: str
    subscribed: bool


def enveloped(letter: Letter, *, sender: Address, message_id: str) -> EmailMessage:
    """Return a letter as a mail.

    Args:
        letter: What it says.
        sender: Whom it is from.
        message_id: The same for each attempt to send this letter, so that a mailbox can tell a copy.

    Raises:
        Permanent: The reader's address is none that a mail can carry.
    """
    message, name = EmailMessage(), line(letter.name)
    try:
        message["To"] = Address(name, addr_spec=letter.email)
    except (ValueError, IndexError) as error:
        raise Permanent(f"{letter.email!r} is no mail address: {error}") from None
    message["From"] = sender
    message["Subject"] = letter.subject
    message["Date"] = datetime.now(UTC)
    message["Message-ID"] = message_id
    if letter.subscribed:
        message["List-Unsubscribe"] = f"<mailto:{sender.addr_spec}?subject=unsubscribe>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday reply, please
    html = f"<p>Hello {escape(name)},</p>{letter.html}"
    message.set_content(f"Hello {name},\n\n{letter.text}\n", cte="quoted-printable")
    message.add_alternative(
        f'<!doctype html><html lang="en"><body>{html}</body></html>\n', subtype="html", cte="quoted-printable"
    )
    return message


def line(text: str) -> str:
    """Return text without what could end a header or a line."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
