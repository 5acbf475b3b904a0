from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from steadybeat import eligible, shuffled
from steadybeat.ledger import Ledger
from tests.integration.commands.fans import ended, fanned_out, runs_of
from tests.integration.commands.shop import UNKNOWN, Run, attempt, charged, refusal, said

TENANTS = [f"t{number}" for number in range(10)]


def test_a_run_that_has_fanned_out_shows_how_far_its_tenants_are(
    app: Any, book: Ledger, run: Run, instance: str
) -> None:
    run("tenants", "exclude", "digest", "t0", "--reason", "theirs")
    options: dict[str, Any] = {"concurrency": 4, "seed": 7, "abort_when": 0.5, "spread": timedelta(0)}
    one = fanned_out(
        app, instance, eligible("digest", of=TENANTS), **options, on_complete=app.tasks["shop.billing.report"]
    )
    at_work = [*runs_of(book, one, "enqueued").values()]
    attempt(book, at_work[0], instance)
    attempt(book, at_work[1], instance, "ValueError: no address")
    shown = said(run("runs", "show", one, "--json"))
    fan_out = shown["fan_out"]
    assert fan_out["counts"] == {
        "succeeded": 1, "failed": 1, "cancelled": 0, "given_up": 0, "running": 0, "waiting": 7, "skipped": 1,
        "ended": 2, "total": 9,
    }  # fmt: skip
    told = {"task": "shop.billing.charge", "policy": "digest", "seed": "7", "concurrency": 4, "abort_share": 0.5}
    assert {name: fan_out[name] for name in told} == told
    assert (fan_out["on_complete"], fan_out["ended_at"]) == ("shop.billing.report", None)
    assert fan_out["tenants_per_second"] > 0
    assert fan_out["expected_at"] is not None
    text = run("runs", "show", one).stdout
    assert "state          waiting: waits for 9 tenants\n" in text
    assert "tenants        2 of 9 ended, 22 %: 1 succeeded, 1 failed, 7 waiting, 1 skipped\n" in text
    assert "at a time      4\npolicy         digest\nseed           7\n" in text
    assert "gives up       where 50 % of the tenants failed\n" in text
    assert "then           shop.billing.report is told the counts\n" in text


def test_a_tenants_run_shows_whose_it_is_and_lists_find_it(app: Any, book: Ledger, run: Run, instance: str) -> None:
    charged(app, instance)
    one = fanned_out(app, instance, ["a", "b"])
    child = runs_of(book, one)["b"]
    shown = said(run("runs", "show", child, "--json"))
    assert (shown["tenant"], shown["of_fan_out"], shown["fan_out"]) == ("b", one, None)
    text = run("runs", "show", child).stdout
    assert f"tenant       b\nfan-out      {one}\n" in text
    assert [each["id"] for each in said(run("runs", "list", "--tenant", "b", "--json"))] == [child]
    listed = said(run("runs", "list", "--fan-out", one, "--json"))
    assert {(each["tenant"], each["of_fan_out"]) for each in listed} == {("a", one), ("b", one)}
    assert run("runs", "list", "--tenant", "x").stdout == "No such runs.\n"
    assert refusal(run("runs", "list", "--fan-out", "1")).startswith("--fan-out='1': must be the whole id of a run")


def test_tenants_are_listed_in_the_order_of_their_turn_page_by_page(
    app: Any, book: Ledger, run: Run, instance: str
) -> None:
    for tenant in ("x1", "x2"):
        run("tenants", "exclude", "digest", tenant, "--reason", "theirs")
    one = fanned_out(app, instance, eligible("digest", of=[*TENANTS, "x2", "x1"]), concurrency=3, seed="s")
    order = [*shuffled(TENANTS, "s"), "x1", "x2"]
    listed: list[dict[str, Any]] = []
    while page := said(
        run("runs", "tenants", one, "--limit", "5", *(("--after", listed[-1]["tenant"]) if listed else ()), "--json")
    ):
        listed += page
    assert [each["tenant"] for each in listed] == order
    assert [each["state"] for each in listed] == ["enqueued"] * 3 + ["waiting"] * 7 + ["skipped"] * 2
    assert [each["in_line"] for each in listed] == [False] * 3 + [True] * 7 + [False] * 2
    assert (listed[0]["run"], listed[-1]["run"]) == (runs_of(book, one)[order[0]], None)
    attempt(book, listed[1]["run"], instance, "ValueError: password=hunter2")
    [failed] = said(run("runs", "tenants", one, "--state", "failed", "--json"))
    assert (failed["tenant"], failed["state"], failed["attempt_count"]) == (order[1], "dead", 1)
    assert failed["reason"] == "ValueError: password=***"
    lines = run("runs", "tenants", one, "--limit", "12").stdout.splitlines()
    assert lines[0].split() == ["TENANT", "RUN", "STATE", "ATTEMPTS", "ENDED", "REASON"]
    assert lines[4].endswith("in line")
    assert lines[12].split()[:2] == ["x2", "-"]
    assert lines[13] == "There may be more: --after 'x2', or a higher --limit."
    assert run("runs", "tenants", one, "--state", "succeeded").stdout == "No such tenants.\n"


