from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from steadybeat.ledger import Ledger
from tests.integration.commands.shop import UNKNOWN, MakeApp, Run, attempt, charged, made_fire, refusal, said
from tests.integration.records import all_at_once, operations_of

RAW = {
    "body": "W1tdLCB7fSwge31d", "content-type": "application/json", "content-encoding": "utf-8",
    "headers": {"task": "shop.unheard.of", "id": "x"},
    "properties": {"delivery_tag": "t", "delivery_info": {"exchange": "", "routing_key": "billing"}, "priority": 3},
}  # fmt: skip


def died(app: Any, instance: str, *args: Any, error: str = "OSError: the bank is away", **options: Any) -> str:
    return charged(app, instance, *args, error=error, **options)


def kept(book: Ledger, raw: bytes = b"\x1b[31mgarbage\x00", queue: str = "billing", reason: str = "not JSON") -> str:
    book.foreign.keep(queue, raw, reason)
    return f"foreign:{book.database.execute(sa.text('SELECT max(id) FROM steadybeat.foreign_messages'))[0].max}"


def claimed(book: Ledger, run: str, instance: str) -> Any:
    return book.runs.claim(run, delivery_no=2, instance=instance, time_limit_seconds=60, crash_limit=3)


# list


def test_a_list_of_dead_letters_has_runs_and_messages_the_last_that_died_first(
    app: Any, book: Ledger, run: Run, instance: str
) -> None:
    first, message = died(app, instance), kept(book)
    last = died(app, instance)
    charged(app, instance)  # this one is well
    letters = said(run("dead", "list", "--json"))
    assert [letter["id"] for letter in letters] == [last, message, first]
    assert [letter["cause"] for letter in letters] == ["failed", "foreign", "failed"]
    assert letters[0]["error"].endswith("OSError: the bank is away")
    lines = run("dead", "list").stdout.splitlines()
    assert lines[0].split() == ["RUN", "TASK", "CAUSE", "DIED", "TENANT", "ATTEMPTS", "FIRE", "REASON"]
    assert lines[2].split()[:4] == [message, "queue", "billing", "foreign"]
    assert [each["id"] for each in said(run("dead", "list", "--limit", "1", "--json"))] == [last]


def test_each_filter_leaves_out_what_does_not_fit(app: Any, book: Ledger, run: Run, instance: str) -> None:
    old = died(app, instance, error="ValueError: Wrong IBAN")
    aged = sa.text("UPDATE steadybeat.runs SET finished_at = clock_timestamp() - interval '3 hours'")
    book.database.execute(aged)
    report = app.send_task("shop.billing.report").id
    attempt(book, report, instance, "OSError: disk full")
    unstarted = app.send_task("shop.mail.digest").id
    assert book.runs.end_unstarted(unstarted, delivery_no=1, state="dead", reason="unknown task")
    message = kept(book, queue="mail")

    def listed(*options: str) -> set[str]:
        return {letter["id"] for letter in said(run("dead", "list", *options, "--json"))}

    assert listed() == {old, report, unstarted, message}
    assert listed("--task", "shop.billing.charge") == {old}
    assert listed("--service", "billing") == {old, report}
    assert listed("--service", "mail") == {unstarted, message}
    assert listed("--since", "1h") == {report, unstarted, message}
    assert listed("--since", f"{datetime.now(UTC) - timedelta(hours=4):%Y-%m-%dT%H:%M:%SZ}", "--error", "iban") == {old}
    assert listed("--error", "DISK FULL") == {report}
    assert listed("--error", "100%") == set()
    assert listed("--cause", "unstarted") == {unstarted}
    assert listed("--cause", "foreign") == {message}
    assert listed("--cause", "failed", "--service", "billing", "--since", "2h") == {report}
    assert run("dead", "list", "--cause", "lost").stdout == "No such dead letters.\n"


