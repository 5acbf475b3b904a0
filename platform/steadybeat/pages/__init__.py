"""Pages: what operators see and do in Flower, `celery -A tasks flower`.

installing    how they get into the stock Flower: handlers, templates, tabs
page          what every page is, and every change: who asks, who may, what is looked up or done, how it is answered
asked         what stands in the address, and in a form
person        who asks, and what she may do
guarding      Flower's own controls and metrics, for those who may
loading       templates: ours beside Flower's
markup        text that is HTML already, and how anything else becomes it
parts         what all pages show: instants, states, links, forms
pieces        what the pages of runs, dead letters, fan-outs and alerts share
overview      the page that says whether everything is all right
standing      how everything stands, in sentences
ahead         the next herd, counted in a thread
schedules     the page of all schedules
schedule      the page of one, and what people do to it
edits         what was changed about it
coming        when schedules are due next
fires         what became of fires: in a word, in a strip, in seconds
year, chart   pictures of fires by days, and of durations
runs, run     the page that finds runs; the page of one
dead_letters  the pages of dead letters
fan_outs      the pages of fan-outs
alerts        the pages of alerts
operations    the page of what people did

Times are in UTC; a browser says its own zone beside them. Whatever a page shows, the ledger was asked for just then, in
a thread, so that nobody else waits for the answer.
"""

from __future__ import annotations

from steadybeat.pages.installing import install

__all__ = ["install"]
