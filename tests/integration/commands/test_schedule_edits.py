"""What a person changes: by whom, why, and never over somebody's head."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from steadybeat import cron, schedules
from steadybeat.commands.rules import policy_options
from steadybeat.commands.schedules import schedules as group
from steadybeat.ledger import Ledger
from steadybeat.ledger.rows import FireRow
from steadybeat.schedule.policies import POLICIES
from tests.integration.commands.shop import MakeApp, Run, made_fire, refusal, said

DIGEST = "shop.mail.digest"
NEW = ("--task", DIGEST, "--reason", "signed up")
DAILY = ("--cron", "0 9 * * *")


def add(run: Run, *arguments: str, name: str = "c-42", app: Any = None) -> Any:
    given = {} if app is None else {"app": app}
    return said(run("schedules", "add", name, *arguments, "--json", **given))


def shown(run: Run, name: str = "c-42") -> Any:
    return said(run("schedules", "show", name, "--json"))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (["--cron", "0 9 * * *", "--tz", "Europe/Riga", "--dst", "skip"], "At 09:00 every day (Europe/Riga)"),
        (["--every", "1h30m"], "Every 1 hour 30 minutes"),
        (["--every", "90"], "Every 1 minute 30 seconds"),
        (["--once", "2030-01-01T00:00:00+02:00"], "Once, at 2029-12-31T22:00:00Z"),
        (
            ["--rrule", "FREQ=MONTHLY;BYDAY=2FR", "--dtstart", "2026-01-05T06:00", "--tz", "Europe/Riga"],
            "Every month, BYDAY=+2FR",
        ),
        (["--rule", '{"type": "every", "seconds": 60}'], "Every minute"),
    ],
)
def test_a_schedule_is_added_with_any_rule(rule: list[str], words: str, run: Run) -> None:
    assert add(run, *NEW, *rule)["verb"] == "added"
    assert words.lower() in shown(run)["rule"].lower()


def test_what_is_not_named_stays_as_it_is(run: Run) -> None:
    first = add(run, *NEW, *DAILY, "--args", "[42]", "--jitter", "1m", "--start-deadline", "5m", "--fire-limit", "3")
    assert first["after"]["policies"]["start_deadline_seconds"] == 300.0
    second = add(run, "--overlap", "allow", "--start-deadline", "none", "--fire-limit", "none", "--reason", "x")
    assert (second["verb"], second["revision"] > first["revision"]) == ("changed", True)
    assert sorted(second["changes"]) == [
        "fire_limit: 3 → none",
        "overlap: skip → allow",
        "start_deadline_seconds: 300.0 → none",
    ]
    found = shown(run)
    assert (found["args"], found["rule"], found["policies"]["jitter_seconds"]) == (
        [42],
        "At 09:00 every day (UTC)",
        60.0,
    )
    assert add(run, "--overlap", "allow", "--reason", "x")["verb"] == "unchanged"
    text = run("schedules", "add", "c-42", "--cron", "0 10 * * *", "--reason", "x").stdout
    assert "\nrule: At 09:00 every day (UTC) → At 10:00 every day (UTC)\n" in text


def test_a_dry_run_adds_nothing(run: Run) -> None:
    assert add(run, *NEW, *DAILY, "--dry-run")["verb"] == "added"
    assert said(run("schedules", "list", "--json")) == []


def test_every_policy_has_an_option(run: Run) -> None:
    names = {parameter.name for parameter in group.commands["add"].params}
    assert set(POLICIES) <= names
    assert callable(policy_options)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--reason", "x"], "is not there yet; to add it give --task, such as --task"),
        ([*NEW], "is not there yet; to add it give a rule, such as --every 5m."),
        ([*NEW, *DAILY, "--every", "5m"], "--cron and --every: a schedule has one rule; give one of them."),
        ([*NEW, "--every", "5m", "--tz", "UTC"], "--tz='UTC': is of --cron and of --rrule; give that too."),
        ([*NEW, "--rrule", "FREQ=DAILY"], "--rrule: must be told where it begins, such as --dtstart"),
        ([*NEW, "--rrule", "FREQ=DAILY", "--dtstart", "soon"], "--dtstart='soon': must be a time such as"),
        ([*NEW, "--every", "5x"], "'5x' is no duration; write one such as 90s, 5m, 1h30m or 2d."),
        ([*NEW, "--once", "2030-01-01"], "'2030-01-01' has no time zone; for UTC write 2030-01-01T00:00:00Z."),
        ([*NEW, *DAILY, "--args", "42"], "'42' is another kind of JSON; write it such as '[42]'."),
        ([*NEW, *DAILY, "--kwargs", "{"], "'{' is no JSON"),
        ([*NEW, *DAILY, "--fire-limit", "0"], "'0' is no count; write a number from 1 on, or none."),
        (["--task", "shop.mail.digst", *DAILY, "--reason", "x"], "Did you mean 'shop.mail.digest'?"),
        ([*NEW, "--cron", "0 25 * * *"], "hour='25': not allowed in cron('0 25 * * *')"),
        ([*NEW[:2], *DAILY, "--reason", " "], "--reason=' ': must say why"),
    ],
)
def test_what_cannot_be_is_one_line_with_the_way_out(arguments: list[str], line: str, run: Run) -> None:
    assert line in refusal(run("schedules", "add", "c-42", *arguments))


def test_an_hour_of_clock_changes_is_said(run: Run) -> None:
    [caution] = add(run, *NEW, "--cron", "30 2 * * *", "--tz", "Europe/Berlin")["cautions"]
    assert "say what is meant on those days" in caution
    assert add(run, *NEW, "--cron", "30 2 * * *", "--tz", "Europe/Berlin", "--dst", "once")["cautions"] == []


@pytest.mark.parametrize("verb", ["add", "pause", "resume", "remove"])
def test_a_change_of_what_somebody_else_has_changed_is_refused(verb: str, run: Run) -> None:
    seen = add(run, *NEW, *DAILY)["revision"]
    add(run, "--jitter", "1m", "--reason", "somebody else")
    more = ["--jitter", "2m"] if verb == "add" else []
    result = run("schedules", verb, "c-42", "--revision", str(seen), "--reason", "x", *more)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "somebody has changed it since; look at it again, and then decide." in result.stderr
    assert result.stderr.count("\n") == 1
    now = shown(run)["revision"]
    assert run("schedules", "pause", "c-42", "--revision", str(now), "--reason", "x").exit_code == 0


def test_a_pause_says_who_and_why_until_it_is_resumed(run: Run, book: Ledger) -> None:
    run("schedules", "apply")
    assert run("schedules", "list", "--paused").stdout == "No schedule is paused.\n"
    first = said(run("schedules", "pause", DIGEST, "--reason", "the bank is away", "--json"))
    assert (first["verb"], first["paused"]["reason"]) == ("paused", "the bank is away")
    assert "@" in first["paused"]["by"]
    again = run("schedules", "pause", DIGEST, "--reason", "x").stdout
    assert again.startswith(f"Nothing to do: {DIGEST} is paused by ")
    [listed] = said(run("schedules", "list", "--paused", "--json"))
    assert listed["paused"] == first["paused"]
    assert all(fire["paused"] for fire in said(run("schedules", "next", "--json")))
    assert "paused" in run("schedules", "list").stdout
    text = run("schedules", "resume", DIGEST, "--reason", "it is back").stdout
    assert text == f"Resumed: {DIGEST}; what the pause skipped stays skipped.\n"
    assert run("schedules", "resume", DIGEST, "--reason", "x").stdout == f"Nothing to do: {DIGEST} is not paused.\n"
    assert [each["what"] for each in book.history.operations(DIGEST, limit=5)] == [
        "schedules resume",
        "schedules pause",
    ]


@pytest.mark.parametrize(("choice", "made_up"), [("none", 0), ("latest", 1), ("all", 2)])
def test_fires_of_a_pause_are_made_up_for_as_is_said(choice: str, made_up: int, run: Run, book: Ledger) -> None:
    run("schedules", "apply")
    run("schedules", "pause", DIGEST, "--reason", "x")
    now = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    for at in (now, now + timedelta(seconds=1)):
        made_fire(book, at, "skipped", "paused by …", cause="paused")
    answer = said(run("schedules", "resume", DIGEST, "--fires", choice, "--reason", "x", "--json"))
    assert (answer["verb"], len(answer["fires"])) == ("resumed", made_up)


def test_what_a_person_changed_stays_through_a_deploy_until_it_is_taken_back(make_app: MakeApp, run: Run) -> None:
    run("schedules", "apply")
    add(run, "--every", "1h", "--reason", "sale", name=DIGEST)
    later = make_app(cron("0 7 * * *", tz="UTC"))
    [change] = said(run("schedules", "apply", "--dry-run", "--json", app=later))["changes"]
    assert (change["name"], change["verb"]) == (DIGEST, "kept")
    text = run("schedules", "apply", app=later).stdout
    assert f"an operator's edit holds; `schedules remove {DIGEST}` takes the edit back" in text
    assert text.endswith("1 kept.\n")
    assert run("schedules", "apply", app=later).stdout.startswith("No change:")
    found = shown(run, DIGEST)
    assert (found["rule"], found["source"]) == ("Every hour", "operator")
    assert found["overridden"] == ["rule: At 07:00 every day (UTC) → Every hour"]
    back = said(run("schedules", "remove", DIGEST, "--reason", "over", "--json", app=later))
    assert (back["verb"], back["rule"]) == ("restored", "At 07:00 every day (UTC)")
    assert "this program's code defines it" in refusal(run("schedules", "remove", DIGEST, "--reason", "x", app=later))


def test_a_retired_schedule_is_changed_by_nobody(run: Run) -> None:
    add(run, *NEW, *DAILY)
    assert run("schedules", "remove", "c-42", "--reason", "left").stdout.startswith("Retired: c-42.")
    for arguments in (["pause"], ["resume"], ["remove"], ["trigger"], ["backfill", "--from", "2026-01-01T00:00Z"]):
        line = refusal(run("schedules", *arguments, "c-42", "--reason", "x"))
        assert line.startswith("schedule 'c-42': was retired at ")
    assert add(run, *NEW, *DAILY)["verb"] == "added"


def test_show_tells_everything_but_secrets(app: Any, run: Run, book: Ledger) -> None:
    run("schedules", "apply")
    add(run, "--kwargs", '{"token": "hunter2"}', "--reason", "sale", name=DIGEST)
    run("schedules", "pause", DIGEST, "--reason", "the bank is away")
    made_fire(book, datetime(2026, 1, 1, 6, tzinfo=UTC), "missed", "no scheduler was there")
    found = shown(run, DIGEST)
    assert found["kwargs"] == {"token": "***"}
    assert found["overridden"] == ['kwargs: {} → {"token": ***}']
    [fire] = found["last_fires"]
    assert (fire["scheduled_for"], fire["state"], fire["reason"]) == (
        "2026-01-01T06:00:00Z",
        "missed",
        "no scheduler was there",
    )
    assert [each["what"] for each in found["operations"]] == ["schedules pause", "schedules put"]
    assert len(found["next_fires"]) == 3
    text = run("schedules", "show", DIGEST).stdout
    for line in (
        "policies  jitter 1 min; catch-up latest within 1 h; overlap skip",
        "rule      At 06:00 every day (UTC)",
    ):
        assert line in text
    assert "paused    by " in text
    assert ", skipped)" in text
    assert "hunter2" not in text
    assert schedules.get(DIGEST, app=app) is not None
    assert "Did you mean 'shop.mail.digest'?" in refusal(run("schedules", "show", "shop.mail.digst"))


def test_a_dry_run_of_a_resume_names_the_fires_that_would_be_made_up_for(run: Run, book: Ledger) -> None:
    run("schedules", "apply")
    run("schedules", "pause", "shop.mail.digest", "--reason", "x")
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    fire = made_fire(book, at)
    row = FireRow(schedule=fire.schedule, scheduled_for=at, due_at=at, state="skipped", cause="paused", reason="so")
    book.fires.mark(1, [(row, None)])
    resume = ("schedules", "resume", "shop.mail.digest", "--fires", "all")
    told = said(run(*resume, "--dry-run", "--json"))
    assert (told["verb"], told["fires"], told["dry_run"]) == ("resumed", [at.isoformat().replace("+00:00", "Z")], True)
    assert (
        "; 1 fire of the pause is made up for. Nothing was changed (--dry-run).\n" in run(*resume, "--dry-run").stdout
    )
    shown = said(run("schedules", "show", "shop.mail.digest", "--json"))
    assert (shown["paused"]["reason"], shown["revision"]) == ("x", told["revision"])
    assert said(run(*resume, "--reason", "x", "--json"))["fires"] == told["fires"]
