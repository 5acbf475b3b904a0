"""Chords: the body, or the error callbacks, are written once, whoever comes to it and whenever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError

from steadybeat.errors import ConfigurationError
from steadybeat.ledger.rows import NewRun
from tests.integration.canvases import Drawing
from tests.integration.records import all_at_once, relayed


@pytest.fixture
def drawing(ledger_url: str) -> Iterator[Drawing]:
    drawing = Drawing(ledger_url)
    yield drawing
    drawing.close()


def a_chord(drawing: Drawing, size: int, body: Any = None) -> tuple[list[NewRun], str]:
    """Record a chord and return its parts, and the group that they are."""
    parts = drawing.recorded(chord([drawing.part.s(number) for number in range(size)], body or drawing.total.s()))
    assert parts[0].group_id is not None
    assert [part.group_index for part in parts] == [*range(size)]
    return parts, parts[0].group_id


def test_of_parts_that_succeed_at_once_one_starts_the_body(drawing: Drawing) -> None:
    following = drawing.app.steadybeat.following
    for _ in range(5):
        parts, group_id = a_chord(drawing, 8)
        before = len(drawing.runs_of(drawing.total))

        def succeed(part: NewRun, group_id: str = group_id) -> None:
            drawing.succeed(part, part.message["headers"]["argsrepr"].strip("(),"))
            following.part_succeeded(group_id)

        assert all_at_once(*(lambda part=part: succeed(part) for part in parts)) == [None] * 8
        assert len(drawing.runs_of(drawing.total)) == before + 1
        (body,) = relayed(drawing.ledger)
        assert body.body.startswith("[[[0, 1, 2, 3, 4, 5, 6, 7]], {}")
        run = drawing.ledger.story.run(body.run)
        assert run is not None
        assert (body.reason, str(run["parent_id"])) == ("callback", parts[0].id)


def test_what_a_worker_left_is_written_once_however_many_find_it(drawing: Drawing) -> None:
    parts, _ = a_chord(drawing, 3)
    for part in parts:
        drawing.succeed(part)
    dead = drawing.recorded(drawing.part.s(1), link_error=drawing.told.s())
    drawing.die(dead[0])
    assert not drawing.runs_of(drawing.total) + drawing.runs_of(drawing.told)

    done = all_at_once(*[drawing.app.steadybeat.following] * 6)

    assert sum(done) == 2
    assert len(drawing.runs_of(drawing.total)) == len(drawing.runs_of(drawing.told)) == 1
    assert drawing.app.steadybeat.following() == 0


def test_no_part_joins_a_chord_twice(drawing: Drawing) -> None:
    following = drawing.app.steadybeat.following
    parts, group_id = a_chord(drawing, 2)
    for part in parts:
        drawing.succeed(part)
    again = drawing.recorded(drawing.part.s(0), chord=drawing.total.s(), group_id=group_id)
    drawing.succeed(again[0])
    for _ in range(3):
        following.part_succeeded(group_id)
    assert len(drawing.runs_of(drawing.total)) == 1


def test_a_part_that_is_rerun_stands_for_the_one_that_died(drawing: Drawing) -> None:
    parts, group_id = a_chord(drawing, 2)
    drawing.succeed(parts[0], "10")
    drawing.die(parts[1])
    rerun = drawing.recorded(
        drawing.part.s(1), chord=drawing.total.s(), group_id=group_id, group_index=1, rerun_of=parts[1].id
    )
    drawing.succeed(rerun[0], "20")
    drawing.app.steadybeat.following.part_succeeded(group_id)
    (body,) = relayed(drawing.ledger)
    assert body.body.startswith("[[[10, 20]]")


def test_a_chord_that_cannot_have_a_result_or_a_body_fails_for_good(drawing: Drawing) -> None:
    unkept, group_id = a_chord(drawing, 1, drawing.total.s().on_error(drawing.told.s()))
    drawing.succeed(unkept[0], None)
    unsendable, _ = a_chord(drawing, 1, drawing.total.s("one argument too many").on_error(drawing.told.s()))
    drawing.succeed(unsendable[0])

    for _ in range(2):
        drawing.app.steadybeat.following()
    assert len(drawing.runs_of(drawing.told)) == 2
    assert not drawing.runs_of(drawing.total)
    assert drawing.ledger.chords.standing(group_id) is None


def test_a_death_reaches_the_chords_around_it_and_the_rest_of_its_chain(drawing: Drawing) -> None:
    inner = chord([chain(drawing.part.s(1), drawing.part.s()), drawing.part.s(2)], drawing.total.s())
    outer = chord([inner, drawing.part.s(3)], group(drawing.total.s(), drawing.total.s().on_error(drawing.told.s())))
    with drawing.app.amqp.diverting() as runs:
        result = outer.apply_async()
    drawing.ledger.runs.record_all(runs)
    drawing.die(runs[0])

    assert drawing.app.steadybeat.following() == 1
    assert [each.state for each in result.results] == ["FAILURE", "FAILURE"]
    assert isinstance(result.results[0].result, ChordError)
    assert f"Dependency {runs[0].id} raised ValueError('no')" in str(result.results[0].result)
    assert len(drawing.runs_of(drawing.told)) == 1

    # Once it is on its way again, so is what waits for it.
    drawing.ledger.database.execute(_revive(runs[0].id))
    assert [drawing.state(each.id) for each in result.results] == ["PENDING", "PENDING"]


def test_a_canvas_that_takes_the_place_of_a_run_goes_on_and_ends_as_that_run(drawing: Drawing) -> None:
    def replaced() -> tuple[str, NewRun]:
        (host,) = drawing.recorded(drawing.part.s(1), idempotency_key="order 17")
        fence = drawing.claimed(host).fence
        with drawing.app.amqp.diverting() as first:
            chain(drawing.part.s(1), drawing.part.s().set(task_id=host.id), app=drawing.app).apply_async()
        assert drawing.ledger.replacing.replace(host.id, fence, reason="replaced by a chain", runs=first)
        assert drawing.state(host.id) == "STARTED"
        return host.id, first[0]

    run, first = replaced()
    drawing.die(first)
    drawing.app.steadybeat.following()
    assert drawing.state(run) == "FAILURE"

    run, first = replaced()
    with drawing.app.amqp.diverting() as last:
        drawing.part.s(2).set(task_id=run).apply_async()
    fence = drawing.claimed(first).fence
    assert drawing.ledger.runs.finish(first.id, fence, result="1", next_runs=last)
    (envelope,) = relayed(drawing.ledger)
    assert (envelope.run, envelope.delivery_no) == (run, 2)
    assert drawing.claimed(run).idempotency_key == "order 17"


def test_what_would_leave_a_chord_waiting_for_ever_is_refused(drawing: Drawing) -> None:
    with pytest.raises(ConfigurationError, match="recorded=False it cannot be a part of a chord"):
        drawing.recorded(chord([drawing.loose.s(1)], drawing.total.s()))
    with pytest.raises(ConfigurationError, match=r"self\.replace\(group"):
        drawing.app.backend.add_to_chord("a group", drawing.app.AsyncResult("an id"))


def _revive(run: str) -> Any:
    from sqlalchemy import text

    return text(f"UPDATE steadybeat.runs SET state = 'waiting', finished_at = NULL WHERE id = '{run}'")
