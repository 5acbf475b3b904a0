r"""The forms in which secrets stand in texts: what is hidden of each, and what stays.

    user:password@host in a URL             the password, or all of it before the @
    ?token=… &sig=… &X-Amz-Signature=…      the values, in the query and in the fragment of a URL
    slack://A/B/C pagerduty://K@S           all but the scheme, of every scheme that is not known to name a server
    https://hc-ping.com/… /ping/… /hooks/…  all but scheme and host, where the path is the secret
    name=value name: value 'name': 'value'  the value of a secret name, in quotes, in escaped quotes, or up to a blank
    <name>value</name>  (name)=(value)      the value: XML, and what Postgres says of a key
    Authorization: … Cookie: …              the rest of the line
    Bearer …  eyJ….….…  sk_live_…  ghp_…    the token
    -----BEGIN … PRIVATE KEY-----           up to its end
    [parameters: …]  Failing row contains   the values of a statement, which SQLAlchemy and Postgres quote

All repeats are bounded, possessive, or end where the next one begins: a hostile text must not hold up a process.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "***"

_WORDS = (
    r"passw(?:or)?d|passphrase|pwd|secret|token|authorization|credential|cookie|dsn|jwt"
    r"|(?:api|access|private|service|integration|signing|encryption|ssh|master)[_-]?key|session[_-]?(?:id|key)"
)

_STEMS = (
    "passw",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "authorization",
    "credential",
    "cookie",
    "dsn",
    "jwt",
    "key",
    "session",
)
"""One of these stands in each of the names above; they are found faster."""

_SERVERS = frozenset({
    "amqp", "amqps", "azureservicebus", "cache", "confluentkafka", "db+postgresql", "disabled", "etcd", "file",
    "filesystem", "ftp", "ftps", "git", "grpc", "gs", "http", "https", "kafka", "ldap", "ldaps", "memcached", "memory",
    "mongodb", "mongodb+srv", "mysql", "mysql+pymysql", "nats", "postgres", "postgresql", "postgresql+asyncpg",
    "postgresql+psycopg", "postgresql+psycopg2", "pyamqp", "redis", "redis+socket", "rediss", "rpc", "s3", "s3a",
    "sentinel", "sftp", "socket", "sqla", "sqlite", "sqs", "ssh", "svn", "tcp", "udp", "unix", "valkey", "valkeys",
    "ws", "wss", "zookeeper",
})  # fmt: skip
"""Schemes that name a server or a file. Any other may be one of the hundred ways to notify that hold tokens as host."""

_SECRET_HOSTS = re.compile(
    r"(?:hc-ping\.com|hchk\.io|cronitor\.link|hooks\.slack\.com|api\.telegram\.org|maker\.ifttt\.com|ntfy\.sh"
    r"|hooks\.zapier\.com|(?:\w+\.)?webhook\.office\.com|outlook\.office\.com|chat\.googleapis\.com"
    r"|cronhub\.io|betteruptime\.com|uptime\.betterstack\.com|heartbeat\.uptimerobot\.com|deadmanssnitch\.com|nosnch\.in)"
    r"(?::\d{1,5})?\Z",
    re.IGNORECASE,
)
_SECRET_PATHS = re.compile(
    r"/(?:ping|hooks?|webhooks?|services/T[A-Z0-9]{1,20}|heartbeats?|cron/[^/?#]{1,200})/[^/?#]", re.IGNORECASE
)
_QUERY = re.compile(r"(?P<name>[?&#;][^=&#;?\s]{0,100}=)(?P<value>[^&#;\s]{1,8192})")
_QUERY_NAMES = re.compile(r"\A(?:sig|signature|[\w-]{0,40}[_-]signature|key|auth|code|hmac|pass|otp)\Z", re.IGNORECASE)
_URL = re.compile(r"(?<![a-z0-9+.-])(?P<scheme>[a-z][a-z0-9+.-]{0,30}://)(?P<rest>[^\s'\"<>]+)", re.IGNORECASE)
_PORT = re.compile(r"\d{1,5}[/?#]")

_BEARER = re.compile(r"\bbearer\s{1,9}[^\s,;'\"]{1,8192}", re.IGNORECASE)
_HEADER = re.compile(
    r"(?P<name>\b(?:proxy-)?(?:authorization|(?:set-)?cookie):[ \t]{0,9})(?!\*\*\*)[^\s'\"][^\r\n'\"]{0,8192}",
    re.IGNORECASE,
)
_TOKENS = re.compile(
    r"\beyJ[\w-]{8,4096}\.[\w-]{8,4096}\.?[\w-]{0,4096}|\b[srp]k_(?:live|test)_\w{8,200}|\bgh[pousr]_\w{20,255}"
    r"|\bgithub_pat_\w{20,255}|\bglpat-[\w-]{20,200}|\bxox[abeoprs]-[\w-]{8,200}|\bAKIA[0-9A-Z]{16}\b"
    r"|(?<=routing_key)(?P<said>[\"'\\]{0,4}[=: ]{1,3}[\"'\\]{0,4})[0-9a-fA-F]{32}\b"
)
_TOKEN_SIGNS = ("eyJ", "k_live_", "k_test_", "gh", "glpat-", "xox", "AKIA", "routing_key")
_PARAMETERS = re.compile(r"(?P<name>\[parameters: |Failing row contains \()[^\r\n]{1,65536}")
_BEGIN, _END, _DASHES = "-----BEGIN ", "-----END ", "-----"


_SUSPECT = re.compile(
    r"[=:]|</|[eE][aA][rR][eE][rR] |eyJ|k_(?:live|test)_|gh[pousr]_|github_pat_|glpat-|xox|AKIA|-----BEGIN|Failing row"
    r"|routing_key"
)


def is_harmless(text: str) -> bool:
    """Whether nothing is in `text` that each of the forms has; most texts are."""
    return _SUSPECT.search(text) is None


def names_of(configured: Iterable[str]) -> str:
    """Return the pattern of secret names: those that are secret everywhere, and configured ones as whole words."""
    own = "|".join(re.escape(name) for name in sorted(configured))
    return rf"{_WORDS}|(?<![a-z0-9])(?:{own})(?![a-z0-9])" if own else _WORDS


class Named:
    """Finds values behind secret names.

    Args:
        configured: Names that are secret here, beside those that are secret everywhere; in lower case.
    """

    def __init__(self, configured: Iterable[str] = ()) -> None:
        self._stems = (*_STEMS, *configured)
        names = self.names = names_of(self._stems[len(_STEMS) :])
        # The value is hidden already, in quotes, in quotes that are escaped, or ends at a blank or a bracket.
        self._assigned = re.compile(
            rf"(?P<name>(?:{names})[\w.-]{{0,40}}+\\{{0,9}}[\"']?\s{{0,9}}[=:]\s{{0,9}})(?:(?:bearer|basic)\s{{1,9}})?"
            r"(?:\*\*\*(?=[\"'])|b?\"(?:[^\"\\]|\\.){0,8192}+\"?|b?'(?:[^'\\]|\\.){0,8192}+'?"
            r"|\\{1,9}b?\"[^\"]{0,8192}+\"?|\\{1,9}b?'[^']{0,8192}+'?|[^\s,;&)}\]]+)",
            re.IGNORECASE | re.DOTALL,
        )
        self._element = re.compile(
            rf"(?P<name><(?:[\w.-]{{1,40}}:)?(?:{names})[\w.-]{{0,40}}>)[^<]{{1,8192}}", re.IGNORECASE
        )
        self._key = re.compile(
            rf"(?P<name>\([^()]{{0,100}}(?:{names})[^()]{{0,100}}\)=\()[^()]{{1,8192}}", re.IGNORECASE
        )

    def hide(self, text: str) -> str:
        """Return `text` without the values that stand behind secret names."""
        lower = text.lower()
        if not any(stem in lower for stem in self._stems):
            return text
        if "authorization:" in lower or "cookie:" in lower:
            text = _HEADER.sub(rf"\g<name>{HIDDEN}", text)
        if "=" in text or ":" in text:
            text = self._assigned.sub(rf"\g<name>{HIDDEN}", text)
        if ")=(" in text:
            text = self._key.sub(rf"\g<name>{HIDDEN}", text)
        if "</" in text:
            text = self._element.sub(rf"\g<name>{HIDDEN}", text)
        return text


def hide_tokens(text: str) -> str:
    """Return `text` without tokens that are known by how they begin."""
    if "earer " in text or "EARER " in text:
        text = _BEARER.sub(f"Bearer {HIDDEN}", text)
    if any(sign in text for sign in _TOKEN_SIGNS):
        text = _TOKENS.sub(lambda match: f"{match['said'] or ''}{HIDDEN}", text)
    return text


def hide_keys(text: str) -> str:
    """Return `text` without private keys in PEM's form; one without an end is hidden to the end of the text."""
    start = text.find(_BEGIN)
    kept, at = [], 0
    while start >= 0:
        title = text[start + len(_BEGIN) : start + 80].partition(_DASHES)[0]
        if "PRIVATE" in title:
            kept += [text[at:start], f"{_BEGIN}{title}{_DASHES} {HIDDEN}"]
            end = text.find(_END, start)
            at = len(text) if end < 0 else end
        start = text.find(_BEGIN, max(at, start + 1))
    return "".join([*kept, text[at:]]) if kept else text