def test_the_fires_of_a_schedule_are_found_and_a_schedule_that_nobody_has_is_refused(
    app: Any, book: Ledger, run: Run, instance: str
) -> None:
    run("schedules", "apply")
    at = datetime(2040, 1, 1, 6, tzinfo=UTC)
    headers = {"steadybeat_schedule": "shop.mail.digest", "steadybeat_scheduled_for": at.isoformat()}
    of_fire = app.send_task("shop.mail.digest", headers=headers).id
    attempt(book, of_fire, instance, "OSError: no")
    died(app, instance)
    (letter,) = said(run("dead", "list", "--schedule", "shop.mail.digest", "--json"))
    assert (letter["id"], letter["scheduled_for"]) == (of_fire, "2040-01-01T06:00:00Z")
    assert "Did you mean 'shop.mail.digest'?" in refusal(run("dead", "list", "--schedule", "shop.mail.digst"))
    assert "there is no such task" in refusal(run("dead", "list", "--task", "shop.mail.digst"))
    assert "lies ahead" in refusal(run("dead", "list", "--since", "2100-01-01T00:00Z"))
    assert "'lots' is no cause. Did you mean 'lost'?" in refusal(run("dead", "list", "--cause", "lots"))


# show


def test_a_dead_run_is_shown_with_the_error_of_every_attempt_and_no_secret(
    app: Any, book: Ledger, run: Run, instance: str
) -> None:
    old = app.send_task("shop.billing.charge", (7,), {"token": "sk-live-1"}).id
    claim = book.runs.claim(old, delivery_no=1, instance=instance, time_limit_seconds=60, crash_limit=3)
    again = {"reason": "x", "error": "Traceback\nFirst: password=hunter2", "retry_count": 1}
    assert book.runs.try_again(old, fence=claim.fence, **again)
    claim = claimed(book, old, instance)
    assert book.runs.give_up(old, fence=claim.fence, reason="Second: no", error="Traceback\nSecond: no")
    document = said(run("dead", "show", old, "--json"))
    assert (document["kind"], document["args"], document["kwargs"]) == ("run", [7], {"token": "***"})
    assert [each["error"] for each in document["attempts"]] == [
        "Traceback\nFirst: password=***",
        "Traceback\nSecond: no",
    ]
    result = run("dead", "show", old)
    assert result.exit_code == 0, result.output
    shown = result.stdout
    assert "attempt 1:\n  Traceback\n  First: password=***\n" in shown
    assert "attempt 2:\n  Traceback\n  Second: no" in shown
    assert "hunter2" not in shown
    assert "sk-live-1" not in shown


def test_a_foreign_message_is_shown_so_that_it_harms_no_terminal_and_tells_no_secret(book: Ledger, run: Run) -> None:
    message = kept(book, b"\x1b[31m\xff password=hunter2 " + b"x" * 5000)
    document = said(run("dead", "show", message, "--json"))
    assert (document["kind"], document["queue"], document["size_bytes"]) == ("foreign", "billing", 5024)
    assert document["raw"].startswith("\\x1b[31m\\xff password=*** xxx")
    assert document["raw"].endswith("x … and 928 more bytes")
    shown = run("dead", "show", message).stdout
    assert "\x1b" not in shown
    assert "hunter2" not in shown


def test_what_is_not_dead_is_not_shown_as_dead(app: Any, run: Run, instance: str) -> None:
    waits = app.send_task("shop.billing.report").id
    assert refusal(run("dead", "show", waits)).startswith(f"RUN={waits}: is no dead letter but enqueued")
    assert "no such run is on record" in refusal(run("dead", "show", UNKNOWN))
    assert "must be the whole id of a run, a UUID, or foreign:N" in refusal(run("dead", "show", "17"))
    assert "no such message is kept" in refusal(run("dead", "show", "foreign:17"))
    assert "must be the whole id" in refusal(run("dead", "show", "foreign:99999999999999999999"))


# requeue


