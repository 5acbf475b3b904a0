"""Guarding: Flower's own controls and metrics are for those who may, as our pages are; what is done is on record."""

from __future__ import annotations

import hmac
from base64 import b64decode
from typing import Any, ClassVar

import structlog
from flower.inspector import Inspector
from flower.views import BaseHandler
from tornado.routing import URLSpec
from tornado.web import HTTPError

from steadybeat.errors import SteadybeatError
from steadybeat.pages.person import Role, person_of
from steadybeat.telemetry.redaction import redact

_log = structlog.get_logger(__name__)
_HARMLESS = ("GET", "HEAD", "OPTIONS")
_CONTROLS = ("/api/worker/", "/api/task/timeout/", "/api/task/rate-limit/")
"""What begins like this changes workers, for which one has to be an administrator."""


class Known:
    """Knows people whose name or password is not ASCII; Flower itself fails on those."""

    application: Any
    request: Any

    def get_current_user(self) -> Any:
        """Return who asks, as Flower does."""
        try:
            return super().get_current_user()  # type: ignore[misc]
        except TypeError:  # of hmac, which compares text only where it is ASCII
            options = self.application.options
            given = b64decode(self.request.headers["Authorization"].split()[1])
            known = [hmac.compare_digest(each.encode(), given) for each in options.basic_auth]
            if options.auth or not any(known):
                raise HTTPError(401) from None
            return True


class Guarded(Known):
    """Lets only those change something who may, and writes down who did.

    Attributes:
        role: Who may.
    """

    capp: Any
    current_user: Any
    get_status: Any
    role: ClassVar[Role] = Role.ADMIN

    def prepare(self) -> None:
        """Refuse a change by somebody who may not."""
        super().prepare()  # type: ignore[misc]
        if self.request.method in _HARMLESS:
            return
        if not self.current_user:
            raise HTTPError(401)
        person = person_of(self)
        if not person.may(self.role):
            raise HTTPError(403, person.refusal(self.role))

    def update_response_result(self, response: dict[str, Any], result: Any) -> None:
        """Tell what came of a task, without secrets for those who only look; what answers a result calls it."""
        super().update_response_result(response, result)  # type: ignore[misc]
        if self.request.method in _HARMLESS:
            response |= redact(
                {name: response[name] for name in ("result", "traceback") if name in response}, levels=12
            )

    def on_finish(self) -> None:
        """Write down what was changed, and by whom."""
        super().on_finish()  # type: ignore[misc]
        if self.request.method in _HARMLESS or self.get_status() >= 400:
            return
        who, target = person_of(self).name, self._path
        book = self.capp.steadybeat.ledger
        self.application.executor.submit(_note, book, who, self.request.method, target)

    @property
    def _path(self) -> str:
        prefix = (self.application.options.url_prefix or "").strip("/")
        return self.request.path.removeprefix(f"/{prefix}") if prefix else str(self.request.path)


class Counted(Known):
    """Shows metrics to those who sign in, unless they are open to everybody on purpose."""

    capp: Any
    current_user: Any

    def prepare(self) -> None:
        """Refuse somebody whom Flower does not know."""
        super().prepare()  # type: ignore[misc]
        if self.capp.steadybeat.settings.page_metrics == "open":
            return
        options = self.application.options
        if not (options.basic_auth or options.auth) or not self.current_user:
            raise HTTPError(401)


class Discreet(Inspector):
    """Keeps what workers say of themselves, their settings and what they work on, without secrets."""

    def _on_update(self, workername: str, method: str, response: Any) -> None:
        super()._on_update(workername, method, redact(response, levels=12))


def guard(handlers: list[Any]) -> None:
    """Put guards before Flower's own handlers.

    Args:
        handlers: Flower's list, which is changed.
    """
    for n, each in enumerate(handlers):
        spec = each if isinstance(each, URLSpec) else URLSpec(*each)
        pattern = spec.regex.pattern
        if not issubclass(spec.handler_class, BaseHandler):
            continue
        before = Guarded if pattern.startswith("/api/") else Counted if pattern.startswith("/metrics") else Known
        own = {"role": Role.ADMIN if pattern.startswith(_CONTROLS) else Role.OPERATOR} if before is Guarded else {}
        kind = type(spec.handler_class.__name__, (before, spec.handler_class), own)
        handlers[n] = URLSpec(pattern, kind, spec.kwargs, spec.name)


def _note(book: Any, who: str, method: str, target: str) -> None:
    try:
        book.story.note(who=who, what=f"flower {method}", target=target, reason="none given: Flower does not ask")
    except SteadybeatError as error:
        _log.error("operation not on record", who=who, target=target, error=str(error))
