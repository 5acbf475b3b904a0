from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from steadybeat.ledger import Ledger
from steadybeat.ledger.keys import Holder
from steadybeat.ledger.rows import FireRow
from steadybeat.schedule import fire_key, run_id
from steadybeat.telemetry.lines import Line
from tests.integration.commands.shop import UNKNOWN, MakeApp, Run, attempt, charged, made_fire, refusal, said


def test_runs_are_listed_last_sent_first_and_filtered(app: Any, run: Run, instance: str) -> None:
    first = charged(app, instance, error="ValueError: broke")
    second = charged(app, instance)
    app.send_task("shop.mail.digest")
    listed = said(run("runs", "list", "--task", "shop.billing.charge", "--json"))
    assert [each["id"] for each in listed] == [second, first]
    [dead] = said(run("runs", "list", "--service", "billing", "--state", "dead", "--json"))
    assert (dead["id"], dead["reason"], dead["attempt_count"]) == (first, "ValueError: broke", 1)
    assert len(said(run("runs", "list", "--limit", "1", "--json"))) == 1
    lines = run("runs", "list", "--state", "dead").stdout.splitlines()
    assert lines[0].split() == ["RUN", "TASK", "STATE", "TENANT", "FIRE", "SENT", "TOOK", "ATTEMPTS", "REASON"]
    assert lines[1].startswith(f"{first}  shop.billing.charge  dead")
    assert run("runs", "list", "--state", "dead", "--service", "mail").stdout == "No such runs.\n"


def test_a_task_or_a_service_that_nobody_has_is_refused_with_the_nearest(run: Run) -> None:
    assert "Did you mean 'shop.billing.charge'?" in refusal(run("runs", "list", "--task", "shop.billing.charg"))
    assert "Did you mean 'billing'?" in refusal(run("runs", "list", "--service", "biling"))


def test_show_tells_everything_but_secrets(app: Any, run: Run, instance: str) -> None:
    sent = charged(app, instance, 7, kwargs={"token": "hunter2"}, error="ValueError: password=hunter2")
    shown = said(run("runs", "show", sent, "--json"))
    assert (shown["state"], shown["args"], shown["kwargs"]) == ("dead", [7], {"token": "***"})
    [only] = shown["attempts"]
    assert (only["number"], only["outcome"], only["host"], only["pid"]) == (1, "failed", "here", 7)
    text = run("runs", "show", sent).stdout
    assert "state        dead: ValueError: password=***" in text
    assert text.endswith("last error:\n  Traceback\n    File x\n  ValueError: password=***\n")
    assert "hunter2" not in text + json.dumps(shown)


def test_show_hides_an_argument_by_the_name_of_its_parameter(app: Any, book: Ledger, run: Run, instance: str) -> None:
    sent = charged(app, instance, 7, "hunter2")
    shown = said(run("runs", "show", sent, "--json"))
    assert shown["args"] == [7, "***"]
    assert shown["message"]["headers"]["argsrepr"] == "(***)"
    text = run("runs", "show", sent).stdout + run("dead", "list").stdout
    assert "hunter2" not in text + json.dumps(shown)


def test_show_prints_the_lines_that_were_kept_of_a_run(make_app: MakeApp, run: Run) -> None:
    app = make_app(steadybeat_log_lines_count=10)
    book, sent = Ledger.of(app), str(app.send_task("shop.mail.digest").id)
    at = datetime(2026, 7, 1, 6, tzinfo=UTC)
    fields = {"task": "shop.mail.digest", "count": 3, "note": "token=hunter2"}
    book.lines.keep([Line(sent, at, "info", "sent", fields), Line(sent, at, "warning", "run retried", {"attempt": 1})])
    shown = said(run("runs", "show", sent, "--json"))
    assert [(each["level"], each["event"], each["fields"]["note"]) for each in shown["lines"][:1]] == [
        ("info", "sent", "token=***")
    ]
    text = run("runs", "show", sent).stdout
    assert "lines:\n  2026-07-01T06:00:00Z info     sent note=token=*** count=3\n" in text
    assert text.endswith("warning  run retried attempt=1\n")
    assert "sent note" not in run("runs", "show", sent, "--lines", "1").stdout
    assert "lines:" not in run("runs", "show", sent, "--lines", "0").stdout


