"""The service at the head of the checklist, which scored 24 %: `tests/badservice`, answered line by line.

Its lock is outlived by its work, no monitor elsewhere knows it, its alerts are stubs, its failure rate is a constant,
its runs from the web page have no id, nothing is kept of what failed, and its jobs run inside the web process.
"""

from __future__ import annotations

from collections import Counter

import pytest

from steadybeat.audit import LINES
from tests.integration.plainly import LETTERS, document, findings

APP = ("badservice", "ticketshop.celery_app")

TASKS = (
    "clear_sessions",
    "expire_orders",
    "monthly_invoices",
    "send_digest",
    "trial_notice",
    "welcome",
    "mint_pending",
    "retry_failed_payments",
    "settle_royalties",
    "sync_charges",
    "reindex",
)
"""The columns below. `welcome` has no schedule; the first two are one statement each; the next four send mail."""

EXPECTED: dict[str, tuple[str, str]] = {
    "1.1": ("PPPPPPPPPPP", "each is called like its module and function"),
    "1.2": ("FFFFF-FFFFF", "no docstring and no entry says when"),
    "1.3": ("PPPPP-PPPPP", "timezone=America/New_York"),
    "1.4": ("FFPPP-FFFFP", "01:30, 02:00 and each hour meet the change of clocks; 00:00, 03:00, 08:00, 09:00 do not"),
    "1.5": ("PPPPFFPPPPP", "two have no docstring"),
    "1.6": ("FFFFFFFFFFF", "a limit of an hour, which a pool of threads cannot keep"),
    "1.7": ("FFFFFFFFFFF", "none is set"),
    "1.8": ("FFFFFFFFFFF", "nothing is tried again, but minting, and that for ever"),
    "1.9": ("FFFFFFFFFFF", "none is declared"),
    "2.1": ("PPFFFFFFFFF", "rows of one statement have their turn; locks are left out without Redis; others have none"),
    "2.2": ("PPFFFFPPPFF", "the locks have the job's name in their key"),
    "2.3": ("PPFFFFFFFFF", "five minutes of lock, an hour of work"),
    "2.4": ("PPFFFFFFFFF", "deleted only where nothing was raised"),
    "2.5": ("PPFFFFFFFFF", "nothing extends it"),
    "2.6": ("PPFFFFPPPFF", "a lock that is held ends the run at once"),
    "2.7": ("PPFFFFFFFFF", "DEL of what has lapsed is no error"),
    "2.8": ("PPFFFFFFFFF", "without Redis it goes on without the lock"),
    "2.9": ("PPFFFFFFFFF", "the value is 1 for everybody"),
    "2.10": ("-----------", "no quorum is configured"),
    "2.11": ("PPFFFFFFFFF", "no fence"),
    "3.1": ("FFFFFFFFFFF", "nobody is told"),
    "3.2": ("FFFFFFFFFFF", "nobody is told"),
    "3.3": ("FFFFFFFFFFF", "send_alert() writes a line"),
    "3.4": ("FFFFF-FFFFF", "no monitor, so no grace"),
    "3.5": ("FFFFFFFFFFF", "no monitor elsewhere"),
    "3.6": ("FFFFF-FFFFF", "nobody misses a fire"),
    "3.7": ("FFFFFFFFFFF", "the receiver of task_failure calls the stub"),
    "3.8": ("FFFFFFFFFFF", "send_slow_job_alert() is empty"),
    "3.9": ("FFFFFFFFFFF", "no owner, no alert"),
    "3.10": ("FFFFFFFFFFF", "nothing escalates"),
    "3.11": ("FFFFFFFFFFF", "ignore_result"),
    "3.12": ("FFFFFFFFFFF", "no duration is noted"),
    "3.13": ("FFFFFFFFFFF", "failure_rate() returns 0.0"),
    "3.14": ("FFFFFFFFFFF", "no events, no root id"),
    "4.1": ("FPFFPPFFFPF", "those that the web page runs are called as functions"),
    "4.2": ("PPFFFFpppFP", "by state and age; PUT by id; three ask once for the whole batch; the others never"),
    "4.3": ("PPP---PPPP-", "each write is within a transaction"),
    "4.4": ("PPF---PPFF-", "INSERT without ON CONFLICT; balance = balance + …"),
    "4.5": ("--FF-FFFF--", "no key at the provider and the chain; mail that nothing notes"),
    "4.6": ("??FF?FFFFF?", "what reading cannot refute is not proven"),
    "4.7": ("FFFFFFFFFFF", "acks_late is off"),
    "4.8": ("??FF?FFFFF?", "as 4.6"),
    "5.1": ("FFFFFFFFFFF", "worker, Beat and web server are one process"),
    "5.2": ("PPPFPPFFFPF", "four swallow errors, and the lock swallows Redis' (mint)"),
    "5.3": ("FFFFFFFFFFF", "the alert is a stub, or the error never arrives there"),
    "5.4": ("--PFP-PPPFF", "those that commit each part with its mark, or send a task for each"),
    "5.5": ("PPPPPPFPPPP", "minting has max_retries=None"),
    "5.6": ("FFFFFFFFFFF", "no retries, or every 10 s"),
    "5.7": ("FFFFFFPFFFF", "minting tries again only what was refused by 429"),
    "5.8": ("FFFFFFFFFFF", "nothing is kept of what failed"),
    "5.9": ("FFFFFFFFFFF", "a daemon thread ends with its process"),
    "5.10": ("FFFFFFFFFFF", "acks_late is off"),
    "5.11": ("PP----FFF--", "a daemon thread deletes no key"),
    "6.1": ("PPPPP-PPPPP", "Celery's own Beat"),
    "6.2": ("???????????", "Redis was not asked"),
    "6.3": ("--FFF-FFFPF", "fetchall(); the provider's charges come by the hundred"),
    "6.4": ("FFFFFFFFFFF", "not bounded"),
    "6.5": ("--FFF-FFFFF", "no loop asks whether to go on"),
    "6.6": ("FFFFFFFFFFF", "the worker is a thread of the web process"),
    "6.7": ("FFFFFFFFFFF", "so is Beat"),
    "6.8": ("FFFFFFFFFFF", "a thread cannot be killed"),
    "7.1": ("PPFFFFFFFFF", "only one statement by state is done once by many"),
    "7.2": ("PPPPPPPPPPP", "none keeps a file"),
    "7.3": ("FFFFFFFFFFF", "Celery's own format has no host"),
    "7.4": ("FFFFF-FFFFF", "one Beat, without a lock"),
    "7.5": ("PP----PPP--", "the locks lapse after five minutes"),
    "7.6": ("FFFFFFFFFFF", "/health says yes, and nothing asks workers"),
    "7.7": ("FFFFFFFFFFF", "each web process has a Beat"),
    "7.8": ("FFFFFFPPPFF", "one queue for all; the locks bound three"),
    "7.9": ("PPPPPPPPPPP", "broker_pool_limit and SQLAlchemy's pool"),
    "8.1": ("--FFF------", "WHERE wants_digest in the job's own query"),
    "8.2": ("--FFF------", "whom the query leaves out is written nowhere"),
    "8.3": ("--FFF------", "in the order of the table"),
    "8.4": ("--ppP------", "welcome.delay() is bound by worker_concurrency; the others do one after the other"),
    "8.5": ("--FPP------", "the digest goes on after an error; the invoices do not"),
    "8.6": ("--FFF------", "no loop asks"),
    "8.7": ("--FFF------", "a second try begins at the beginning; welcome is not tried again"),
    "8.8": ("FFFFF-FFFFF", "all on second 0"),
    "8.9": ("--FFF------", "no line names the tenant"),
}