def test_a_requeued_run_keeps_its_id_key_and_attempts_and_everything_else_counts_anew(
    app: Any, book: Ledger, run: Run, instance: str
) -> None:
    old = died(app, instance, 7, idempotency_key="sale:7", expires=datetime.now(UTC) + timedelta(seconds=30))
    counts = "retry_count = 5, crash_count = 2, rescue_count = 4, deadline = '2026-01-01', retry_until = '2026-01-01'"
    book.database.execute(sa.text(f"UPDATE steadybeat.runs SET {counts}"))
    answer = said(run("dead", "requeue", old, "--reason", "the bank is back", "--json"))
    assert answer == {"dry_run": False, "requeued": [old], "more": False, "left": []}
    now = book.story.run(old)
    assert now is not None
    assert (now["state"], now["idempotency_key"], now["delivery_no"], now["deadline"]) == ("waiting", "sale:7", 2, None)
    assert (now["retry_count"], now["crash_count"], now["rescue_count"]) == (0, 0, 0)
    assert "requeued by " in now["reason"]
    assert [each["outcome"] for each in now["attempts"]] == ["failed"]
    assert app.steadybeat.relay() == 1
    claim = claimed(book, old, instance)
    assert (claim.verdict, claim.attempt) == ("claimed", 2)
    assert book.runs.finish(old, claim.fence, result=None)
    ((what, target, who, why),) = operations_of(book)
    assert (what, target, why) == ("dead requeue", old, "the bank is back")
    assert "@" in who


def test_a_run_that_died_before_it_was_terminated_is_not_terminated_when_it_is_requeued(
    app: Any, book: Ledger, run: Run, instance: str
) -> None:
    old = app.send_task("shop.billing.charge", (1,)).id
    claim = book.runs.claim(old, delivery_no=1, instance=instance, time_limit_seconds=60, crash_limit=3)
    book.cancelling.request([old], "wrong tariff", terminate_after=timedelta(0))
    assert book.runs.give_up(old, fence=claim.fence, reason="OSError: away", error="OSError: away")
    run("dead", "requeue", old, "--reason", "it is wanted after all")
    again = book.runs.claim(old, delivery_no=2, instance=instance, time_limit_seconds=60, crash_limit=3)
    assert again.verdict == "claimed"
    assert book.cancelling.overdue(instance) == []


def test_a_run_of_which_no_attempt_began_is_requeued_whatever_its_schedule_says_by_now(
    make_app: MakeApp, run: Run, book: Ledger, instance: str
) -> None:
    run("schedules", "apply")
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
    made_fire(book, at)
    book.database.execute(
        sa.text("UPDATE steadybeat.schedules SET policies = policies || '{\"start_deadline_seconds\": 60}'")
    )
    headers = {"steadybeat_schedule": "shop.mail.digest", "steadybeat_scheduled_for": at.isoformat()}
    app = make_app()
    sent = app.send_task("shop.mail.digest", headers=headers).id
    assert book.runs.end_unstarted(sent, delivery_no=1, state="dead", reason="unknown task 'shop.mail.digest'")
    assert said(run("dead", "requeue", sent, "--reason", "deployed", "--json"))["requeued"] == [sent]
    assert claimed(book, sent, instance).verdict == "claimed"


def test_a_run_whose_effect_has_happened_since_is_left_alone(app: Any, book: Ledger, run: Run, instance: str) -> None:
    old = died(app, instance, idempotency_key="sale:7")
    other = charged(app, instance, idempotency_key="sale:7")
    result = run("dead", "requeue", old, "--reason", "x")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Nothing to do for run {old}: the effect happened at 2")
    assert f"in run {other}.\n0 dead letters were requeued.\n" in result.stdout
    assert [letter["id"] for letter in said(run("dead", "list", "--json"))] == [old]


def test_a_run_is_left_while_another_has_its_key_or_it_was_rerun(
    app: Any, book: Ledger, run: Run, instance: str
) -> None:
    old = died(app, instance, idempotency_key="sale:7")
    other = app.send_task("shop.billing.charge", (1,), idempotency_key="sale:7").id
    book.runs.claim(other, delivery_no=1, instance=instance, time_limit_seconds=60, crash_limit=3)
    (left,) = said(run("dead", "requeue", old, "--reason", "x", "--json"), 1)["left"]
    assert left["verdict"] == "open"
    assert left["text"] == f"Run {other} has the idempotency key of run {old}, and has not ended: it is running."
    rerun = died(app, instance)
    new = said(run("runs", "rerun", rerun, "--reason", "x", "--json"))["run"]
    (left,) = said(run("dead", "requeue", rerun, "--reason", "x", "--json"), 1)["left"]
    assert left["text"] == f"Run {rerun} was rerun as {new}, which is enqueued."


