"""Loops: what is so of a task that goes through its tenants by a loop of its own, read from its code."""

from __future__ import annotations

import re

from steadybeat.audit.answer import Answer, failed, partly, passed
from steadybeat.audit.fanned import sent_in
from steadybeat.audit.source import Loop, Source

FAN_OUT = "let each tenant have a run of its own: self.fan_out(task, tenants=eligible('…')); docs/tenants.md"
_RANDOM = ("shuffle", "sample", "shuffled")
_BY_CHANCE = re.compile(r"order\s+by\s+random\(|order_by\(['\"]\?|func\.random\(", re.IGNORECASE)


def said_of(loop: Loop) -> str:
    """Return a loop as it stands in the code, and where."""
    return f"`for … in {loop.over}` ({loop.place})"


def eligibility(source: Source, loop: Loop) -> Answer:
    """Who is in, the job's own query decides."""
    return failed(f"{said_of(loop)}: its own query, or nobody, says who has a turn", FAN_OUT)


def skipped(source: Source, loop: Loop) -> Answer:
    """Say whether somebody who is left out is written down."""
    inside = source.inside(loop)
    telling = [each for each in inside if any(word in each.written.lower() for word in ("log.", "logger."))]
    skips = [guard for guard in source.guards if loop.place in guard.around.loops]
    if skips and telling:
        return partly(
            f"{said_of(loop)}: skips where `{skips[0].test}`, and writes lines; nothing keeps the reasons", FAN_OUT
        )
    return failed(f"{said_of(loop)}: nothing says who was left out, or why", FAN_OUT)


def order(source: Source, loop: Loop) -> Answer:
    """Say whether the order is another one each time."""
    by_chance = [each for each in source.called(*_RANDOM) if each.name.startswith(("random.", "numpy."))]
    if by_chance:
        return passed(f"{said_of(loop)}: `{by_chance[0].written}(…)` at {by_chance[0].place}")
    text = next((each for each in source.texts if _BY_CHANCE.search(each.text)), None)
    if text is not None:
        return passed(f"{said_of(loop)}: ordered by chance at {text.place}")
    return failed(f"{said_of(loop)}: in the order of its source: whoever comes last is starved first", FAN_OUT)


def concurrency(source: Source, loop: Loop) -> Answer:
    """Say how many tenants are worked for at a time."""
    sent = sent_in(source, loop)
    if sent is not None:
        return failed(
            f"{said_of(loop)}: `{sent.written}(…)` for each: as many at a time as there are processes", FAN_OUT
        )
    threads = [each for each in source.parallel if loop.place in each.around.loops]
    if threads:
        return failed(f"{said_of(loop)}: `{threads[0].written}(…)` at {threads[0].place} for each", FAN_OUT)
    return partly(f"{said_of(loop)}: one after the other; no configuration says how many at a time", FAN_OUT)


def isolation(source: Source, loop: Loop) -> Answer:
    """Say whether one tenant's failure leaves the others alone."""
    sent = sent_in(source, loop)
    if sent is not None:
        return passed(f"{said_of(loop)}: `{sent.written}(…)` gives each a run of its own")
    caught = [each for each in source.handlers if each.broad and loop.place in each.around.loops and not each.raises]
    if caught:
        return passed(f"{said_of(loop)}: the error of one is caught at {caught[0].place}")
    return failed(f"{said_of(loop)}: the error of one ends the loop for all behind it", FAN_OUT)


def shutdown(source: Source, loop: Loop) -> Answer:
    """Say whether a worker that ends starts nobody new, and says who is not done."""
    if source.asks_to_stop(loop):
        return partly(f"{said_of(loop)}: asks whether to go on; nothing says who is not done", FAN_OUT)
    return failed(f"{said_of(loop)}: goes on until it is killed, and nothing says who is not done", FAN_OUT)


def retries(source: Source, loop: Loop) -> Answer:
    """Say whether only tenants that failed are tried again."""
    sent = sent_in(source, loop)
    if sent is not None:
        return passed(f"{said_of(loop)}: `{sent.written}(…)`: each is tried again by itself")
    return failed(f"{said_of(loop)}: a retry begins with the first tenant again", FAN_OUT)
