"""Locks: who may run now. The only room with lock keys in Redis.

leadership  which Beat leads
turn        what a task has to hold while it runs: its lock, one of its places
node        one Redis that keeps locks, through redis-py's
quorum      a lock that most of several Redis agree on; one Redis is most of one
places      taken, extended while work goes on, given back

key       RedBeat's lock key, ``redbeat::lock`` unless ``redbeat_lock_key`` says otherwise
holds     a token that only the leading Beat knows
written   by `Leadership`
lives     ``steadybeat_leader_lock_seconds`` after the last renewal

key       ``steadybeat:lock:<name>:0``, ``steadybeat:concurrency:<name>:<place>``, places from 0
holds     ``<run>/<fence>/<random>`` of the attempt that holds it, unlike any other token
written   by `Places`; where ``steadybeat_lock_urls`` lists Redis servers, on most of those
lives     ``steadybeat_lease_seconds`` after the last extension
"""

from __future__ import annotations

from steadybeat.locks.leadership import Leadership
from steadybeat.locks.node import Node, RedisNode
from steadybeat.locks.places import Holding, Place, Places, Refusal
from steadybeat.locks.quorum import Quorum
from steadybeat.locks.turn import Turn, turns_of

__all__ = ["Holding", "Leadership", "Node", "Place", "Places", "Quorum", "RedisNode", "Refusal", "Turn", "turns_of"]
