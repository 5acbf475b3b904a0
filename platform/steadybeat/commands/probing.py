"""`celery -A … audit --probe`: tasks are tried in scratch places, and what that shows is kept."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from steadybeat.commands.output import Output
from steadybeat.commands.progress import Progress

if TYPE_CHECKING:
    from steadybeat.audit.probes import Kept


def probe(app: Any, app_name: str, tasks: Sequence[Any], out: Output | None) -> dict[str, Any]:
    """Try tasks, keep what that shows in ``steadybeat_audit_proofs``, and return it by task and line.

    Tasks without ``audit_args`` are left out. Ctrl-C and SIGTERM end it, and leave nothing behind.

    Args:
        app: The app, with its tasks.
        app_name: What stands behind ``celery -A``.
        tasks: Which.
        out: Where progress is shown; None: nowhere.

    Raises:
        ConfigurationError: No scratch place can be made; or the app would work outside of it.
    """
    from steadybeat.audit.probes import Means, Probing, Proofs
    from steadybeat.dev.leash import spawn

    steady = {name: task for name, task in app.tasks.items() if not name.startswith("celery.")}
    names = sorted(task.name for task in tasks if getattr(task, "audit_args", None) is not None)
    proofs = Proofs(Path(app.steadybeat.settings.audit_proofs))
    if not names:
        return {}
    with Progress(out, "probing", len(names)) as progress, _ended_by_sigterm():

        def told(task: str, what: str) -> None:
            if what.isupper():
                progress.ended(task, what)

        means = Means(spawn=spawn, keep=lambda: _kept(app))
        found = Probing(app, app_name, means, told).run(names)
    proofs.keep(steady, found)
    return found


def _kept(app: Any) -> list[Kept]:
    from steadybeat.audit.probes import Kept
    from steadybeat.dev.health import port_answers
    from steadybeat.dev.servers import free_port
    from steadybeat.dev.stack import kept

    ports = {spec: free_port() for spec in app.steadybeat.settings.dev_run}
    return [
        Kept(command=command, environment=told, answers=lambda port=port: port_answers(port))  # type: ignore[misc]
        for spec, port in ports.items()
        for command, told in [kept(spec, port)]
    ]


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Have SIGTERM end the block as Ctrl-C does, so that what it has made is removed."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
