"""Serving: the endpoint that Prometheus asks, in threads of its own. It asks neither Postgres nor Redis."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from billiard.process import current_process
from celery import signals
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.multiprocess import MultiProcessCollector

from steadybeat.address import listening
from steadybeat.errors import ConfigurationError
from steadybeat.settings import PREFIX, Settings
from steadybeat.telemetry.metrics.counting import State, show
from steadybeat.telemetry.metrics.facts import Facts
from steadybeat.telemetry.metrics.forking import Slots, keep_in, keep_no_more
from steadybeat.telemetry.metrics.recording import Recording
from steadybeat.telemetry.metrics.table import BUILD, COUNTER, Metric
from steadybeat.telemetry.pulse import born, folder_of

logger = logging.getLogger(__name__)

_CLIENT_SECONDS = 10.0
_FOLDER = "metrics-{pid}-{born}"


class Endpoint:
    """Where the metrics of this process group are served, and what stands behind it.

    Args:
        settings: `metrics_address`, `metrics_schedules_count` and `health_folder` are used.
        role: ``worker``, ``beat`` or ``watchdog``.
        pooled: Whether processes are forked from this one that count as well.

    Attributes:
        address: Host and port, as they were bound.

    Raises:
        ConfigurationError: Nobody can listen there.
    """

    def __init__(self, settings: Settings, role: str, *, pooled: bool) -> None:
        self._server = _listen(settings.metrics_address)
        self._registry = _Registry()
        self._slots: Slots | None = None
        self.address = "{}:{}".format(*self._server.server_address[:2])
        self.pid = os.getpid()
        if pooled:
            self._slots = Slots(_new_folder(folder_of(settings)))
            MultiProcessCollector(self._registry, str(self._slots.folder))  # type: ignore[no-untyped-call]
            keep_in(self._slots)
            signals.worker_process_init.connect(self._in_pool, weak=False, dispatch_uid="steadybeat.metrics")
        self._recording = Recording(role, None if pooled else self._registry, settings.metrics_schedules_count)
        State.recorder = self._recording
        show(BUILD, version("steadybeat"), role, value=1)
        self._server.set_app(_quietly(make_wsgi_app(self._registry)))
        threading.Thread(target=self._server.serve_forever, name="steadybeat-metrics", daemon=True).start()

    def tell(self) -> None:
        """Log where that is, which nobody knows otherwise where the port was any that is free."""
        logger.info("metrics served", extra={"address": self.address})

    def add(self, facts: Facts) -> None:
        """Serve these as well."""
        self._registry.register(_Shown(facts))

    def join(self, slot: str) -> None:
        """Count in a process that was forked from the one that serves.

        Args:
            slot: What no other living process of the group is called.
        """
        self._server.socket.close()
        if self._slots is None:
            logger.warning("metrics not counted", extra={"reason": "it was forked from a process that has no pool"})
            return
        try:
            self._slots.move(slot)
        except OSError as error:
            logger.warning("metrics not counted", extra={"reason": str(error)})
            return
        State.recorder = self._recording

    def end(self) -> None:
        """Count and serve no more. Nobody waits for clients that are just being answered."""
        if os.getpid() != self.pid:
            return
        State.recorder = None
        self._recording.end()
        if self._slots is not None:
            signals.worker_process_init.disconnect(dispatch_uid="steadybeat.metrics")
            keep_no_more()
            self._slots.remove()
        threading.Thread(target=self._close, name="steadybeat-metrics-end", daemon=True).start()

    def _close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _in_pool(self, **_: Any) -> None:
        """Celery signal `worker_process_init`: this is a process of the pool, in a place that no other one has."""
        if os.getpid() != self.pid:
            self.join(str(current_process().index))


class _Registry(CollectorRegistry):
    """A registry without the instants at which series began, which would be as many again."""

    def collect(self) -> Iterable[Family]:
        for family in super().collect():
            family.samples = [each for each in family.samples if not each.name.endswith("_created")]
            yield family


class _Shown:
    """Facts as prometheus_client collects them."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def collect(self) -> Iterable[Family]:
        families: dict[Metric, Family] = {}
        for metric, labels, value in self._facts.samples():
            name = metric.name.removesuffix("_total") if metric.kind == COUNTER else metric.name
            family = families.setdefault(metric, Family(name, metric.says, metric.kind))
            family.add_sample(metric.name, dict(zip(metric.labels, labels, strict=True)), value)
        return families.values()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without asking what this machine is called, for which a resolver may take long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = map(str, self.server_address[:2])  # type: ignore[assignment]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave a client that goes away, or says nothing in time, to itself."""
        logger.debug("metrics not taken", exc_info=True)


class _Handler(WSGIRequestHandler):
    timeout = _CLIENT_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the parent gave it
        """Say nothing: a scrape every few seconds is no news."""


def _quietly(app: Callable[..., Any]) -> Callable[..., Any]:
    """Return an app whose errors are lines of the log, and not text on standard error."""

    def answer(environ: Any, start_response: Callable[..., Any]) -> Any:
        try:
            return app(environ, start_response)
        except Exception:
            logger.exception("metrics not served")
            start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
            return [b"see the log\n"]

    return answer


def _listen(address: str) -> _Server:
    host, port = listening(address, f"{PREFIX}metrics_address")
    server = type("_ServerOfFamily", (_Server,), {"address_family": _family(host)})
    try:
        found: _Server = server((host, port), _Handler)
    except OSError as error:
        raise ConfigurationError(
            f"{PREFIX}metrics_address={address!r}: cannot be listened on: {error.strerror or error}. Give this process"
            " another STEADYBEAT_METRICS_ADDRESS, port 0 for a free one, or leave it empty for no metrics.",
            name="metrics_address",
        ) from error
    return found


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _new_folder(folder: Path) -> Path:
    """Return an empty folder for the files of this process group; what killed ones have left is cleared away."""
    for left in folder.glob(_FOLDER.format(pid="*", born="*")):
        _, pid, started = left.name.split("-")
        if str(born(int(pid))) != started:
            shutil.rmtree(left, ignore_errors=True)
    own = folder / _FOLDER.format(pid=os.getpid(), born=born(os.getpid()))
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(mode=0o700)
    return own
