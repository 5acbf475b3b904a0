"""Plain: any address that wants to be asked now and then, and alarms when it is not."""

from __future__ import annotations

from urllib.parse import quote

from steadybeat.telemetry.heartbeats.heartbeat import Heartbeat, Request, slug

SLUG_LIMIT = 100


def hears_all(url: str) -> bool:
    """Return whether an address has a place for the event."""
    return "{event}" in url


def request(url: str, heartbeat: Heartbeat) -> Request | None:
    """Return what tells an address of a heartbeat; None for one that only wants to hear of success.

    Where the address has a place for the event, it is told of each with POST and a text; else of each success with
    GET, which is what such addresses know.
    """
    if not hears_all(url) and heartbeat.event != "success":
        return None
    places = {"schedule": slug(heartbeat.schedule, SLUG_LIMIT), "event": heartbeat.event, "run": heartbeat.run or ""}
    has_place = hears_all(url)
    for name, value in places.items():
        url = url.replace(f"{{{name}}}", quote(value, safe=""))
    if not has_place:
        return Request("GET", url)
    return Request("POST", url, heartbeat.text.encode(), {"Content-Type": "text/plain; charset=utf-8"})
