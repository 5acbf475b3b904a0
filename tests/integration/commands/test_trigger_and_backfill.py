"""Fires that a person asks for: dispatched by a Beat that leads, and run by a worker, both played here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from steadybeat import cron
from steadybeat.beat import SteadyScheduler
from steadybeat.commands import backfilling
from steadybeat.ledger import Ledger
from steadybeat.ledger.tables import fires, processed_keys, runs, schedules
from steadybeat.schedule import run_id
from tests.eventually import eventually
from tests.integration.commands.shop import MakeApp, Run, attempt, refusal, said

DIGEST = "shop.mail.digest"
CHARGE = "monthly-charge"
RANGE = ("--from", "2026-01-01T00:00Z", "--to", "2026-01-05T00:00Z")
DAYS = [datetime(2026, 1, day, 6, tzinfo=UTC) for day in (1, 2, 3, 4)]

Leader = Callable[[], None]


@pytest.fixture
def app(make_app: MakeApp, tmp_path: Path) -> Any:
    app = make_app(steadybeat_health_folder=str(tmp_path))
    app.conf.beat_schedule = {CHARGE: {"task": "shop.billing.charge", "schedule": cron("0 6 * * *"), "args": [1]}}
    return app


@pytest.fixture
def book(app: Any, run: Run) -> Ledger:
    """A ledger with schedules that have existed for a year."""
    run("schedules", "apply")
    book = Ledger.of(app)
    with book.database.transaction() as db:
        db.execute(sa.update(schedules).values(created_at=datetime(2025, 1, 1, tzinfo=UTC)))
    return book


@pytest.fixture
def lead(app: Any, book: Ledger) -> Iterator[Leader]:
    scheduler = SteadyScheduler(app, lazy=True)
    yield lambda: scheduler.tick() and None
    scheduler.close()


class Worker:
    """Runs what was sent: those of `dying` die. Sees how many were on their way at a time."""

    def __init__(self, book: Ledger, lead: Leader, instance: str) -> None:
        self._book, self._lead, self._instance = book, lead, instance
        self.dying: set[datetime] = set()
        self.ran: list[datetime] = []
        self.most_at_a_time = 0

    def open_runs(self) -> list[Any]:
        statement = sa.select(runs.c.id, runs.c.scheduled_for).where(runs.c.finished_at.is_(None))
        with self._book.database.transaction() as db:
            return [*db.execute(statement.order_by(runs.c.enqueued_at))]

    def __call__(self) -> None:
        """Stands in for the pause between two looks."""
        self._lead()
        found = self.open_runs()
        self.most_at_a_time = max(self.most_at_a_time, len(found))
        for each in found:
            self.ran.append(each.scheduled_for)
            attempt(
                self._book, str(each.id), self._instance, "OSError: no" if each.scheduled_for in self.dying else None
            )


@pytest.fixture
def worker(book: Ledger, lead: Leader, instance: str, monkeypatch: pytest.MonkeyPatch) -> Worker:
    worker = Worker(book, lead, instance)
    monkeypatch.setattr(backfilling, "pause", worker)
    return worker


@pytest.fixture(autouse=True)
def _kept_for_ten_years(book: Ledger) -> None:
    book.settings = type(book.settings)(database_url=book.settings.database_url, retention_seconds=10 * 366 * 86400.0)


def fire(book: Ledger, name: str, at: datetime) -> Any:
    found = book.story.fire(name, at)
    assert found is not None
    return found


# trigger


def test_a_triggered_fire_is_dispatched_by_the_beat_that_leads(run: Run, book: Ledger, worker: Worker) -> None:
    answer = said(run("schedules", "trigger", CHARGE, "--reason", "asked", "--json"))
    at = datetime.fromisoformat(answer["scheduled_for"])
    assert (answer["verdict"], answer["run"]) == ("triggered", run_id(CHARGE, at))
    assert at.microsecond == 0
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=1)
    eventually(lambda: worker() or worker.ran)
    assert worker.ran == [at]
    assert fire(book, CHARGE, at)["asked"] == "trigger"
    [noted] = book.history.operations(CHARGE, limit=5)
    assert (noted["what"], noted["reason"]) == ("schedules trigger", "asked")


def test_a_fire_is_triggered_by_its_time_once(run: Run, book: Ledger, worker: Worker) -> None:
    asked = ("schedules", "trigger", CHARGE, "--as-of", "2026-01-02T08:00:00+02:00", "--reason", "x")
    text = run(*asked).stdout
    assert text.startswith(f"Triggered: {CHARGE} at 2026-01-02 06:00:00Z. If a run of it goes on, its overlap policy")
    assert f"runs why {CHARGE} 2026-01-02T06:00:00Z" in text
    eventually(lambda: worker() or worker.ran)
    done = run(*asked)
    assert done.exit_code == 0
    assert done.stdout.startswith("Nothing to do: the effect happened at ")
    worker()
    assert worker.ran == [DAYS[1]]


def test_a_fire_that_was_dispatched_says_what_became_of_it(
    run: Run, book: Ledger, worker: Worker, lead: Leader
) -> None:
    asked = ("schedules", "trigger", CHARGE, "--as-of", "2026-01-02T06:00Z", "--reason", "x", "--json")
    run(*asked)
    eventually(lambda: lead() or worker.open_runs())
    assert said(run(*asked), 1)["verdict"] == "open"
    worker.dying = set(DAYS)
    worker()
    ended = said(run(*asked), 1)
    assert ended["verdict"] == "ended"
    assert "runs rerun" in ended["text"]


def test_a_trigger_keeps_the_overlap_policy_and_works_in_a_pause(
    run: Run, book: Ledger, worker: Worker, lead: Leader
) -> None:
    run("schedules", "pause", CHARGE, "--reason", "x")
    text = run("schedules", "trigger", CHARGE, "--as-of", "2026-01-01T06:00Z", "--reason", "x").stdout
    assert "The schedule stays paused." in text
    eventually(lambda: lead() or worker.open_runs())
    run("schedules", "trigger", CHARGE, "--as-of", "2026-01-02T06:00Z", "--reason", "x")
    eventually(lambda: lead() or fire(book, CHARGE, DAYS[1])["state"] == "skipped")
    assert "overlap=skip" in fire(book, CHARGE, DAYS[1])["reason"]


def test_a_trigger_without_a_beat_says_so_and_one_of_the_future_is_refused(run: Run) -> None:
    text = run("schedules", "trigger", CHARGE, "--reason", "x").stdout
    assert "No Beat is alive: it is dispatched as soon as one leads." in text
    line = refusal(run("schedules", "trigger", CHARGE, "--as-of", "2999-01-01T06:00Z", "--reason", "x"))
    assert "lies ahead: it fires by itself" in line
    assert "AT='soon': must be an instant" in refusal(
        run("schedules", "trigger", CHARGE, "--as-of", "soon", "--reason", "x")
    )


# backfill


def backfilled(run: Run, *arguments: str, exit_code: int = 0) -> Any:
    return said(run("schedules", "backfill", CHARGE, *RANGE, "--reason", "x", *arguments, "--json"), exit_code)


def test_what_is_missing_is_given_an_effect_and_then_nothing_is_left(run: Run, worker: Worker) -> None:
    dry = said(run("schedules", "backfill", CHARGE, *RANGE, "--dry-run", "--json"))
    assert (dry["standings"], dry["ended"], len(dry["fires"])) == ({"missing": 4}, {}, 4)
    assert worker.ran == []
    answer = backfilled(run)
    assert answer["ended"] == {"succeeded": 4}
    assert worker.ran == DAYS
    assert worker.most_at_a_time == 1
    assert [each["state"] for each in answer["fires"]] == ["succeeded"] * 4
    text = run("schedules", "backfill", CHARGE, *RANGE, "--reason", "x").stdout
    assert text == "4 fires from 2026-01-01 00:00:00Z to 2026-01-05 00:00:00Z: 4 done.\nNothing to do.\n"


def test_a_pipe_is_told_of_each_that_has_ended(run: Run, worker: Worker) -> None:
    result = run("schedules", "backfill", CHARGE, *RANGE, "--reason", "x")
    said_first, *lines = result.stdout.splitlines()
    assert said_first == "No Beat is alive: fires are dispatched as soon as one leads."
    assert lines[0] == "2026-01-01 06:00:00Z succeeded (1 of 4)"
    assert lines[-1] == "Backfilled 4 fires: 4 succeeded."
    told = [(each["what"], each["count"]) for each in said(run("schedules", "show", CHARGE, "--json"))["operations"]]
    assert told == [("schedules backfill ended", 1), ("schedules backfill", 4), ("schedules backfill begun", 1)]


def test_the_latest_comes_first_if_it_is_wanted_and_several_at_a_time(run: Run, worker: Worker) -> None:
    answer = backfilled(run, "--reverse", "--concurrency", "2")
    assert worker.most_at_a_time == 2
    assert [*map(sorted, (worker.ran[:2], worker.ran[2:]))] == [DAYS[2:], DAYS[:2]]
    assert [each["scheduled_for"] for each in answer["fires"]] == [f"2026-01-0{day}T06:00:00Z" for day in (4, 3, 2, 1)]


def test_what_is_dead_is_rerun_with_the_same_key(run: Run, worker: Worker, book: Ledger) -> None:
    worker.dying = {DAYS[0], DAYS[2]}
    assert backfilled(run, exit_code=1)["ended"] == {"dead": 2, "succeeded": 2}
    assert backfilled(run)["fires"] == []
    worker.dying, worker.ran = {DAYS[2]}, []
    again = backfilled(run, "--only", "failed", exit_code=1)
    assert (again["ended"], worker.ran) == ({"succeeded": 1, "dead": 1}, [DAYS[0], DAYS[2]])
    worker.dying, worker.ran = set(), []
    assert backfilled(run, "--only", "failed")["ended"] == {"succeeded": 1}
    assert worker.ran == [DAYS[2]]
    with book.database.transaction() as db:
        keys = db.execute(sa.select(processed_keys.c.key, processed_keys.c.state)).all()
    assert sorted(keys) == [(f"{CHARGE}@2026-01-0{day}T06:00:00Z", "done") for day in (1, 2, 3, 4)]


def test_all_takes_in_what_was_cancelled(run: Run, worker: Worker, book: Ledger, lead: Leader) -> None:
    run("schedules", "trigger", CHARGE, "--as-of", "2026-01-01T06:00Z", "--reason", "x")
    eventually(lambda: lead() or worker.open_runs())
    book.runs.end_unstarted(run_id(CHARGE, DAYS[0]), delivery_no=1, state="cancelled", reason="a person")
    assert backfilled(run)["standings"] == {"missing": 3, "cancelled": 1}
    assert worker.ran == DAYS[1:]
    assert backfilled(run, "--only", "all")["ended"] == {"succeeded": 1}


@pytest.mark.parametrize("state", ["missed", "skipped", "coalesced", "superseded"])
def test_what_was_not_to_run_is_missing_and_what_is_to_come_is_not(
    state: str, run: Run, worker: Worker, book: Ledger
) -> None:
    values = {"schedule": CHARGE, "due_at": DAYS[0], "revision": 1}
    with book.database.transaction() as db:
        db.execute(sa.insert(fires).values(**values, scheduled_for=DAYS[0], state=state, reason="…"))
        db.execute(sa.insert(fires).values(**values, scheduled_for=DAYS[1], state="waiting", reason="its turn"))
    answer = said(run("schedules", "backfill", CHARGE, *RANGE, "--dry-run", "--json"))
    assert answer["standings"] == {"open": 1, "missing": 3}
    assert answer["fires"][0]["was"] == f"{state}: …"


def test_a_stopped_backfill_goes_on_where_it_stopped(
    run: Run, worker: Worker, lead: Leader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ctrl_c() -> None:
        if len(worker.ran) == 2:
            lead()
            if worker.open_runs():
                raise KeyboardInterrupt
            return
        worker()

    monkeypatch.setattr(backfilling, "pause", ctrl_c)
    stopped = run("schedules", "backfill", CHARGE, *RANGE, "--reason", "x")
    assert stopped.exit_code == 1
    assert stopped.stdout.splitlines()[-1] == (
        "Stopped: 2 succeeded; 1 not sent, 1 on the way, left to themselves. The same command goes on from here."
    )
    monkeypatch.setattr(backfilling, "pause", worker)
    assert backfilled(run)["ended"] == {"succeeded": 2}
    assert worker.ran == DAYS


def test_what_has_had_its_effect_runs_again_only_where_that_is_said_and_once(
    run: Run, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    backfilled(run)
    assert "--again: is about fires" in refusal(
        run("schedules", "backfill", CHARGE, *RANGE, "--again", "--reason", "x")
    )
    again = ("--only", "all", "--again")
    line = refusal(run("schedules", "backfill", CHARGE, *RANGE, *again, "--reason", "x"))
    assert line.startswith("--again: shop.billing.charge is of severity critical")
    worker.ran = []

    def ctrl_c() -> None:
        worker()
        if len(worker.ran) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(backfilling, "pause", ctrl_c)
    assert backfilled(run, *again, "--force", exit_code=1)["stopped"]
    monkeypatch.setattr(backfilling, "pause", worker)
    backfilled(run, *again, "--force")
    assert worker.ran == DAYS
    worker.ran = []
    assert backfilled(run, *again, "--force")["ended"] == {"succeeded": 4}
    assert worker.ran == DAYS


def test_what_the_ledger_has_forgotten_is_left_alone(run: Run, worker: Worker, book: Ledger) -> None:
    book.settings = type(book.settings)(database_url=book.settings.database_url, retention_seconds=3600.0)
    answer = backfilled(run)
    assert (answer["standings"], answer["fires"], worker.ran) == ({"forgotten": 4}, [], [])
    with book.database.transaction() as db:
        db.execute(sa.update(schedules).values(created_at=DAYS[2]))
    assert backfilled(run)["standings"] == {"missing": 2, "forgotten": 2}
    assert worker.ran == DAYS[:2]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["--from", "2026-01-02T00:00Z", "--to", "2026-01-01T00:00Z"], "is after --to="),
        (["--from", "2026-01-02T00:00Z", "--to", "2999-01-01T00:00Z"], "lies ahead; what is to come fires by itself."),
        (["--from", "yesterday"], "'yesterday' is no instant; write one such as"),
    ],
)
def test_a_range_that_cannot_be_is_one_line(given: list[str], line: str, run: Run) -> None:
    assert line in refusal(run("schedules", "backfill", CHARGE, *given, "--reason", "x"))
    assert "--reason='': must say why" in refusal(run("schedules", "backfill", CHARGE, *RANGE))


def test_a_range_that_is_too_long_names_the_first_piece(run: Run) -> None:
    run("schedules", "add", "often", "--task", DIGEST, "--every", "1s", "--reason", "x")
    line = refusal(run("schedules", "backfill", "often", *RANGE, "--dry-run"))
    assert "more than 100000 fires until" in line
    assert "the first 100000 end at 2026-01-02T03:46:39+00:00" in line
