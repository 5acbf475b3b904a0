"""Persons: who asks, and what she may do.

Who somebody is, Flower says: the user name of basic authentication, or the address that an OAuth provider vouches for.
What she may do stands in ``steadybeat_page_roles``.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from fnmatch import fnmatchcase
from typing import Any

from steadybeat.settings import Settings

ANONYMOUS = "anonymous"
"""Who asks where Flower asks nobody to sign in."""


class Role(IntEnum):
    """What somebody may do; each may what the ones before it may."""

    VIEWER = 1  # look
    OPERATOR = 2  # pause, trigger, rerun, requeue, cancel, acknowledge
    ADMIN = 3  # also what takes something away: discard, remove, silence; and the workers' controls

    @property
    def word(self) -> str:
        """How it is called in settings and on pages: ``operator``."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks.

    Attributes:
        name: As Flower knows her; `ANONYMOUS` where it knows nobody.
        role: What she may do.
        read_only: Whether nobody may change anything, because Flower was started with ``--read_only``.
    """

    name: str
    role: Role
    read_only: bool = False

    def may(self, role: Role) -> bool:
        """Return whether she may do what a role may."""
        return self.role >= role and (role is Role.VIEWER or not self.read_only)

    def refusal(self, role: Role) -> str:
        """Return why she may not do what a role may, and the way out."""
        if self.read_only:
            return "Flower runs with --read_only: nothing is changed here. Use the command line, or start it without."
        if self.name == ANONYMOUS:
            return (
                f"This is for {role.word}s, and Flower asks nobody who they are. Start it with --basic_auth or --auth,"
                " or use the command line."
            )
        return (
            f"This is for {role.word}s, and {self.name} is {_article(self.role.word)}. An administrator gives roles in"
            " steadybeat_page_roles."
        )


def person_of(handler: Any) -> Person:
    """Return who asks.

    Args:
        handler: Of Flower; it has let the request pass.
    """
    options = handler.application.options
    name = _name(handler, options)
    settings = handler.capp.steadybeat.settings
    return Person(name, role_of(name, settings), bool(options.read_only))


def role_of(name: str, settings: Settings) -> Role:
    """Return what somebody may do.

    Args:
        name: As Flower knows her.
        settings: Whose ``page_roles`` says it: the name itself before patterns, patterns in their order. Where it says
            nothing at all, whoever signs in may do everything, as in Flower itself; who does not sign in may look.
    """
    roles: Mapping[str, str] = settings.page_roles
    if not roles:
        return Role.VIEWER if name == ANONYMOUS else Role.ADMIN
    if name in roles:
        return Role[roles[name].upper()]
    patterns = () if name == ANONYMOUS else tuple(roles)
    found = next((each for each in patterns if each != ANONYMOUS and fnmatchcase(name, each)), None)
    return Role.VIEWER if found is None else Role[roles[found].upper()]


def _name(handler: Any, options: Any) -> str:
    user = handler.current_user
    if not user:  # on the page that says so
        return ANONYMOUS
    if isinstance(user, str):
        return user
    credentials = handler.request.headers.get("Authorization", "").split()
    if options.basic_auth and credentials:
        return b64decode(credentials[-1]).decode().partition(":")[0] or ANONYMOUS
    return ANONYMOUS


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeio" else f"a {word}"
