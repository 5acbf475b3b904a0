from datetime import timedelta

import pytest

from steadybeat.dev.process import Process, State


class FakeChild:
    """Stands for a started process that ends when the test says so."""

    def __init__(self) -> None:
        self.pid = 4242
        self.alive = True
        self.succeeded = False
        self.ending = "ended with exit code 1"

    def end(self, steps: object, hurry: object = None) -> None:
        self.alive = False

    def crash(self) -> None:
        self.alive = False


class Scene:
    """One process on a clock that only the test moves."""

    def __init__(self, *, once: bool = False) -> None:
        self.now = 0.0
        self.healthy = True
        self.children: list[FakeChild] = []
        self.said: list[str] = []
        self.process = Process("beat-1", self.launch, check=lambda _: self.healthy, once=once, clock=lambda: self.now)
        self.process.announce = self.said.append

    def launch(self) -> FakeChild:
        self.children.append(FakeChild())
        return self.children[-1]

    def after(self, seconds: float) -> State:
        self.now += seconds
        self.process.tick()
        return self.process.state

    def crash(self) -> float:
        """Crash it and return how long, in seconds, it stays away."""
        self.children[-1].crash()
        assert self.after(0.0) is State.RESTARTING
        began, count = self.now, len(self.children)
        while len(self.children) == count:
            self.after(0.25)
        self.after(0.0)
        return round(self.now - began, 3)


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    scene.process.start()
    return scene


def test_it_is_ready_when_its_check_says_so(scene: Scene):
    scene.healthy = False
    assert scene.after(1.0) is State.STARTING
    scene.healthy = True
    assert scene.after(0.2) is State.READY
    assert scene.said == ["ready in 1.2 s"]


def test_a_process_that_crashes_again_and_again_is_restarted_ever_more_slowly(scene: Scene):
    scene.after(0.1)
    assert [scene.crash() for _ in range(9)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert scene.process.restarts == 9


def test_a_healthy_minute_makes_the_next_restart_quick_again(scene: Scene):
    scene.after(0.1)
    for _ in range(4):
        scene.crash()
    scene.after(61.0)
    assert scene.crash() == 0.5


def test_a_process_that_never_became_ready_fails_at_its_third_crash(scene: Scene):
    scene.healthy = False
    scene.crash()
    scene.crash()
    scene.children[-1].crash()
    assert scene.after(0.0) is State.FAILED
    assert scene.process.note == "ended with exit code 1"


def test_a_process_that_runs_and_does_not_answer_is_silent_and_left_alone(scene: Scene):
    scene.after(0.1)
    scene.healthy = False
    assert scene.after(10.0) is State.SILENT
    assert len(scene.children) == 1
    scene.healthy = True
    assert scene.after(0.5) is State.READY
    assert scene.said[-2:] == ["does not answer", "answers again"]


def test_a_process_that_was_stopped_does_not_come_back(scene: Scene):
    scene.after(0.1)
    scene.process.stop()
    assert scene.after(60.0) is State.STOPPED
    scene.process.start()
    assert len(scene.children) == 1


def test_a_step_that_ends_well_is_done():
    scene = Scene(once=True)
    scene.process.start()
    scene.children[-1].succeeded = True
    scene.children[-1].crash()
    assert scene.after(0.5) is State.DONE
    assert scene.process.settled


def test_a_step_that_ends_badly_has_failed_and_is_not_tried_again():
    scene = Scene(once=True)
    scene.process.start()
    scene.children[-1].crash()
    assert scene.after(0.5) is State.FAILED
    assert scene.after(timedelta(minutes=1).total_seconds()) is State.FAILED
    assert len(scene.children) == 1


def test_a_program_that_cannot_be_started_counts_as_a_crash():
    def launch() -> None:
        raise FileNotFoundError("no such program")

    process = Process("beat-1", launch)
    process.start()
    assert process.state is State.RESTARTING
    assert process.note == "no such program; again in 0.5 s"


def test_a_server_that_somebody_else_runs_is_only_watched():
    process = Process("redis", None)
    process.start()
    process.tick()
    assert process.state is State.READY
    process.kill()
    process.stop()
    assert process.state is State.STOPPED
