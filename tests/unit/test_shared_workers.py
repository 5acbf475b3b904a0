"""Services that share a worker in the local stack."""

from __future__ import annotations

import pytest

from steadybeat.dev.stack import shared
from steadybeat.errors import ConfigurationError

SERVICES = ["cards", "orders", "sync"]


def test_each_service_has_a_worker_of_its_own_unless_it_shares_one() -> None:
    assert shared(SERVICES, []) == {"cards": ["cards"], "orders": ["orders"], "sync": ["sync"]}
    assert shared(SERVICES, ["money:cards+sync"]) == {"orders": ["orders"], "money": ["cards", "sync"]}


@pytest.mark.parametrize(
    ("together", "said"),
    [
        (["money"], "must be like 'small:orders"),
        (["money:cards"], "must be like 'small:orders"),
        (["orders:cards+sync"], "with a name of its own"),
        (["-n x:cards+sync"], "must be like 'small:orders"),
        (["money:cards+snyc"], r"'snyc' is no service, or shares a worker already\. Did you mean 'sync'\?"),
        (["a:cards+sync", "b:orders+sync"], "'sync' is no service, or shares a worker already"),
        (["a:cards+cards"], "'cards' is no service, or shares a worker already"),
    ],
)
def test_a_wrong_group_is_refused_with_the_way_out(together: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"steadybeat_dev_together=.*{said}"):
        shared(SERVICES, together)
