"""The gateway: the way to the provider of payments and tokens, and what each of its answers means.

Where it is stands in the environment, which is read here when it is asked:

    PROVIDER_URL   https://api.provider.example   or http://127.0.0.1:8383, where `celery -A tasks provider` plays it
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from ipaddress import ip_address
from socket import gaierror
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import SplitResult, urlencode, urlsplit
from urllib.request import BaseHandler, ProxyHandler, Request, build_opener

from steadybeat import NotSent, Permanent, SteadybeatError, Transient

ANSWER_SECONDS = 10.0  # for connecting, and for each silence until the answer is there
LARGEST_BYTES = 4 * 1024 * 1024
LONGEST_WAIT = timedelta(hours=1)
NOT_DONE = frozenset({410, 425, 429})
LATER = frozenset({408, 409})  # as is every 5xx: nobody knows whether it has done it, or does it still
REFUSED = frozenset({400, 402, 422})

FORM = "write it like https://api.provider.example or http://127.0.0.1:8383"


class GatewaySettingWrong(SteadybeatError):
    """PROVIDER_URL is missing or wrong."""


class NotDone(NotSent):
    """The provider has certainly not done it; it may later, when it is asked again."""


class Refused(Permanent):
    """The provider will never do this, for a reason that lies in the request."""


class NotFound(Permanent):
    """The provider has no such thing."""


class Page(NamedTuple):
    """Some of the provider's events in their order, and whether there are more after them."""

    events: list[dict[str, Any]]
    has_more: bool


def provider_url() -> SplitResult:
    """Return what PROVIDER_URL says.

    Raises:
        GatewaySettingWrong: It is missing or wrong.
    """
    text = os.environ.get("PROVIDER_URL", "")
    if not text:
        raise GatewaySettingWrong(f"PROVIDER_URL is not set: {FORM}.")
    try:
        url = urlsplit(text)
        named = url.port != 0 and bool(url.hostname)
    except ValueError as error:
        raise GatewaySettingWrong(f"PROVIDER_URL cannot be read ({error}): {FORM}.") from None
    if url.scheme not in {"http", "https"} or not named or url.username or url.query or url.fragment:
        shown = f"{url.scheme}://{url.hostname or ''}"
        raise GatewaySettingWrong(f"PROVIDER_URL={shown}: is no address of a provider; {FORM}.")
    return url


def charge(key: str, *, reference: str, amount_cents: int, card: str) -> dict[str, Any]:
    """Charge a card; the same key never charges twice.

    Returns:
        The charge: `id`, `reference`, `amount_cents`, `state` (`paid` or `declined`), `reason`, `created_at`.

    Raises:
        Transient: It may have happened, or not; ask `charge_of` before anything else.
        Refused: The provider will never do this, or has done something else under this key.
    """
    body = {"reference": reference, "amount_cents": amount_cents, "card": card}
    return _known(_ask("POST", "/charges", body=body, headers={"Idempotency-Key": key}), "id", "state")


def charge_of(key: str) -> dict[str, Any] | None:
    """Return the charge that came with a key, or None where the provider knows of none.

    Raises:
        Transient: The provider cannot say now.
    """
    try:
        return _known(_ask("GET", "/charges", query={"idempotency_key": key}), "id", "state")
    except NotFound:
        return None


def mint(ticket_id: int, wallet: str, valid_until: datetime) -> dict[str, Any]:
    """Mint a token. Asked twice, the provider mints two: ask `token_of` first.

    Args:
        ticket_id: What it is the token of.
        wallet: Whose it is.
        valid_until: When the provider no longer does it, if it has not come to it by then.

    Returns:
        The token: `token`, `ticket_id`, `wallet`, `minted_at`.

    Raises:
        NotDone: It has not happened, and will not: it came too late, or the provider has too much to do.
        Transient: It may have happened, or may still happen until `valid_until`.
        Refused: The provider will never do this.
    """
    body = {"ticket_id": ticket_id, "wallet": wallet, "valid_until": valid_until.isoformat()}
    return _known(_ask("POST", "/mints", body=body), "token", "minted_at")


