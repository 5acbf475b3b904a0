"""What a task's code does to the world, as the audit reads it: databases, locks, other programs, memory."""

from __future__ import annotations

import pytest

from steadybeat.audit.source import Source, read
from tests.unit.coding import Program, program, task_of

__all__ = ["program"]


def source_of(module: object, name: str = "job") -> Source:
    return read(task_of(module, name))  # type: ignore[arg-type]


SQL = [
    ('db.execute("INSERT INTO sales (id) VALUES (1)")', ["INSERT"]),
    ('db.execute("insert into sales values (1) on conflict do nothing")', ["UPSERT"]),
    ('db.execute(f"INSERT INTO {x} VALUES (1) ON DUPLICATE KEY UPDATE a = 1")', ["UPSERT"]),
    ('db.execute("UPDATE sales SET paid = true WHERE id = %s AND NOT paid", (x,))', ["UPDATE"]),
    ('db.execute("DELETE FROM sales WHERE old")', ["DELETE"]),
    ('db.execute("SELECT id FROM sales")', ["READ"]),
    ('db.execute("SELECT id FROM sales FOR UPDATE SKIP LOCKED")', ["LOCK"]),
    ('db.execute(QUERY)', ["UPDATE"]),
    ('print("update the sales of today; select one")', []),
    ('session.add(x); session.commit()', ["INSERT"]),
    ('session.merge(x)', ["UPSERT"]),
    ('with session_scope() as s: s.add(x)', ["INSERT"]),
    ('s = sqlalchemy.orm.Session(); s.delete(x); s.commit()', ["DELETE"]),
    ('import requests; s = requests.Session(); s.delete(x)', []),
    ('set().add(x)', []),
    ('x.objects.create(a=1)', ["INSERT"]),
    ('x.objects.bulk_create([], ignore_conflicts=True)', ["UPSERT"]),
    ('x.objects.filter(state="new").update(state="paid")', ["UPDATE"]),
    ('x.objects.update_or_create(id=1)', ["UPSERT"]),
    ('row = x.objects.get(id=1); row.paid = True; row.save()', ["UPDATE"]),
    ('import sqlalchemy as sa; db.execute(sa.insert(x).values(id=1))', ["INSERT"]),
    ('from sqlalchemy.dialects.postgresql import insert; db.execute(insert(x).on_conflict_do_nothing())', ["UPSERT"]),
    ('import sqlalchemy as sa; s = sa.insert(x).values(id=1); s = 1; db.execute(s)', ["INSERT"]),
    (
        (
            'from sqlalchemy.dialects.postgresql import insert; s = insert(x).values(id=1);'
            ' db.execute(s.on_conflict_do_update(index_elements=["id"]))'
        ),
        ["UPSERT"],
    ),
    ('db.execute(READY)', ["UPSERT"]),
]  # fmt: skip


@pytest.mark.parametrize(("line", "kinds"), SQL, ids=[line for line, _ in SQL])
def test_reads_and_writes_of_a_database_are_told_apart(program: Program, line: str, kinds: list[str]) -> None:
    module = program(f"""
        import sqlalchemy
        from sqlalchemy.dialects import postgresql
        QUERY = "UPDATE sales SET n = n + 1"
        from contextlib import contextmanager
        READY = postgresql.insert(sqlalchemy.table("t", sqlalchemy.column("id"))).on_conflict_do_nothing()

        @contextmanager
        def session_scope():
            yield None

        @app.task
        def job(x, db, session):
            {line}
    """)
    assert [each.kind for each in source_of(module).statements] == kinds


