"""Promise: a canvas happens, every part of it once, whatever becomes of its workers and of Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Signature, chain, chord, group
from celery.canvas import chunks, xmap, xstarmap

from steadybeat.dev.servers import RedisServer
from tests.acceptance.installation import Shop
from tests.eventually import eventually

PATIENCE_SECONDS = 60


class Canvas:
    """Signatures of the shop's tasks, each with a name of its own, which its one effect will have."""

    def __init__(self, shop: Shop) -> None:
        self.app = shop.caller
        self.names: list[str] = []

    def task(self, task: str, /, *args: Any, **kwargs: Any) -> Signature:
        return self.app.signature(f"shop.canvas.{task}", args=args, kwargs=kwargs)

    def part(self, value: int, failures: int = 1, **kwargs: Any) -> Signature:
        """A part that gives `value` back, at its second attempt."""
        return self.task("part", value, self._name(f"part {value}"), failures=failures, **kwargs)

    def total(self) -> Signature:
        return self.task("total", name=self._name("total"))

    def listed(self) -> Signature:
        return self.task("listed", name=self._name("listed"))

    def chord(self, parts: Any, body: Signature) -> Signature:
        return chord(parts, body, app=self.app)

    def _name(self, kind: str) -> str:
        self.names.append(f"{kind}, number {len(self.names)}")
        return self.names[-1]


@pytest.fixture
def canvas(shop: Shop) -> Canvas:
    return Canvas(shop)


def at_work(shop: Shop) -> None:
    nodes = [shop.worker("canvas"), shop.watchdog()]
    assert all(node.ready() for node in nodes)


def forms_of(canvas: Canvas) -> Iterator[tuple[str, Signature, Any]]:
    part, total, listed = canvas.part, canvas.total, canvas.listed
    yield "group", group([part(1), part(2)], app=canvas.app), [1, 2]
    yield "chord", canvas.chord([part(1), part(2, failures=0), part(3)], total()), 6
    yield "chord of one", canvas.chord([part(4)], total()), 4
    yield "empty chord", canvas.chord([], total()), 0
    yield "group in a chain", chain(part(5), group(listed(), listed()), total(), app=canvas.app), 10
    yield "chord in a chain", canvas.chord([part(1), part(2)], listed()) | total(), 3
    yield "chain in a header", canvas.chord([chain(part(1), listed()), part(2)], listed()), [1, 2]
    yield "chord in a header", canvas.chord([canvas.chord([part(1), part(2)], total()), part(3)], listed()), [3, 3]
    inner = canvas.chord([part(1)], group(listed(), listed()))
    yield "group as the body of a chord in a header", canvas.chord([inner, part(2)], listed()), [[[1], [1]], 2]
    yield "group as body", canvas.chord([part(1), part(2)], group(total(), listed())), [3, [1, 2]]
    yield "map", xmap(canvas.task("wide"), [1, 2], app=canvas.app), ["x", "xx"]
    starmap = xstarmap(canvas.task("listed"), [(1, "starmap 1"), (2, "starmap 2")], app=canvas.app)
    yield "starmap", starmap, [1, 2]
    yield "chunks", chunks(canvas.task("listed"), [(1, "chunk 1"), (2, "chunk 2")], 1, app=canvas.app), [[1], [2]]
    yield "starmap in a header", canvas.chord([starmap.clone(), part(3)], listed()), [[1, 2], 3]


def test_every_form_of_canvas_happens_once_though_its_parts_fail_at_first(shop: Shop, canvas: Canvas) -> None:
    at_work(shop)
    forms = [(form, signature.apply_async(), wanted) for form, signature, wanted in forms_of(canvas)]
    replaced = {form: canvas.task("becomes", form, form).apply_async() for form in ("chain", "group", "chord")}
    links = canvas.task("part", 1, "linked").apply_async(link=[canvas.listed(), canvas.listed()])

    assert {form: result.get(timeout=PATIENCE_SECONDS) for form, result, _ in forms} == {
        form: wanted for form, _, wanted in forms
    }
    assert {form: result.get(timeout=PATIENCE_SECONDS) for form, result in replaced.items()} == {
        "chain": 1,
        "group": [1, 2, 3],
        "chord": 6,
    }
    assert links.get(timeout=PATIENCE_SECONDS) == 1
    shop.settle()
    assert {name: len(shop.effects(name)) for name in canvas.names} == dict.fromkeys(canvas.names, 1)
    for form, result in replaced.items():
        run = shop.run(result.id)
        assert (run.task, run.idempotency_key) == ("shop.canvas.becomes", result.id)
        assert len(shop.effects(f"{form} 1")) == 1
    assert len(links.children) == 2