def test_a_run_that_has_not_fanned_out_has_no_tenants(app: Any, book: Ledger, run: Run, instance: str) -> None:
    plain = charged(app, instance)
    child = runs_of(book, one := fanned_out(app, instance, ["a"]))["a"]
    for verb in (["tenants"], ["rerun", "--only", "failed", "--reason", "x"]):
        assert refusal(run("runs", verb[0], plain, *verb[1:])) == f"RUN={plain}: has not fanned out."
        assert refusal(run("runs", verb[0], child, *verb[1:])).endswith(f"It is one tenant's run of the fan-out {one}.")
        assert refusal(run("runs", verb[0], UNKNOWN, *verb[1:])).startswith(f"RUN={UNKNOWN}: no such run is on record")


# --watch


def test_watch_waits_for_the_end_and_says_what_changes(app: Any, run: Run, instance: str) -> None:
    one = fanned_out(app, instance, TENANTS, concurrency=5)
    thread = threading.Thread(target=ended, args=(app, instance, one, ["t3"]))
    thread.start()
    lines = run("runs", "show", one, "--watch").stdout.splitlines()
    thread.join()
    last = [line for line in lines if line.startswith("succeeded: ")]
    assert last == ["succeeded: 10 of 10 ended, 100 %: 9 succeeded, 1 failed"]
    assert any(line.startswith("tenants") for line in lines)


def test_watch_of_a_fan_out_that_is_dead_exits_with_1(app: Any, run: Run, instance: str) -> None:
    one = fanned_out(app, instance, TENANTS, concurrency=10, abort_when=2)
    ended(app, instance, one, TENANTS[:4])
    result = run("runs", "show", one, "--watch")
    assert result.exit_code == 1
    assert "aborted        at 2" in result.stdout
    assert ": 4 of 10 tenants failed (abort_when=2)\n" in result.stdout
    document = said(run("runs", "show", one, "--watch", "--json"), 1)
    assert (document["state"], document["fan_out"]["counts"]["failed"]) == ("dead", 4)
    assert run("runs", "show", one).exit_code == 0


def test_watch_waits_for_a_run_without_tenants_too(app: Any, run: Run, instance: str) -> None:
    assert run("runs", "show", charged(app, instance), "--watch").stdout.startswith("succeeded\nrun ")
    assert run("runs", "show", charged(app, instance, error="OSError: x"), "--watch").exit_code == 1


# runs rerun --only


def test_a_fan_out_goes_on_with_those_that_failed_and_nobody_else(
    app: Any, book: Ledger, run: Run, instance: str
) -> None:
    one = fanned_out(app, instance, TENANTS, concurrency=5)
    ended(app, instance, one, ["t1", "t2"])
    assert said(run("runs", "show", one, "--json"))["state"] == "succeeded"
    failed = runs_of(book, one, "dead")
    answer = said(run("runs", "rerun", one, "--only", "failed", "--reason", "addresses are mended", "--json"))
    assert (answer["verdict"], answer["run"], answer["tenant_count"]) == ("in_line", one, 2)
    assert {*runs_of(book, one, "waiting").items()} == {*failed.items()}
    app.steadybeat.fan_outs()
    again = runs_of(book, one, "enqueued")
    assert {*again} == {"t1", "t2"}
    for child in again.values():
        claim = book.runs.claim(child, delivery_no=2, instance=instance, time_limit_seconds=60, crash_limit=3)
        assert (claim.verdict, claim.attempt) == ("claimed", 2)
        assert book.runs.finish(child, claim.fence, result="1")
    app.steadybeat.fan_outs()
    shown = said(run("runs", "show", one, "--json"))
    assert (shown["state"], shown["fan_out"]["counts"]["succeeded"]) == ("succeeded", 10)
    noted = book.database.execute(sa.text("SELECT what, target, reason, details FROM steadybeat.operations"))
    assert [tuple(row) for row in noted] == [
        ("runs rerun --only failed", one, "addresses are mended", {"tenant_count": 2})
    ]
    result = run("runs", "rerun", one, "--only", "failed", "--reason", "x")
    assert (result.exit_code, result.stdout) == (0, f"Nothing to do: no tenant of run {one} failed.\n")


@pytest.mark.parametrize("option", ["--again", "--force"])
def test_only_and_again_exclude_each_other(run: Run, option: str) -> None:
    line = refusal(run("runs", "rerun", UNKNOWN, "--only", "failed", option, "--reason", "x"))
    assert line.startswith("--only: excludes --again and --force;")


