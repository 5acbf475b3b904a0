"""Which month is billed, and from when to when it lasts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from steadybeat import Permanent
from tasks import billing


@pytest.mark.parametrize(
    ("instant", "month"),
    [
        (datetime(2026, 1, 1, 5, tzinfo=UTC), "2025-12"),
        (datetime(2026, 3, 31, tzinfo=UTC), "2026-02"),
        (datetime(2026, 3, 1, 1, tzinfo=timezone(timedelta(hours=2))), "2026-01"),
    ],
)
def test_the_month_before_is_that_of_utc(instant: datetime, month: str) -> None:
    assert billing.month_before(instant) == month


def test_a_month_ends_where_the_next_one_begins() -> None:
    months = [f"2024-{number:02d}" for number in range(1, 13)]
    bounds = [billing.bounds_of(month) for month in months]

    assert bounds[0][0] == datetime(2024, 1, 1, tzinfo=UTC)
    assert [end for _, end in bounds] == [begin for begin, _ in bounds[1:]] + [datetime(2025, 1, 1, tzinfo=UTC)]


@pytest.mark.parametrize("month", ["", "2026-13", "2026-1", "2026-01-01", "26-01", "9999-12", "soon"])
def test_what_is_no_month_is_a_permanent_error(month: str) -> None:
    with pytest.raises(Permanent, match="is no month; write it like 2026-01"):
        billing.bounds_of(month)
