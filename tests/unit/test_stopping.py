"""A process that is asked to stop finishes what it is at, and is not interrupted while it closes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from steadybeat.stopping import StopSignals


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signals = StopSignals()
    signals.install()
    yield signals
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_sleep_at_once(signals: StopSignals, number: signal.Signals):
    with pytest.raises(SystemExit):
        signal.raise_signal(number)


def test_a_signal_during_work_ends_the_process_after_it(signals: StopSignals):
    done = []
    with pytest.raises(SystemExit), signals.held_back():
        signal.raise_signal(signal.SIGTERM)
        done.append("all of it")
    assert done


def test_work_goes_on_while_no_signal_came(signals: StopSignals):
    with signals.held_back():
        pass
    with signals.held_back():
        pass


def test_an_error_of_the_work_is_seen_although_a_signal_came(signals: StopSignals):
    with pytest.raises(LookupError), signals.held_back():
        signal.raise_signal(signal.SIGTERM)
        raise LookupError


def test_a_second_signal_does_not_interrupt_the_closing(signals: StopSignals):
    with pytest.raises(SystemExit):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)


def test_a_thread_leaves_the_signals_of_its_process_alone():
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=StopSignals().install)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
