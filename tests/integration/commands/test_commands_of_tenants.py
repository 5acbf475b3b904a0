from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from celery.bin.celery import celery
from click.shell_completion import ShellComplete

from steadybeat import eligible
from steadybeat.ledger import Ledger
from tests.integration.commands.fans import fanned_out, runs_of
from tests.integration.commands.shop import Run, refusal, said

BECAUSE = ("--reason", "their import is broken")


def operations_of(book: Ledger) -> list[tuple[str, str, str]]:
    rows = book.database.execute(sa.text("SELECT what, target, reason, who FROM steadybeat.operations ORDER BY id"))
    assert all("@" in row.who for row in rows)
    return [(row.what, row.target, row.reason) for row in rows]


def test_everybody_is_in_until_somebody_says_otherwise(run: Run, app: Any, instance: str) -> None:
    assert run("tenants", "list").stdout.startswith("No policies yet: ")
    fanned_out(app, instance, eligible("digest", of=["a", "b"]))
    [policy] = said(run("tenants", "list", "--json"))
    assert (policy["policy"], policy["rollout_percent"], policy["paused_at"]) == ("digest", 100, None)
    assert policy["used_at"] is not None
    answer = said(run("tenants", "why", "digest", "a", "--json"))
    assert (answer["in"], answer["cause"], answer["rule"]) == (True, None, None)
    assert run("tenants", "why", "digest", "a").stdout == "a is in digest: everybody is.\n"


def test_an_excluded_tenant_is_skipped_with_the_reason_until_it_is_cleared(
    run: Run, app: Any, book: Ledger, instance: str
) -> None:
    answer = said(run("tenants", "exclude", "digest", "b", "b", "c", *BECAUSE, "--for", "30d", "--json"))
    assert answer["tenants"] == ["b", "c"]
    assert not answer["used"]
    assert datetime.fromisoformat(answer["until"]) > datetime.now(UTC) + timedelta(days=29)
    one = fanned_out(app, instance, eligible("digest", of=["a", "b", "c"]))
    assert [*runs_of(book, one)] == ["a"]
    skipped = said(run("runs", "tenants", one, "--state", "skipped", "--json"))
    assert [each["tenant"] for each in skipped] == ["b", "c"]
    assert skipped[0]["reason"].startswith("excluded by ")
    assert skipped[0]["reason"].endswith(": their import is broken")
    answer = said(run("tenants", "why", "digest", "b", "--json"), 1)
    assert (answer["in"], answer["cause"], answer["rule"]["kind"]) == (False, "excluded", "excluded")
    cleared = said(run("tenants", "clear", "digest", "b", "x", "--reason", "mended", "--json"), 1)
    assert (cleared["cleared"], cleared["unknown"]) == (["b"], ["x"])
    assert run("tenants", "why", "digest", "b").exit_code == 0
    [rule] = said(run("tenants", "list", "digest", "--json"))["rules"]
    assert (rule["tenant"], rule["kind"], rule["reason"]) == ("c", "excluded", "their import is broken")
    assert operations_of(book) == [
        ("tenants exclude", "digest", "their import is broken"), ("tenants clear", "digest", "mended")
    ]  # fmt: skip


def test_an_exclusion_that_has_expired_holds_no_more(run: Run, book: Ledger) -> None:
    said(run("tenants", "exclude", "digest", "b", *BECAUSE, "--until", "2030-01-01T00:00:00Z", "--json"))
    book.database.execute(sa.text("UPDATE steadybeat.tenant_rules SET expires_at = clock_timestamp()"))
    assert said(run("tenants", "list", "digest", "--json"))["rules"] == []
    assert run("tenants", "why", "digest", "b").exit_code == 0


