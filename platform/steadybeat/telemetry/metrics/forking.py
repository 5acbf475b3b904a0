r"""Forking: one endpoint for a worker and the processes of its pool, whatever becomes of those.

    <health folder>/metrics-<pid>-<born>/counter_<slot>.db      what that process has counted, as prometheus_client
                                        /histogram_<slot>.db    keeps it for several processes: `mmap_dict`
                                        /gauge_max_<slot>.db

A slot is a place in the pool, from 0; ``main`` is the worker's parent process. A process that takes the place of
another goes on with its files, so that no total ever falls and there are as many files as places, however many
processes come and go. What is written is in the file at once, and is not lost with a process that is killed.

prometheus_client's own way is told its folder by a variable of the environment, which programs that a task starts
would inherit, and which may be the application's already. Here only metrics of the platform go into files; those that
an application makes stay what they are.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from steadybeat.telemetry.metrics.table import PREFIX

MAIN = "main"
_FILE_BYTES = 1 << 16


class Slots:
    """The files of one process group, and which of them this process writes.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._slot = MAIN
        self._files: dict[str, Any] = {}
        self._values: list[_Value] = []

    def file(self, kind: str) -> Any:
        """Return the file of this process for a kind of metrics.

        Raises:
            OSError: There is no room for it.
        """
        if kind not in self._files:
            path = self.folder / f"{kind}_{self._slot}.db"
            with path.open("ab") as file:  # a page of a mapped file for which there is no room would kill the process
                if file.tell() == 0:
                    os.posix_fallocate(file.fileno(), 0, _FILE_BYTES)
            self._files[kind] = MmapedDict(str(path))  # type: ignore[no-untyped-call]
        return self._files[kind]

    def adopt(self, value: _Value) -> None:
        """Take in a value that is to move along when this process gets another slot."""
        self._values.append(value)
        value.bind(self)

    def move(self, slot: str) -> None:
        """Write into the files of a slot from now on, and go on where they are.

        Args:
            slot: Which no other living process has.

        Raises:
            OSError: There is no room for them, or their folder is gone.
        """
        self._slot = slot
        left, self._files = self._files, {}
        for value in self._values:
            value.bind(self)
        for file in left.values():
            file.close()

    def remove(self) -> None:
        """Take the files away, after nobody counts any more."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


class _Value:
    """One number of a metric, in a file: what prometheus_client calls a value class."""

    _multiprocess = True

    def __init__(self, slots: Slots, given: tuple[Any, ...], mode: str) -> None:
        kind, metric, name, labels, shown, says = given
        self._kind = f"{kind}_{mode}" if kind == "gauge" else kind
        self._key = mmap_key(metric, name, labels, shown, says)
        slots.adopt(self)

    def bind(self, slots: Slots) -> None:
        """Go on where the slot of this process is."""
        self._file = slots.file(self._kind)
        self._number, _ = self._file.read_value(self._key)

    def inc(self, amount: float) -> None:
        """Add to it."""
        self.set(self._number + amount)

    def set(self, value: float, timestamp: float | None = None) -> None:
        """Replace it."""
        self._number = value
        self._file.write_value(self._key, value, timestamp or 0.0)

    def get(self) -> float:
        """Return what this process' slot has."""
        return float(self._number)

    def set_exemplar(self, exemplar: Any) -> None:
        """Do nothing; files hold no exemplars."""

    def get_exemplar(self) -> None:
        """Return none; files hold no exemplars."""


def keep_in(slots: Slots) -> None:
    """Let the metrics of the platform that are made from now on keep their numbers in files; no others."""
    former: Any = values.ValueClass

    class Chosen:
        _multiprocess = former._multiprocess

        def __new__(cls, *given: Any, multiprocess_mode: str = "", **more: Any) -> Any:
            if str(given[1]).startswith(PREFIX):
                return _Value(slots, given, multiprocess_mode)
            return former(*given, multiprocess_mode=multiprocess_mode, **more)

    Chosen.former = former  # type: ignore[attr-defined]
    values.ValueClass = Chosen


def keep_no_more() -> None:
    """Let metrics that are made from now on keep their numbers as they did before `keep_in`."""
    values.ValueClass = getattr(values.ValueClass, "former", values.ValueClass)