def test_what_is_not_dead_is_left_and_what_nobody_has_refuses_all(
    app: Any, book: Ledger, run: Run, instance: str
) -> None:
    old, waits = died(app, instance), app.send_task("shop.billing.report").id
    assert "nothing was done" in refusal(run("dead", "requeue", old, UNKNOWN, "--reason", "x"))
    assert [letter["id"] for letter in said(run("dead", "list", "--json"))] == [old]
    answer = said(run("dead", "requeue", old, waits, old, "--reason", "x", "--json"), 1)
    assert answer["requeued"] == [old]
    assert answer["left"] == [
        {"id": waits, "verdict": "open", "text": f"Run {waits} is no dead letter: it is enqueued."}
    ]
    assert said(run("dead", "requeue", old, "--reason", "x", "--json"), 1)["left"][0]["verdict"] == "open"


def test_many_are_requeued_by_what_they_have_in_common_the_first_that_died_first(
    app: Any, book: Ledger, run: Run, instance: str
) -> None:
    runs = [died(app, instance, number) for number in range(5)]
    other = died(app, instance, error="ValueError: wrong IBAN")
    bank = ("--error", "bank is away")
    dry = said(run("dead", "requeue", *bank, "--limit", "3", "--dry-run", "--json"))
    assert dry == {"dry_run": True, "requeued": runs[:3], "more": True, "left": []}
    assert len(said(run("dead", "list", "--json"))) == 6
    assert operations_of(book) == []
    answer = said(run("dead", "requeue", *bank, "--limit", "3", "--reason", "x", "--json"))
    assert (answer["requeued"], answer["more"]) == (runs[:3], True)
    result = run("dead", "requeue", *bank, "--reason", "x")
    assert result.stdout == "2 dead letters were requeued.\n"
    assert run("dead", "requeue", *bank, "--reason", "x").stdout == "No such dead letters.\n"
    assert [letter["id"] for letter in said(run("dead", "list", "--json"))] == [other]
    assert sorted(target for _, target, *_ in operations_of(book)) == sorted(runs)
    assert app.steadybeat.relay() == 5


def test_of_two_who_requeue_at_once_one_does(app: Any, book: Ledger, instance: str) -> None:
    old = died(app, instance)
    both = all_at_once(*[lambda: book.dead.requeue([old], who="somebody", reason="x")] * 2)
    assert sorted(both) == [[], [old]]
    assert len(operations_of(book)) == 1
    assert app.steadybeat.relay() == 1


def test_nothing_says_which_or_why_is_refused(run: Run) -> None:
    for verb in ("requeue", "discard"):
        assert f"{verb}: nothing says which; name runs" in refusal(run("dead", verb, "--reason", "x"))
        assert "exclude each other" in refusal(run("dead", verb, "--all", "--task", "shop.x.y", "--reason", "x"))
        assert "exclude each other" in refusal(run("dead", verb, UNKNOWN, "--service", "billing", "--reason", "x"))
        assert "must say why" in refusal(run("dead", verb, "--all"))


# foreign messages


def test_a_foreign_message_is_put_back_once_as_it_was(app: Any, book: Ledger, run: Run) -> None:
    raw = json.dumps(RAW).encode()
    garbage, message = kept(book), kept(book, raw)
    answer = said(run("dead", "requeue", garbage, message, "--reason", "a worker has it now", "--json"))
    assert answer["requeued"] == [garbage, message]
    client = app.connection_for_read().default_channel.client
    assert client.lrange("billing", 0, -1) == [b"\x1b[31mgarbage\x00"]
    assert client.lrange("billing\x06\x163", 0, -1) == [raw]
    (left,) = said(run("dead", "requeue", message, "--reason", "x", "--json"), 1)["left"]
    assert left["verdict"] == "gone"
    assert [(what, target) for what, target, *_ in operations_of(book)] == [
        ("dead requeue", garbage), ("dead requeue", message)
    ]  # fmt: skip


