"""Channel: how messages cross Redis, and how every client of Redis is made.

`transport` is kombu's transport, unable to choke on a message; `clients` opens Redis wherever something other than a
message is wanted of it; `server` says whether a Redis may be used at all; `canary` says what asks a queue whether
somebody consumes from it; `depths` counts what waits.
"""

from steadybeat.channel.canary import CANARY, CANARY_NUMBER
from steadybeat.channel.clients import Sentinels, client, client_of_schedules, clients_of_locks
from steadybeat.channel.depths import depths
from steadybeat.channel.server import refuse_unfit, refuse_unfit_others
from steadybeat.channel.transport import (
    TRANSPORT,
    Channel,
    Command,
    Connection,
    KeepForeign,
    SentinelChannel,
    Transport,
    why_unreadable,
)

__all__ = [
    "CANARY",
    "CANARY_NUMBER",
    "TRANSPORT",
    "Channel",
    "Command",
    "Connection",
    "KeepForeign",
    "SentinelChannel",
    "Sentinels",
    "Transport",
    "client",
    "client_of_schedules",
    "clients_of_locks",
    "depths",
    "refuse_unfit",
    "refuse_unfit_others",
    "why_unreadable",
]