def test_show_counts_what_was_turned_away_and_names_the_steps(app: Any, book: Ledger, run: Run, instance: str) -> None:
    sent = charged(app, instance, 7, idempotency_key="sale:7")
    fence = book.database.execute(sa.text("SELECT fence FROM steadybeat.processed_keys"))[0].fence
    holder = Holder(task="shop.billing.charge", key="sale:7", run=sent, fence=fence)
    book.keys.write(holder, "debit", "done")
    for cause in ("rescue", "visibility_timeout", "rescue"):
        facts = {"task": "shop.billing.charge", "schedule": None, "cause": cause, "detail": "it is succeeded"}
        book.duplicates.note(sent, **facts, instance=instance)
    shown = said(run("runs", "show", sent, "--json"))
    assert [(each["step"], each["state"]) for each in shown["steps"]] == [("debit", "done")]
    assert [each["cause"] for each in shown["duplicates"]] == ["rescue", "visibility_timeout", "rescue"]
    text = run("runs", "show", sent).stdout
    assert "steps        debit done\n" in text
    assert "duplicates   rescue 2, visibility_timeout 1\n" in text


@pytest.mark.parametrize("verb", [["show"], ["rerun", "--reason", "x"]])
def test_a_run_that_is_no_id_or_unknown_is_one_line(verb: list[str], run: Run) -> None:
    assert refusal(run("runs", *verb, "0192")).startswith("RUN='0192': must be the whole id of a run, a UUID;")
    assert refusal(run("runs", *verb, UNKNOWN)).startswith(f"RUN={UNKNOWN}: no such run is on record;")


# runs why


def why(run: Run, at: str, exit_code: int = 0) -> Any:
    answer = said(run("runs", "why", "shop.mail.digest", at, "--json"), exit_code)
    assert answer["sentences"]
    return answer


def test_why_answers_for_fires_that_are_not_on_record(run: Run) -> None:
    run("schedules", "apply")
    assert why(run, "next")["verdict"] == "ahead"
    assert why(run, "last", 1)["verdict"] == "before"
    answer = why(run, "2026-01-01T07:00:00+01:00", 1)
    assert (answer["at"], answer["verdict"]) == ("2026-01-01T06:00:00Z", "before")
    answer = why(run, "2026-01-01T06:30:00Z", 1)
    assert answer["verdict"] == "not a fire"
    assert answer["nearest"] == ["2026-01-01T06:00:00Z", "2026-01-02T06:00:00Z"]


def test_why_follows_a_fire_to_its_effect(app: Any, book: Ledger, run: Run, instance: str) -> None:
    run("schedules", "apply")
    at = datetime(2040, 1, 1, 6, tzinfo=UTC)
    fire, asked = made_fire(book, at), at.isoformat()
    assert why(run, asked)["verdict"] == "expected"
    run_of_fire = run_id(fire.schedule, at)
    headers = {"steadybeat_schedule": fire.schedule, "steadybeat_scheduled_for": asked}
    app.send_task("shop.mail.digest", task_id=run_of_fire, idempotency_key=fire_key(fire.schedule, at), headers=headers)
    assert why(run, asked)["verdict"] == "enqueued"
    attempt(book, run_of_fire, instance, "OSError: mail is away")
    answer = why(run, asked, 1)
    assert (answer["verdict"], answer["effect"], answer["run"]["id"]) == ("dead", False, run_of_fire)
    assert "failed after" in answer["sentences"][1]
    assert answer["sentences"][1].endswith("OSError: mail is away.")

    again = said(run("runs", "rerun", run_of_fire, "--reason", "mail is back", "--json"))["run"]
    assert why(run, asked)["verdict"] == "rerun"
    attempt(book, again, instance)
    answer = why(run, asked)
    assert (answer["verdict"], answer["effect"]) == ("dead", True)
    assert f"It was rerun as {again}: It succeeded at" in answer["sentences"][-1]
    text = run("runs", "why", "shop.mail.digest", "2040-01-01", "06:00:00Z").stdout
    assert text.startswith("shop.mail.digest at 2040-01-01 06:00:00Z: dead\nIt was dispatched at ")


