"""Address: where Redis is, as one URL says it. One server, or the sentinels that know which of several is the master.

    redis://:password@host:6379/0                                             one server; rediss:// with TLS
    sentinel://:password@host-1:26379;sentinel://host-2:26379/0?master_name=mymaster      sentinels, in kombu's form

User, password and database are those of the master and are written once, in any of the parts. Pure: nothing here
opens a connection.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from steadybeat.errors import ConfigurationError, did_you_mean

SENTINEL = "sentinel"
SENTINEL_PORT = 26379
REDIS_PORT = 6379
REDBEAT_SENTINEL = "redis-sentinel"
_ONE_SERVER = ("redis", "rediss", "unix", "redis+socket")
_CLUSTER = ("redis-cluster", "rediss-cluster")
_FORM = "sentinel://:password@host-1:26379;sentinel://host-2:26379/0?master_name=mymaster"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where Redis is.

    Attributes:
        url: As it was given. It may hold a password: show `shown` instead.
        sentinels: Host and port of each sentinel; empty where `url` names the server itself.
        master_name: What the sentinels call the master.
        username: Of the master.
        password: Of the master.
        db: Number of the database.
    """

    url: str = field(repr=False)
    sentinels: tuple[tuple[str, int], ...] = ()
    master_name: str = ""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0

    @classmethod
    def read(cls, url: str | Sequence[str], name: str, options: Mapping[str, Any] | None = None) -> Self:
        """Return the address that a URL says.

        Args:
            url: The URL, or the list of URLs that Celery's ``broker_url`` may be.
            name: The setting that it stands in.
            options: Celery's ``broker_transport_options``, where ``master_name`` may stand too.

        Raises:
            ConfigurationError: Names the setting and the way out, and no password.
        """
        text = url if isinstance(url, str) else ";".join(url)
        parts = [part.strip() for part in text.split(";") if part.strip()]
        schemes = {part.partition("://")[0] for part in parts}
        if schemes & {*_CLUSTER}:
            raise _wrong(name, f"{text.partition(':')[0]}://…", f"{NO_CLUSTER} {_WAY_OUT_OF_CLUSTER}")
        if schemes == {SENTINEL}:
            return cls._of_sentinels(text, parts, name, dict(options or {}))
        if SENTINEL in schemes:
            mixed = "; ".join(f"{scheme or 'nothing'}://…" for scheme in sorted(schemes))
            raise _wrong(name, mixed, f"mixes schemes. Write sentinel:// before every host: {_FORM}.")
        if not schemes or not schemes <= {*_ONE_SERVER}:
            raise _wrong(name, f"{text.partition(':')[0]}://…", "must be a URL of Redis; set steadybeat_redis_url.")
        if len(parts) > 1:
            raise _wrong(name, f"{len(parts)} servers", f"must be one server, or sentinels: {_FORM}.")
        return cls(url=text)

    @classmethod
    def _of_sentinels(cls, text: str, parts: Sequence[str], name: str, options: dict[str, Any]) -> Self:
        split = [_split(part, name) for part in parts]
        asked: dict[str, str] = {}
        for key, value in (pair for each in split for pair in parse_qsl(each.query)):
            if key != "master_name":
                meant = did_you_mean(key, ["master_name"])
                raise _wrong(name, f"…?{key}=…", f"sentinels take no such option.{meant} It ends with ?master_name=….")
            asked[key] = value
        master = _only([asked.get("master_name"), options.get("master_name")], name, "master names")
        if not master:
            raise _wrong(
                name,
                "sentinel://…",
                "lacks the master's name. End it with ?master_name=mymaster, as sentinel.conf calls it,"
                " or set broker_transport_options['master_name'].",
            )
        db = _only([unquote(each.path.strip("/")) for each in split], name, "databases") or "0"
        if not db.isdecimal():
            raise _wrong(name, f"sentinel://…/{db}", "must end with the number of a database, such as /0.")
        return cls(
            url=text,
            sentinels=tuple((str(each.hostname), each.port or SENTINEL_PORT) for each in split),
            master_name=master,
            username=_only([unquote(each.username or "") for each in split], name, "users"),
            password=_only([unquote(each.password or "") for each in split], name, "passwords", secret=True),
            db=int(db),
        )

    @classmethod
    def of_redbeat(cls, url: str, options: Mapping[str, Any]) -> Self:
        """Return the address that RedBeat's own settings say.

        Args:
            url: ``redbeat_redis_url``. RedBeat asks sentinels where it begins with ``redis-sentinel``.
            options: ``redbeat_redis_options``.

        Raises:
            ConfigurationError: The options are those of a cluster, or lack the sentinels.
        """
        if options.get("cluster"):
            raise _wrong("redbeat_redis_options['cluster']", "True", f"{NO_CLUSTER} {_WAY_OUT_OF_CLUSTER}")
        if not url.startswith(REDBEAT_SENTINEL):
            return cls.read(url, "redbeat_redis_url", {"master_name": options.get("service_name")})
        if not options.get("sentinels"):
            way_out = "lacks redbeat_redis_options['sentinels']. Leave both out: steadybeat_redis_url is enough."
            raise _wrong("redbeat_redis_url", f"{REDBEAT_SENTINEL}://…", way_out)
        return cls(
            url=url,
            sentinels=tuple((str(host), int(port)) for host, port in options["sentinels"]),
            master_name=options.get("service_name", "master"),
            username=options.get("username"),
            password=options.get("password"),
            db=int(options.get("db", 0)),
        )

    @property
    def shown(self) -> str:
        """The URL without its password."""
        if not self.sentinels:
            return without_password(self.url)
        return f"{';'.join(f'{SENTINEL}://{_host(*each)}' for each in self.sentinels)}/{self.db}"

    @property
    def server(self) -> str:
        """Host and port of the one server, or the path of its socket; databases of one server count as one."""
        split = urlsplit(self.url)
        return _host(split.hostname.lower(), split.port or REDIS_PORT) if split.hostname else split.path

    @property
    def first_url(self) -> str:
        """The first sentinel alone, with user, password and database, as kombu and Flower read it."""
        user = quote(self.username or "", safe="")
        login = f"{user}:{quote(self.password, safe='')}@" if self.password else f"{user}@" if user else ""
        return f"{SENTINEL}://{login}{_host(*self.sentinels[0])}/{self.db}"

    def redbeat(self, sentinel_kwargs: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
        """Return ``redbeat_redis_url`` and what it needs of ``redbeat_redis_options``, as RedBeat 2.4 reads them.

        Args:
            sentinel_kwargs: How to connect to the sentinels themselves.
        """
        if not self.sentinels or self.url.startswith(REDBEAT_SENTINEL):
            return self.url, {}
        options = {
            "sentinels": [list(each) for each in self.sentinels],
            "service_name": self.master_name,
            "db": self.db,
            "sentinel_kwargs": dict(sentinel_kwargs or {}),
        }
        login = {"username": self.username, "password": self.password}
        return (
            f"{REDBEAT_SENTINEL}://{_host(*self.sentinels[0])}/{self.db}",
            options | {key: value for key, value in login.items() if value},
        )


NO_CLUSTER = (
    "Redis Cluster cannot be used: a pipeline over queues, schedules and the lock would cross its slots."
)  # fmt: skip
_WAY_OUT_OF_CLUSTER = f"Use one server, or sentinels ({_FORM})."


def listening(address: str, name: str) -> tuple[str, int]:
    """Return host and port of an address to listen on, such as ``0.0.0.0:9464`` or ``[::]:9464``.

    Args:
        address: As it was written; an IP address and a port, of which 0 is any that is free.
        name: Of the setting that it came from.

    Raises:
        ConfigurationError: It is none.
    """
    host, _, port = address.rpartition(":")
    try:
        number = int(port)
        ip = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        number, ip = -1, None
    if ip is None or not 0 <= number <= 65535 or (ip.version == 6) != host.startswith("["):
        raise ConfigurationError(
            f"{name}={address!r}: must be an IP address and a port, such as '0.0.0.0:9464', '[::]:9464', or"
            " '127.0.0.1:0' for a port that is free.",
            name=name,
        )
    return str(ip), number


def is_sentinel(url: Any) -> bool:
    """Return whether this is a URL of sentinels, in kombu's form."""
    return isinstance(url, str) and url.startswith(f"{SENTINEL}://")


def without_password(url: str) -> str:
    """Return `url`, or several joined by ``;``, with ``***`` in the place of each password."""
    parts = re.split(r";(?=[a-z+-]+://)", url)
    return ";".join(re.sub(r"(://[^:/@]*):.*@", r"\1:***@", part) for part in parts)


def _split(part: str, name: str) -> SplitResult:
    split = urlsplit(part)
    try:
        host, _ = split.hostname, split.port
    except ValueError:
        raise _wrong(name, "sentinel://host:…", f"must have a number as port: {_FORM}.") from None
    if not host:
        raise _wrong(name, "sentinel://", f"lacks a host: {_FORM}.")
    return split


def _only(given: Sequence[str | None], name: str, what: str, *, secret: bool = False) -> str | None:
    """Return the one value that is given, or None; several different ones are refused."""
    found = sorted({each for each in given if each})
    if len(found) > 1:
        shown = f"{len(found)} {what}" if secret else " and ".join(found)
        raise _wrong(name, shown, f"names different {what}; write it once.")
    return found[0] if found else None


def _host(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _wrong(name: str, shown: str, way_out: str) -> ConfigurationError:
    return ConfigurationError(f"{name}={shown}: {way_out}", name=name)
