import io
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from steadybeat.address import without_password
from steadybeat.dev.process import State
from steadybeat.dev.screen import Tail, access_lines, brief, duration, render
from steadybeat.dev.stack import Stack


def drawn(stack: Stack, width: int = 110, height: int = 36) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render(stack, {}, height))
    return console.export_text()


def ready(stack: Stack) -> Stack:
    for process in stack.processes:
        process.state = State.DONE if process.once else State.READY
    stack.ready_after = timedelta(seconds=14.5)
    return stack


def test_a_line_of_json_shows_its_event_and_its_key_facts():
    line = (
        '{"timestamp": "2026-03-01T06:00:00Z", "level": "info", "event": "run succeeded", "instance": "a:1:child", '
        '"task": "tasks.orders.expire", "schedule": "tasks.orders.expire", "run_id": "0195", '
        '"status": "succeeded", "duration_seconds": 0.123456}'
    )
    assert brief(line).plain == "run succeeded  tasks.orders.expire  status succeeded  123 ms"


def test_of_a_line_the_task_comes_first_and_the_result_last():
    line = (
        '{"event": "task succeeded", "result": "{\'order_count\': 1}", "delay_seconds": 3, '
        '"task": "tasks.orders.expire"}'
    )
    assert brief(line).plain == "task succeeded  tasks.orders.expire  delay 3.0 s  order_count: 1"


def test_an_error_with_a_stack_stays_on_one_line():
    assert brief('{"event": "run failed", "level": "error", "error": "Boom: no\\nmore", "stack": "x\\ny"}').plain == (
        "run failed  error Boom: no"
    )


def test_a_line_that_only_looks_like_json_is_shown_as_it_is():
    assert brief('{"event": broken').plain == '{"event": broken'
    assert brief('{"no": "event"}').plain == '{"no": "event"}'


def test_what_servers_write_before_their_message_is_left_out():
    assert brief("5702:M 22 Nov 2026 00:51:19.897 * Ready to accept connections").plain == "Ready to accept connections"
    line = "2026-11-22 00:51:19.745 UTC [5681] LOG:  received fast shutdown request"
    assert brief(line).plain == "received fast shutdown request"
    assert brief("[W 261122 01:32:11 inspector:98] Inspect failed").plain == "Inspect failed"


def test_escape_sequences_of_a_log_do_not_reach_the_terminal():
    assert brief("\x1b[2J\x1b[31mred\x1b[0m\x07").plain == "red"


def test_the_last_line_follows_a_growing_file(tmp_path: Path):
    log = tmp_path / "beat.log"
    tail = Tail(log)
    assert tail.read() == ""
    log.write_text("one\ntwo\n\n")
    assert tail.read() == "two"
    with log.open("a") as file:
        file.write("three\n")
    assert tail.read() == "three"


def test_a_duration_is_told_in_its_largest_units():
    told = [duration(timedelta(seconds=seconds)) for seconds in (8, 62, 11_220, 183_600)]
    assert told == ["<1m", "1m", "3h07m", "2d03h"]


def test_the_screen_names_every_process_and_where_everything_is(tmp_path: Path):
    stack = Stack("tasks", ["orders", "royalties"], folder=tmp_path)
    text = drawn(stack)
    for name in ("redis", "postgres", "beat-1", "beat-2", "worker-orders", "worker-royalties", "flower"):
        assert name in text
    for address in (*stack.urls.values(), stack.flower_password, "Ctrl-C stops all"):
        assert address in text


def test_processes_stand_together_with_their_kind(tmp_path: Path):
    lines = drawn(ready(Stack("tasks", ["orders", "search"], folder=tmp_path))).splitlines()
    table = lines[next(n for n, line in enumerate(lines) if line.startswith("process")) + 1 :]
    names = [line.split()[0] if line.strip() else "" for line in table][:11]
    assert names == [
        "redis", "postgres", "", "beat-1", "beat-2", "", "worker-orders", "worker-search", "", "watchdog", "flower"
    ]  # fmt: skip


def test_a_ready_stack_says_what_to_type_next(tmp_path: Path):
    stack = Stack("tasks", ["orders"], folder=tmp_path)
    assert "starting, 0 of 9" in drawn(stack)
    assert "runs list" not in drawn(stack)
    text = drawn(ready(stack))
    assert "steadybeat · tasks · ready in 14.5 s" in text
    for command in (f". {tmp_path}/env", "celery -A tasks schedules next", "celery -A tasks runs list"):
        assert command in text


def test_steps_and_restarts_are_shown_only_while_they_matter(tmp_path: Path):
    stack = ready(Stack("tasks", ["orders"], folder=tmp_path))
    assert "ledger upgrade" not in drawn(stack)
    assert "  restarts  " not in drawn(stack)
    worker = stack.process("worker-orders")
    worker.state, worker.restarts, worker.note = State.RESTARTING, 1, "killed by SIGKILL; again in 0.5 s"
    text = drawn(stack)
    assert "1 of 7 not ready" in text
    assert "  restarts  " in text
    assert "killed by SIGKILL; again in 0.5 s" in text


def test_a_low_terminal_still_shows_every_process(tmp_path: Path):
    stack = ready(Stack("tasks", ["a", "b", "c", "d", "e", "f"], folder=tmp_path))
    for height, width in ((36, 120), (24, 80), (18, 60)):
        text = drawn(stack, width, height)
        assert len(text.splitlines()) <= height
        assert all(process.name in text for process in stack.processes if not process.once)
        assert "Ctrl-C stops all" in text


def test_the_password_stands_once_in_plain_lines(tmp_path: Path):
    stack = Stack("tasks", [], folder=tmp_path)
    assert "\n".join(access_lines(stack)).count(stack.flower_password) == 1


def test_the_password_of_a_given_server_is_not_shown(tmp_path: Path):
    assert without_password("redis://:secret@db:6379/0") == "redis://:***@db:6379/0"
    stack = Stack("tasks", [], folder=tmp_path, database_url="postgresql://me:secret@db/ledger")
    assert "secret" not in drawn(stack)
    assert "secret" not in "\n".join(access_lines(stack))
