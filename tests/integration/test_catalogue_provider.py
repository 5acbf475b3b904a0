"""`celery -A tasks provider` as it runs: a process with a book."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from steadybeat import Transient
from steadybeat.dev.servers import free_port
from tasks import gateway
from tasks.provider import provider
from tests.integration.payments import rows_of

RUN = "from tasks.provider import provider; provider()"
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(url: str, *options: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", RUN, "--book", str(tmp_path / "book" / "provider.sqlite"), *options]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        env = {**os.environ, "PROVIDER_URL": url, "PYTHONUNBUFFERED": "1"}
        started.append(subprocess.Popen(argv, env=env, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_provider_keeps_its_book_until_it_is_told_to_end(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("PROVIDER_URL", url)
    process = start(url, "--mischief", "lose,well")
    assert process.stdout is not None
    assert process.stdout.readline().startswith(f"provider at {url}, its book is ")
    with pytest.raises(Transient):
        gateway.charge("key", reference="a", amount_cents=1, card="visa-1")
    charged = gateway.charge_of("key")
    with urllib.request.urlopen(f"{url}/mischief", timeout=30) as answer:
        assert json.load(answer)["request_count"] == 2

    process.send_signal(number)
    said, complaints = process.communicate(timeout=30)

    assert (process.returncode, complaints) == (0, "")
    assert said.splitlines() == ["POST /charges: 200, lose", "GET /charges: 200", "provider closed"]
    assert [charged] == rows_of(tmp_path / "book" / "provider.sqlite", "charges")


def test_the_provider_says_in_one_line_why_it_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for url, options, said in (
            ("", (), "PROVIDER_URL is not set"),
            ("http://192.0.2.1:8383", (), "serves this machine only"),
            (f"http://127.0.0.1:{port}", (), "nothing can listen there"),
            ("", ("--address", "here"), "'here': write it like 127.0.0.1:8383"),
            (
                "",
                ("--address", "127.0.0.1:1", "--mischief", "explode"),
                "'explode' is nothing that the provider can do",
            ),
            ("http://127.0.0.1:1", ("--book", str(tmp_path)), "is a directory"),
            ("http://127.0.0.1:1", ("--book", f"{sys.executable}/book"), "File exists"),
        ):
            monkeypatch.setenv("PROVIDER_URL", url)
            done = CliRunner().invoke(provider, ["--book", str(tmp_path / "book.sqlite"), *options])
            assert done.exit_code in {1, 2}
            assert said in done.stderr
            assert done.stderr.splitlines()[-1].startswith("Error: ")
