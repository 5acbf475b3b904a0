"""Asked: what stands in the address of a page, and in a form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from steadybeat.errors import ConfigurationError, did_you_mean
from steadybeat.pages.person import Person


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks for.

    Attributes:
        person: Who asks.
        path: The address, without what stands behind ``?``.
        parts: What the address names: of ``/schedule/orders`` the name.
        values: What stands behind ``?``, or in a form; the last of each name, stripped.
        several: Every value of each name, for what may be chosen more than once.
    """

    person: Person
    path: str
    parts: tuple[str, ...]
    values: Mapping[str, str]
    several: Mapping[str, Sequence[str]]

    def text(self, name: str, *, longest: int = 200) -> str:
        """Return a text, empty where there is none.

        Raises:
            ConfigurationError: It is longer than `longest` characters, or has a NUL in it.
        """
        value = self.values.get(name, "")
        if len(value) > longest or "\x00" in value:
            raise _wrong(name, value, f"text of {longest} characters at the most")
        return value

    def maybe(self, name: str) -> str | None:
        """Return a text, or None where there is none."""
        return self.text(name) or None

    def one_of(self, name: str, words: Sequence[str]) -> str | None:
        """Return one of some words, or None where there is none.

        Raises:
            ConfigurationError: It is another word.
        """
        value = self.text(name)
        if value and value not in words:
            raise _wrong(name, value, f"one of {', '.join(words)}.{did_you_mean(value, words)}")
        return value or None

    def count(self, name: str, default: int, *, most: int) -> int:
        """Return a whole number of at least 1.

        Raises:
            ConfigurationError: It is none, or more than `most`.
        """
        value = self.text(name)
        if not value:
            return default
        if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= most:
            raise _wrong(name, value, f"a whole number from 1 to {most:,}")
        return int(value)

    def instant(self, name: str) -> datetime | None:
        """Return an instant, aware, UTC where it says no zone; None where there is none.

        Raises:
            ConfigurationError: It is no instant.
        """
        value = self.text(name)
        if not value:
            return None
        try:
            at = datetime.fromisoformat(value)
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise _wrong(name, value, "an instant such as 2026-11-28T06:00Z") from None

    def address(self, **changed: object) -> str:
        """Return this page's address with other values; None and an empty text leave one out.

        What says where a page of a list begins (``after``, ``before``) is left out unless it is given.
        """
        values: dict[str, object] = {k: v for k, v in self.values.items() if k not in {"after", "before"}}
        given = {name: value for name, value in (values | changed).items() if value not in {None, ""}}
        return self.path + (f"?{urlencode(given)}" if given else "")


def _wrong(name: str, value: str, way_out: str) -> ConfigurationError:
    shown = value if len(value) <= 60 else f"{value[:60]}…"
    return ConfigurationError(f"{name}={shown!r}: must be {way_out}", name=name, value=value)