def test_a_fan_out_that_is_still_written_has_nobody_to_rerun(app: Any, run: Run, instance: str) -> None:
    one = fanned_out(app, instance, TENANTS, released=False)
    line = refusal(run("runs", "rerun", one, "--only", "failed", "--reason", "x"))
    assert line.startswith(f"RUN={one}: has not fanned out to all of its tenants")
    assert "10 on record so far, 0 skipped; none begins before all are" in run("runs", "show", one).stdout


def test_a_rerun_of_the_whole_points_to_the_tenants_that_failed(app: Any, run: Run, instance: str) -> None:
    one = fanned_out(app, instance, TENANTS)
    ended(app, instance, one, ["t1"])
    text = run("runs", "rerun", one, "--reason", "x").stdout
    assert text.startswith("Nothing to do: the effect happened at ")
    assert text.endswith(" 1 tenant of it failed, though: --only failed has it go on with these.\n")


# runs cancel


def test_cancelling_a_fan_out_cancels_who_waits_and_asks_who_works(
    app: Any, book: Ledger, run: Run, instance: str
) -> None:
    one = fanned_out(app, instance, TENANTS, concurrency=3)
    working = next(iter(runs_of(book, one, "enqueued").values()))
    claim = book.runs.claim(working, delivery_no=1, instance=instance, time_limit_seconds=60, crash_limit=3)
    answer = said(run("runs", "cancel", one, "--reason", "wrong tariff", "--json"))
    assert answer["cancelled"] == [one]
    assert answer["tenants"] == {"cancelled_count": 9, "asked_count": 1, "left_count": 0}
    assert answer["text"] == f"Run {one} cancelled. 9 tenants cancelled with it, 1 told to stop."
    assert book.progress.ask(working, claim.fence).cancelled is not None
    assert said(run("runs", "show", one, "--json"))["fan_out"]["ended_at"] is None
    assert book.runs.give_up(working, fence=claim.fence, reason="it was cancelled", error="x", state="cancelled")
    app.steadybeat.fan_outs()
    shown = said(run("runs", "show", one, "--watch", "--json"))
    assert (shown["state"], shown["fan_out"]["counts"]["cancelled"]) == ("cancelled", 10)


def test_a_fan_out_that_was_cancelled_goes_on_with_everybody_but_whom_a_person_has_cancelled(
    app: Any, book: Ledger, run: Run, instance: str
) -> None:
    one = fanned_out(app, instance, TENANTS, concurrency=3)
    (first, lone), (second, working), _ = runs_of(book, one, "enqueued").items()
    claim = book.runs.claim(working, delivery_no=1, instance=instance, time_limit_seconds=60, crash_limit=3)
    run("runs", "cancel", lone, "--reason", "not this one")
    assert said(run("runs", "cancel", one, "--reason", "x", "--terminate", "--json"))["tenants"]["left_count"] == 0
    assert book.runs.give_up(working, fence=claim.fence, reason="it was cancelled", error="x", state="cancelled")
    answer = said(run("runs", "rerun", one, "--only", "failed", "--only", "cancelled", "--reason", "sorry", "--json"))
    assert answer["tenant_count"] == 9
    app.steadybeat.fan_outs()
    assert said(run("runs", "show", one, "--json"))["state"] == "waiting"
    [left] = runs_of(book, one, "cancelled")
    assert left == first
    assert second in runs_of(book, one, "enqueued")
    again = book.runs.claim(working, delivery_no=2, instance=instance, time_limit_seconds=60, crash_limit=3)
    assert (again.verdict, again.attempt) == ("claimed", 2)
    assert book.progress.ask(working, again.fence).cancelled is None
    assert book.cancelling.overdue(instance) == []


def test_what_has_no_tenants_is_cancelled_as_before(app: Any, run: Run) -> None:
    waits = app.send_task("shop.billing.report").id
    assert said(run("runs", "cancel", waits, "--reason", "x", "--json"))["tenants"] is None


# dead letters


def test_dead_letters_say_whose_they_are(app: Any, book: Ledger, run: Run, instance: str) -> None:
    charged(app, instance, error="OSError: away")
    one = fanned_out(app, instance, TENANTS)
    ended(app, instance, one, ["t1", "t2"])
    failed = runs_of(book, one, "dead")
    [letter] = said(run("dead", "list", "--tenant", "t1", "--json"))
    assert (letter["id"], letter["tenant"], letter["of_fan_out"]) == (failed["t1"], "t1", one)
    listed = said(run("dead", "list", "--fan-out", one, "--json"))
    assert {each["id"] for each in listed} == {*failed.values()}
    assert f"tenant       t1\nfan-out      {one}\n" in run("dead", "show", failed["t1"]).stdout
    answer = said(run("dead", "requeue", "--tenant", "t1", "--reason", "mended", "--json"))
    assert answer["requeued"] == [failed["t1"]]
    assert said(run("runs", "show", one, "--json"))["state"] == "waiting"