def test_every_line_of_the_checklist_is_expected_of_it() -> None:
    assert list(EXPECTED) == list(LINES)


@pytest.mark.parametrize("line", EXPECTED)
def test_it_is_answered_line_by_line(line: str) -> None:
    letters, why = EXPECTED[line]
    found = findings(*APP)
    said = {task: (found[line, task]["verdict"], found[line, task]["evidence"]) for task in TASKS}
    expected = {task: (LETTERS[letter], said[task][1]) for task, letter in zip(TASKS, letters, strict=True)}
    assert said == expected, why


def test_it_scores_about_what_it_scored_in_reality() -> None:
    verdicts = Counter(each["verdict"] for each in document(*APP)["findings"])
    asked = sum(verdicts.values()) - verdicts["N/A"]
    assert document(*APP)["score"] == pytest.approx(100 * verdicts["PASS"] / asked, abs=0.06)
    assert 15 < document(*APP)["score"] < 35
    assert verdicts["PARTIAL"] and verdicts["UNKNOWN"]  # which score nothing


@pytest.mark.parametrize(
    ("line", "task", "evidence"),
    [
        ("2.3", "settle_royalties", "the lock lapses after 5 min; task_time_limit=3600 s"),
        ("2.3", "settle_royalties", "client.set(key, '1', nx=True, ex=settings.LOCK_TTL) (ticketshop/locking.py:"),
        ("3.5", "settle_royalties", "no monitor elsewhere"),
        ("3.7", "mint_pending", "send_alert() at ticketshop/monitoring.py:13 tells nobody"),
        ("3.8", "reindex", "send_slow_job_alert() at ticketshop/monitoring.py:19 does nothing"),
        ("3.13", "welcome", "failure_rate() at ticketshop/monitoring.py:24 returns 0.0"),
        ("4.1", "settle_royalties", "called as a function at ticketshop/web.py:"),
        ("5.8", "sync_charges", "a line of the log"),
        ("6.6", "expire_orders", "Thread(target=worker_main) at ticketshop/web.py:"),
    ],
)
def test_what_its_auditors_found_is_shown_with_its_place(line: str, task: str, evidence: str) -> None:
    assert evidence in findings(*APP)[line, task]["evidence"]


def test_whatever_is_wrong_has_a_way_out() -> None:
    wrong = [each for each in document(*APP)["findings"] if each["verdict"] in {"FAIL", "PARTIAL", "UNKNOWN"}]
    assert wrong
    assert [each for each in wrong if not each["remedy"].endswith((".", "pip install django-celery-beat"))] == []
