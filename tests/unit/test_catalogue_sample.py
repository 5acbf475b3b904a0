"""The sample: the same rows everywhere, a hundredth of which lack something."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from tasks import market
from tasks.sample import Sample

AS_OF = datetime(2026, 1, 31, tzinfo=UTC)
DIGEST = "389f905871d624a6771114d8d4a89b4be32a818b364f114151162193e4d6f6de"


def rows_of(sample: Sample, table: Any) -> Iterable[dict[str, Any]]:
    [part] = [each for each in sample.parts() if each.table is table]
    return [dict(zip(part.columns, row, strict=True)) for row in part.rows]


def test_a_sample_is_the_same_rows_on_every_machine() -> None:
    assert Sample(AS_OF, account_count=100, order_count=1_000, sale_count=4_000).digest() == DIGEST


def test_a_hundredth_of_the_accounts_cannot_be_reached_and_another_cannot_be_billed() -> None:
    accounts = rows_of(Sample(AS_OF, order_count=500, sale_count=1_000), market.accounts)

    assert len([each for each in accounts if not each["email"].isascii()]) == 48
    assert len([each for each in accounts if each["country"] == "AQ"]) == 52
