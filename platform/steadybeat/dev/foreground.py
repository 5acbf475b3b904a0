"""Runs a stack in the foreground of a terminal until somebody stops it."""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from rich.console import Console

from steadybeat.dev.screen import LiveScreen, access_lines, next_lines, plain_line
from steadybeat.dev.stack import Stack
from steadybeat.dev.supervisor import StackError

WAIT_SECONDS = 0.5
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NEWS = 0  # no signal has this number

Inbox = queue.SimpleQueue[int]
"""Signals that came, and `NEWS`; a signal handler may put something into it at any moment."""


class View(Protocol):
    """What shows a stack."""

    def draw(self, *, changed: bool) -> None:
        """Bring the view up to date."""


def run_in_foreground(make_stack: Callable[[Callable[[str], None]], Stack], console: Console) -> None:
    """Start a stack and show it until a signal comes or it fails; stop it then. A second signal stops it harder.

    Args:
        make_stack: Makes the stack around a function that takes its events.
        console: Where to show it: as a live screen on a terminal, as plain lines elsewhere.

    Raises:
        StackError: It did not come up, or one is running already.
        ConfigurationError: A given server does not answer.
    """
    inbox: Inbox = queue.SimpleQueue()
    with _catching_signals(inbox):
        stack = make_stack(_listener(inbox, console))
        stack.start()
        with contextlib.ExitStack() as stopping:
            stopping.callback(stack.stop)
            view: View = (
                stopping.enter_context(LiveScreen(stack, console)) if _live(console) else _Lines(stack, console)
            )
            _watch(stack, inbox, view)
    if stack.failure:
        raise StackError(stack.failure)


class _Lines:
    """Plain lines: where everything is, and what to do when it is ready; the events print themselves."""

    def __init__(self, stack: Stack, console: Console) -> None:
        self._stack, self._console = stack, console
        self._ready = False
        for line in access_lines(stack):
            _print(console, line)

    def draw(self, *, changed: bool) -> None:
        """Print what can be done, once; what has happened is printed already."""
        if not self._ready and self._stack.ready_after is not None:
            self._ready = True
            for line in next_lines(self._stack):
                _print(self._console, line)


def _watch(stack: Stack, inbox: Inbox, view: View) -> None:
    stopper: threading.Thread | None = None
    while stopper is None or stopper.is_alive():
        message = _next(inbox)
        if message not in {NEWS, None} and stopper is not None:
            stack.hurry()
        elif stopper is None and (message not in {NEWS, None} or stack.failure):
            stopper = threading.Thread(target=stack.stop, name="steadybeat-stop")
            stopper.start()
        view.draw(changed=message is not None)


def _next(inbox: Inbox) -> int | None:
    try:
        return inbox.get(timeout=WAIT_SECONDS)
    except queue.Empty:
        return None


def _listener(inbox: Inbox, console: Console) -> Callable[[str], None]:
    def listen(line: str) -> None:
        if _live(console):
            inbox.put(NEWS)
        else:
            _print(console, line)

    return listen


def _live(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal


def _print(console: Console, line: str) -> None:
    with contextlib.suppress(OSError):  # whoever was reading has gone; the stack goes on
        console.out(plain_line(line), highlight=False)


@contextlib.contextmanager
def _catching_signals(inbox: Inbox) -> Iterator[None]:
    before = {number: signal.signal(number, lambda got, _frame: inbox.put(got)) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
