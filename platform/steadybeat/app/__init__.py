"""install(app): the one line that makes a Celery app keep the promise. The only place that names every room.

installing  what `install` does to an app
installed   what an app has then, as ``app.steadybeat``
defaults    what is set in Celery's configuration, where that does not say it itself
"""

from __future__ import annotations

from steadybeat.app.installed import Steadybeat
from steadybeat.app.installing import install

__all__ = ["Steadybeat", "install"]
