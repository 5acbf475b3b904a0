import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from steadybeat.dev import Stack, StackError
from steadybeat.dev.leash import spawn
from steadybeat.dev.process import Process, State
from steadybeat.dev.servers import RedisServer, scratch_folder
from steadybeat.dev.supervisor import Supervisor
from steadybeat.errors import ConfigurationError
from tests.eventually import eventually, gone

TIMEOUT = timedelta(seconds=30)

# Stands in the place of Celery's command line, and does what the sub-command's namesake would do, but less.
STAND_IN = """
import http.server, json, os, pathlib, signal, sys
wanted = (
    "STEADYBEAT_REDIS_URL", "STEADYBEAT_DATABASE_URL", "STEADYBEAT_METRICS_ADDRESS", "FLOWER_BASIC_AUTH", "SMTP_URL"
)
known = {name: os.environ[name] for name in wanted if name in os.environ}
print(json.dumps({"event": "started", "argv": sys.argv[1:], **known}), flush=True)
if "fail" in sys.argv:
    sys.exit("seed: the marketplace is closed")
if "flower" in sys.argv:
    port = next(int(each.partition("=")[2]) for each in sys.argv if each.startswith("--port="))
    http.server.HTTPServer(("127.0.0.1", port), http.server.BaseHTTPRequestHandler).serve_forever()
if "mailbox" in sys.argv:
    http.server.HTTPServer(
        ("127.0.0.1", int(os.environ["SMTP_URL"].rpartition(":")[2])), http.server.BaseHTTPRequestHandler
    ).serve_forever()
for role in {"beat", "worker", "watchdog"} & set(sys.argv):
    folder = pathlib.Path(os.environ["STEADYBEAT_HEALTH_FOLDER"])
    folder.mkdir(exist_ok=True)
    born = int(pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    parts = {"tick": 1e12, "event loop": 1e12}
    facts = {"app": "tasks", "role": role, "pid": os.getpid(), "born": born, "parts": parts}
    fresh = folder / f"{role}-{os.getpid()}.new"
    fresh.write_text(json.dumps(facts))
    fresh.replace(fresh.with_suffix(".json"))
    signal.pause()
"""


def python(code: str) -> Callable[[], object]:
    return lambda: spawn([sys.executable, "-c", code])


SLEEPER = python("import signal; signal.pause()")


@pytest.fixture
def folder(servers_folder: Path) -> Iterator[Path]:
    with scratch_folder(servers_folder) as folder:
        (folder / "celery.py").write_text(STAND_IN)
        yield folder


def said_by(stack: Stack, name: str) -> dict[str, object]:
    return json.loads(stack.folder.log(name).read_text().splitlines()[0])


def test_a_tier_starts_when_the_one_before_it_is_ready_and_all_stop_in_reverse_order():
    said: list[str] = []
    tiers = [[Process("one", SLEEPER)], [Process("two", SLEEPER)], [Process("three", SLEEPER)]]
    with Supervisor(tiers, said.append) as supervisor:
        supervisor.wait_ready(TIMEOUT)
    names = [line.split()[0] for line in said if " ready" in line or " stopped" in line]
    assert names == ["one", "two", "three", "everything", "three", "two", "one"]


def test_a_killed_process_comes_back():
    with Supervisor([[Process("beat-1", SLEEPER)]]) as supervisor:
        supervisor.wait_ready(TIMEOUT)
        beat = supervisor.process("beat-1")
        before = beat.pid
        beat.kill()
        eventually(lambda: beat.state is State.READY and beat.pid not in {None, before})
        assert beat.restarts == 1


def test_a_process_that_ignores_sigterm_is_killed_with_all_its_children():
    code = (
        "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "child = subprocess.Popen(['sleep', '600']); print(child.pid, flush=True); signal.pause()"
    )
    with scratch_folder() as folder:
        log = folder / "stubborn.log"
        process = Process(
            "stubborn",
            lambda: spawn([sys.executable, "-c", code], log=log),
            check=lambda _: log.exists() and log.read_text() != "",
            stop=((signal.SIGTERM, 0.2),),
        )
        with Supervisor([[process]]) as supervisor:
            supervisor.wait_ready(TIMEOUT)
            pids = [process.pid, int(log.read_text())]
        eventually(lambda: all(map(gone, pids)))


