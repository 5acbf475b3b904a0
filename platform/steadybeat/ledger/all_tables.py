"""Every table of the ledger, for whoever compares the schema with the migrations."""

from __future__ import annotations

from steadybeat.ledger import alert_tables, tenant_tables, watch_tables
from steadybeat.ledger.tables import metadata

__all__ = ["alert_tables", "metadata", "tenant_tables", "watch_tables"]
