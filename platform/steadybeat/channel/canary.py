"""What a canary looks like: a message that asks whether somebody consumes from its queue, and whom nobody works on.

It has no body. Whoever takes it off its queue answers with its number.
"""

from __future__ import annotations

CANARY = "steadybeat.canary"
"""What stands in its header ``task``, where other messages name theirs."""

CANARY_NUMBER = "steadybeat_canary"
"""The header with its number."""
