"""Promise: whoever means harm, or mistypes, gets a readable answer, and no right that he has not."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from urllib3.util import make_headers

from tests.integration.pages.conftest import Answer, Site
from tests.integration.pages.histories import dead, succeeded
from tests.integration.pages.test_page_of_alerts import inserted
from tests.integration.pages.test_page_of_schedules import NOW, fire, orders, put, revision
from tests.integration.records import operations_of

__all__ = ["orders"]
HALVES = [quote(json.dumps(each)) for each in (["", "\ud800"], ["\ud800", ""])]
"""Places in a list that name half a surrogate, which no server can store."""


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/schedule/a%00b", 404),
        ("/dead-letters/of/a%00b", 404),
        ("/steadybeat/static/%00", 404),
        ("/steadybeat/static/..%2fpage.py", 404),
        *((f"/schedules?sort={sort}&after={half}", 400) for sort in ("name", "changed") for half in HALVES),
        ("/alerts?after=999999999999999999~999999999999999999", 400),
        ("/alerts?after=9999~999999999999999999", 200),
    ],
)
def test_an_address_that_was_tampered_with_gets_a_page_that_says_so(site: Site, path: str, status: int) -> None:
    answer = site.get(path)
    assert answer.status == status
    assert "This went wrong" not in answer.text


def test_no_name_with_a_nul_is_looked_up_for_a_form(site: Site) -> None:
    answer = site.post("/schedule/a%00b/pause", reason="x", revision="1")
    assert answer.status == 404
    assert "Nothing has a NUL in its name." in answer.text


@pytest.mark.parametrize("back", ["/schedules?a\r\nX: y", "/schedules?a\nb", "/schedules?a\x7f\x1bb", "/schedules?q=ö"])
def test_what_was_done_is_said_however_odd_the_way_back(site: Site, back: str) -> None:
    put(site, "pack")
    answer = site.post("/schedule/pack/pause", reason="x", revision=revision(site, "pack"), back=back)
    assert answer.status == 303
    assert "pack is paused." in site.get("/schedule/pack", "bob").text


@pytest.mark.parametrize("origin", ["http://[", "null", "https://evil.example", "http://127.0.0.1@evil.example"])
def test_a_form_of_another_origin_is_refused(site: Site, origin: str) -> None:
    answer = ask(site, "POST", "/schedule/pack/pause", "bob", Origin=origin)
    assert answer.status == 403
    assert "another site" in answer.text


@pytest.mark.parametrize("came_from", ["javascript:alert(1)", "https://evil.example/", "http://[", "//evil.example"])
def test_back_leads_to_no_other_site(site: Site, came_from: str) -> None:
    answer = ask(site, "POST", "/schedule/pack/pause", "bob", Referer=came_from)
    assert answer.status == 403
    assert '<a class="btn btn-outline-secondary btn-sm" href="/">Back</a>' in answer.html


def test_back_leads_to_where_the_form_was(site: Site) -> None:
    own = f"{site.url}/schedule/pack?state=missed"
    assert f'href="{own}">Back</a>' in ask(site, "POST", "/schedule/pack/pause", "bob", Referer=own).html


@pytest.mark.parametrize("path", ["/overview", "/workers", "/metrics", "/api/workers", "/nowhere"])
@pytest.mark.parametrize("name", ["jürgen", "ann", "nobody-ö"])
def test_names_that_are_not_ascii_are_known_or_refused_as_others_are(
    open_site: Callable[..., Site], path: str, name: str
) -> None:
    site = open_site(basic_auth=["jürgen:pw", "ann:pw"], steadybeat_page_roles={"jürgen": "operator"})
    wrong = {401, 404 if path == "/nowhere" else 401}
    assert ask(site, "GET", path, name, "no").status in wrong
    if name == "nobody-ö":
        assert ask(site, "GET", path, name).status in wrong
    else:
        assert ask(site, "GET", path, name).status in {200, 404 if path == "/nowhere" else 200}


def test_who_is_not_ascii_has_her_role(open_site: Callable[..., Site]) -> None:
    site = open_site(basic_auth=["jürgen:pw", "ann:pw"], steadybeat_page_roles={"jürgen": "operator"})
    for name, status in (("ann", 403), ("jürgen", 404)):
        assert ask(site, "POST", "/api/task/async-apply/nothing", name).status == status


@pytest.mark.parametrize("prefix", ["", "/ops", "/flower.v2", "/ops/flower"])
@pytest.mark.parametrize("path", ["/api/worker/shutdown/none", "/api/task/timeout/none", "/api/task/rate-limit/none"])
def test_an_operator_controls_no_worker_below_any_prefix(
    open_site: Callable[..., Site], prefix: str, path: str
) -> None:
    site = open_site(url_prefix=prefix)
    for at in {prefix, prefix.replace(".", "X")}:
        assert ask(site, "POST", at + path, "bob").status == 403
        assert ask(site, "POST", at + path, "ann").status in {400, 404}


def test_no_page_shows_a_secret_that_somebody_gave_as_a_reason(site: Site) -> None:
    put(site, "pack")
    put(site, "park")
    given = {"reason": "the password=hunter2 of https://ann:hunter2@bank.example is old", "revision": "1"}
    fire(site, "park", NOW - timedelta(minutes=1), "missed", given["reason"])
    inserted(site, schedule="pack", summary=given["reason"])
    site.post("/schedule/pack/pause", **{**given, "revision": revision(site, "pack")})
    shown = [site.get(path) for path in ("/overview", "/operations", "/schedules", "/schedule/pack", "/schedule/park")]
    shown.append(site.post("/schedule/pack/pause", **given))
    assert [each.status for each in shown] == [200, 200, 200, 200, 200, 409]
    for each in shown:
        assert "hunter2" not in each.html
        assert "the password=***" in each.html


def test_what_flower_itself_tells_of_a_result_has_no_secret(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celery._state.default_app", site.app)
    good = succeeded(site.ledger, json.dumps({"password": "hunter2", "note": "token=hunter2", "n": 1}))
    bad = dead(site.ledger, "ConnectionError: https://user:hunter2@bank.example")
    shown = [site.get(f"/api/task/result/{run}") for run in (good, bad)]
    assert [each.status for each in shown] == [200, 200]
    assert json.loads(shown[0].html)["result"] == {"password": "***", "note": "token=***", "n": 1}
    assert "ConnectionError" in shown[1].html
    assert "hunter2" not in shown[1].html


@pytest.mark.parametrize("path", ["/api/workers", "/worker/orders@here"])
def test_what_flower_itself_tells_of_workers_has_no_secret(
    site: Site, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    channels = {"ops": "https://hooks.slack.com/services/T1/hunter2", "oncall": "mailto://ann:hunter2@mail.example"}
    settings = {"steadybeat_redis_url": "redis://:hunter2@shop.example/0", "steadybeat_alert_channels": channels}
    work: dict[str, Any] = {
        "id": "1",
        "name": "shop.orders.pack",
        "acknowledged": True,
        "worker_pid": 1,
        "time_start": 1.0,
    }
    work |= {"args": ["token=hunter2"], "kwargs": {"password": "hunter2"}}
    told = {"conf": settings, "active": [work], "stats": {"pid": 1, "broker": {}, "total": {}, "pool": {}}}
    flower = site._flower
    for method, response in told.items():
        flower.inspector._on_update("orders@here", method, response)
    monkeypatch.setattr(flower, "update_workers", lambda workername=None: asyncio.sleep(0))
    answer = site.get(path)
    assert answer.status == 200
    assert "shop.example" in answer.html
    assert "hunter2" not in answer.html


def test_a_dead_letter_that_is_named_twice_is_counted_once(site: Site) -> None:
    run = dead(site.ledger, task="shop.orders.pack")
    named = {"task": "shop.orders.pack", "head": "x", "runs": f"{run} {run.upper()} {run}"}
    site.post("/dead-letters/requeue", reason="x", **named)
    assert "1 dead letter of 1 requeued." in site.get("/dead-letters", "bob").text


@pytest.mark.parametrize("path", ["/overview", "/schedules", "/schedule/pack", "/runs", "/operations"])
def test_a_ledger_that_was_never_set_up_is_said_to_be_so(
    open_site: Callable[..., Site], postgres_url: str, path: str
) -> None:
    answer = open_site(steadybeat_database_url=postgres_url).get(path)
    assert answer.status == 503
    assert "ledger upgrade" in answer.text


def test_who_sends_a_form_while_postgres_is_away_is_told_where_to_look_and_not_that_it_is_sent_again(
    open_site: Callable[..., Site],
) -> None:
    away = open_site(steadybeat_database_url="postgresql://postgres@127.0.0.1:1/nowhere")
    answer = away.post("/schedule/pack/pause", reason="x", revision="1")
    assert answer.status == 503
    assert "Whether it was done all the same stands under Operations" in answer.text
    assert "tries again by itself" not in answer.text
    assert "data-code" not in answer.html  # a browser would open the form's own address, which is no page


def test_a_form_that_is_sent_twice_triggers_one_fire_and_the_next_form_another(site: Site) -> None:
    put(site, "pack")
    own = {"reason": "x", "revision": revision(site, "pack")}
    page = site.get("/schedule/pack", "bob").html
    match = re.search(r'name="opened_at" value="([^"]*)"', page)
    assert match
    assert site.get("/schedules", "bob").html.count('name="opened_at"') == 1
    shown = datetime.fromisoformat(match[1])
    for seconds in (3, 3, 2):
        given = (shown - timedelta(seconds=seconds)).isoformat()
        assert site.post("/schedule/pack/trigger", **own, opened_at=given).status == 303
    assert asked_for(site) == [shown - timedelta(seconds=3), shown - timedelta(seconds=2)]


@pytest.mark.parametrize("given", ["", "1970-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"])
def test_a_form_of_long_ago_triggers_now(site: Site, given: str) -> None:
    put(site, "pack")
    own = {"reason": "x", "revision": revision(site, "pack"), "opened_at": given}
    assert site.post("/schedule/pack/trigger", **own).status == 303
    assert asked_for(site)[0] >= NOW


def test_of_fifty_forms_that_are_sent_at_once_one_has_its_effect(site: Site) -> None:
    put(site, "pack")
    own = {"reason": "x", "revision": revision(site, "pack")}
    opened_at = datetime.now(UTC).replace(microsecond=0).isoformat()
    runs = [dead(site.ledger, task="shop.orders.pack") for _ in range(3)]
    requeued = {"reason": "x", "task": "shop.orders.pack", "head": "x", "runs": " ".join(runs)}

    assert at_once(site, "/schedule/pack/trigger", **own, opened_at=opened_at) == {303: 50}
    assert at_once(site, "/dead-letters/requeue", **requeued) == {303: 1, 409: 49}
    assert at_once(site, "/schedule/pack/pause", **own) == {303: 1, 409: 49}

    assert len(asked_for(site)) == 1
    done = Counter(what for what, *_ in operations_of(site.ledger))
    assert (done["schedules pause"], done["dead requeue"]) == (1, 3)
    outbox = site.ledger.database.execute(sa.text("SELECT CAST(run AS text) FROM steadybeat.outbox"))
    assert sorted(row.run for row in outbox) == sorted(runs)


def asked_for(site: Site) -> list[datetime]:
    """The fires that somebody has triggered."""
    statement = "SELECT scheduled_for FROM steadybeat.fires WHERE asked = 'trigger' ORDER BY scheduled_for"
    return [row.scheduled_for for row in site.ledger.database.execute(sa.text(statement))]


def at_once(site: Site, path: str, **fields: str) -> Counter[int]:
    """Send a form fifty times at the same moment; return how often which status was answered."""
    site.get("/operations", "bob")  # for the token
    together = threading.Barrier(50)

    def send(_: int) -> int:
        together.wait(10)
        return site.post(path, "bob", **fields).status

    with ThreadPoolExecutor(50) as threads:
        return Counter(threads.map(send, range(50)))


def ask(site: Site, method: str, path: str, name: str, password: str = "pw", **headers: str) -> Answer:
    """Ask as a program does, which may say whatever it likes."""
    given: dict[str, Any] = {**make_headers(basic_auth=f"{name}:{password}".encode().decode("latin-1")), **headers}
    return site._ask(method, path, None, given)
