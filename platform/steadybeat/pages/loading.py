"""Loading templates: ours beside Flower's, and our tabs among Flower's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tornado.template import BaseLoader, Template

from steadybeat import wording
from steadybeat.pages import parts
from steadybeat.pages.markup import html, join, tag
from steadybeat.pages.person import Role
from steadybeat.telemetry.redaction import redact_text

TEMPLATES = Path(__file__).parent / "templates"
TABS_FROM = '<ul class="app-nav navbar-nav">'
"""Where Flower's tabs begin in its ``navbar.html``; a release that has changed this gets ours at its top."""


NAMES: dict[str, Any] = {
    "html": html,
    "tag": tag,
    "join": join,
    "parts": parts,
    "wording": wording,
    "redact_text": redact_text,
    "Role": Role,
}
"""What every template knows, beside what its page looks up."""


class Loader(BaseLoader):
    """Finds a template in our folder, or else in Flower's.

    Args:
        flowers: Flower's folder of templates.
    """

    def __init__(self, flowers: Path) -> None:
        super().__init__(namespace=NAMES)
        self._flowers = flowers

    def resolve_path(self, name: str, parent_path: str | None = None) -> str:
        """Return the name of a template: there are no folders below ours and Flower's."""
        return name

    def _create_template(self, name: str) -> Template:
        ours = TEMPLATES / name
        if ours.exists():
            return Template(escaping(ours.read_text()), name=name, loader=self, autoescape=None)
        text = (self._flowers / name).read_text()
        if name == "navbar.html":
            text = with_tabs(text)
        return Template(text, name=name, loader=self)


def escaping(template: str) -> str:
    """Return a template in which ``{{ … }}`` is escaped by `html`, which leaves alone what is `Html` already.

    Tornado's own escaping is given bytes, which do not say what they were.
    """
    return re.sub(r"\{\{(?!!)(.*?)\}\}", r"{% raw html(\1) %}", template, flags=re.DOTALL)


def with_tabs(navbar: str) -> str:
    """Return Flower's navigation bar with our tabs before its own."""
    tabs = '{% include "steadybeat_tabs.html" %}'
    before, found, after = navbar.partition(TABS_FROM)
    if not found:
        return f'<ul class="app-nav navbar-nav flex-row flex-wrap">{tabs}</ul>{navbar}'
    return f"{before}{found}{tabs}{after}"
