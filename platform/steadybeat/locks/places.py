"""Places: taken, extended while work goes on, and given back."""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from steadybeat.errors import LocksUnavailable
from steadybeat.locks.quorum import Quorum
from steadybeat.locks.turn import Turn

logger = logging.getLogger(__name__)

_TRIES = 3
_EXTENSIONS = 5
"""So many times in the life of a lock it is extended: an answer or two may be missing."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a place was not given.

    Attributes:
        turn: What was asked for.
        reason: What stands in the way, such as ``held by run 0190…``.
        is_unanswered: Whether Redis did not say.
    """

    turn: Turn
    reason: str
    is_unanswered: bool = False


Failed = Callable[[str, str], None]
"""Is told what went wrong: the kind of the turn; unavailable, not_extended, lost, lapsed or not_released."""


def _nobody(kind: str, failure: str) -> None:
    """Tell nobody."""


@dataclass(slots=True)
class Place:
    """One place that is held.

    Attributes:
        turn: Of which it is one.
        number: From 0.
        token: Of this taking, unlike any other.
        until: When it lapses, by the clock of its `Holding`, unless it is extended.
    """

    turn: Turn
    number: int
    token: str
    until: float

    @property
    def key(self) -> str:
        """Redis' key of it."""
        return self.turn.key(self.number)


@dataclass(frozen=True, slots=True)
class Left:
    """A place that an attempt holds, or has left behind: Redis' key, the attempt's fence, the token of the taking."""

    key: str
    fence: int
    token: str


class Holding:
    """What one attempt holds. A thread extends it until it is given back.

    A process that is stopped extends nothing: its places lapse, and others get them. When it goes on it finds out at
    the next extension; until then the ledger's fences stand between it and an effect.
    """

    def __init__(
        self, places: Sequence[Place], quorum: Quorum, run: str, clock: Callable[[], float], failed: Failed = _nobody
    ) -> None:
        self.places = places
        self._quorum = quorum
        self._run = run
        self._clock = clock
        self._failed = failed
        self._extending = threading.Lock()
        self._released = threading.Event()

    @property
    def lost(self) -> bool:
        """Whether a place may be somebody else's by now."""
        return any(self._clock() >= place.until for place in self.places)

    def keep(self) -> None:
        """Extend every place from now on."""
        if self.places:
            threading.Thread(target=self._keep, name="steadybeat-locks", daemon=True).start()

    def release(self) -> list[str]:
        """Give every place back; return what could not be given back and has to lapse."""
        self._released.set()
        with self._extending:
            left = [self._leave(place) for place in self.places]
        return [each for each in left if each]

    def _leave(self, place: Place) -> str:
        silent = self._quorum.release(place.key, place.token)
        if silent:
            self._failed(place.turn.kind, "not_released")
        return f"{place.turn}: {'; '.join(silent)}" if silent else ""

    def _keep(self) -> None:
        while not self._released.wait(self._quorum.lock_seconds / _EXTENSIONS):
            with self._extending:
                for place in self.places:
                    if not self._released.is_set():
                        self._extend(place)

    def _extend(self, place: Place) -> None:
        facts = {"lock": str(place.turn), "run_id": self._run}
        was_lost = self._clock() >= place.until
        try:
            until, again = self._quorum.extend(place.key, place.token)
        except LocksUnavailable as error:
            logger.warning("lock not extended", extra={**facts, "error": str(error)})
            self._failed(place.turn.kind, "not_extended")
            return
        if until is None:
            place.until = float("-inf")
            if not was_lost:
                logger.error("lock lost", extra=facts)
                self._failed(place.turn.kind, "lost")
            return
        place.until = until
        if again or was_lost:
            logger.warning("lock had lapsed and was taken again", extra=facts)
            self._failed(place.turn.kind, "lapsed")


class Places:
    """Gives out places.

    Args:
        quorum: Where they are kept.
        clock: Seconds of a clock that never jumps, the one of `quorum`.
        failed: Is told what goes wrong.

    Attributes:
        not_released_count: How often a place could not be given back, and was left to lapse, in this process.
    """

    def __init__(self, quorum: Quorum, clock: Callable[[], float] = time.monotonic, failed: Failed = _nobody) -> None:
        self._quorum = quorum
        self._clock = clock
        self._failed = failed
        self.not_released_count = 0

    def take(self, turns: Sequence[Turn], *, run: str, fence: int) -> Holding | Refusal:
        """Take a place of each turn, or none at all; never waits for one.

        A place that an earlier attempt of the same run has left behind is taken over: whoever has a claim on a run
        knows that its earlier attempts are dead.

        Args:
            turns: What is needed.
            run: Which run asks.
            fence: Of its attempt.
        """
        places: list[Place] = []
        holding = Holding(places, self._quorum, run, self._clock, self._failed)
        for turn in turns:
            try:
                taken = self._place(turn, run, fence)
            except LocksUnavailable as error:
                taken = Refusal(turn, str(error), is_unanswered=True)
                self._failed(turn.kind, "unavailable")
            except BaseException:
                self.release(holding)
                raise
            if isinstance(taken, Refusal):
                self.release(holding)
                return taken
            places.append(taken)
        holding.keep()
        return holding

    def release(self, holding: Holding) -> None:
        """Give back what an attempt holds; what cannot be given back is logged and counted, and lapses by itself."""
        for error in holding.release():
            self.not_released_count += 1
            logger.warning(
                "lock not released: it lapses by itself",
                extra={"error": error, "not_released_count": self.not_released_count},
            )

    def left_by(self, turns: Sequence[Turn], run: str) -> list[Left]:
        """Return what attempts of a run hold, or have left behind.

        Args:
            turns: What they may hold.
            run: The run.

        Raises:
            LocksUnavailable: Redis does not say.
        """
        keys = [turn.key(number) for turn in turns for number in range(turn.count)]
        found = {(key, token) for key, held in zip(keys, self._quorum.holders(keys), strict=True) for token in held}
        return [Left(key, int(token.split("/")[1]), token) for key, token in found if token.startswith(f"{run}/")]

    def give_back(self, left: Left) -> None:
        """Give back what a dead attempt has left behind; where Redis does not answer, it lapses."""
        self._quorum.release(left.key, left.token)

    def _place(self, turn: Turn, run: str, fence: int) -> Place | Refusal:
        tokens = self._others(turn, f"{run}/")
        free = [number for number, held in enumerate(tokens) if not held]
        token = f"{run}/{fence}/{secrets.token_hex(8)}"
        for number in random.sample(free, min(len(free), _TRIES)):
            until = self._quorum.take(turn.key(number), token)
            if until is not None:
                return Place(turn, number, token, until)
        if turn.count > 1:
            return Refusal(turn, f"all {turn.count} places are held")
        holders = sorted({each.partition("/")[0] for each in tokens[0]})
        return Refusal(turn, f"held by run {holders[0]}" if holders else "another run was faster")

    def _others(self, turn: Turn, own: str) -> list[list[str]]:
        """Give back what has an own token, and return the tokens of others, for each place."""
        tokens = self._quorum.holders([turn.key(number) for number in range(turn.count)])
        for number, held in enumerate(tokens):
            for token in {each for each in held if each.startswith(own)}:
                self._quorum.release(turn.key(number), token)
        return [[each for each in held if not each.startswith(own)] for held in tokens]
