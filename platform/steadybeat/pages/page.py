"""What every page is: who asks, what is looked up, how it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, ClassVar, NoReturn, TypeVar
from urllib.parse import SplitResult, quote, urlsplit

import structlog
from flower.views import BaseHandler
from tornado.web import HTTPError, RequestHandler, authenticated

from steadybeat import wording
from steadybeat.errors import (
    BrokerUnavailable,
    ConfigurationError,
    EditConflict,
    LedgerUnavailable,
    SchemaTooOld,
    SteadybeatError,
    UnknownSchedule,
)
from steadybeat.pages import parts
from steadybeat.pages.asked import Asked
from steadybeat.pages.guarding import Known
from steadybeat.pages.person import Person, Role, person_of
from steadybeat.telemetry.redaction import redact_text

_log = structlog.get_logger(__name__)
_Answer = TypeVar("_Answer")


class NotFound(SteadybeatError):
    """What is asked for is not on record."""


STATUSES: tuple[tuple[type[Exception], int, str], ...] = (
    (NotFound, 404, "Not on record"),
    (UnknownSchedule, 404, "There is no such schedule"),
    (EditConflict, 409, "Somebody else was quicker"),
    (LedgerUnavailable, 503, "Postgres does not answer"),
    (BrokerUnavailable, 503, "Redis does not answer"),
    (SchemaTooOld, 503, "The ledger is not ready for this release"),
    (ConfigurationError, 400, "This cannot be asked"),
    (SteadybeatError, 500, "This went wrong"),
)
"""What an error is in HTTP, and the headline of the page that shows it; the first that fits."""
SAID = "steadybeat_said"
"""The cookie with what a change has to say, until the next page shows it."""


class Base(Known, BaseHandler):
    """What pages and changes have in common: who asks, and how it is answered when it goes wrong."""

    @property
    def person(self) -> Person:
        """Who asks."""
        return person_of(self)

    @property
    def book(self) -> Any:
        """The ledger."""
        return self.capp.steadybeat.ledger

    def asked(self, parts_of_path: tuple[str, ...], values: Mapping[str, list[bytes]]) -> Asked:
        """Return what is asked for.

        Raises:
            NotFound: The address names what can be no name.
        """
        if "\x00" in "".join(parts_of_path):
            raise NotFound("Nothing has a NUL in its name.")
        read = {name: [each.decode(errors="replace").strip() for each in given] for name, given in values.items()}
        last = {name: given[-1] for name, given in read.items() if given}
        return Asked(self.person, self.request.path, parts_of_path, last, read)

    threads: ClassVar[Executor | None] = None
    """Where the ledger is asked; None: in Flower's own threads."""

    async def in_thread(self, function: Callable[..., _Answer], *given: Any) -> _Answer:
        """Return what a function returns that asks the ledger, without anybody else waiting for it."""

        def call() -> _Answer:
            self.book.require_schema_once()
            return function(*given)

        return await asyncio.get_running_loop().run_in_executor(self.threads, call)

    def link(self, page: str, *named: Any, **values: Any) -> str:
        """Return the address of a page.

        Args:
            page: Its name, such as ``schedule``.
            named: What its address names.
            values: What stands behind ``?``; None and an empty text are left out.
        """
        # Tornado escapes what it is given; what is escaped already stands with %25 for %.
        address = self.reverse_url(page, *(quote(str(each), safe="") for each in named)).replace("%25", "%")
        given = {name: value for name, value in values.items() if value not in {None, ""}}
        return address + parts.query(given)

    def show(self, template: str, *, status: int = 200, **names: Any) -> None:
        """Answer with a template of ours."""
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        self.set_header("Referrer-Policy", "same-origin")
        self.set_header("X-Frame-Options", "SAMEORIGIN")
        self.render(template, **(self._names() | names))

    def _names(self) -> dict[str, Any]:
        said = self.get_secure_cookie(SAID)
        if said:
            self.clear_cookie(SAID, path=self._root)
        return {
            "link": self.link,
            "person": self.person,
            "now": datetime.now(UTC),
            "said": said.decode() if said else "",
            "tab": "",
        }

    @property
    def _root(self) -> str:
        prefix = (self.application.options.url_prefix or "").strip("/")
        return f"/{prefix}" if prefix else "/"

    def refuse(self, error: Exception) -> NoReturn:
        """Answer with the page that says what is wrong."""
        status, headline = next(
            ((status, text) for kind, status, text in STATUSES if isinstance(error, kind)), (500, "")
        )
        raise _Refused(status, headline, redact_text(str(getattr(error, "message", error))))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Show what is wrong, in one sentence, and the way out."""
        error = (kwargs.get("exc_info") or (None, None))[1]
        if status_code == 401:
            super().write_error(status_code, **kwargs)
            return
        if not hasattr(self, "_current_user"):
            self.current_user = None
        headline, text = "This went wrong", "The log of Flower has its stack."
        if isinstance(error, _Refused):
            headline, text = error.headline, error.text
        elif isinstance(error, HTTPError):
            headline, text = (error.reason or self._reason), error.log_message or ""
        names = {"headline": headline, "text": text, "code": status_code, "back": self._back}
        self.show("steadybeat_error.html", status=status_code, **names)

    @property
    def _back(self) -> str:
        """The page of ours that a form was sent from; another site's address is none to lead to."""
        from_where = _place_of(self.request.headers.get("Referer", ""))
        if from_where.scheme not in {"http", "https"} or from_where.netloc != self.request.host:
            return self.link("main")
        return from_where.geturl()


