"""Canvas: what becomes of runs for those who wait for them: results, chords, error callbacks.

backend     Celery's result backend, which reads the ledger
following   what follows: the body of a chord, error callbacks, the end of a chain
unfolding   what a signature consists of, and what of it will not run
failures    an error as the ledger has it, and as Python raises it
"""

from __future__ import annotations

from steadybeat.canvas.backend import LedgerBackend
from steadybeat.canvas.following import Following

__all__ = ["Following", "LedgerBackend"]
