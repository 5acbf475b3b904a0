"""A real mail server in this process: it answers as it is told, and keeps what it has taken."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

from steadybeat.dev.servers import free_port

DROP = "drop the connection"

# A certificate for 127.0.0.1 and its key, of worth to nobody else. SSL_CERT_FILE makes a client trust it.
CERTIFICATE = Path(__file__).with_name("mailserver.pem")


class MailServer:
    """What a test tells its mail server, and what the server has got.

    Attributes:
        rcpt_replies: Its next replies to RCPT; 250 once they are used up.
        data_replies: Its next replies to a message; 250 once they are used up. `DROP` takes it and hangs up instead.
        gate: While it is cleared, a message waits for its reply, be it taken or not.
        arrived: Set as soon as a message is there.
        slow: For these recipients it takes half a second longer.
        taken: Every message it took, oldest first.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"smtp://127.0.0.1:{self.port}"
        self.rcpt_replies: list[str] = []
        self.data_replies: list[str] = []
        self.gate, self.arrived = threading.Event(), threading.Event()
        self.gate.set()
        self.slow: set[str] = set()
        self.taken: list[EmailMessage] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        reply = self.rcpt_replies.pop(0) if self.rcpt_replies else "250 OK"
        if reply.startswith("250"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        reply = self.data_replies.pop(0) if self.data_replies else "250 taken"
        if reply.startswith("250") or reply == DROP:
            self.taken.append(message_from_bytes(envelope.content, policy=policy.default))  # type: ignore[arg-type]
        self.arrived.set()
        if self.slow.intersection(envelope.rcpt_tos):
            await asyncio.sleep(0.5)
        if not self.gate.is_set():
            await server.loop.run_in_executor(None, self.gate.wait)
        if reply == DROP:
            server.transport.abort()
        return reply


def own_tls() -> ssl.SSLContext:
    """Return what makes a server show `CERTIFICATE`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    return context


@contextmanager
def mail_server(**options: Any) -> Iterator[MailServer]:
    """Yield a running mail server; `options` are those of aiosmtpd's `Controller`."""
    told = MailServer()
    controller = Controller(told, "127.0.0.1", told.port, server_hostname="localhost", **options)
    controller.start()
    try:
        yield told
    finally:
        told.gate.set()
        controller.stop()