def test_a_foreign_message_is_kept_while_redis_is_away(book: Ledger, run: Run, make_app: MakeApp) -> None:
    message = kept(book)
    away = make_app(steadybeat_redis_url="redis://127.0.0.1:1/0")
    line = refusal(run("dead", "requeue", message, "--reason", "x", app=away))
    assert line.startswith("Redis does not answer")
    assert f"Message {message} is kept." in line
    assert [letter["id"] for letter in said(run("dead", "list", "--json"))] == [message]
    assert operations_of(book) == []


def test_a_message_whose_run_is_dead_goes_with_its_run(app: Any, book: Ledger, run: Run) -> None:
    sent = app.send_task("shop.billing.report").id
    assert book.runs.end_unstarted(sent, delivery_no=1, state="dead", reason="unknown task")
    book.foreign.keep("billing", b"{}", "unknown task", run=sent)
    (letter,) = said(run("dead", "list", "--json"))
    assert (letter["id"], letter["cause"]) == (sent, "unstarted")
    (left,) = said(run("dead", "requeue", "foreign:1", "--reason", "x", "--json"), 1)["left"]
    assert left["verdict"] == "of_run"
    assert said(run("dead", "requeue", sent, "--reason", "deployed", "--json"))["requeued"] == [sent]
    assert book.dead.foreign(1) is None
    assert said(run("dead", "list", "--json")) == []


def test_a_message_that_does_not_say_where_it_lay_is_not_put_anywhere(book: Ledger, run: Run) -> None:
    message = kept(book, queue="?")
    assert said(run("dead", "requeue", message, "--reason", "x", "--json"), 1)["left"][0]["verdict"] == "no_queue"
    assert run("dead", "discard", message, "--reason", "x").stdout == f"1 dead letter was discarded: {message}.\n"


# discard


def test_what_is_discarded_has_ended_with_a_reason_and_who_did_it(
    app: Any, book: Ledger, run: Run, instance: str
) -> None:
    old, message, other = died(app, instance), kept(book), died(app, instance, error="ValueError: wrong IBAN")
    answer = said(run("dead", "discard", old, message, "--reason", "paid by hand", "--json"))
    assert answer == {"dry_run": False, "discarded": [old, message], "more": False, "left": []}
    now = book.story.run(old)
    assert now is not None
    assert now["state"] == "cancelled"
    assert now["reason"].startswith("discarded by ")
    assert now["reason"].endswith(": paid by hand")
    assert [letter["id"] for letter in said(run("dead", "list", "--json"))] == [other]
    assert [(what, target, why) for what, target, _, why in operations_of(book)] == [
        ("dead discard", old, "paid by hand"), ("dead discard", message, "paid by hand")
    ]  # fmt: skip
    assert run("dead", "discard", "--all", "--reason", "x").stdout == f"1 dead letter was discarded: {other}.\n"
    assert run("dead", "list").stdout == "No dead letters.\n"
    assert app.steadybeat.relay() == 0


def test_the_tab_key_offers_dead_letters(app: Any, book: Ledger, instance: str) -> None:
    from celery.bin.celery import celery
    from click.shell_completion import ShellComplete

    old, message = died(app, instance), kept(book)
    complete = ShellComplete(celery, {"default_map": {"app": app}}, "celery", "_CELERY_COMPLETE")
    for verb in ("show", "requeue", "discard"):
        assert [item.value for item in complete.get_completions(["dead", verb], "")] == [message, old]
    assert [item.value for item in complete.get_completions(["dead", "list", "--cause"], "f")] == ["failed", "foreign"]


@pytest.mark.parametrize("body", ["not JSON", "[]"])
def test_a_dead_run_whose_body_cannot_be_read_is_shown_all_the_same(
    app: Any, book: Ledger, run: Run, instance: str, body: str
) -> None:
    old = died(app, instance)
    book.database.execute(sa.text("UPDATE steadybeat.runs SET body = :body"), {"body": body})
    assert said(run("dead", "show", old, "--json"))["args"] == [body]
