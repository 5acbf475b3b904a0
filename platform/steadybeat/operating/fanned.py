"""Fanned: how a fan-out looks: how far it is, how fast, and tenant by tenant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from steadybeat.errors import ConfigurationError
from steadybeat.fanout.order import id_of, id_range, place_of
from steadybeat.ledger import Ledger
from steadybeat.telemetry.redaction import redact_text
from steadybeat.wording import length, moment

_FAR_AWAY = timedelta(days=365)
_WORDS = ("succeeded", "failed", "cancelled", "running", "waiting", "skipped")


def fan_out_of(book: Ledger, run: str) -> dict[str, Any] | None:
    """Return what a run's fan-out was told and how far it is, for JSON, or None where it has not fanned out."""
    found = book.overview.fan_out(run)
    if found is None:
        return None
    counts = book.fan_outs.counts(run)
    told = {name: value for name, value in found.items() if name not in ("run", "state", "finished_at")}
    progress = {**asdict(counts), "ended": counts.ended, "total": counts.total}
    is_open = found["ended_at"] is None and found["written_at"] is not None
    rate, done_at = _pace(book, run, counts.total - counts.ended) if is_open else (None, None)
    return {**told, "counts": progress, "tenants_per_second": rate, "expected_at": done_at}


def _pace(book: Ledger, run: str, left_count: int) -> tuple[float | None, datetime | None]:
    """Return how many tenants a second end, and when the last is expected to."""
    now, pace = datetime.now(UTC), book.overview.pace(run)
    if not pace.per_second:
        return None, None
    left = min(timedelta(seconds=min(left_count / pace.per_second, _FAR_AWAY.total_seconds())), _FAR_AWAY)
    return round(pace.per_second, 3), max(now + left, pace.last_begins_at or now)


def is_over(run: Mapping[str, Any], fan_out: Mapping[str, Any] | None) -> bool:
    """Return whether nothing more becomes of a run, nor of its tenants."""
    return run["finished_at"] is not None and (fan_out is None or fan_out["ended_at"] is not None)


def counted(counts: Mapping[str, int]) -> str:
    """Return how many tenants are how far: ``600 succeeded, 3 failed, 20 running``."""
    return ", ".join(f"{counts[word]:,} {word}" for word in _WORDS if counts[word]) or "none"


def progress_of(fan_out: Mapping[str, Any]) -> str:
    """Return how far a fan-out is, in one line."""
    counts = fan_out["counts"]
    if fan_out["written_at"] is None and fan_out["ended_at"] is None:
        return f"{counts['total']:,} on record so far, {counts['skipped']:,} skipped; none begins before all are"
    share = f", {100 * counts['ended'] // counts['total']} %" if counts["total"] else ""
    return f"{counts['ended']:,} of {counts['total']:,} ended{share}: {counted(counts)}"


def pace_of(fan_out: Mapping[str, Any], now: datetime) -> str:
    """Return how fast a fan-out is, and when its last tenant is expected to end; empty where nobody knows."""
    rate, done_at = fan_out["tenants_per_second"], fan_out["expected_at"]
    if rate is None or done_at is None:
        return ""
    shown = f"{rate:,.0f} a second" if rate >= 9.5 else f"{rate * 60:,.0f} a minute" if rate >= 1 / 60 else ""
    left = f"{length(max(done_at - now, timedelta(seconds=1)))} left, until {moment(done_at)}"
    return ", ".join(filter(None, (shown, left)))


def facts_of_fan_out(fan_out: Mapping[str, Any], now: datetime) -> list[tuple[str, str]]:
    """Return what there is to say about a fan-out, a name and a text for each."""
    spread = f", begun over {length(timedelta(seconds=fan_out['spread_seconds']))}" if fan_out["spread_seconds"] else ""
    aborted = f"at {moment(fan_out['aborted_at'])}: {redact_text(fan_out['abort_reason'] or '')}"
    return [
        ("fans out to", fan_out["task"]),
        ("tenants", progress_of(fan_out)),
        ("pace", pace_of(fan_out, now)),
        ("at a time", f"{fan_out['concurrency']:,}{spread}"),
        ("policy", fan_out["policy"] or ""),
        ("seed", fan_out["seed"]),
        ("gives up", _limit(fan_out)),
        ("aborted", aborted if fan_out["aborted_at"] else ""),
        ("then", f"{fan_out['on_complete']} is told the counts" if fan_out["on_complete"] else ""),
        ("fanned out", moment(fan_out["begun_at"])),
        ("all on record", moment(fan_out["written_at"])),
        ("all ended", moment(fan_out["ended_at"])),
    ]


def _limit(fan_out: Mapping[str, Any]) -> str:
    if fan_out["abort_count"] is not None:
        return f"after {fan_out['abort_count']:,} failed tenants"
    return f"where {100 * fan_out['abort_share']:g} % of the tenants failed" if fan_out["abort_share"] else ""


# Tenant by tenant


def fan_out_must_be(book: Ledger, run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fan-out of a run.

    Raises:
        ConfigurationError: It has none.
    """
    found = book.overview.fan_out(str(run["id"]))
    if found is None:
        part = run["of_fan_out"]
        near = f" It is one tenant's run of the fan-out {part}." if part else ""
        raise ConfigurationError(f"RUN={run['id']}: has not fanned out.{near}", run=str(run["id"]))
    return found


def tenants_of(
    book: Ledger, fan_out: Mapping[str, Any], *, state: str | None, after: str | None, limit: int
) -> list[dict[str, Any]]:
    """Return the tenants of a fan-out, in the order of their turn; behind them, by name, those that were left out.

    Args:
        book: The ledger.
        fan_out: As `Overview.fan_out` returns it.
        state: Only those in this state, one of a run, or ``skipped``; ``failed`` means ``dead``; None: in any.
        after: Only those behind this tenant.
        limit: How many.
    """
    run, found = fan_out["run"], []
    is_among_skipped = after is not None and book.overview.is_skipped(run, after)
    if state != "skipped" and not is_among_skipped:
        wanted = None if state is None else ["dead" if state == "failed" else state]
        behind = after and id_of(run, fan_out["begun_at"], place_of(fan_out["seed"], after), after)
        found = book.overview.tenants(run, id_range(fan_out["begun_at"]), states=wanted, after=behind, limit=limit)
    if state in (None, "skipped") and len(found) < limit:
        behind = after if is_among_skipped else None
        found += book.overview.skipped(run, after=behind, limit=limit - len(found))
    return found
