"""Pages: what operators see and do in Flower, `celery -A tasks flower`.

installing    how they get into the stock Flower: handlers, templates, tabs
page          what every page is: who asks, what is looked up, how it is answered
change        what every change is: who may, why, and what is said afterwards
asked         what stands in the address, and in a form
person        who asks, and what she may do
guarding      Flower's own controls and metrics, for those who may
loading       templates: ours beside Flower's
markup        text that is HTML already, and how anything else becomes it
parts         what several pages show: instants, states, links
operations    the page of what people did
pieces        what the pages of runs, dead letters, fan-outs and alerts share
runs, run     the page that finds runs; the page of one
dead_letters  the pages of dead letters
fan_outs      the pages of fan-outs
alerts        the pages of alerts

Times are in UTC; a browser says its own zone beside them. Whatever a page shows, the ledger was asked for just then, in
a thread, so that nobody else waits for the answer.
"""

from __future__ import annotations

from steadybeat.pages.installing import install

__all__ = ["install"]
