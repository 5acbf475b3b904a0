"""A provider of payments and tokens, and a marketplace, for the tests of the money services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tasks.provider_server import Provider
from tests.integration.marketplace import marketplace
from tests.integration.payments import provider_with


@pytest.fixture
def market_engine(postgres_url: str) -> Iterator[sa.Engine]:
    """An empty marketplace."""
    with marketplace(postgres_url) as engine:
        yield engine


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """Where the provider keeps its book."""
    return tmp_path / "provider.sqlite"


@pytest.fixture
def provider(book: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    """A provider that PROVIDER_URL names."""
    with provider_with(book) as provider:
        monkeypatch.setenv("PROVIDER_URL", provider.url)
        yield provider
