from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from steadybeat.errors import ConfigurationError
from steadybeat.settings import Settings
from steadybeat.telemetry import EVENT_LOOP, KEEPER, TICK, Pulse, Vital, vitals


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(health_folder=str(tmp_path / "health"), health_seconds=12.0)


@pytest.fixture
def pulse(settings: Settings, clock: Clock) -> Pulse:
    return Pulse(settings, "shop", "worker", clock)


@pytest.fixture
def shown(settings: Settings) -> Callable[[], Vital]:
    def only() -> Vital:
        (vital,) = vitals(settings, "worker")
        return vital

    return only


def test_a_process_is_not_well_before_its_main_part_has_begun(pulse: Pulse, shown: Callable[[], Vital], clock: Clock):
    assert not shown().is_well(clock.now)
    pulse.beat(KEEPER)
    assert not shown().is_well(clock.now)
    pulse.beat(EVENT_LOOP)
    assert shown().is_well(clock.now)


def test_it_is_well_as_long_as_every_part_is_heard_of_in_time(pulse: Pulse, shown: Callable[[], Vital], clock: Clock):
    pulse.beat(EVENT_LOOP)
    pulse.beat(KEEPER, within=timedelta(seconds=30))
    clock.now += 12
    assert shown().is_well(clock.now)
    clock.now += 1
    assert shown().silent(clock.now) == {EVENT_LOOP: timedelta(seconds=1)}
    pulse.beat(EVENT_LOOP)
    assert shown().is_well(clock.now)
    clock.now += 18
    pulse.beat(EVENT_LOOP)
    assert shown().silent(clock.now) == {KEEPER: timedelta(seconds=1)}


def test_a_part_that_rests_may_be_silent_until_it_is_heard_of_again(
    pulse: Pulse, shown: Callable[[], Vital], clock: Clock
):
    pulse.beat(EVENT_LOOP)
    pulse.rest(EVENT_LOOP)
    clock.now += 3600
    assert shown().is_well(clock.now)
    pulse.beat(EVENT_LOOP)
    clock.now += 13
    assert not shown().is_well(clock.now)


def test_a_part_heard_of_often_is_written_once_a_second(pulse: Pulse, shown: Callable[[], Vital], clock: Clock):
    pulse.beat(EVENT_LOOP)
    first = shown().parts[EVENT_LOOP]
    clock.now += 0.9
    pulse.beat(EVENT_LOOP)
    assert shown().parts[EVENT_LOOP] == first
    clock.now += 0.1
    pulse.beat(EVENT_LOOP)
    assert shown().parts[EVENT_LOOP] == first + 1


def test_a_process_that_ends_well_takes_its_file_away_and_writes_none_again(pulse: Pulse, settings: Settings):
    pulse.end()
    pulse.beat(EVENT_LOOP)
    assert vitals(settings, "worker") == []


def left_by(pid: int, born: int, settings: Settings) -> Path:
    facts = {"app": "shop", "role": "beat", "pid": pid, "born": born, "parts": {TICK: 1e12}}
    file = Path(settings.health_folder) / f"beat-{pid}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts))
    return file


def test_what_a_dead_process_left_is_not_shown_and_cleared_away_by_the_next_of_its_role(settings: Settings):
    with subprocess.Popen(["true"]) as dead:
        pass
    of_the_dead = left_by(dead.pid, 1, settings)
    of_another_process_with_that_pid = left_by(1, 1, settings)
    assert vitals(settings, "beat") == []
    Pulse(settings, "shop", "beat")
    assert not of_the_dead.exists() and not of_another_process_with_that_pid.exists()


def test_a_zombie_counts_as_dead(settings: Settings):
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    born = int(Path(f"/proc/{zombie.pid}/stat").read_text().rpartition(")")[2].split()[19])
    left_by(zombie.pid, born, settings)
    assert vitals(settings, "beat") == []
    zombie.wait()


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"pid": "x"}', '{"born": 0, "pid": 0, "parts": {}}'])
def test_a_file_that_is_none_of_ours_is_passed_over(settings: Settings, said: str):
    left_by(1, 1, settings).write_text(said)
    assert vitals(settings, "beat") == []


def test_a_folder_that_cannot_be_written_is_refused_with_the_way_out(tmp_path: Path):
    (tmp_path / "health").write_text("a file")
    settings = Settings(health_folder=str(tmp_path / "health"))
    with pytest.raises(ConfigurationError, match=r"steadybeat_health_folder=.* cannot be written: .* Point STEADY"):
        Pulse(settings, "shop", "beat")


def test_one_users_processes_find_each_other_without_any_setting():
    assert Settings().health_folder == ""
    assert vitals(Settings(), "no such role") == []


class Interrupted(Pulse):
    """A pulse that a signal interrupts whenever it writes its file."""

    def _write(self) -> None:
        super()._write()
        if self._parts:
            signal.raise_signal(signal.SIGUSR1)


@pytest.fixture
def interrupted(settings: Settings, clock: Clock) -> Iterator[Interrupted]:
    before = signal.getsignal(signal.SIGUSR1)
    yield Interrupted(settings, "shop", "worker", clock)
    signal.signal(signal.SIGUSR1, before)


def test_a_part_may_come_to_rest_in_a_signal_handler_that_interrupts_its_beat(
    interrupted: Pulse, shown: Callable[[], Vital], clock: Clock
):
    signal.signal(signal.SIGUSR1, lambda *_: interrupted.rest(EVENT_LOOP) if shown().silent(clock.now + 60) else None)
    interrupted.beat(EVENT_LOOP)
    assert shown().parts == {EVENT_LOOP: None}


def test_a_process_may_end_in_a_signal_handler_that_interrupts_its_beat(interrupted: Pulse, settings: Settings):
    signal.signal(signal.SIGUSR1, lambda *_: interrupted.end())
    interrupted.beat(EVENT_LOOP)
    assert vitals(settings, "worker") == []
    assert not [*Path(settings.health_folder).iterdir()]
