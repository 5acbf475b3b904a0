"""Promise: nobody sees a page whom Flower does not know, nothing is changed by accident, and what is wrong is said."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from steadybeat.pages.installing import PAGES
from steadybeat.pages.page import Change, Page
from tests.integration.pages.conftest import Site

LISTS = [page for page in PAGES if issubclass(page, Page) and page.tab == page.name]
CHANGES = [page for page in PAGES if issubclass(page, Change)]


def address(page: type[Page] | type[Change]) -> str:
    return page.path.replace("([^/]+)", "00000000-0000-0000-0000-000000000001").replace(r"(\d+)", "1")


@pytest.mark.parametrize("page", LISTS, ids=lambda page: page.name)
def test_every_list_of_an_empty_ledger_says_that_there_is_nothing(site: Site, page: type[Page]) -> None:
    answer = site.get(page.path)
    assert answer.status == 200
    assert answer.html.count("<h1") == 1
    assert f'href="{page.path}" aria-current="page"' in answer.html


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nobody_opens_a_page_or_sends_a_form_without_signing_in(site: Site, page: type[Page]) -> None:
    assert site.get(address(page), None).status in {401, 405}
    assert site.post(address(page), None, xsrf=False).status in {401, 403, 405}


@pytest.mark.parametrize("page", CHANGES, ids=lambda page: page.name)
def test_no_form_is_taken_without_its_token_or_from_elsewhere(site: Site, page: type[Change]) -> None:
    assert site.post(address(page), "ann", xsrf=False, reason="because").status == 403
    assert site.ledger.history.recent_operations(limit=1) == []


@pytest.mark.parametrize("page", CHANGES, ids=lambda page: page.name)
def test_a_viewer_changes_nothing_and_is_told_why(site: Site, page: type[Change]) -> None:
    answer = site.post(address(page), "eve", reason="because")
    assert answer.status == 403
    assert f"This is for {page.role.word}s, and eve is a viewer." in answer.text


@pytest.mark.parametrize("page", CHANGES, ids=lambda page: page.name)
def test_every_change_asks_why(site: Site, page: type[Change]) -> None:
    answer = site.post(address(page), "ann", reason="  ")
    assert answer.status == 400
    assert "reason: is empty. Say why; it is written down with your name." in answer.text


@pytest.mark.parametrize("page", CHANGES, ids=lambda page: page.name)
def test_nothing_is_changed_where_flower_is_read_only(open_site: Callable[..., Site], page: type[Change]) -> None:
    answer = open_site(read_only=True).post(address(page), "ann", reason="because")
    assert answer.status == 403
    assert "--read_only" in answer.text


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if issubclass(page, Page) and page.name != "dead_group"],  # which its address must name
    ids=lambda page: page.name,
)
def test_while_postgres_is_away_a_page_says_so_and_tries_again(
    open_site: Callable[..., Site], page: type[Page]
) -> None:
    away = open_site(steadybeat_database_url="postgresql://postgres@127.0.0.1:1/nowhere")
    answer = away.get(address(page))
    assert (answer.status, "Postgres does not answer" in answer.text) == (503, True)
    assert 'data-code="503"' in answer.html


@pytest.mark.parametrize(
    "page", [page for page in PAGES if issubclass(page, Page) and "(" in page.path], ids=lambda page: page.name
)
def test_what_is_not_on_record_is_said_to_be_so(site: Site, page: type[Page]) -> None:
    assert site.get(address(page)).status == 404
