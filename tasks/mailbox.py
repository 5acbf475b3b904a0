"""`celery -A tasks mailbox`: a mail server for one machine, which keeps every message as a file and sends none on."""

from __future__ import annotations

import asyncio
import signal
from datetime import UTC, datetime
from email import message_from_bytes, policy
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from aiosmtpd.smtp import SMTP, Envelope, Session

LARGEST_BYTES = 10 * 1024 * 1024


@click.command(epilog="Example: SMTP_URL=smtp://127.0.0.1:2525 celery -A tasks mailbox")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".steadybeat/mail"),
    show_default=True,
    help="Where messages are kept, one .eml file each.",
)
def mailbox(folder: Path) -> None:
    """Take the mail that is sent to SMTP_URL, on this machine only, and keep it until SIGTERM or Ctrl-C."""
    # Celery imports every sub-command for every command, so what this one needs is imported when it runs.
    from tasks.mail import MailSettingWrong, server

    where = server()
    if where.tls != "none" or where.user is not None or not _is_loopback(where.host):
        raise MailSettingWrong(
            f"SMTP_URL names {where.host}:{where.port}: the mailbox serves this machine only, without TLS or login; "
            "write it like smtp://127.0.0.1:2525."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.BadParameter(f"{folder}: {error.strerror}.", param_hint="--folder") from None
    asyncio.run(_serve(where.host, where.port, folder))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _serve(host: str, port: int, folder: Path) -> None:
    """Serve until SIGTERM or SIGINT."""
    from aiosmtpd.smtp import SMTP

    from tasks.mail import MailSettingWrong

    loop, stopped, keeper = asyncio.get_running_loop(), asyncio.Event(), Keeper(folder)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)

    def session() -> SMTP:
        return SMTP(keeper, hostname="localhost", ident="mailbox", data_size_limit=LARGEST_BYTES, loop=loop)

    try:
        listener = await loop.create_server(session, host, port)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MailSettingWrong(f"SMTP_URL names {host}:{port}: nothing can listen there ({reason}).") from None
    click.echo(f"mailbox at smtp://{host}:{port}, kept in {folder}")
    await stopped.wait()
    listener.close()  # nobody waits for those who are connected still
    click.echo(f"mailbox closed: {keeper.kept_count} {'message' if keeper.kept_count == 1 else 'messages'} kept")


class Keeper:
    """Keeps messages in a folder, and prints one line for each.

    A file is named like the instant (UTC) at which its message came. It holds the message as it came, below the
    envelope's addresses in two lines of their own. It is whole as soon as it has this name.

    Args:
        folder: An existing folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.kept_count = 0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep one message; return what the sender is told."""
        content, sender, recipients = envelope.original_content or b"", envelope.mail_from, envelope.rcpt_tos
        head = f"Return-Path: <{sender}>\r\nDelivered-To: {', '.join(recipients)}\r\n"
        try:
            name = self._keep(head.encode("utf-8", "surrogateescape") + content)
        except OSError as error:
            return f"451 cannot keep it: {error.strerror}"
        self.kept_count += 1
        click.echo(f"{name} to {', '.join(recipients)}: {subject_of(content)}")
        return "250 kept"

    def _keep(self, content: bytes) -> str:
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{self.kept_count + 1}.eml"
        unfinished = self._folder / f".{name}"
        unfinished.write_bytes(content)
        unfinished.rename(self._folder / name)
        return name


def subject_of(content: bytes) -> str:
    """Return a message's subject as one line that cannot move a terminal's cursor."""
    subject = str(message_from_bytes(content, policy=policy.default)["Subject"] or "(no subject)")
    return "".join(each if each.isprintable() else " " for each in subject)