def test_a_write_says_what_makes_it_safe_or_unsafe_to_repeat(program: Program) -> None:
    module = program("""
        import psycopg

        @app.task
        def job(db, rows):
            db.execute("UPDATE accounts SET balance = balance - 5 WHERE id = 7")
            db.execute("UPDATE sales SET paid = true WHERE id = 7 AND paid = false")
            try:
                db.execute("INSERT INTO log VALUES (1)")
            except psycopg.errors.UniqueViolation:
                pass
            with db.transaction():
                rows.objects.filter(state="new").update(state="old")
    """)
    relative, conditional, guarded, filtered = source_of(module).writes
    assert (relative.relative, relative.where) == (True, "id = 7")
    assert (conditional.relative, conditional.where) == (False, "id = 7 AND paid = false")
    assert (relative.guarded, guarded.guarded) == (False, True)
    assert filtered.where == "state='new'"
    assert filtered.around.within == ("db.transaction",)


LOCKS = [
    (
        'with r.lock(f"pay:{x}", timeout=60, blocking_timeout=5): print(x)',
        {
            "kind": "redis lock",
            "seconds": 60,
            "waits": True,
            "wait_seconds": 5,
            "released": "with",
            "owned": True,
            "varies": True,
        },
    ),
    (
        """
            lock = r.lock("pay", timeout=TTL)
            if not lock.acquire(blocking=False):
                return
            try:
                lock.extend(5)
            finally:
                lock.release()
        """,
        {"seconds": 300, "waits": False, "released": "finally", "extended": True, "tested": True, "varies": False},
    ),
    (
        """
            if not r.set("pay", 1, nx=True, ex=30):
                return
            print(x)
            r.delete("pay")
        """,
        {"kind": "set nx", "seconds": 30, "owned": False, "released": "straight", "tested": True, "extended": False},
    ),
    ('r.setnx("pay", 1)', {"kind": "set nx", "bounded": False, "tested": False, "released": "never"}),
    (
        """
            if cache.add("pay", "1", 60 * 10):
                try:
                    print(x)
                finally:
                    cache.delete("pay")
        """,
        {"kind": "cache.add", "seconds": 600, "waits": False, "released": "finally", "owned": False},
    ),
    (
        'r.execute("SELECT pg_try_advisory_xact_lock(42)")',
        {"kind": "advisory", "waits": False, "released": "transaction", "key": "42", "varies": False},
    ),
    ('r.execute("SELECT pg_advisory_lock(%s)", x)', {"waits": True, "released": "never", "varies": True}),
    (
        """
            from redlock import Redlock
            lock = Redlock(["a", "b"]).lock("pay", 1500)
        """,
        {"kind": "quorum", "owned": True},
    ),
    (
        """
            try:
                r.lock("pay", timeout=3).acquire()
            except Exception:
                pass
            print(x)
        """,
        {"without": "goes on", "released": "never"},
    ),
    ('with Single("pay"): print(x)', {"kind": "set nx", "released": "with", "seconds": 9}),
    ('with single("pay"): print(x)', {"kind": "redis lock", "released": "finally", "seconds": 300}),
]


@pytest.mark.parametrize(
    ("code", "said"), LOCKS, ids=[code.split("\n")[min(1, code.count("\n"))].strip() for code, _ in LOCKS]
)
def test_a_lock_says_how_it_is_taken_and_given_back(program: Program, code: str, said: dict[str, object]) -> None:
    module = program(
        f"""
        from .taking import TTL, Single, cache, single

        @app.task
        def job(x, r):
            {code.strip()}
        """,
        taking="""
        import contextlib
        from datetime import timedelta
        import redis

        TTL = timedelta(minutes=5)
        cache = {}
        client = redis.Redis()

        class Single:
            def __init__(self, key):
                self.key = key
            def __enter__(self):
                if not client.set(self.key, 1, nx=True, ex=9):
                    raise RuntimeError("held")
            def __exit__(self, *error):
                client.delete(self.key)

        @contextlib.contextmanager
        def single(key):
            lock = client.lock(key, timeout=TTL)
            lock.acquire()
            try:
                yield
            finally:
                lock.release()
        """,
    )
    lock = source_of(module).locks[-1]
    assert {name: getattr(lock, name) for name in said} == said