class _Refused(HTTPError):
    """The page that says what is wrong."""

    def __init__(self, status: int, headline: str, text: str) -> None:
        super().__init__(status)
        self.headline = headline
        self.text = text


class Page(Base):
    """One page: its address, its tab, its template, and what is looked up for it.

    Attributes:
        path: Its address as a regular expression, without Flower's prefix; what it names in ``([^/]+)``.
        name: What `link` calls it.
        tab: The tab that is marked, one of `steadybeat_tabs.html`.
        template: File of `templates`.
    """

    path: ClassVar[str]
    name: ClassVar[str]
    tab: ClassVar[str]
    template: ClassVar[str]

    def look(self, asked: Asked) -> Mapping[str, Any]:
        """Return the names that the template uses. It is called in a thread, and may ask the ledger.

        Raises:
            NotFound: What the address names is not on record.
            ConfigurationError: Something in the address is wrong.
            LedgerUnavailable: Postgres does not answer.
        """
        raise NotImplementedError

    @authenticated
    async def get(self, *named: str) -> None:
        """Answer with the page."""
        try:
            asked = self.asked(named, self.request.query_arguments)
            names = await self.in_thread(self.look, asked)
        except SteadybeatError as error:
            self.refuse(error)
        self.show(self.template, **{"asked": asked, "tab": self.tab, **names})


class Change(Base):
    """What a person changes by sending a form: who may, what is done, what is said afterwards.

    It is done once: the answer leads to a page, so that a browser that is told to load it again changes nothing.

    Attributes:
        path: Its address, as of a page.
        name: What `link` calls it.
        role: Who may.
    """

    path: ClassVar[str]
    name: ClassVar[str]
    role: ClassVar[Role] = Role.OPERATOR
    threads: ClassVar[Executor | None] = ThreadPoolExecutor(2, thread_name_prefix="change")
    """Few, and not Flower's: who waits for a row that somebody holds keeps nobody from looking."""

    def change(self, asked: Asked, reason: str) -> tuple[str, str] | Mapping[str, Any]:
        """Do it, in a thread; write who did what and why into `operations`, in the transaction that changes it.

        Args:
            asked: What the address names, who asks (``asked.person.name``), and the form's fields.
            reason: Why, as she wrote it.

        Returns:
            What is said afterwards, and the address that she is led to; or, for a preview that changes nothing, the
            names of a template, with its file as ``template``.

        Raises:
            SteadybeatError: It was not done; the page says why, and the form is not lost by going back.
        """
        raise NotImplementedError

    def check_xsrf_cookie(self) -> None:
        """Refuse what does not come from a form of ours, however Flower asks who somebody is."""
        site, origin = self.request.headers.get("Sec-Fetch-Site"), self.request.headers.get("Origin")
        if site not in {None, "same-origin", "none"} or (origin and _place_of(origin).netloc != self.request.host):
            raise HTTPError(403, "The form was sent from another site.", reason="Refused")
        RequestHandler.check_xsrf_cookie(self)

    @authenticated
    async def post(self, *named: str) -> None:
        """Change it, and lead to a page that shows it."""
        person = self.person
        if not person.may(self.role):
            raise _Refused(403, "Not for you", person.refusal(self.role))
        try:
            asked = self.asked(named, self.request.body_arguments)
            reason = reason_of(asked)
            done = await self.in_thread(self.change, asked, reason)
        except SteadybeatError as error:
            self.refuse(error)
        if not isinstance(done, tuple):
            self.show(**{"asked": asked, "reason": reason, "tab": "", **done})
            return
        said, address = done
        _log.info("changed on a page", what=self.name, who=person.name, target=asked.path, reason=reason)
        self.set_secure_cookie(SAID, said, expires_days=1, path=self._root)
        self.redirect(address, status=303)


def _place_of(address: str) -> SplitResult:
    """Return the parts of an address that a browser names; empty ones where it is none."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def reason_of(asked: Asked) -> str:
    """Return why somebody changes something.

    Raises:
        ConfigurationError: She does not say it.
    """
    reason = wording.one_line(asked.text("reason", longest=500))
    if not reason:
        raise ConfigurationError("reason: is empty. Say why; it is written down with your name.", name="reason")
    return reason
