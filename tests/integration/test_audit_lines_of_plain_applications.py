"""Single lines of the checklist, for plain applications that differ in one thing."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from steadybeat.audit import LINES
from steadybeat.audit.answer import Answer
from steadybeat.audit.auditing import ask_all
from steadybeat.audit.plain import Program as Plain
from steadybeat.audit.plain.checking import checks
from tests.integration.commands.test_audit_plain import BAD, DJANGO, NEVER_PASSES, WELL
from tests.integration.plainly import findings
from tests.unit.coding import Program, program

__all__ = ["program"]

JOB = """
@app.task
def job():
    '''Do what is to be done.'''
"""


def plain(module: ModuleType) -> Plain:
    app = module.app
    app.finalize()
    return Plain(app, module.__name__)


def answer(module: ModuleType, line: str, task: str = "job") -> Answer:
    of = plain(module)
    job = next(each for each in of.jobs if each.name == getattr(module, task).name)
    return checks()[line](job, of)


def said(module: ModuleType, line: str) -> tuple[str, str]:
    found = answer(module, line)
    return str(found.verdict), found.evidence


SCHEDULE = "app.conf.beat_schedule = {'e': {'task': job.name, 'schedule': 3600}}\n"
CRONTAB = (
    "from celery.schedules import crontab\n"
    "app.conf.beat_schedule = {{'e': {{'task': job.name, 'schedule': crontab({})}}}}\n"
)

CASES: list[tuple[str, str, str, str]] = [
    ("1.1", JOB.replace("app.task", "app.task(name='__main__.job')"), "FAIL", "follows the script"),
    (
        "1.1",
        JOB.replace("app.task", "app.task(name='x')")
        + "\n@app.task(name='x')\ndef twin():\n    '''Do what is to be done.'''\n",
        "FAIL",
        "only one of them is run",
    ),
    ("1.3", JOB + SCHEDULE + "app.conf.enable_utc = False", "FAIL", "follow the machine"),
    ("1.3", JOB + SCHEDULE, "PARTIAL", "nobody has said so"),
    ("1.3", JOB + SCHEDULE + "app.conf.timezone = 'UTC'", "PASS", "timezone='UTC'"),
    ("1.4", JOB + CRONTAB.format("hour=2") + "app.conf.timezone = 'UTC'", "PASS", "from 02:00 through 02:59 (UTC)"),
    ("1.4", JOB + CRONTAB.format("hour=2, minute=30") + "app.conf.timezone = 'Europe/Riga'", "FAIL", "Europe/Riga"),
    ("1.6", JOB + "app.conf.task_time_limit = 60", "PASS", "task_time_limit=60 s (configuration)"),
    ("1.6", JOB.replace("app.task", "app.task(time_limit=9)"), "PASS", "time_limit=9 s (task)"),
    ("1.6", JOB.replace("app.task", "app.task(time_limit=9)") + "app.conf.worker_pool = 'gevent'", "FAIL", "gevent"),
    ("2.10", JOB + "    from redlock import Redlock\n    Redlock(['a', 'b', 'c']).lock('k', 9)", "PASS", "3 nodes"),
    ("2.10", JOB + "    from redlock import Redlock\n    Redlock(['a', 'b']).lock('k', 9)", "FAIL", "2 nodes"),
    (
        "3.4",
        "import sentry_sdk\n"
        + JOB.replace("def job", "def job").replace(
            "@app.task", "@app.task\n@sentry_sdk.monitor(monitor_slug='job', monitor_config={'checkin_margin': 5})"
        )
        + SCHEDULE,
        "PASS",
        "checkin_margin",
    ),
    (
        "3.6",
        JOB
        + "def start():\n    import sentry_sdk\n    sentry_sdk.init(integrations=[I(monitor_beat_tasks=True)])\n"
        + SCHEDULE,
        "PASS",
        "Sentry misses",
    ),
    ("3.7", JOB + "def start():\n    import sentry_sdk\n    sentry_sdk.init()\n", "UNKNOWN", "sentry_sdk.init()"),
    ("5.1", JOB + "app.conf.task_always_eager = True", "FAIL", "task_always_eager"),
    ("5.6", JOB.replace("app.task", "app.task(autoretry_for=(OSError,))"), "FAIL", "without retry_backoff"),
    (
        "5.6",
        JOB.replace("app.task", "app.task(autoretry_for=(OSError,), retry_backoff=2)"),
        "PASS",
        "retry_backoff=2, retry_jitter=True",
    ),
    ("5.7", JOB.replace("app.task", "app.task(autoretry_for=(Exception,))"), "FAIL", "never succeed"),
    (
        "5.7",
        JOB.replace("app.task", "app.task(autoretry_for=(Exception,), dont_autoretry_for=(ValueError,))"),
        "PASS",
        "dont_autoretry_for=(ValueError)",
    ),
    ("6.2", JOB + "app.conf.broker_url = 'memory://'", "FAIL", "memory"),
    ("6.2", JOB + "app.conf.broker_url = 'redis://h'", "UNKNOWN", "Redis"),
    (
        "2.3",
        JOB.replace("app.task", "app.task(acks_late=True, time_limit=7200)")
        + "    import redis\n    with redis.Redis().lock('k', timeout=9000):\n        print()\n"
        + "app.conf.broker_url = 'redis://h'",
        "FAIL",
        "visibility_timeout=1 h, time_limit=7200 s (task)",
    ),
    (
        "2.3",
        JOB.replace("app.task", "app.task(time_limit=60)")
        + "    import redis\n    with redis.Redis().lock('k', timeout=90):\n        print()\n",
        "PASS",
        "the lock holds 90 s, an attempt 1 min",
    ),
    ("7.5", JOB + "    import redis\n    redis.Redis().setnx('k', 1)\n", "FAIL", "never lapses"),
    ("6.6", JOB + "def web():\n    import schedule\n    schedule.run_pending()\n", "FAIL", "schedule.run_pending()"),
    ("6.6", JOB + "def web():\n    job()\n", "PASS", "no module starts a worker"),
    ("4.1", JOB + "def web():\n    job()\n", "FAIL", "called as a function"),
    ("4.1", JOB + "def web():\n    job.delay()\n", "PASS", "request.id"),
    ("7.2", JOB + "    open('x').read()\n", "PASS", "none keeps anything"),
    ("7.2", JOB + "    open('x', 'w')\n", "FAIL", "a file of one machine"),
    ("7.2", JOB + "    from pathlib import Path\n    (Path('x') / 'y').open('a')\n", "FAIL", "a file of one machine"),
    ("7.9", JOB + "app.conf.broker_pool_limit = 0", "FAIL", "broker_pool_limit=0"),
    (
        "7.9",
        JOB + "    import sqlalchemy\n    sqlalchemy.create_engine('x', poolclass=sqlalchemy.NullPool)\n",
        "FAIL",
        "has no bound",
    ),
    (
        "8.4",
        JOB + "    for account in accounts():\n        job.delay(account)\ndef accounts():\n    return []\n",
        "FAIL",
        "as many at once",
    ),
    ("8.8", JOB + SCHEDULE, "PASS", "an interval"),
    ("8.8", JOB + CRONTAB.format("hour=2"), "FAIL", "on second 0"),
]


@pytest.mark.parametrize(("line", "code", "verdict", "evidence"), CASES, ids=[f"{c[0]}-{c[2]}-{c[3]}" for c in CASES])
@pytest.mark.filterwarnings("ignore::celery.exceptions.DuplicateTaskNameWarning")
def test_one_thing_makes_the_difference(program: Program, line: str, code: str, verdict: str, evidence: str) -> None:
    found = said(program(code), line)
    assert (found[0], evidence in found[1]) == (verdict, True), found


def test_every_line_has_something_that_passes_and_something_that_does_not() -> None:
    verdicts = {line: set[str]() for line in LINES}
    for app in (BAD, WELL, DJANGO):
        for (line, _), each in findings(*app).items():
            verdicts[line].add(each["verdict"])
    for line, _, verdict, _ in CASES:
        verdicts[line].add(verdict)
    assert {line for line, seen in verdicts.items() if "PASS" not in seen} == NEVER_PASSES
    assert {line for line, seen in verdicts.items() if not seen & {"FAIL", "PARTIAL"}} == set()


@pytest.mark.parametrize(
    ("file", "text", "verdict", "where"),
    [
        ("Procfile", "worker: celery -A {} worker -B\n", "FAIL", "Procfile:1"),
        ("Procfile", "worker: celery -A {} worker\nbeat: celery -A {} beat\n", "PASS", "Procfile:2"),
        ("deploy/beat.yaml", "command:\n  - celery\n  - -A\n  - {}\n  - beat\n", "PASS", "beat.yaml:1"),
        ("compose.yml", 'command: ["celery", "-A", "{}", "worker", "--beat"]\n', "FAIL", "compose.yml:1"),
        ("run.sh", "exec celery \\\n  -A {} \\\n  beat\n", "PASS", "run.sh:1"),
        ("run.sh", "# celery -A {} beat\n", "UNKNOWN", "no file"),
        ("run.sh", "celery -A somebody_elses beat\n", "UNKNOWN", "no file"),
    ],
)
def test_how_processes_are_started_is_read_from_their_files(
    program: Program, tmp_path: Path, file: str, text: str, verdict: str, where: str
) -> None:
    module = program(JOB + SCHEDULE)
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text.replace("{}", module.__name__.partition(".")[0]))
    found = said(module, "6.7")
    assert (found[0], where in found[1]) == (verdict, True), found


def test_that_nobody_asks_for_a_sign_of_life_says_where_it_was_looked_for(program: Program, tmp_path: Path) -> None:
    module = program(JOB)
    (tmp_path / "Procfile").write_text(f"worker: celery -A {module.__name__.partition('.')[0]} worker\n")
    assert said(module, "7.6") == (
        "FAIL",
        "no file asks workers or Beat for a sign of life; commands of its processes that were read: 1",
    )


def test_nothing_of_the_application_is_changed(program: Program) -> None:
    module = program(JOB + SCHEDULE + "app.conf.broker_url = 'redis://127.0.0.1:1/0'\n")
    of = plain(module)

    def state() -> dict[str, Any]:
        tasks = {name: sorted(vars(type(task))) for name, task in module.app.tasks.items()}
        return {"conf": repr(dict(module.app.conf)), "tasks": tasks, "bases": repr(module.app.Task.__mro__)}

    before = state()
    found = ask_all(checks(), of.jobs, of)
    assert not found.broken
    assert state() == before
    assert getattr(module.app, "steadybeat", None) is None


def test_a_task_whose_code_cannot_be_read_is_unknown_where_its_code_counts(program: Program) -> None:
    module = program("""
        class Native(Task):
            name = "native"
            run = staticmethod(print)

        job = app.register_task(Native())
    """)
    for line in ("2.1", "4.2", "5.2", "6.3", "6.5", "8.5"):
        assert said(module, line) == ("UNKNOWN", "its code cannot be read: print was not written in Python")


def test_rows_that_are_changed_by_their_attributes_and_committed_are_unknown_and_not_left_out(program: Program) -> None:
    module = program("""
        @app.task
        def job(session):
            for order in session.query(Order).filter(Order.age > 3):
                order.state = "expired"
            session.commit()

        @app.task
        def reader(session):
            return session.query(Order).count()
    """)
    for line in ("4.2", "4.3", "4.4", "4.6"):
        verdict, evidence = said(module, line)
        assert (verdict, "session.commit()" in evidence) == ("UNKNOWN", True), (line, evidence)
        assert answer(module, line, "reader").verdict == "N/A"
