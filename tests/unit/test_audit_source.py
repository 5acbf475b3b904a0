"""What a task's code says, as the audit reads it."""

from __future__ import annotations

from pathlib import Path

from celery import Celery

from steadybeat.audit.source import Source, read, read_function, read_hooks
from tests.unit.coding import Program, program, task_of

__all__ = ["program"]


def source_of(module: object, name: str = "job") -> Source:
    return read(task_of(module, name))  # type: ignore[arg-type]


def test_a_task_says_what_it_calls_as_it_was_imported(program: Program) -> None:
    module = program("""
        import json as j
        from os import path as p

        @app.task
        def job(x, **more):
            import requests as r
            session = r.Session()
            session.post("https://bank/pay", timeout=5, headers=j.loads(x))
            p.join(x, "a")
            r.get("https://bank", **more)
    """)
    source = source_of(module)
    assert source.known and source.place.endswith("tasks.py:9")
    assert [each.name for each in source.calls] == [
        "requests.Session",
        "requests.Session.post",
        "json.loads",
        "os.path.join",
        "requests.get",
    ]
    post = source.calls[1]
    assert (post.written, set(post.keywords), post.unpacked) == ("session.post", {"timeout", "headers"}, False)
    assert post.seconds("timeout") == 5
    assert source.calls[4].unpacked


def test_calls_are_followed_within_the_package_and_no_further(program: Program) -> None:
    module = program(
        """
        from . import steps
        import textwrap

        @app.task
        def other():
            steps.never()

        @app.task(bind=True)
        def job(self):
            textwrap.dedent("x")
            steps.first()
            other.delay()
        """,
        steps="""
        import time
        from datetime import timedelta

        class Mailer:
            def __init__(self):
                self.open()
            def open(self):
                time.sleep(1)
            def send(self):
                time.sleep(2)

        mailer = Mailer()

        def first():
            second()

        def second():
            Mailer().send()
            mailer.send()

        def never():
            time.sleep(99)
        """,
    )
    source = source_of(module)
    names = " ".join(each.definition.name for each in source.functions)
    assert names == "job first second Mailer.send Mailer.__init__ Mailer.open"
    assert [each.argument(0) for each in source.sleeps] == [2, 1]
    assert [each.written for each in source.sent] == ["other.delay"]


def test_what_stands_around_a_call_stands_around_what_it_calls(program: Program) -> None:
    module = program("""
        import contextlib

        @app.task
        def job(rows):
            for row in rows:
                try:
                    with contextlib.suppress(ValueError):
                        one(row)
                except KeyError:
                    return

        def one(row):
            if row.done:
                return
            print(row)
    """)
    source = source_of(module)
    printed = source.called("print")[0]
    assert printed.around.within == ("contextlib.suppress",)
    assert printed.around.caught == ("KeyError",)
    assert len(printed.around.loops) == 1
    assert printed in source.inside(source.loops[0])
    assert [each.test for each in source.guards] == ["row.done"]


def test_tasks_of_every_kind_are_read(program: Program) -> None:
    module = program("""
        import functools

        def once(function):
            @functools.wraps(function)
            def wrapper(*args):
                print("before")
                return function(*args)
            return wrapper

        def careless(function):
            def job(*args):
                return function(*args)
            return job

        class Base(Task):
            def on_failure(self, exc, task_id, args, kwargs, einfo):
                self.tell(exc)
            def tell(self, exc):
                print("failed", exc)

        class Job(Base):
            name = "by.class"
            def run(self):
                self.step()
            def step(self):
                print("by class")

        by_class = app.register_task(Job())

        @app.task(base=Base, autoretry_for=(ValueError,), retry_backoff=True)
        @once
        def wrapped():
            print("wrapped")

        @app.task(name="careless")
        @careless
        def hidden():
            print("hidden")

        def greet(word, name):
            print("partly", word, name)

        class Partly(Task):
            name = "partly"
            run = functools.partial(greet, "hello")

        partly = app.register_task(Partly())
        class Short(Task):
            name = "short"
            run = staticmethod(lambda: print("short"))

        short = app.register_task(Short())
    """)

    def printed(name: str) -> list[object]:
        return [each.argument(0) for each in source_of(module, name).called("print")]

    assert printed("by_class") == ["by class"]
    assert printed("wrapped") == ["before", "wrapped"]
    hooks = read_hooks(task_of(module, "wrapped"))
    assert {name: [each.argument(0) for each in hook.called("print")] for name, hook in hooks.items()} == {
        "on_failure": ["failed"]
    }
    assert printed("hidden") == ["hidden"]
    assert printed("partly") == ["partly"]
    assert printed("short") == ["short"]


