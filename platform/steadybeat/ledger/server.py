"""Server: how the Postgres of the ledger is set, and who is connected. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from steadybeat.ledger.connection import Database, sql

# As they hold in a session of ours: what the server, the database, the role and our connection say, together.
_SETTINGS = sql("SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY(:names)")
_STATE = sql("""
    SELECT clock_timestamp() AS now, pg_is_in_recovery() AS is_standby,
           (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend') AS open_count
""")


@dataclass(frozen=True, slots=True)
class ServerState:
    """How a Postgres stands.

    Attributes:
        now: By its clock.
        is_standby: Whether it takes no change, since it follows another.
        open_count: Connections that are open now, of whomever.
    """

    now: datetime
    is_standby: bool
    open_count: int


class Server:
    """The Postgres of the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def settings(self, names: Sequence[str]) -> dict[str, str]:
        """Return the settings of these names that Postgres has, in its own units."""
        return {row.name: row.setting for row in self._database.execute(_SETTINGS, {"names": list(names)})}

    def state(self) -> ServerState:
        """Return how it stands."""
        return ServerState(*self._database.execute(_STATE)[0])
