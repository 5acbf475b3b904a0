"""What these tasks need of Django: models with a manager."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


class Manager:
    """Stands where Django puts one."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("there is no database here")


class Model:
    """A row."""

    objects = Manager()

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write it."""
        raise RuntimeError("there is no database here")


@contextlib.contextmanager
def atomic() -> Iterator[None]:
    """Stand for `django.db.transaction.atomic`."""
    yield
