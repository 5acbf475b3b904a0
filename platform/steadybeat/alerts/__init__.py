"""Alerts: what people are told: which findings become alerts, who is told of them, how, and until when.

told            the door: takes findings, tells people
life            opened, acknowledged, resolved, opened again
telling         what one pass writes for people
storms          many at once are one message
routes          who is told of what, and who next if nobody answers
quiet           when people are left alone
wording         what a message says
delivering      what waits goes out, each channel by itself; where one fails, the next
channels        the ways to people, through Apprise
emergency       the ledger is away
"""

from __future__ import annotations

from steadybeat.alerts.told import Alerts

__all__ = ["Alerts"]
