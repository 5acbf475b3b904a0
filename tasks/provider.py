"""`celery -A tasks provider`: a provider of payments and tokens for one machine, which moves no money.

It answers as such providers do: a charge is made once for each idempotency key, a token each time it is asked for, and
either can be asked about afterwards. It also misbehaves as they do, when it is told to:

    curl -X PUT $PROVIDER_URL/mischief -d '{"plan": ["well", "lose", "429"], "repeat": true}'

Cards whose first part is `empty`, `expired` or `stolen` are declined; every other card pays.
"""

from __future__ import annotations

import signal
from ipaddress import ip_address
from pathlib import Path

import click

STOPS = (signal.SIGTERM, signal.SIGINT)


@click.command(epilog="Example: PROVIDER_URL=http://127.0.0.1:8383 celery -A tasks provider")
@click.option(
    "--book",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(".steadybeat/provider.sqlite"),
    show_default=True,
    help="Where it keeps what it has done.",
)
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="Where it listens.  [default: what PROVIDER_URL says, on this machine only]",
)
@click.option(
    "--mischief",
    metavar="WORDS",
    default="",
    help="What it does wrong, over and over, such as well,lose,429; PUT /mischief changes it.",
)
def provider(file: Path, address: str | None, mischief: str) -> None:
    """Charge cards and mint tokens, on paper only, until SIGTERM or Ctrl-C."""
    # Celery imports every sub-command for every command, so what this one needs is imported when it runs.
    import sqlite3

    from tasks.provider_book import Book
    from tasks.provider_mischief import Mischief
    from tasks.provider_server import Provider

    host, port = _given(address) if address else _named()
    try:
        told = Mischief([each for each in mischief.replace(",", " ").split() if each], repeat=True)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--mischief") from None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        book = Book(file)
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise click.BadParameter(f"{file}: {reason}.", param_hint="--book") from None
    try:
        server = Provider(host, port, book, told, click.echo)
    except OSError as error:
        book.close()
        reason = error.strerror or str(error)
        raise click.ClickException(f"{host}:{port}: nothing can listen there ({reason}).") from None
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # in every thread that is begun now; this one waits for them
    with server.running(poll_seconds=1.0):
        click.echo(f"provider at http://{host}:{port}, its book is {file}")
        signal.sigwait(STOPS)
    book.close()
    click.echo("provider closed")


def _given(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise click.BadParameter(f"{address!r}: write it like 127.0.0.1:8383.", param_hint="--address")
    return host, int(port)


def _named() -> tuple[str, int]:
    from tasks.gateway import GatewaySettingWrong, provider_url

    url = provider_url()
    if url.scheme != "http" or url.path not in {"", "/"} or not _is_loopback(url.hostname or ""):
        raise GatewaySettingWrong(
            f"PROVIDER_URL={url.geturl()}: this provider serves this machine only, by http; "
            "write it like http://127.0.0.1:8383, or give --address."
        )
    return url.hostname or "", url.port or 80


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