@pytest.mark.parametrize("state", ["skipped", "missed", "coalesced"])
def test_why_gives_the_reason_of_a_fire_that_has_no_effect(state: str, book: Ledger, run: Run) -> None:
    run("schedules", "apply")
    at = datetime(2040, 1, 1, 6, tzinfo=UTC)
    fire = made_fire(book, at)
    book.fires.mark(1, [(FireRow(schedule=fire.schedule, scheduled_for=at, due_at=at, state=state, reason="so"), None)])
    answer = why(run, at.isoformat(), 1)
    assert (answer["verdict"], answer["sentences"]) == (state, [f"It was {state}: so."])


def test_why_says_that_a_retired_schedule_fires_no_more(book: Ledger, run: Run) -> None:
    run("schedules", "apply")
    book.schedules.apply([], ["mail"])
    assert why(run, "next", 1)["verdict"] == "retired"


def test_why_of_a_run_says_whose_fire_it_is_or_who_has_sent_it(app: Any, book: Ledger, run: Run, instance: str) -> None:
    run("schedules", "apply")
    at = datetime(2040, 1, 1, 6, tzinfo=UTC)
    fire = made_fire(book, at)
    headers = {"steadybeat_schedule": fire.schedule, "steadybeat_scheduled_for": at.isoformat()}
    of_fire = app.send_task("shop.mail.digest", task_id=run_id(fire.schedule, at), headers=headers).id
    attempt(book, of_fire, instance, "OSError: mail is away")
    assert said(run("runs", "why", of_fire, "--json"), 1) == why(run, at.isoformat(), 1)

    single = charged(app, instance, 7, error="OSError: no")
    again = said(run("runs", "rerun", single, "--reason", "x", "--json"))["run"]
    answer = said(run("runs", "why", single, "--json"))
    assert (answer["schedule"], answer["at"], answer["verdict"]) == (None, None, "rerun")
    assert answer["sentences"][0].endswith(" to queue billing; no schedule has asked for it.")
    assert f"It was rerun as {again}: It waits on queue billing for a worker" in answer["sentences"][-1]
    text = run("runs", "why", again).stdout
    assert text.startswith(f"run {again} of shop.billing.charge: enqueued\n")
    assert f"\nIt is a rerun of {single}.\n" in text
    book.instances.leave(instance)
    assert "No worker consumes from queue 'billing'." in run("runs", "why", again).stdout
    assert refusal(run("runs", "why", again, "last")).startswith("AT='last': a run has one time only")
    assert "no such run is on record" in refusal(run("runs", "why", UNKNOWN))


def test_why_without_a_time_is_of_the_fire_that_was_due_last(run: Run) -> None:
    run("schedules", "apply")
    assert said(run("runs", "why", "shop.mail.digest", "--json"), 1) == why(run, "last", 1)
    assert "Did you mean 'shop.mail.digest'?" in refusal(run("runs", "why", "shop.mail.digset"))


@pytest.mark.parametrize(
    ("at", "line"),
    [
        ("2026-01-01", "AT='2026-01-01': has no time zone; for UTC write 2026-01-01T00:00:00Z."),
        ("soon", "AT='soon': must be an instant such as "),
        ("0001-01-01T00:00:00+14:00", "AT='0001-01-01T00:00:00+14:00': must be an instant such as "),
    ],
)
def test_an_instant_that_cannot_be_is_one_line(at: str, line: str, run: Run) -> None:
    run("schedules", "apply")
    assert refusal(run("runs", "why", "shop.mail.digest", at)).startswith(line)


# runs rerun


