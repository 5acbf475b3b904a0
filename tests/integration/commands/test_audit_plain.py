"""`celery audit --plain-celery APP`: the checklist for applications that have no steadybeat."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from steadybeat.audit import LINES
from tests.integration.plainly import TESTS, asked, document, findings

BAD = ("badservice", "ticketshop.celery_app")
WELL = ("wellmade", "ticketdesk.celery_app")
DJANGO = ("djangolike", "mysite")

NEVER_PASSES = {"3.10", "4.6", "4.7", "4.8"}
"""What no reading of code shows: how somebody else's service escalates, and what happens when it is tried."""


@pytest.mark.parametrize("app", [BAD, WELL, DJANGO])
def test_every_line_is_answered_for_every_task(app: tuple[str, str]) -> None:
    found = findings(*app)
    tasks = {task for _, task in found}
    assert set(found) == {(line, task) for line in LINES for task in tasks}
    assert all(each["evidence"] and each["text"] == LINES[each["line"]].text for each in found.values())


def test_a_well_made_application_scores_much_higher() -> None:
    assert document(*WELL)["score"] > document(*BAD)["score"] + 60
    short = {(line, task): each["verdict"] for (line, task), each in findings(*WELL).items() if each["remedy"]}
    assert {line for line, _ in short} == {"2.11", "3.4", "3.10", "4.2", "4.6", "4.7", "4.8", "7.1"}
    assert short["2.11", "settle_royalties"] == "FAIL"  # its lock is in Redis, and its effect is not
    assert findings(*WELL)["2.11", "pay_royalty"]["verdict"] == "PASS"  # its lock is its transaction


@pytest.mark.parametrize(
    ("line", "task", "evidence"),
    [
        ("1.2", "expire_orders", "'Every ten minutes'"),
        ("1.8", "pay_royalty", "max_retries=8, autoretry_for, retry_backoff=5"),
        ("2.4", "settle_royalties", "released by finally"),
        ("3.5", "expire_orders", "hc-ping.com (ticketdesk/monitoring.py:"),
        ("3.9", "send_digest", "owner='growth-team'"),
        ("3.13", "pay_royalty", "failure_rate() at ticketdesk/monitoring.py:"),
        ("4.5", "pay_royalty", "requests.post() with a key"),
        ("4.5", "send_digest", "mail, noted before it is sent"),
        ("5.8", "send_digest", "sent again (ticketdesk/monitoring.py:"),
        ("6.5", "settle_royalties", "asks whether to go on"),
        ("6.7", "send_digests", "celery -A ticketdesk.celery_app beat (Procfile:5)"),
        ("7.6", "send_digests", "inspect ping -d payments@$$HOSTNAME (docker-compose.yml:"),
        ("8.2", "send_digests", "if reason is not None: log.info() at"),
    ],
)
def test_what_passes_was_read_from_the_code(line: str, task: str, evidence: str) -> None:
    found = findings(*WELL)[line, task]
    assert (found["verdict"], evidence in found["evidence"]) == ("PASS", True), found["evidence"]