def test_a_paused_policy_has_nobody_in_until_it_is_enabled(run: Run, app: Any, book: Ledger, instance: str) -> None:
    assert run("tenants", "pause", "digest", "--reason", "no mail").stdout == (
        "Policy digest is paused: everybody is out until `tenants enable digest`. No fan-out has asked for 'digest'"
        " yet.\n"
    )
    assert runs_of(book, fanned_out(app, instance, eligible("digest", of=["a"]))) == {}
    assert "a is out of digest: the policy is paused by " in run("tenants", "why", "digest", "a").stdout
    text = run("tenants", "enable", "digest", "a", *BECAUSE).stdout
    assert text.endswith("The policy itself is paused, though: `tenants enable digest` resumes it.\n")
    assert run("tenants", "enable", "digest", *BECAUSE).stdout == "Policy digest goes on.\n"
    assert run("tenants", "enable", "digest", *BECAUSE).stdout == "Policy digest was not paused.\n"
    assert [*runs_of(book, fanned_out(app, instance, eligible("digest", of=["a"])))] == ["a"]


def test_a_roll_out_has_the_same_tenants_in_and_more_as_it_grows(run: Run, book: Ledger) -> None:
    names = [str(number) for number in range(200)]
    inside: set[str] = set()
    for percent in (10, 50, 100):
        said(run("tenants", "rollout", "digest", percent, "--reason", "bit by bit", "--json"))
        now = {name for name, verdict in book.tenants.judge("digest", names).items() if verdict is None}
        assert inside < now
        inside = now
    assert inside == {*names}
    said(run("tenants", "rollout", "digest", 0, "--reason", "back", "--json"))
    assert "not in the roll-out of 0 %" in run("tenants", "why", "digest", "7").stdout
    said(run("tenants", "enable", "digest", "7", *BECAUSE, "--json"))
    assert "7 is in digest: enabled by " in run("tenants", "why", "digest", "7").stdout


def test_whoever_is_out_by_now_does_not_begin_and_the_command_says_how_many(
    run: Run, app: Any, book: Ledger, instance: str
) -> None:
    one = fanned_out(app, instance, eligible("digest", of=[*"abcdef"]), concurrency=2)
    begun, waiting = runs_of(book, one, "enqueued"), [*runs_of(book, one, "waiting")]
    answer = said(run("tenants", "exclude", "digest", *begun, waiting[0], *BECAUSE, "--json"))
    assert (answer["withdrawn_count"], answer["used"]) == (1, True)
    assert answer["text"].endswith(". 1 run in line was cancelled for it.")
    assert said(run("tenants", "pause", "digest", "--reason", "no mail", "--json"))["withdrawn_count"] == 3
    assert runs_of(book, one, "enqueued") == begun
    shown = said(run("runs", "tenants", one, "--state", "cancelled", "--json"))
    assert [each["tenant"] for each in shown] == waiting
    assert shown[0]["reason"].startswith("excluded by ")


def test_a_policy_that_nobody_knows_is_refused_with_the_nearest(run: Run) -> None:
    for verb in (["list", "digst"], ["why", "digst", "a"], ["clear", "digst", "a", *BECAUSE]):
        assert "There are none yet." in refusal(run("tenants", *verb))
    said(run("tenants", "rollout", "digest", "50", *BECAUSE, "--json"))
    for verb in (["list", "digst"], ["why", "digst", "a"], ["clear", "digst", "a", *BECAUSE]):
        line = refusal(run("tenants", *verb))
        assert line.startswith("POLICY='digst': no fan-out has asked for it")
        assert line.endswith("Did you mean 'digest'?")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["pause", "two words", "--reason", "x"], "POLICY='two words': must be one word, such as weekly-digest."),
        (["pause", "digest", "--reason", " "], "--reason=' ': must say why"),
        (["pause", "digest", "--for", "2d", "--reason", "x"], "--until and --for are for tenants that are named;"),
        (["exclude", "digest", "", "--reason", "x"], "TENANT='': must be a printable text"),
        (["exclude", "digest", "a", "--until", "2020-01-01T00:00:00Z", "--reason", "x"], "--until=2020-01-01 00:00"),
        (
            ["exclude", "digest", "a", "--until", "2040-01-01T00:00:00Z", "--for", "1d", "--reason", "x"],
            "--until and --for exclude each other.",
        ),
        (["rollout", "digest", "101", "--reason", "x"], "Invalid value for 'PERCENT': 101"),
        (["exclude", "digest", "--reason", "x"], "Missing argument 'TENANT...'"),
        (["pause", "digest"], "--reason='': must say why"),
    ],
)
def test_what_a_policy_cannot_be_told_is_one_line(run: Run, book: Ledger, given: list[str], line: str) -> None:
    assert refusal(run("tenants", *given)).startswith(line)
    assert book.tenants.policies() == []