# Searching


@pytest.fixture
def history(app: Any, book: Ledger, instance: str) -> list[str]:
    """Six runs that were sent an hour apart, the last one an hour ago; two have failed."""
    errors = [None, "OSError: the bank is away", None, "KeyError: no tariff", None, None]
    sent = [charged(app, instance, n, error=each) for n, each in enumerate(errors)]
    for n, one in enumerate(reversed(sent), 1):
        with book.database.transaction() as connection:
            moved = (
                "UPDATE steadybeat.runs SET enqueued_at = clock_timestamp() - make_interval(hours => %s) WHERE id = %s"
            )
            connection.exec_driver_sql(moved, (n, one))
    return sent


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [each["id"] for each in found]


def test_runs_are_found_by_when_they_were_sent(run: Run, history: list[str]) -> None:
    def listed(*given: str) -> list[str]:
        return ids(said(run("runs", "list", *given, "--json")))

    assert listed("--since", "150m") == [history[5], history[4]]
    assert listed("--until", "330m") == [history[0]]
    assert listed("--since", "4h30m", "--until", "2h30m") == [history[3], history[2]]
    line = refusal(run("runs", "list", "--since", "1h", "--until", "2h"))
    assert line.startswith("--since=20")
    assert ": is after --until=20" in line


def test_runs_are_found_by_their_key_and_by_the_text_of_their_error(app: Any, run: Run, history: list[str]) -> None:
    def listed(*given: str) -> list[str]:
        return ids(said(run("runs", "list", *given, "--json")))

    assert listed("--error", "THE BANK") == [history[1]]
    assert listed("--error", "traceback") == [history[3], history[1]]
    assert listed("--error", "%") == listed("--error", "no\0pe") == []
    key = said(run("runs", "show", history[2], "--json"))["idempotency_key"]
    assert listed("--key", key) == [history[2]]
    assert listed("--key", "nobody's") == []
    assert "No such runs." in run("runs", "list", "--key", "nobody's").stdout


def test_a_page_goes_on_behind_the_last_run_of_the_one_before(run: Run, book: Ledger, history: list[str]) -> None:
    with book.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE steadybeat.runs SET enqueued_at = '2026-01-01T06:00:00Z'")
    found: list[str] = []
    while page := ids(said(run("runs", "list", "--limit", "4", *(["--after", found[-1]] if found else []), "--json"))):
        found += page
    assert found == sorted(history, reverse=True)
    assert refusal(run("runs", "list", "--after", UNKNOWN)).startswith(f"RUN={UNKNOWN}: no such run is on record")


def test_a_dry_run_says_which_runs_would_end_and_ends_none(app: Any, book: Ledger, run: Run, instance: str) -> None:
    waits, over = app.send_task("shop.billing.charge", (1,)).id, charged(app, instance, 2)
    works = app.send_task("shop.billing.charge", (3,)).id
    book.runs.claim(works, delivery_no=1, instance=instance, time_limit_seconds=60, crash_limit=3)
    told = said(run("runs", "cancel", waits, works, over, "--dry-run", "--json"), 1)
    assert (told["cancelled"], told["asked"], told["ended_before"]) == ([waits], [works], [over])
    assert told["text"] == "Would be: 1 cancelled, 1 told to stop, 1 had ended before. Nothing was changed (--dry-run)."
    all_of_it = run("runs", "cancel", "--service", "billing", "--since", "1h", "--dry-run")
    assert all_of_it.exit_code == 0
    assert all_of_it.stdout.endswith("Would be: 1 cancelled, 1 told to stop. Nothing was changed (--dry-run).\n")
    assert [each["state"] for each in said(run("runs", "list", "--json"))] == ["running", "succeeded", "enqueued"]
    assert "must say why" in refusal(run("runs", "cancel", waits))
    assert said(run("runs", "cancel", "--key", said(run("runs", "show", waits, "--json"))["idempotency_key"],
                    "--reason", "x", "--json"))["cancelled"] == [waits]  # fmt: skip