def test_the_guide_says_what_both_score() -> None:
    page = (TESTS.parent / "docs/audit-plain.md").read_text()
    counts = [document(*app)["counts"] for app in (BAD, WELL)]
    scores = [100 * each["PASS"] // (sum(each.values()) - each["N/A"]) for each in counts]
    assert [int(each) for each in re.findall(r"[Ii]t scores (\d+) %", page)] == scores


def test_tasks_of_django_are_read_too() -> None:
    said = {key: each["verdict"] for key, each in findings(*DJANGO).items()}
    assert {task for _, task in said} == {"create_invoice", "copy_invoice", "send_welcome", "export"}
    assert {said[line, "export"] for line in ("1.2", "1.4", "3.6")} == {"UNKNOWN"}  # their schedules are rows
    assert (said["4.4", "create_invoice"], said["4.4", "copy_invoice"]) == ("FAIL", "PASS")
    assert (said["4.3", "create_invoice"], said["4.3", "copy_invoice"]) == ("FAIL", "PASS")
    assert (said["2.1", "create_invoice"], said["2.1", "copy_invoice"]) == ("FAIL", "PASS")
    assert (said["3.7", "export"], said["3.7", "copy_invoice"]) == ("PASS", "FAIL")  # on_failure of its base class
    assert (said["6.3", "export"], said["7.2", "export"]) == ("FAIL", "FAIL")
    assert (said["5.6", "send_welcome"], said["5.7", "send_welcome"]) == ("FAIL", "PASS")
    assert findings(*DJANGO)["1.5", "export"]["evidence"].startswith("docstring: Write all orders")


def test_services_are_modules_and_can_be_chosen() -> None:
    of_orders = document(*DJANGO, "--service", "orders")["findings"]
    assert {each["subject"] for each in of_orders} == {
        "orders.tasks.create_invoice",
        "orders.tasks.copy_invoice",
        "orders.export",
    }
    of_one = document(*DJANGO, "--task", "orders.export")["findings"]
    assert {each["subject"] for each in of_one} == {"orders.export"}


def test_a_score_below_the_least_is_a_finding() -> None:
    assert asked(TESTS / "wellmade", "--plain-celery", WELL[1], "--min", "80").returncode == 0
    assert asked(TESTS / "badservice", "--plain-celery", BAD[1], "--min", "80").returncode == 1


REFUSED = [
    ("ticketshop.celery_ap", "there is no module 'ticketshop.celery_ap'. Did you mean 'ticketshop.celery_app'?"),
    ("ticketshop", "no Celery application is found there; name it: ticketshop.celery_app."),
    ("ticketsop", "there is no module 'ticketsop'. Did you mean 'ticketshop'?"),
    ("ticketshop.monitoring:log", "is a Logger, no Celery application."),
    ("", "name the application as celery -A does, such as shop.celery:app."),
    ("broken", "it cannot be imported: ZeroDivisionError: division by zero (broken.py:3)."),
    ("lacking", "it imports 'no_such_package', which is not here (lacking.py:3)."),
    ("leaving", "it cannot be imported: SystemExit: no settings (leaving.py:3)."),
    ("jobless", "its tasks cannot be read: No module named 'jobs_that_are_not'"),
    ("taskless", "has no tasks of its own. Name their modules in include="),
    ("telling", "RuntimeError: no answer from postgresql://shop:***@db/shop"),
    ("steadied", "this application has steadybeat; ask without the option: celery -A steadied audit"),
]


@pytest.mark.parametrize(("app", "said"), REFUSED)
def test_what_cannot_be_asked_is_refused_in_one_line(app: str, said: str, tmp_path: Path) -> None:
    lines = "import celery\n\n"
    (tmp_path / "broken.py").write_text(lines + "1 / 0\n")
    (tmp_path / "lacking.py").write_text(lines + "import no_such_package\n")
    (tmp_path / "leaving.py").write_text(lines + "raise SystemExit('no settings')\n")
    (tmp_path / "jobless.py").write_text(lines + "app = celery.Celery('jobless', include=['jobs_that_are_not'])\n")
    (tmp_path / "taskless.py").write_text(lines + "app = celery.Celery('taskless')\n")
    (tmp_path / "telling.py").write_text(
        lines + "raise RuntimeError('no answer from postgresql://shop:hunter2@db/shop')\n"
    )
    (tmp_path / "steadied.py").write_text(
        lines + "import steadybeat\napp = celery.Celery('steadied')\nsteadybeat.install(app)\n"
    )
    (tmp_path / "ticketshop").symlink_to(TESTS / "badservice" / "ticketshop")
    done = asked(tmp_path, "--plain-celery", app, STEADYBEAT_REDIS_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 2
    assert done.stdout == ""
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_what_runs_cannot_be_asked_of_it() -> None:
    done = asked(TESTS / "djangolike", "--plain-celery", "mysite", "--live")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--plain-celery: leave --live and --probe out" in done.stderr


@pytest.mark.parametrize("form", ["--markdown", "--html"])
def test_it_can_be_shown_to_others(form: str) -> None:
    done = asked(TESTS / "badservice", "--plain-celery", BAD[1], form)
    assert done.returncode == 0, done.stderr
    assert "ticketshop.celery_app" in done.stdout
    assert "failure_rate() at ticketshop/monitoring.py:24 returns 0.0" in done.stdout


def test_an_unknown_service_or_task_is_refused_in_one_line() -> None:
    done = asked(TESTS / "djangolike", "--plain-celery", "mysite", "--service", "order")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--service='order': there is no such service. Did you mean 'orders'?" in done.stderr


def test_a_schedule_of_a_task_that_there_is_not_is_found(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "from celery import Celery\napp = Celery('shop')\n"
        "@app.task\ndef settle():\n    'Pay what is owed, daily.'\n"
        "app.conf.beat_schedule = {'pay': {'task': 'shop.setle', 'schedule': 60}}\n"
    )
    done = asked(tmp_path, "--plain-celery", "shop", "--json")
    (found,) = [each for each in json.loads(done.stdout)["findings"] if each["subject"] == "schedule pay"]
    assert (found["line"], found["verdict"]) == ("1.1", "FAIL")
    assert "there is no task of that name" in found["evidence"]
    assert "'shop.settle'" in found["remedy"]


def test_no_server_is_asked_and_what_the_application_prints_is_not_in_the_document(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\n"
        "def refuse(*args, **kwargs):\n"
        "    raise AssertionError('a server was asked')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.create_connection = refuse\n"
    )
    (tmp_path / "loud.py").write_text(
        "from celery import Celery\nprint('hello')\n"
        "app = Celery('loud', broker='redis://127.0.0.1:1/0', backend='redis://127.0.0.1:1/0')\n"
        "@app.task\ndef job():\n    '''Do what is to be done.'''\n"
    )
    done = asked(tmp_path, "--plain-celery", "loud", "--json", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert {each["subject"] for each in json.loads(done.stdout)["findings"]} == {"loud.job"}
    assert "hello" in done.stderr