def token_of(ticket_id: int) -> dict[str, Any] | None:
    """Return the token of a ticket, the oldest where there are several, or None where there is none.

    Raises:
        Transient: The provider cannot say now.
    """
    tokens = _listed(_ask("GET", "/mints", query={"ticket_id": str(ticket_id)}), "token", "minted_at")
    return tokens[0] if tokens else None


def events(after: int, limit: int = 100) -> Page:
    """Return the first events after a number.

    Raises:
        Transient: The provider cannot say now.
    """
    answer = _known(_ask("GET", "/events", query={"after": str(after), "limit": str(limit)}), "has_more")
    return Page(_listed(answer, "number", "kind", "at", "object"), bool(answer["has_more"]))


def _ask(
    method: str,
    path: str,
    *,
    query: Mapping[str, str] | None = None,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """Return the answer to one request.

    Raises:
        Transient: There is none that can be read, or it says: later.
        Permanent: It says: never.
    """
    url = provider_url()
    what = f"{method} {path}"
    where = url.geturl().rstrip("/") + path + (f"?{urlencode(query)}" if query else "")
    content = None if body is None else json.dumps(body).encode()
    request = Request(where, data=content, method=method)  # noqa: S310 - provider_url() has seen to the scheme
    for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
        request.add_header(name, value)
    try:
        with build_opener(*_handlers(url)).open(request, timeout=ANSWER_SECONDS) as answer:
            return json.loads(answer.read(LARGEST_BYTES))
    except HTTPError as error:
        with error:
            raise _meant(what, error.code, _reason(error), error.headers) from error
    except (OSError, HTTPException) as error:  # a refused, broken or silent connection among them
        unheard = isinstance(getattr(error, "reason", None), ConnectionRefusedError | gaierror)
        kind = NotDone if unheard else Transient
        raise kind(f"{what}: no answer from the provider ({str(error) or type(error).__name__})") from error
    except (ValueError, RecursionError) as error:
        raise Transient(f"{what}: the provider's answer cannot be read") from error


def _handlers(url: SplitResult) -> list[BaseHandler]:
    """Return what keeps a proxy, which the environment may name, out of the way to this machine itself."""
    try:
        own = ip_address(url.hostname or "").is_loopback
    except ValueError:
        own = url.hostname == "localhost"
    return [ProxyHandler({})] if own else []


def _meant(what: str, status: int, reason: str, headers: Message) -> Transient | Permanent:
    """Return what an answer other than a success means."""
    text, after = f"{what}: {status} {reason}", _wait(headers.get("Retry-After", ""))
    if status in NOT_DONE:
        return NotDone(text, after=after)
    if status >= 500 or status in LATER:
        return Transient(text, after=after)
    if status == 404:
        return NotFound(text)
    return Refused(text) if status in REFUSED else Permanent(text)


def _reason(error: HTTPError) -> str:
    """Return what a refusal says, as one short line."""
    try:
        said = json.loads(error.read(LARGEST_BYTES))["error"]
    except (OSError, HTTPException, ValueError, KeyError, TypeError, RecursionError):
        said = error.reason
    return " ".join(str(said).split())[:300]


def _wait(retry_after: str) -> timedelta | None:
    """Return how long a Retry-After, in seconds or as a date, says to wait: an hour at the most.

    Source: RFC 9110, section 10.2.3.
    """
    text = retry_after.strip()
    if text.isascii() and text.isdecimal():
        return timedelta(seconds=min(int(text[:9]), LONGEST_WAIT.total_seconds()))
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max(at - datetime.now(UTC), timedelta()), LONGEST_WAIT)


def _known(answer: Any, *names: str) -> dict[str, Any]:
    """Return an answer that is an object with these names.

    Raises:
        Transient: It is something else, such as what a machine on the way says instead.
    """
    if not isinstance(answer, dict) or not all(name in answer for name in names):
        raise Transient(f"the provider's answer lacks {', '.join(names)}")
    return answer


def _listed(answer: Any, *names: str) -> list[dict[str, Any]]:
    """Return the list in an answer, each of whose objects has these names.

    Raises:
        Transient: It is something else.
    """
    listed = _known(answer, "data")["data"]
    if not isinstance(listed, list):
        raise Transient("the provider's answer holds no list")
    return [_known(each, *names) for each in listed]