def test_a_lock_of_threads_is_none_of_jobs(program: Program) -> None:
    module = program("""
        import threading
        guard = threading.Lock()

        @app.task
        def job():
            with guard:
                guard.acquire()
    """)
    assert source_of(module).locks == ()


OUTSIDE = [
    ('requests.post("https://bank", json=x)', True, False, False),
    ('requests.post("https://bank", json=x, timeout=5, headers={"Idempotency-Key": x})', True, True, True),
    ('requests.get("https://bank", timeout=None)', False, False, False),
    ('requests.request("POST", "https://bank", **x)', True, None, None),
    ('h = {"Idempotency-Key": x}; httpx.put("https://bank", headers=h)', True, True, True),
    ("stripe.Charge.create(amount=1)", True, False, None),
    ("stripe.Charge.create(amount=1, idempotency_key=x)", True, True, None),
    ("stripe.Charge.retrieve(x)", False, False, None),
    ('s3 = boto3.client("s3"); s3.put_object(Body=x)', True, False, None),
    ('urllib.request.urlopen("https://bank", timeout=3)', False, False, True),
    ('requests.Session().post("https://bank")', True, False, False),
]


@pytest.mark.parametrize(("line", "changes", "keyed", "timed"), OUTSIDE, ids=[each[0] for each in OUTSIDE])
def test_a_call_of_another_program_says_its_key_and_its_time_out(
    program: Program, line: str, changes: bool, keyed: bool | None, timed: bool | None
) -> None:
    module = program(f"""
        @app.task
        def job(x):
            import boto3, httpx, requests, stripe, urllib.request
            {line}
    """)
    (found,) = source_of(module).outside
    assert (found.changes, found.keyed, found.timed) == (changes, keyed, timed)


def test_mail_waiting_threads_and_other_programs_are_seen(program: Program) -> None:
    module = program("""
        import smtplib, subprocess, threading, time
        from concurrent.futures import ThreadPoolExecutor

        @app.task
        def job(mail, rows):
            with smtplib.SMTP("mail") as server:
                server.send_message(mail)
            time.sleep(3)
            threading.Thread(target=work).start()
            with ThreadPoolExecutor() as pool:
                pool.map(more, rows)
            subprocess.run(["ls"])

        def work():
            time.sleep(4)

        def more(row):
            time.sleep(5)
    """)
    source = source_of(module)
    assert [each.last for each in source.mails] == ["send_message"]
    assert [each.argument(0) for each in source.sleeps] == [3, 4, 5]
    assert {each.name.rpartition(".")[2] for each in source.parallel} >= {"Thread", "ThreadPoolExecutor"}
    assert [each.name for each in source.children] == ["subprocess.run"]


def test_whole_inputs_are_told_from_inputs_in_pieces(program: Program) -> None:
    module = program("""
        @app.task(bind=True)
        def job(self, db, file, Sale):
            import pandas
            db.execute("SELECT 1").fetchall()
            list(Sale.objects.filter(paid=False))
            file.read()
            pandas.read_csv("x")
            list([1, 2])
            list(Sale.objects.all()[:500])
            db.execute("SELECT id FROM sales LIMIT 500").fetchall()
            file.read(1024)
            pandas.read_csv("x", chunksize=9)
            for sale in self.iterate(Sale.objects.iterator()):
                print(sale)
            for sale in Sale.objects.all():
                print(sale)
            while not self.is_aborted():
                print()
            total = [each for each in file]
    """)
    source = source_of(module)
    assert [each.name.rpartition(".")[2] for each in source.loaded] == ["fetchall", "list", "read", "read_csv", "all"]
    assert [each.last for each in source.batched][:2] == ["read_csv", "iterate"]
    assert [(each.kind, source.asks_to_stop(each)) for each in source.loops] == [
        ("for", True),
        ("for", False),
        ("while", True),
        ("comprehension", False),
    ]
