"""Promise: whatever befalls the Beats, and when, every fire has exactly one effect."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Iterator

import pytest

from tests.acceptance.installation import Shop
from tests.acceptance.nodes import BeatNode
from tests.acceptance.project.timetable import AUDIT, CHARGE, TICK

RULES = {"tick": TICK, "charge": CHARGE, "audit": AUDIT}
LASTS_SECONDS = 60.0

# What befalls a Beat, and for how long it is away then. The lock of the leader lasts three seconds.
MISFORTUNES = {
    "killed": (0.0, 1.0),
    "stopped for less than its lock": (0.1, 2.5),
    "stopped for longer than its lock": (3.5, 6.0),
}


def fate(chance: random.Random, beat: int) -> Iterator[tuple[float, int, str]]:
    """Yield what is done to a Beat, and after how many seconds."""
    at = chance.uniform(0.0, 3.0)
    coming: list[str] = []
    while at < LASTS_SECONDS:
        coming = coming or chance.sample([*MISFORTUNES], len(MISFORTUNES))  # none is left out
        misfortune = coming.pop()
        yield at, beat, misfortune
        at += chance.uniform(*MISFORTUNES[misfortune])
        yield at, beat, "started" if misfortune == "killed" else "continued"
        at += chance.uniform(2.0, 6.0)


def befall(beat: BeatNode, what: str) -> None:
    if what == "killed":
        beat.kill("SIGKILL")
    elif what == "started":
        beat.restart()
    elif what == "continued":
        beat.unpause()
    else:
        beat.pause()


@pytest.mark.parametrize("beat_count", [2, 3])
def test_every_fire_has_one_effect_while_beats_are_killed_and_stopped_at_random(shop: Shop, beat_count: int) -> None:
    seed = secrets.randbits(32)
    chance = random.Random(seed)
    script = sorted(step for beat in range(beat_count) for step in fate(chance, beat))
    print(f"seed {seed}:", *(f"{at:6.2f} s: beat {beat} is {what}" for at, beat, what in script), sep="\n")
    worker, beats = shop.worker(), [shop.beat() for _ in range(beat_count)]
    since = shop.deploy(*RULES)
    assert all(node.ready() for node in (worker, *beats))
    shop.leader()

    began, nothing = time.monotonic(), threading.Event()
    for at, beat, what in script:
        nothing.wait(began + at - time.monotonic())
        befall(beats[beat], what)

    shop.keeps_its_promise(RULES, since)
    terms = shop.rows("SELECT DISTINCT term FROM steadybeat.fires WHERE term IS NOT NULL")
    assert len(terms) > 1, "nobody ever took over: nothing was tried"
    assert not shop.rows("SELECT * FROM steadybeat.fires WHERE state NOT IN ('expected', 'dispatched', 'superseded')")
