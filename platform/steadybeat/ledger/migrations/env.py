"""Alembic's entry: migrate the connection that schema.upgrade() hands over."""

from __future__ import annotations

from alembic import context

from steadybeat.ledger.all_tables import metadata
from steadybeat.ledger.tables import SCHEMA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table_schema=SCHEMA,
    include_schemas=True,
)
with context.begin_transaction():
    context.run_migrations()
