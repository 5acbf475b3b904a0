"""Promise: what comes from elsewhere is shown on a page as it is, and never becomes a part of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import flower
import pytest
from tornado.template import Template

from steadybeat.pages import parts
from steadybeat.pages.loading import TABS_FROM, TEMPLATES, Loader, escaping, with_tabs
from steadybeat.pages.markup import Html, html, join, tag

FLOWERS = Path(flower.__file__).with_name("templates")
EVIL = """<script>alert("1")</script>'&"""


@pytest.mark.parametrize(
    "made",
    [
        html(EVIL),
        tag("p", EVIL),
        tag("a", "x", href=EVIL, title=EVIL),
        join([EVIL, EVIL], EVIL),
        parts.state(EVIL),
        parts.state("dead", said=EVIL),
        parts.facts([(EVIL, EVIL)]),
        parts.sparkline([1.0, 2.0], label=EVIL),
        parts.action(EVIL, EVIL, "", text=EVIL, hidden={EVIL: EVIL}, button=EVIL),
    ],
)
def test_text_is_escaped_in_every_part(made: str) -> None:
    assert "<script" not in made
    assert 'alert("1")' not in made


def test_what_is_html_already_stays_so_and_nothing_is_empty() -> None:
    assert html(Html("<b>1</b>")) == "<b>1</b>"
    assert tag("p", tag("b", "1 < 2")) == "<p><b>1 &lt; 2</b></p>"
    assert html(None) == ""
    assert tag("input", required=True, disabled=False, class_="x", data_live="y") == (
        '<input required class="x" data-live="y">'
    )


def test_every_template_of_ours_can_be_read_and_knows_flowers_own() -> None:
    loader = Loader(FLOWERS)
    ours = sorted(each.name for each in TEMPLATES.glob("*.html"))
    assert ours
    for name in [*ours, "base.html", "workers.html"]:
        assert loader.load(name).name == name


def test_a_template_escapes_what_it_is_given_but_not_what_is_html_already() -> None:
    text = escaping("<p>{{ evil }}{{ tag('b', evil) }}{{ nothing }}{{! kept }}{% if 1 %}{{ 1 + 1 }}{% end %}</p>")
    made = Template(text, autoescape=None).generate(html=html, tag=tag, evil="<i>", nothing=None)
    assert made.decode() == "<p>&lt;i&gt;<b>&lt;i&gt;</b>{{ kept }}2</p>"


def test_our_tabs_stand_before_flowers_in_its_own_bar() -> None:
    bar = (FLOWERS / "navbar.html").read_text()
    assert bar.count(TABS_FROM) == 1  # in this release of Flower
    changed = with_tabs(bar)
    assert changed.index("steadybeat_tabs.html") < changed.index("reverse_url('workers')")
    assert changed.replace('{% include "steadybeat_tabs.html" %}', "") == bar


def test_a_release_of_flower_with_another_bar_gets_our_tabs_above_it() -> None:
    assert with_tabs("<nav>other</nav>").endswith("</ul><nav>other</nav>")
    assert "steadybeat_tabs.html" in with_tabs("<nav>other</nav>")


def test_a_state_is_a_colour_a_mark_and_a_word() -> None:
    for word, kind in parts.TONES.items():
        shown = parts.state(word)
        assert f"sb-{kind}" in shown
        assert parts.MARKS[kind] in shown
        assert word.replace("_", " ") in shown


def test_an_instant_is_in_utc_and_says_which_to_a_browser() -> None:
    at = datetime(2026, 11, 28, 7, 30, tzinfo=UTC)
    assert parts.at(at) == '<time datetime="2026-11-28T07:30:00+00:00" class="sb-at">2026-11-28 07:30:00Z</time>'
    assert ">2 min ago</time>" in parts.ago(at, at + timedelta(minutes=2))
    assert parts.at(None) == parts.ago(None, at) == parts.NOTHING


def test_a_line_of_durations_breaks_where_one_is_missing_and_needs_two() -> None:
    assert parts.sparkline([1.0], label="x") == parts.NOTHING
    assert parts.sparkline([1.0, 2.0, None, 2.0, 3.0], label="x").count("<polyline") == 2
    assert parts.sparkline([0.0, 0.0], label="x").count("<polyline") == 1
