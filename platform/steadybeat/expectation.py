"""Expectation: what a run that succeeds is expected to have done, as one text beside its schedule.

Such as:

    items > 0                            it did something
    items >= 100
    items within 30 %                    of the median of its schedule over four weeks
    items > 0 and items within 30 %
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from steadybeat.errors import ConfigurationError

EXAMPLE = "items > 0 and items within 30 %"

_LEAST = re.compile(r"items\s*(>=|>)\s*(\d{1,12})")
_WITHIN = re.compile(r"items\s+(?:within|±)\s*(\d{1,3}(?:\.\d{1,3})?)\s*%")


@dataclass(frozen=True, slots=True)
class Expectation:
    """How many items a run is expected to have processed.

    Attributes:
        least_count: So many at least; None: any number will do.
        within_share: No further from the median than this share of it; None: however far.
    """

    least_count: int | None = None
    within_share: float | None = None

    @classmethod
    def read(cls, text: object) -> Expectation:
        """Return what a text such as ``items > 0 and items within 30 %`` means.

        Raises:
            ConfigurationError: It has no such form.
        """
        least: int | None = None
        share: float | None = None
        for part in text.split(" and ") if isinstance(text, str) else [""]:
            bound, near = _LEAST.fullmatch(part.strip()), _WITHIN.fullmatch(part.strip())
            if bound and least is None:
                least = int(bound[2]) + (bound[1] == ">")
            elif near and share is None:
                share = float(near[1]) / 100
            else:
                raise ConfigurationError(
                    f"expect={text!r}: must be a text such as {EXAMPLE!r}.", name="expect", value=text
                )
        return cls(least, share)

    def broken_by(self, count: int, median: float | None) -> str:
        """Return what is wrong with so many items, in words, or an empty text.

        Args:
            count: Items that were processed.
            median: Of the same schedule's earlier runs; None: there are too few to tell.
        """
        if self.least_count is not None and count < self.least_count:
            return f"{count} items, where at least {self.least_count} are expected"
        if self.within_share is not None and median and abs(count - median) > self.within_share * median:
            return f"{count} items, more than {self.within_share:.0%} off the median of {median:g}"
        return ""