def test_policies_and_rules_are_tables_in_a_pipe(run: Run) -> None:
    run("tenants", "exclude", "digest", "b", "--reason", "password=hunter2")
    run("tenants", "pause", "digest", "--reason", "no mail")
    lines = run("tenants", "list").stdout.splitlines()
    assert lines[0].split() == ["POLICY", "ROLL-OUT", "ENABLED", "PAUSED", "EXCLUDED", "LAST", "USED", "PAUSE"]
    assert lines[1].split()[:6] == ["digest", "100", "%", "0", "0", "1"]
    assert lines[1].endswith(": no mail")
    text = run("tenants", "list", "digest").stdout
    assert "rules      1 excluded\nlast used  no fan-out has asked for it yet\n" in text
    assert text.splitlines()[-1].startswith("b       excluded  ")
    assert text.endswith("password=***\n")
    run("tenants", "exclude", "digest", "c", "--reason", "x")
    assert run("tenants", "list", "digest", "--limit", "1").stdout.endswith("There are more: give a higher --limit.\n")


def test_the_tab_key_offers_policies_and_fan_outs(run: Run, app: Any, instance: str) -> None:
    one = fanned_out(app, instance, eligible("digest", of=["a"]))
    complete = ShellComplete(celery, {"default_map": {"app": app}}, "celery", "_CELERY_COMPLETE")
    for verb in ("list", "enable", "pause", "rollout", "exclude", "clear", "why"):
        assert [item.value for item in complete.get_completions(["tenants", verb], "d")] == ["digest"]
    assert [item.value for item in complete.get_completions(["runs", "tenants"], "")] == [one]
    assert [item.value for item in complete.get_completions(["runs", "tenants", one, "--state"], "sk")] == ["skipped"]


def test_a_dry_run_counts_the_runs_in_line_that_would_go(app: Any, book: Ledger, run: Run, instance: str) -> None:
    one = fanned_out(app, instance, eligible("digest", of=[*"abcdef"]), concurrency=2)
    in_line = {*"abcdef"} - {*runs_of(book, one, "enqueued")}
    out = sorted(in_line)[0]
    assert said(run("tenants", "rollout", "digest", "0", "--dry-run", "--json"))["withdrawn_count"] == 4
    assert said(run("tenants", "pause", "digest", "--dry-run", "--json"))["withdrawn_count"] == 4
    told = said(run("tenants", "exclude", "digest", out, "--dry-run", "--json"))
    assert (told["withdrawn_count"], told["dry_run"], told["used"]) == (1, True, True)
    assert told["text"] == (
        f"Would be so: Under digest {out} is excluded. 1 run in line would be cancelled for it. Nothing was changed"
        " (--dry-run)."
    )
    assert said(run("tenants", "enable", "digest", out, "--dry-run", "--json"))["withdrawn_count"] == 0
    assert len(runs_of(book, one, "enqueued", "waiting")) == 6
    assert said(run("tenants", "list", "digest", "--json"))["rules"] == []
    really = said(run("tenants", "exclude", "digest", out, "--reason", "x", "--json"))
    assert (really["withdrawn_count"], really["dry_run"]) == (1, False)