def test_what_a_crashed_process_left_in_its_group_is_ended():
    code = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True); raise SystemExit(3)"
    with scratch_folder() as folder:
        log = folder / "parent.log"
        step = Process("parent", lambda: spawn([sys.executable, "-c", code], log=log), once=True)
        with Supervisor([[step]]) as supervisor:
            with pytest.raises(StackError, match="parent failed: ended with exit code 3"):
                supervisor.wait_ready(TIMEOUT)
            eventually(lambda: gone(int(log.read_text())))


def test_a_paused_process_is_still_there_and_stops_with_the_others():
    process = Process("beat-1", SLEEPER)
    with Supervisor([[process]]) as supervisor:
        supervisor.wait_ready(TIMEOUT)
        pid = process.pid
        process.pause()
        eventually(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    eventually(lambda: gone(pid))


def test_an_unknown_process_is_refused_with_the_names_there_are():
    with pytest.raises(StackError, match="there are beat-1"):
        Supervisor([[Process("beat-1", SLEEPER)]]).process("beet-1")


def test_the_stack_consists_of_what_the_screen_says(folder: Path):
    options = {"prepare": ["seed"], "together": ["money:cards+sync"], "cwd": folder}
    stack = Stack("tasks", ["cards", "orders", "royalties", "sync"], folder=folder / "up", **options)
    with stack:
        stack.wait_ready(TIMEOUT)
        assert [each.name for each in stack.processes] == [
            "redis",
            "postgres",
            "ledger upgrade",
            "schedules apply",
            "seed",
            "beat-1",
            "beat-2",
            "watchdog",
            "worker-orders",
            "worker-royalties",
            "worker-money",
            "flower",
        ]
        argv = said_by(stack, "worker-orders")["argv"]
        assert argv[:8] == ["-A", "tasks", "worker", "-Q", "orders", "-n", "orders@%h", "-c"]
        assert said_by(stack, "worker-money")["argv"][:6] == ["-A", "tasks", "worker", "-Q", "cards,sync", "-n"]
        flower = said_by(stack, "flower")
        assert flower["FLOWER_BASIC_AUTH"] == f"admin:{stack.flower_password}"
        assert stack.flower_password not in json.dumps(flower["argv"])
        assert said_by(stack, "beat-2")["STEADYBEAT_DATABASE_URL"] == stack.database_url
        pids = [each.pid for each in stack.processes if each.pid]
        up = json.loads((folder / "up" / "up.json").read_text())
        assert up["processes"]["beat-1"] == stack.process("beat-1").pid
        serving = {"beat-1", "beat-2", "watchdog", "worker-orders", "worker-royalties", "worker-money"}
        assert up["metrics"].keys() == serving and len({*up["metrics"].values()}) == len(serving)
        own = f"http://{said_by(stack, 'beat-2')['STEADYBEAT_METRICS_ADDRESS']}/metrics"
        assert up["metrics"]["beat-2"] == own
        assert stack.redis_url in (folder / "up" / "env").read_text()
    assert all(map(gone, pids))
    assert not (folder / "up" / "up.json").exists()


def test_redis_can_be_restarted_under_a_running_stack(folder: Path):
    with Stack("tasks", [], folder=folder / "up", flower=False, beats=1, cwd=folder) as stack:
        stack.wait_ready(TIMEOUT)
        before = stack.redis.pid
        stack.redis.restart()
        eventually(lambda: stack.redis.state is State.READY)
        assert stack.redis.pid != before
        with redis.Redis.from_url(stack.redis_url) as client:
            assert client.ping()


def test_a_second_stack_in_the_same_folder_says_that_one_is_running(folder: Path):
    options = {"folder": folder / "up", "flower": False, "beats": 0, "cwd": folder}
    refused = pytest.raises(StackError, match=f"is running already, as process {os.getpid()}")
    with Stack("tasks", [], **options), refused:
        Stack("tasks", [], **options).start()
    with Stack("tasks", [], **options) as again:
        again.wait_ready(TIMEOUT)


def test_a_step_that_fails_ends_the_start_with_its_last_words(folder: Path):
    with Stack("tasks", [], folder=folder / "up", prepare=["seed fail"], flower=False, cwd=folder) as stack:
        with pytest.raises(StackError, match=r"seed fail failed: ended with exit code 1\.\n.*\n  seed: the market"):
            stack.wait_ready(TIMEOUT)
        assert stack.process("beat-1").state is State.PENDING


def test_a_given_server_is_used_and_left_running(folder: Path):
    with RedisServer(folder / "redis") as server:
        options = {"folder": folder / "up", "flower": False, "cwd": folder, "redis_url": server.url}
        with Stack("tasks", ["orders"], **options) as stack:
            stack.wait_ready(TIMEOUT)
            assert said_by(stack, "worker-orders")["STEADYBEAT_REDIS_URL"] == server.url
            assert stack.redis.pid is None
        assert server.answers()


def test_a_given_server_that_does_not_answer_is_refused_without_its_password(folder: Path):
    stack = Stack("tasks", [], folder=folder / "up", redis_url="redis://:secret@127.0.0.1:1/0")
    with pytest.raises(ConfigurationError, match=r"STEADYBEAT_REDIS_URL='redis://:\*{3}@127.0.0.1:1/0': no"):
        stack.start()


def test_what_the_application_keeps_running_is_found_by_every_process(folder: Path):
    run = ["mailbox:SMTP_URL=smtp://127.0.0.1:{port};ALERTS=mailto://127.0.0.1:{port}"]
    with Stack("tasks", ["orders"], folder=folder / "up", run=run, flower=False, beats=1, cwd=folder) as stack:
        stack.wait_ready(TIMEOUT)
        url = stack.environment["SMTP_URL"]
        assert stack.urls["mailbox"] == url
        assert said_by(stack, "mailbox")["SMTP_URL"] == said_by(stack, "worker-orders")["SMTP_URL"] == url
        assert stack.environment["ALERTS"] == url.replace("smtp", "mailto")


@pytest.mark.parametrize(
    "spec", ["mailbox", "mailbox:", "mailbox:SMTP_URL", "mailbox:SMTP_URL=smtp://x", ":A={port}", "a:B={port};C"]
)
def test_a_wrong_dev_run_is_refused_with_an_example(folder: Path, spec: str):
    with pytest.raises(ConfigurationError, match=r"steadybeat_dev_run=.*must be like 'mailbox:SMTP_URL="):
        Stack("tasks", [], folder=folder / "up", run=[spec])


FOREGROUND = """
import sys
from pathlib import Path
from rich.console import Console
from steadybeat.dev import Stack
from steadybeat.dev.foreground import run_in_foreground
folder = Path(sys.argv[1])
run_in_foreground(
    lambda output: Stack("tasks", ["orders"], folder=folder / "up", cwd=folder, output=output), Console()
)
"""


def running_pids(folder: Path) -> list[int]:
    return list(json.loads((folder / "up" / "up.json").read_text())["processes"].values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_in_reverse_order_and_leaves_nothing_behind(folder: Path, number: signal.Signals):
    program = subprocess.Popen(
        [sys.executable, "-c", FOREGROUND, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    lines = []
    for line in program.stdout:
        lines.append(line.split(maxsplit=1)[1].strip())
        if "everything ready" in line:
            break
    pids = running_pids(folder)
    program.send_signal(number)
    rest, _ = program.communicate(timeout=15)
    stopped = [line.split()[1] for line in rest.splitlines() if line.endswith("stopped")]
    assert program.returncode == 0
    assert sum("password" in line for line in lines) == 1
    assert stopped[:2] == ["flower", "worker-orders"] and stopped[-2:] == ["postgres", "redis"]
    assert len(pids) == 7 and all(map(gone, pids))


def test_nothing_outlives_a_killed_stack(folder: Path):
    with subprocess.Popen(
        [sys.executable, "-c", FOREGROUND, str(folder)], stdout=subprocess.PIPE, text=True
    ) as program:
        for line in program.stdout:
            if "everything ready" in line:
                break
        pids = running_pids(folder)
        program.send_signal(signal.SIGKILL)
    eventually(lambda: len(pids) == 7 and all(map(gone, pids)))


def test_a_terminal_gets_one_live_screen(folder: Path):
    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        [sys.executable, "-c", FOREGROUND, str(folder)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"},
    )
    os.close(theirs)
    seen = ""
    while "ready in" not in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen):
        seen += os.read(ours, 65536).decode(errors="replace")
    program.send_signal(signal.SIGINT)
    with pytest.raises(OSError, match="Input/output error"):  # the end of a terminal that nobody holds any more
        while True:
            seen += os.read(ours, 65536).decode(errors="replace")
    os.close(ours)
    assert program.wait(timeout=15) == 0
    assert "\x1b[?1049h" in seen and "\x1b[?1049l" in seen
    assert "worker-orders" in seen and "Ctrl-C" in seen
