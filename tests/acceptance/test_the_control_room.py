"""Promise: in a browser, over 10,000 schedules and 1,000,000 runs, operators see what is, and do what they may."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from bench.filling import Filled, fill
from steadybeat.dev.servers import PostgresServer, RedisServer
from tests.acceptance.browsing import WIDTHS, Viewer, opened_browser
from tests.acceptance.installation import Shop
from tests.acceptance.nodes import FlowerNode
from tests.eventually import eventually

ROLES = {"ann": "admin", "bob": "operator", "eve": "viewer"}
FLOWER = {
    "FLOWER_BASIC_AUTH": ",".join(f"{name}:pw" for name in ROLES),
    "STEADYBEAT_PAGE_ROLES": json.dumps(ROLES),
}
SCHEDULES, RUNS = 10_000, 1_000_000


class Room:
    """A shop with a big ledger, and Flower over it.

    Attributes:
        shop: Whose Beat leads, and whose worker works.
        filled: What is in the ledger.
        url: Where Flower is.
    """

    def __init__(self, shop: Shop, filled: Filled, browser: Browser) -> None:
        self.shop = shop
        self.filled = filled
        self._browser = browser
        flower = shop.flower(**FLOWER)
        assert flower.ready()
        self.url = flower.url
        self._viewers: list[Viewer] = []

    def viewer(self, user: str = "bob", url: str = "", **given: Any) -> Viewer:
        """Return somebody who looks at the pages."""
        self._viewers.append(Viewer(self._browser, url or self.url, user, **given))
        return self._viewers[-1]

    def schedule(self, name: str) -> None:
        """Bring in a schedule that is due once in a thousand years, so that it only fires when somebody wants it."""
        given = ["--task", "shop.orders.pack", "--once", "2990-01-01T00:00Z", "--args", json.dumps([name])]
        self.shop.celery("schedules", "add", name, *given, "--reason", "for a test")

    def goes(self) -> None:
        """Have everybody leave, without a complaint of a browser."""
        complaints = [each for viewer in self._viewers for each in viewer.complaints]
        for viewer in self._viewers:
            viewer.leaves()
        self._viewers = []
        assert complaints == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def furnished(
    browser: Browser,
    postgres: PostgresServer,
    redis: RedisServer,
    ledger_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Room]:
    url = postgres.create_database("control_room", ledger_template)
    filled = fill(url, schedules=SCHEDULES, runs=RUNS)
    shop = Shop(tmp_path_factory.mktemp("room"), url, redis.url)
    shop.redis.flushall()
    try:
        shop.beat()
        assert shop.worker("orders").ready()
        yield Room(shop, filled, browser)
    finally:
        shop.close()


@pytest.fixture
def room(furnished: Room) -> Iterator[Room]:
    yield furnished
    furnished.goes()


def act(page: Page, title: str, reason: str = "the bank asked for it", *, send: str = "", **fields: str) -> None:
    """Open a form of a page, fill it in, and send it."""
    form = page.locator("details.sb-action", has=page.locator("summary", has_text=re.compile(f"^{title}$"))).first
    form.locator("summary").click()
    for name, value in fields.items():
        field = form.locator(f"[name={name}]")
        field.select_option(value) if field.evaluate("each => each.tagName") == "SELECT" else field.fill(value)
    form.locator("[name=reason]").fill(reason)
    with page.expect_navigation():
        form.get_by_role("button", name=send or title, exact=True).click()


def said(page: Page) -> str:
    """Return what a page says about what was done."""
    return page.locator("#sb-said").inner_text()


def pages(filled: Filled) -> dict[str, str]:
    return {
        "overview": "/overview",
        "schedules": "/schedules",
        "schedules-by-next-fire": "/schedules?sort=next",
        "schedules-failing": "/schedules?state=failing",
        "schedules-none": "/schedules?q=no-such-schedule",
        "schedule-daily": f"/schedule/{filled.sparse}",
        "schedule-minutely": f"/schedule/{filled.dense}",
        "runs": "/runs",
        "runs-none": "/runs?tenant=nobody",
        "runs-error": "/runs?error=iban",
        "run": f"/run/{filled.succeeded}",
        "run-dead": f"/run/{filled.dead}",
        "dead-letters": "/dead-letters",
        "fan-outs": "/fan-outs",
        "fan-out": f"/fan-out/{filled.fan_out}",
        "alerts": "/alerts",
        "alert": f"/alert/{filled.alert}",
        "operations": "/operations",
    }


@pytest.mark.parametrize(("scheme", "size"), [("light", "wide"), ("dark", "wide"), ("light", "narrow")])
def test_every_page_is_for_everybody_and_complains_of_nothing(room: Room, scheme: Any, size: str) -> None:
    viewer = room.viewer("ann", scheme=scheme, width=WIDTHS[size])
    found = {}
    for name, path in pages(room.filled).items():
        viewer.opens(path)
        viewer.photographs(name)
        wrong = [*viewer.violations(), *(["it is scrolled sideways"] if viewer.is_too_wide else [])]
        if wrong:
            found[name] = wrong
    assert found == {}


def test_every_link_of_every_page_leads_to_a_page(room: Room) -> None:
    viewer = room.viewer("ann", scripts=False)
    links = set[str]()
    for path in pages(room.filled).values():
        page = viewer.opens(path)
        found = page.eval_on_selector_all(".sb-page a[href], .app-nav a[href]", "all => all.map(a => a.href)")
        links |= {each.partition("#")[0] for each in found[:40] if each.startswith(room.url)}
    for each in sorted(links)[:150]:
        assert viewer.page.goto(each).status == 200, each  # type: ignore[union-attr]


def test_a_schedule_is_paused_resumed_and_triggered_and_its_effect_happens_once(room: Room) -> None:
    room.schedule("pack-now")
    page = room.viewer("bob").opens("/schedule/pack-now")

    act(page, "Pause")
    assert said(page) == "pack-now is paused."
    assert "Paused by bob at" in page.inner_text("main")
    act(page, "Resume", make_up="none")
    assert said(page) == "pack-now fires again."
    act(page, "Trigger")
    assert said(page).startswith("pack-now fires for")

    # The page follows by itself: nobody loads it again.
    page.locator("#fires ~ div .sb-good", has_text="succeeded").first.wait_for()
    assert len(room.shop.effects("pack-now")) == 1
    page.get_by_role("link", name="Run: succeeded").first.click()
    page.get_by_role("heading", name="Timeline").wait_for()
    for step in ("Nominal time", "Dispatched", "Attempt 1 began", "Succeeded"):
        assert step.lower() in page.inner_text("main").lower(), step
    page = room.viewer("eve").opens("/operations?target=pack-now")
    for what in ("schedules pause", "schedules resume", "schedules trigger"):
        row = page.locator("tr", has_text=what).first.inner_text()
        assert "bob" in row
        assert "the bank asked for it" in row


def test_a_schedule_is_paused_from_the_list(room: Room) -> None:
    room.schedule("zz-list")
    page = room.viewer("bob").opens("/schedules?q=zz-list")
    act(page, "Pause")
    assert said(page) == "zz-list is paused."


def test_an_admin_removes_a_schedule(room: Room) -> None:
    room.schedule("pack-never")
    page = room.viewer("ann").opens("/schedule/pack-never")
    act(page, "Remove", confirm="pack-never")
    assert said(page) == "pack-never is retired."


def test_the_second_of_two_operators_is_told_and_what_the_first_did_holds(room: Room) -> None:
    room.schedule("pack-both")
    first, second = room.viewer("ann"), room.viewer("bob")
    for each in (first, second):
        each.opens("/schedule/pack-both")
    act(first.page, "Pause", "the bank is down")
    act(second.page, "Pause", "a holiday")

    text = second.page.inner_text("main")
    assert "Somebody else was quicker" in text
    assert "ann did “schedules pause”" in text
    assert [each for each in second.complaints if "409" in each]
    second.complaints.clear()
    assert "the bank is down" in second.opens("/schedule/pack-both").inner_text("main")


def test_a_run_is_retried_rerun_and_cancelled(room: Room) -> None:
    viewer = room.viewer("bob")
    page = viewer.opens(f"/run/{room.filled.dead}")
    act(page, "Retry now")
    assert "dead" not in page.locator(".sb-card .sb-state").first.inner_text()

    done = room.shop.send("orders.pack", "rerun-me")
    eventually(lambda: room.shop.run(done).state == "succeeded")
    page = viewer.opens(f"/run/{done}")
    act(page, "Rerun")
    assert said(page)
    later = room.shop.send("orders.pack", "cancel-me", options={"countdown": 3600})
    page = viewer.opens(f"/run/{later}")
    act(page, "Cancel", send="Cancel the run")
    eventually(lambda: room.shop.run(later).state == "cancelled")
    assert room.shop.run(later).reason.startswith("the bank asked for it")


def test_dead_letters_of_a_cause_are_requeued_after_a_preview(room: Room) -> None:
    page = room.viewer("bob").opens("/dead-letters?service=webhooks")
    page.locator("tbody a").first.click()
    before = room.shop.rows("SELECT count(*) AS n FROM steadybeat.runs WHERE state = 'dead'")[0].n
    act(page, "Requeue all…", send="Show what would be requeued")
    heading = page.locator("h1").inner_text()
    found = re.match(r"([\d,]+) dead letters? would be requeued", heading)
    assert found, heading
    assert room.shop.rows("SELECT count(*) AS n FROM steadybeat.runs WHERE state = 'dead'")[0].n == before
    number = int(found[1].replace(",", ""))
    with page.expect_navigation():
        page.get_by_role("button", name=f"Requeue {found[1]}").click()
    assert found[1] in said(page)
    assert room.shop.rows("SELECT count(*) AS n FROM steadybeat.runs WHERE state = 'dead'")[0].n == before - number


def test_the_failed_tenants_of_a_fan_out_are_rerun(room: Room) -> None:
    page = room.viewer("bob").opens(f"/fan-out/{room.filled.fan_out}")
    act(page, "Rerun only failed")
    assert said(page)


def test_an_alert_is_acknowledged_silenced_and_resolved(room: Room) -> None:
    page = room.viewer("ann").opens(f"/alert/{room.filled.alert}")
    act(page, "Acknowledge")
    assert "ann" in page.inner_text("main")
    act(page, "Silence")
    assert said(page)
    page = room.viewer("ann").opens(f"/alert/{room.filled.alert}")
    act(page, "Resolve")
    state = room.shop.rows(f"SELECT state, resolved_by FROM steadybeat.alerts WHERE id = {room.filled.alert}")[0]
    assert (state.state, state.resolved_by) == ("resolved", "ann")


def test_a_viewer_is_offered_nothing_that_she_may_not_do(room: Room) -> None:
    viewer = room.viewer("eve")
    for path in pages(room.filled).values():
        assert viewer.opens(path).locator("form[method=post]").count() == 0, path


def test_a_form_of_another_site_changes_nothing(room: Room) -> None:
    room.schedule("pack-forged")
    viewer = room.viewer("ann")
    viewer.opens("/schedules")  # she is signed in, and has the cookie
    page = viewer.page
    page.goto("about:blank")
    form = f"<form method=post action='{room.url}/schedule/pack-forged/pause'><input name=reason value=x><button>!"
    page.set_content(form)
    with page.expect_navigation():
        page.get_by_role("button").click()
    assert "403" in viewer.complaints[0]
    viewer.complaints.clear()
    assert room.shop.rows("SELECT paused_at FROM steadybeat.schedules WHERE name = 'pack-forged'")[0].paused_at is None


def test_everything_can_be_done_with_the_keyboard_alone(room: Room) -> None:
    room.schedule("zz-keyboard")
    page = room.viewer("bob").opens("/overview")

    def tabs_to(what: Callable[[], bool], most: int = 80) -> None:
        for _ in range(most):
            page.keyboard.press("Tab")
            if what():
                return
        raise AssertionError(f"Tab does not lead there from {page.url}")

    def focused(script: str) -> Any:
        return page.evaluate(f"(() => {{ const e = document.activeElement; return {script}; }})()")

    page.keyboard.press("Tab")
    assert focused("e.innerText") == "Skip to main content"
    tabs_to(lambda: focused("e.innerText") == "Schedules")
    assert focused("getComputedStyle(e).outlineStyle + getComputedStyle(e).boxShadow") != "nonenone"  # it is seen
    page.keyboard.press("Enter")
    page.wait_for_url("**/schedules")
    tabs_to(lambda: focused("e.name") == "q")
    page.keyboard.type("zz-keyboard")
    page.keyboard.press("Enter")
    page.wait_for_url("**/schedules?q=zz-keyboard*")
    tabs_to(lambda: focused("e.innerText") == "zz-keyboard")
    page.keyboard.press("Enter")
    page.wait_for_url("**/schedule/zz-keyboard")
    tabs_to(lambda: focused("e.tagName + e.innerText") == "SUMMARYPause")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert page.locator("details.sb-action[open]").count() == 0
    assert focused("e.innerText") == "Pause"
    page.keyboard.press("Enter")
    tabs_to(lambda: focused("e.name") == "reason")
    page.keyboard.type("by keyboard")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert said(page) == "zz-keyboard is paused."


def test_pages_work_without_scripts(room: Room) -> None:
    room.schedule("pack-plain")
    page = room.viewer("bob", scripts=False).opens("/schedule/pack-plain")
    page.locator("summary", has_text=re.compile("^Pause$")).click()
    form = page.locator("details.sb-action[open]")
    form.locator("[name=reason]").fill("no scripts here")
    with page.expect_navigation():
        form.get_by_role("button", name="Pause").click()
    assert said(page) == "pack-plain is paused."


def test_a_page_follows_what_happens_but_leaves_alone_what_somebody_fills_in(room: Room) -> None:
    room.schedule("pack-live")
    page = room.viewer("bob").opens("/schedule/pack-live")
    page.locator("summary", has_text=re.compile("^Trigger$")).click()
    page.locator("details[open] [name=reason]").fill("half a sent")
    room.shop.celery("schedules", "pause", "pack-live", "--reason", "elsewhere")
    page.locator("text=elsewhere").first.wait_for()
    assert page.locator("details[open] [name=reason]").input_value() == "half a sent"


def test_times_are_utc_and_the_viewers_zone_is_said(room: Room) -> None:
    page = room.viewer("eve").opens(f"/run/{room.filled.succeeded}")
    time = page.locator("time.sb-at").first
    assert time.inner_text().endswith("Z")
    assert "(Europe/Berlin)" in (time.get_attribute("title") or "")


def test_a_new_installation_and_one_whose_postgres_is_away_are_told_so(
    room: Room, tmp_path: Path, ledger_url: str, redis_url: str, browser: Browser
) -> None:
    shop = Shop(tmp_path, ledger_url, redis_url)
    try:
        empty = shop.flower(**FLOWER)
        away = shop.flower(**FLOWER, STEADYBEAT_DATABASE_URL="postgresql://postgres@127.0.0.1:1/nowhere")
        for each in (empty, away):
            assert each.ready()
        for scheme in ("light", "dark"):
            _photographed(room, empty, "empty", scheme, 200)
            _photographed(room, away, "away", scheme, 503)
    finally:
        shop.close()


def _photographed(room: Room, flower: FlowerNode, name: str, scheme: Any, status: int) -> None:
    viewer = room.viewer("bob", flower.url, scheme=scheme)
    for path in ("/overview", "/schedules", "/runs", "/dead-letters", "/fan-outs", "/alerts"):
        assert viewer.page.goto(flower.url + path).status == status  # type: ignore[union-attr]
        viewer.photographs(f"{name}{path}")
        assert viewer.violations() == []
    if status == 503:
        assert "This page tries again by itself." in viewer.page.inner_text("main")
        viewer.leaves()  # before a page that tries again by itself does so
        viewer.complaints = [each for each in viewer.complaints if "503" not in each]