def hide_values_of_statements(text: str) -> str:
    """Return `text` without the values that SQLAlchemy's and Postgres' errors quote."""
    if "[parameters: " in text or "Failing row contains (" in text:
        text = _PARAMETERS.sub(lambda match: f"{match['name']}{HIDDEN}{'])'[match['name'].startswith('F')]}", text)
    return text


def hide_in_urls(text: str, names: str) -> str:
    """Return `text` with its URLs as they may be read.

    Args:
        text: Any text.
        names: The pattern of secret names, for what stands in queries.
    """
    return _URL.sub(lambda match: _shown_url(match["scheme"], match["rest"], names), text)


def _shown_url(scheme: str, rest: str, names: str) -> str:
    if scheme[:-3].lower() not in _SERVERS:
        return f"{scheme}{HIDDEN}"
    if "@" in rest:
        rest = _without_credentials(scheme, rest)
    if scheme.lower() in ("http://", "https://"):
        host, slash, _ = rest.partition("/")
        if slash and (_SECRET_HOSTS.match(host.rpartition("@")[2]) or _SECRET_PATHS.search(rest[len(host) :][:2048])):
            return f"{scheme}{host}/{HIDDEN}"
    if "=" in rest:
        rest = _QUERY.sub(lambda match: _shown_value(match, names), rest)
    return f"{scheme}{rest}"


def _shown_value(match: re.Match[str], names: str) -> str:
    name = match["name"][1:-1]
    if _QUERY_NAMES.match(name) or re.search(names, name, re.IGNORECASE):
        return f"{match['name']}{HIDDEN}"
    return match[0]


def _without_credentials(scheme: str, rest: str) -> str:
    """Return what follows the scheme of a URL, without its credentials.

    A password may hold "@", "/" and ":", so it ends at the last "@". In ``http://host:80/to@me`` it is no password,
    unless another URL follows in the same word: then all up to the last "@" is hidden.
    """
    head, _, tail = rest.rpartition("@")
    user, colon, password = head.partition(":")
    harmless = "/" in user or _PORT.match(password) is not None
    if harmless and "://" not in head:
        return rest
    if colon and not harmless:
        return f"{user}:{HIDDEN}@{tail}"
    if harmless or scheme.lower() in ("http://", "https://"):
        return f"{HIDDEN}@{tail}"
    return rest