def test_a_chord_joins_once_though_its_worker_is_killed_and_redis_is_emptied(
    ledger_url: str, own_redis: RedisServer, open_shop: Callable[..., Shop]
) -> None:
    shop = open_shop(ledger_url, own_redis.url)
    canvas = Canvas(shop)
    gated = [canvas.part(number, failures=0, gate="parts") for number in range(4)]
    result = canvas.chord([canvas.part(10, failures=0), *gated], canvas.listed()).apply_async()
    messages = shop.redis.lrange("canvas", 0, -1)
    first, watchdog = shop.worker("canvas"), shop.watchdog()
    assert first.ready()
    assert watchdog.ready()
    eventually(lambda: sum(len(shop.starts(name)) for name in canvas.names) >= 3)

    first.kill("SIGKILL")
    shop.redis.flushall()
    second = shop.worker("canvas")
    assert second.ready()
    shop.open("parts")

    assert result.get(timeout=PATIENCE_SECONDS) == [10, 0, 1, 2, 3]
    for message in messages:  # as Redis' visibility timeout would bring them back
        shop.redis.rpush("canvas", message)
    shop.settle()
    assert {name: len(shop.effects(name)) for name in canvas.names} == dict.fromkeys(canvas.names, 1)


def test_what_follows_an_end_happens_once_though_the_worker_dies_right_after_it(shop: Shop, canvas: Canvas) -> None:
    joined = canvas.chord([canvas.part(1, failures=0), canvas.task("last", 2, "last")], canvas.total()).apply_async()
    canvas.names = [name for name in canvas.names if name.startswith("total")]
    told, told_all = canvas.task("told", name="told"), canvas.task("told_all", name="told all")
    broken = canvas.task("hopeless", "hopeless").apply_async(link_error=[told, told_all])
    assert shop.watchdog().ready()
    workers = [shop.worker("canvas", concurrency=1) for _ in range(2)]
    eventually(lambda: all(worker.status == "exited" for worker in workers))
    assert shop.worker("canvas").ready()

    assert joined.get(timeout=PATIENCE_SECONDS) == 3
    eventually(lambda: shop.effects(f"told {broken.id}"))
    shop.settle()
    assert [len(shop.effects(name)) for name in (*canvas.names, f"told {broken.id}")] == [1, 1]
    (said,) = shop.rows("SELECT result FROM steadybeat.runs WHERE task = 'shop.canvas.told_all'")
    assert said.result == ["told all", broken.id, ["hopeless"], "Permanent", "this part is broken", True]


def test_a_chord_with_a_broken_part_tells_so_once_and_joins_when_that_succeeds_after_all(
    shop: Shop, canvas: Canvas
) -> None:
    at_work(shop)
    told, told_all = canvas.task("told", name="told"), canvas.task("told_all", name="told all")
    body = canvas.total().on_error(told).on_error(told_all)
    parts = [canvas.task("broken", "first", "spare"), canvas.part(1), canvas.task("broken", "second", "spare")]
    outer = canvas.chord([canvas.chord(parts, body), canvas.part(2)], canvas.listed())
    result = outer.apply_async()

    with pytest.raises(Exception, match="this part is broken") as raised:
        result.get(timeout=PATIENCE_SECONDS)
    assert type(raised.value).__name__ == "ChordError"
    shop.settle()
    failed = shop.rows("SELECT id FROM steadybeat.runs WHERE state = 'dead' ORDER BY id")
    assert len(failed) == 2
    told_of = shop.rows("SELECT name FROM public.effects WHERE name LIKE 'told %'")
    assert len(told_of) == 1
    assert not any(shop.effects(name) for name in canvas.names if name.startswith(("total", "listed")))
    (said,) = shop.rows("SELECT result FROM steadybeat.runs WHERE task = 'shop.canvas.told_all'")
    assert said.result[3] == "ChordError"

    shop.open("spare")
    dead = shop.caller.steadybeat.ledger.dead
    assert len(dead.requeue([str(run.id) for run in failed], who="a test", reason="there is a spare part")) == 2
    eventually(lambda: shop.caller.AsyncResult(result.id).successful())
    assert shop.caller.AsyncResult(result.id).get() == [201, 2]
    shop.settle()
    assert len(shop.rows("SELECT name FROM public.effects WHERE name LIKE 'told %'")) == 1
