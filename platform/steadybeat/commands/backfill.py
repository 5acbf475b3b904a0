"""`schedules backfill`: the fires of a range that have no effect are given one."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from steadybeat.commands import completion
from steadybeat.commands.installed import installed
from steadybeat.commands.output import Column, Output, count, json_option, moment, nominal
from steadybeat.commands.usage import NOTHING_CHANGED, Command, dry_run_option, reason_unless, reason_unless_dry
from steadybeat.commands.values import Instant
from steadybeat.errors import ConfigurationError

if TYPE_CHECKING:
    from steadybeat.commands.backfilling import Job, Spot
    from steadybeat.ledger import Ledger

MOST = 100_000
"""So many fires in one range; a longer one is backfilled piece by piece."""

BEGUN, ENDED = "schedules backfill begun", "schedules backfill ended"


@click.command(
    cls=Command,
    epilog="Example: celery -A tasks schedules backfill tasks.royalties.settle"
    " --from 2026-11-01T00:00Z --to 2026-11-08T00:00Z --dry-run",
)
@click.argument("name", shell_complete=completion.schedule_names)
@click.option("--from", "since", type=Instant(), required=True, metavar="AT", help="The first nominal time.")
@click.option("--to", "until", type=Instant(), metavar="AT", help="The last nominal time; now unless given.")
@click.option(
    "--only",
    type=click.Choice(["missing", "failed", "all"]),
    default="missing",
    show_default=True,
    help="Fires that were never sent, those whose run is dead, or all without an effect.",
)
@click.option("--reverse", is_flag=True, help="The latest first.")
@click.option(
    "--concurrency", type=click.IntRange(1, 10_000), default=1, show_default=True, help="How many may run at a time."
)
@click.option("--again", is_flag=True, help="With --only all: also what has had its effect, a second time.")
@click.option("--force", is_flag=True, help="With --again: also if the task is critical.")
@dry_run_option
@reason_unless_dry
@json_option
@click.pass_context
def backfill(ctx: click.Context, /, name: str, as_json: bool, **given: Any) -> None:
    """Make up for the fires of a range.

    These are the nominal times that the present rule of NAME has from --from to --to, both included. What was never
    sent is dispatched; what is dead is rerun with the same idempotency key, so that nothing has its effect twice.
    They may overlap, as many as --concurrency says.

    Ctrl-C leaves what was sent to itself; the same command goes on where it stopped. So it does after any end.

    Exits with 1 if a fire has no effect in the end.

    \b
    --json: {"schedule": text, "from": instant, "to": instant, "only": text, "dry_run": bool, "stopped": bool,
             "standings": {standing: n, …}, "ended": {state: n, …},
             "fires": [{"scheduled_for", "standing": "missing" | "failed" | "cancelled" | "done" | "forgotten",
                        "was": text, "state": text or null, "run": id or null}]}
    """  # noqa: D301 - click's mark for a paragraph that is kept as it is
    from steadybeat.commands.asked import present
    from steadybeat.commands.backfilling import survey, wanted
    from steadybeat.ledger import Ledger

    app = installed(ctx, tasks=True)
    now = datetime.now(UTC)
    reason = reason_unless(given["dry_run"], given["reason"], "the bank is back")
    if given["again"] and given["only"] != "all":
        raise ConfigurationError("--again: is about fires that have had their effect; add --only all.")
    book = Ledger.of(app)
    row = present(book, name)
    given |= {"until": (given["until"] or now).astimezone(UTC), "since": given["since"].astimezone(UTC)}
    spots = survey(book, row, _times(row, given, now), now)
    plan = wanted(spots, given["only"], again=given["again"], since=_unfinished(book, name, given))
    if given["reverse"]:
        plan.reverse()
    out = Output(ctx)
    told = _Told(out, as_json, name, given, spots, plan)
    if given["dry_run"] or not _has_work(plan, spots):
        told.plan()
        return
    job = _job(app, row, plan, spots, given, reason)
    stopped = _carry_out(job, told, book, reason)
    told.end(job, stopped=stopped)
    ctx.exit(1 if stopped or set(job.ended) - {"succeeded"} else 0)


def _times(row: dict[str, Any], given: dict[str, Any], now: datetime) -> list[datetime]:
    """Return the nominal times of the range.

    Raises:
        ConfigurationError: The range is empty, lies ahead, or is too long.
    """
    from steadybeat.schedule import from_json

    since, until = given["since"], given["until"]
    if until > now:
        raise ConfigurationError(f"--to={until.isoformat()}: lies ahead; what is to come fires by itself.")
    if since > until:
        raise ConfigurationError(f"--from={since.isoformat()}: is after --to={until.isoformat()}.")
    between = from_json(row["spec"]).between(since - timedelta(microseconds=1), until)
    times = list(islice(between, MOST + 1))
    if len(times) > MOST:
        raise ConfigurationError(
            f"--from={since.isoformat()}: more than {MOST} fires until {until.isoformat()}; the first {MOST} end at"
            f" {times[MOST - 1].isoformat()}: backfill up to there, and then the rest."
        )
    return times


def _unfinished(book: Ledger, name: str, given: dict[str, Any]) -> datetime | None:
    """Return when the same backfill was begun that has not ended: what it has run again is not run again now."""
    if not given["again"]:
        return None
    for noted in book.history.operations(name, what=BEGUN, limit=100):
        if noted["details"] == _details(given):
            ends = book.history.operations(name, what=ENDED, limit=100)
            ended = any(end["details"] == noted["details"] and end["at"] > noted["at"] for end in ends)
            return None if ended else noted["at"]
    return None


def _details(given: dict[str, Any]) -> dict[str, Any]:
    return {"from": str(given["since"]), "to": str(given["until"]), "only": given["only"], "again": given["again"]}


def _has_work(plan: Sequence[Spot], spots: Sequence[Spot]) -> bool:
    return bool(plan) or any(_goes_on(spot) for spot in spots)


def _goes_on(spot: Spot) -> bool:
    """Whether a backfill has sent it that was stopped."""
    return spot.standing == "open" and spot.ours


def _job(
    app: Any, row: dict[str, Any], plan: Sequence[Spot], spots: Sequence[Spot], given: dict[str, Any], reason: str
) -> Job:
    from steadybeat.commands.backfilling import Job
    from steadybeat.ledger import Ledger
    from steadybeat.operating import rerun

    as_run = {"id": row["name"], "task": row["task"], "service": row["service"], "message": {"headers": {}}}
    rerun.check_task(app, as_run, again=given["again"], force=given["force"])
    Ledger.of(app).story.note(rerun.who(), BEGUN, row["name"], reason, **_details(given))
    under_way = {spot.at: None for spot in spots if _goes_on(spot)}
    return Job(app, row, deque(plan), given["concurrency"], reason, dict(under_way))


def _carry_out(job: Job, told: _Told, book: Ledger, reason: str) -> bool:
    """Carry a backfill out; return whether it was stopped."""
    from steadybeat.commands.progress import Progress
    from steadybeat.operating import rerun

    if not any(instance.role == "beat" for instance in book.live_instances()):
        told.say("No Beat is alive: fires are dispatched as soon as one leads.", "yellow")
    total = len(job.coming) + len(job.under_way)
    with Progress(told.out, f"backfill {told.name}", total) as progress:

        def tell(at: datetime, state: str, run: str) -> None:
            told.states[at] = (state, run)
            progress.ended(nominal(at), state)

        try:
            job.carry_out(tell, lambda: datetime.now(UTC))
        except KeyboardInterrupt:
            return True
    book.story.note(rerun.who(), ENDED, told.name, reason, **_details(told.given))
    return False


class _Told:
    """What a backfill says."""

    def __init__(
        self,
        out: Output,
        as_json: bool,
        name: str,
        given: dict[str, Any],
        spots: Sequence[Spot],
        plan: Sequence[Spot],
    ) -> None:
        self.out = None if as_json else out
        self.name, self.given = name, given
        self.states: dict[datetime, tuple[str, str]] = {}
        self._out, self._spots, self._plan = out, spots, plan

    def say(self, text: str, style: str = "") -> None:
        if self.out is not None:
            self.out.say(text, style)

    def plan(self) -> None:
        """Say what would run, or that there is nothing to do."""
        if self.out is None:
            self._document({}, stopped=False)
            return
        if self._plan:
            self.out.table(_COLUMNS, self._plan)
        self.say(self._counted())
        if not self._plan:
            self.say("Nothing to do.")
        elif self.given["dry_run"]:
            self.say(f"Would be: {count(len(self._plan), 'fire')} run. {NOTHING_CHANGED}")

    def end(self, job: Job, *, stopped: bool) -> None:
        """Say how it ended."""
        if self.out is None:
            self._document(dict(job.ended), stopped=stopped)
            return
        ended = ", ".join(f"{number} {state}" for state, number in job.ended.most_common()) or "none ended"
        if not stopped:
            self.say(f"Backfilled {count(job.ended.total(), 'fire')}: {ended}.")
            return
        left = f"{len(job.coming)} not sent"
        left += f", {len(job.under_way)} on the way, left to themselves" if job.under_way else ""
        self.say(f"Stopped: {ended}; {left}. The same command goes on from here.", "yellow")

    def _counted(self) -> str:
        standings = [spot.standing for spot in self._spots]
        counted = ", ".join(f"{standings.count(each)} {each}" for each in _STANDINGS if each in standings)
        begin, end = (moment(self.given[each]) for each in ("since", "until"))
        return f"{count(len(standings), 'fire')} from {begin} to {end}{counted and ': '}{counted}."

    def _document(self, ended: dict[str, int], *, stopped: bool) -> None:
        standings = [spot.standing for spot in self._spots]
        told = [spot for spot in self._spots if spot.at in self.states or spot in self._plan]
        self._out.json({
            "schedule": self.name,
            "from": self.given["since"],
            "to": self.given["until"],
            "only": self.given["only"],
            "dry_run": self.given["dry_run"],
            "stopped": stopped,
            "standings": {each: standings.count(each) for each in _STANDINGS if each in standings},
            "ended": ended,
            "fires": [self._fire(spot) for spot in (reversed(told) if self.given["reverse"] else told)],
        })  # fmt: skip

    def _fire(self, spot: Spot) -> dict[str, Any]:
        state, run = self.states.get(spot.at, (None, spot.run))
        fire = {"scheduled_for": spot.at, "standing": spot.standing, "was": spot.text}
        return {**fire, "state": state, "run": run}


_STANDINGS = ("done", "open", "missing", "failed", "cancelled", "forgotten")
_COLUMNS = [
    Column(title="fire", value=lambda spot: nominal(spot.at)),
    Column(title="standing", value=lambda spot: spot.standing),
    Column(title="was", value=lambda spot: spot.text, tight="cut", style="dim"),
]