def test_what_cannot_be_read_says_why() -> None:
    app = Celery("unread", set_as_current=False)
    native = app.register_task(type("Native", (app.Task,), {"name": "native", "run": staticmethod(print)})())
    place: dict[str, object] = {}
    exec("def made(): return 1", place)  # the code of a task that no file holds
    generated = app.task(name="generated")(place["made"])
    for task, why in ((native, "print was not written in Python"), (generated, "its code was generated")):
        source = read(task)
        assert not source.known
        assert [why in each for each in source.unread] == [True]
        assert (source.calls, source.statements, source.locks, source.place) == ((), (), (), "")


def test_a_file_that_changed_since_is_not_taken_for_the_code(program: Program) -> None:
    module = program("""
        @app.task
        def job():
            print(1)
    """)
    Path(str(module.__file__)).write_text("\n" * 40)
    source = source_of(module)
    assert not source.known
    assert "has no job in line" in source.unread[0]


def test_errors_that_nobody_learns_of_are_seen(program: Program) -> None:
    module = program("""
        import logging
        log = logging.getLogger(__name__)

        @app.task(bind=True)
        def job(self, x):
            try: x()
            except Exception: pass
            try: x()
            except: return None
            try: x()
            except (ValueError, KeyError): pass
            try: x()
            except Exception: log.error("bad", exc_info=True)
            try: x()
            except Exception as e: log.error("bad %s", e)
            try: x()
            except Exception as e: raise self.retry(exc=e)
            try: x()
            except Exception: raise
    """)
    source = source_of(module)
    assert [each.errors for each in source.handlers][:3] == [("Exception",), ("*",), ("ValueError", "KeyError")]
    assert [each.silent for each in source.handlers] == [True, True, True, False, False, False, False]
    assert [each.stack for each in source.handlers] == [False, False, False, True, False, False, False]
    assert [each.raises for each in source.handlers] == [False] * 5 + [True, True]
    assert len(source.swallowed) == 2


def test_a_stub_is_a_function_that_does_nothing(program: Program) -> None:
    module = program("""
        def stub(job, error):
            '''Tell whoever is on call.'''
            # TODO: PagerDuty
            print("alert", job)

        def rate():
            return 0

        def real(job):
            import requests
            requests.post("https://hooks", json={"text": job}, timeout=5)

        def computed(rows):
            return len(rows) / 2
    """)
    stubs = {name: read_function(getattr(module, name)).is_stub for name in ("stub", "rate", "real", "computed")}
    assert stubs == {"stub": True, "rate": False, "real": False, "computed": False}
    constants = {name: read_function(getattr(module, name)).constants() for name in ("rate", "computed", "stub")}
    assert constants == {"rate": (0,), "computed": (), "stub": ()}


def test_the_tasks_of_the_catalogue_are_read(program: Program) -> None:
    from tasks import royalties

    source = read(royalties.pay_royalty)
    assert source.known
    assert {each.kind for each in source.writes} <= {"INSERT", "UPSERT", "UPDATE", "DELETE"}
    assert any(each.last == "exactly_once" for each in source.calls)
