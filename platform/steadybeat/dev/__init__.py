"""The local stack: `celery -A … dev`. It runs only on a laptop, in tests and in benchmarks.

servers       a Redis and a Postgres of our own, real ones
  embedded      what both have in common: folder, port, lock, start and stop
  unprivileged  Postgres under root
stack         what the local stack consists of, and in which order it starts
  supervisor    starts tiers in order, keeps them running, stops them in reverse
  process       one process: state, health, back-off
  leash         starts a process that does not outlive its parent (`launcher` is what it runs)
  health        is it well?
  folder        `.steadybeat/`: lock, logs, what others may read
screen        one live screen, or plain lines
"""

from steadybeat.dev.servers import PostgresServer, RedisServer, ServerError, free_port, scratch_folder
from steadybeat.dev.stack import Stack
from steadybeat.dev.supervisor import StackError

__all__ = [
    "PostgresServer",
    "RedisServer",
    "ServerError",
    "Stack",
    "StackError",
    "free_port",
    "scratch_folder",
]
