"""Promise: a run that succeeds and has done nothing is told from one that has done its work."""

from __future__ import annotations

from datetime import timedelta

import pytest

from steadybeat.errors import ConfigurationError
from steadybeat.expectation import Expectation
from steadybeat.schedule.policies import policies


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("items > 0", Expectation(least_count=1)),
        ("items >= 100", Expectation(least_count=100)),
        ("items within 30 %", Expectation(within_share=0.3)),
        ("items ± 12.5%", Expectation(within_share=0.125)),
        ("items > 0 and items within 30 %", Expectation(1, 0.3)),
        ("items within 30 % and items>=5", Expectation(5, 0.3)),
    ],
)
def test_what_is_expected_is_said_in_a_text(text: str, expected: Expectation) -> None:
    assert Expectation.read(text) == expected


@pytest.mark.parametrize(
    "text", ["", "items", "items > -1", "items < 5", "rows > 0", "items > 0 and items > 1", "items > 0 or items > 1", 7]
)
def test_what_cannot_be_expected_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ConfigurationError, match="must be a text such as 'items > 0 and items within 30 %'"):
        Expectation.read(text)


def test_a_schedule_with_such_an_expectation_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="expect='rows > 0'"):
        policies({"expect": "rows > 0", "late_after": timedelta(minutes=1)})


@pytest.mark.parametrize(
    ("expectation", "count", "median", "broken"),
    [
        (Expectation(least_count=1), 0, None, "0 items, where at least 1 are expected"),
        (Expectation(least_count=1), 1, None, ""),
        (Expectation(within_share=0.3), 69, 100.0, "69 items, more than 30% off the median of 100"),
        (Expectation(within_share=0.3), 131, 100.0, "131 items, more than 30% off the median of 100"),
        (Expectation(within_share=0.3), 70, 100.0, ""),
        (Expectation(within_share=0.3), 0, None, ""),
    ],
)
def test_what_breaks_an_expectation_is_said_in_words(
    expectation: Expectation, count: int, median: float | None, broken: str
) -> None:
    assert expectation.broken_by(count, median) == broken
