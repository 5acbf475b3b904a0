"""Every table of the ledger, for whoever compares the schema with the migrations."""

from __future__ import annotations

from steadybeat.ledger import alert_tables, search_indexes, tenant_tables, watch_tables
from steadybeat.ledger.tables import metadata

__all__ = ["alert_tables", "metadata", "search_indexes", "tenant_tables", "watch_tables"]
