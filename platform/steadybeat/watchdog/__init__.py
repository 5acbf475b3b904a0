"""Watchdog: keeps work moving without a Beat, and sees what is missing, late, stuck or slow.

process   Watchdog: the process, and what it does at each tick
facts     figures of the ledger and of the queues, for metrics

What it sees it reads from the ledger alone, so that it sees it while every Beat and Redis are dead.
"""

from __future__ import annotations

from steadybeat.watchdog.process import Watchdog

__all__ = ["Watchdog"]
