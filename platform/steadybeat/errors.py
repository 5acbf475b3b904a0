"""What can go wrong, as one tree.

    SteadybeatError
    ├── ConfigurationError        a setting, an option or an argument is wrong
    │   ├── UnknownSetting        `steadybeat_*` key that does not exist
    │   ├── ScheduleError         a rule of time that cannot be
    │   ├── UnknownSchedule       no schedule has this name
    │   ├── UnsafeStart           a worker of a guarded queue, while work could be lost or doubled
    │   └── UnknownQueue          a queue nobody declared
    ├── EditConflict              somebody else has changed it since
    ├── LedgerError
    │   ├── LedgerUnavailable     Postgres does not answer
    │   ├── SchemaTooOld          migrations are missing
    │   └── ResultNotStored       the run has succeeded, and what it gave back was not kept
    ├── BrokerUnavailable         Redis does not answer
    ├── LocksUnavailable          most of the Redis servers that keep the locks do not answer
    ├── StaleAttempt              another attempt holds the run by now
    ├── LockLost                  another run holds the lock by now
    └── TaskError                 raised by a task, to say what becomes of its run
        ├── Transient             try again
        │   └── NotSent           an external effect that has certainly not been asked for
        ├── Permanent             do not try again
        │   ├── EffectRefused     effects are asked for in a way in which they could not happen once
        │   └── FanOutRefused     a fan-out is asked for in a way in which it could not be
        ├── Snooze                not now: later, and this was no attempt
        └── Cancel                there is nothing to do any more
    ScheduleWarning               a UserWarning: a rule of time that may surprise

The first line of a class's docstring is its default message; the facts are attributes. Each is a `ClickException`, so
that one which leaves a `celery -A …` command is shown as one line and exits with 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import click
from celery.exceptions import QueueNotFound

LONGEST_PAUSE = timedelta(days=3650)
"""Nothing that a task asks for is put off for longer."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known word nearest to `word`, or an empty string."""
    nearest = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


class SteadybeatError(click.ClickException):
    """Something in steadybeat went wrong."""

    exit_code = 2

    def __init__(self, message: str | None = None, **facts: object) -> None:
        self.facts = facts
        for name, value in facts.items():
            setattr(self, name, value)
        super().__init__(message or (type(self).__doc__ or "").partition("\n")[0])


class ConfigurationError(SteadybeatError, ValueError):
    """A setting, an option or an argument is wrong."""


class UnknownSetting(ConfigurationError):
    """This setting does not exist."""


class ScheduleError(ConfigurationError):
    """This schedule can never be due as written."""


class UnknownSchedule(ConfigurationError):
    """No schedule has this name."""


class UnsafeStart(ConfigurationError):
    """A worker would consume a guarded queue while its work could be lost or doubled; a line for each reason."""

    def show(self, file: Any = None) -> None:
        """Print a line for each reason to standard error."""
        for line in self.message.splitlines():
            click.echo(f"Error: {line}", file=file, err=file is None)


class EditConflict(SteadybeatError):
    """Somebody else has changed it since."""

    exit_code = 1


class ScheduleWarning(UserWarning):
    """A rule of time that can be meant in two ways on some days."""


class UnknownQueue(ConfigurationError, QueueNotFound):
    """No service has this queue."""


class LedgerError(SteadybeatError):
    """The ledger refused."""


class LedgerUnavailable(LedgerError):
    """The ledger's Postgres does not answer."""


class SchemaTooOld(LedgerError):
    """The ledger's schema is older than this release needs: run `celery -A … ledger upgrade`."""


class ResultNotStored(LedgerError):
    """The run has succeeded, but its result was not kept: it is no JSON, or larger than 1 MiB."""


class BrokerUnavailable(SteadybeatError):
    """The broker's Redis does not answer."""


class LocksUnavailable(SteadybeatError):
    """The Redis servers that keep the locks do not answer."""


class StaleAttempt(SteadybeatError):
    """Another attempt holds this run by now; nothing of this one may be committed."""


class LockLost(SteadybeatError):
    """Another run has taken the lock of this attempt since; nothing of this one may be committed."""


class TaskError(SteadybeatError):
    """A task says what becomes of its run."""


class Transient(TaskError):
    """This may succeed later.

    The run is tried again, as often and as long as the task allows.

    Args:
        message: What went wrong.
        after: How long to wait; as the task's back-off says unless given.

    Raises:
        ConfigurationError: `after` is no duration, or negative, or longer than ten years.
    """

    def __init__(self, message: str | None = None, *, after: timedelta | None = None, **facts: object) -> None:
        super().__init__(message, after=after, **facts)
        self.after = None if after is None else _pause(self, after)


class Permanent(TaskError):
    """This cannot succeed however often it is tried: no retry, a dead letter at once."""


class NotSent(Transient):
    """Nothing has left this process: an external effect that certainly did not happen."""


class EffectRefused(ConfigurationError, Permanent):
    """An effect cannot be made once in this way."""


class FanOutRefused(ConfigurationError, Permanent):
    """A fan-out cannot be made in this way."""


class Snooze(TaskError):
    """Not now.

    The run begins again after a while. This was no failure, and counts as no retry. A run may snooze as often as it
    likes, until its deadline, or what ``retry_for`` gives it, has passed.

    Args:
        after: How long to wait, more than nothing.
        message: Why.

    Raises:
        ConfigurationError: `after` is no duration, or not positive, or longer than ten years.
    """

    def __init__(self, after: timedelta, message: str | None = None, **facts: object) -> None:
        super().__init__(message, after=after, **facts)
        self.after = _pause(self, after, least=timedelta(microseconds=1))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.after, self.message), self.__dict__


class Cancel(TaskError):
    """There is nothing to do any more.

    The run ends as cancelled, with the message as its reason.
    """


def _pause(said: TaskError, after: object, *, least: timedelta = timedelta(0)) -> timedelta:
    if isinstance(after, timedelta) and least <= after <= LONGEST_PAUSE:
        return after
    bound = "more than nothing" if least else "nothing or more"
    raise ConfigurationError(
        f"{type(said).__name__}: after={after!r}: must be a timedelta of {bound}, ten years at the most, such as"
        " timedelta(minutes=5).",
        after=after,
    )
