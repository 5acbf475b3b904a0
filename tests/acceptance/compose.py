"""docker-compose.yml as Docker Compose reads it, as far as this project uses it; anything else is refused.

Source: the Compose specification, https://github.com/compose-spec/compose-spec/blob/main/spec.md, and its chapter on
interpolation.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import yaml

CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")

# What each key holds: a type, or a mapping of the keys below it.
_HEALTHCHECK = {
    "test": (list, str),
    **dict.fromkeys(("interval", "timeout", "start_period", "start_interval"), str),
    "retries": int,
}
_SERVICE: dict[str, Any] = {
    "build": {"context": str, "dockerfile": str},
    "cap_drop": list,
    "command": (list, str),
    "depends_on": dict,
    "deploy": {"replicas": int},
    "environment": dict,
    "expose": list,
    "healthcheck": _HEALTHCHECK,
    "image": str,
    "init": bool,
    "logging": {"driver": str, "options": dict},
    "mem_limit": str,
    "networks": list,
    "pids_limit": int,
    "ports": list,
    "read_only": bool,
    "restart": str,
    "security_opt": list,
    "shm_size": str,
    "stop_grace_period": str,
    "stop_signal": str,
    "tmpfs": list,
    "user": str,
    "volumes": list,
}
_PROJECT = {"name": str, "services": dict, "networks": dict, "volumes": dict}

_PLACE = re.compile(r"\$(?:(?P<escaped>\$)|(?P<plain>[A-Za-z_]\w*)|(?P<braced>\{))")
_BRACED = re.compile(r"(?P<name>[A-Za-z_]\w*)(?:(?P<rule>:?[-?+])(?P<rest>.*))?", re.DOTALL)


class Refused(Exception):
    """Compose would not take this file, or would take it with a warning."""


@dataclass(frozen=True)
class Service:
    """One service, complete: without anchors and variables."""

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    depends_on: Mapping[str, str]
    health: tuple[str, ...] | None
    health_interval: timedelta
    stop_signal: str
    stop_grace_period: timedelta
    replicas: int
    keys: Mapping[str, Any]


def load(text: str, environment: Mapping[str, str]) -> dict[str, Service]:
    """Return the services of a Compose file, by name.

    Args:
        text: The file.
        environment: What variables in the file may say; nothing else is looked at.

    Raises:
        Refused: A key is unknown, doubled or of the wrong type; a variable has no value; a name means nothing.
    """
    whole = yaml.load(text, _Loader)
    project = {key: value for key, value in _interpolated(whole, environment).items() if not key.startswith("x-")}
    _check(project, _PROJECT, "file")
    services = {name: _service(name, keys) for name, keys in project["services"].items()}
    for service in services.values():
        _check_names(service, services, project)
    return services


def in_order(services: Mapping[str, Service]) -> list[Service]:
    """Return the services, each after those that it depends on.

    Raises:
        Refused: They depend on each other in a circle.
    """
    ordered: dict[str, Service] = {}
    while len(ordered) < len(services):
        ready = [
            each for name, each in services.items() if name not in ordered and each.depends_on.keys() <= {*ordered}
        ]
        if not ready:
            raise Refused(f"{sorted(services.keys() - ordered.keys())} wait for each other")
        ordered |= {each.name: each for each in ready}
    return list(ordered.values())


def variables(text: str) -> dict[str, str]:
    """Return the names that a file takes from the environment, with the rule of each: ``:?``, ``:-`` or none."""
    found: dict[str, str] = {}
    for value in _texts(yaml.load(text, _Loader)):
        _expand(value, {}, found)
    return found


class _Loader(yaml.SafeLoader):
    """YAML without doubled keys, of which the first would be lost in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        if doubled := {name for name in names if names.count(name) > 1 and name != "<<"}:
            raise Refused(f"line {node.start_mark.line + 1}: {sorted(doubled)} stand there twice")
        return super().construct_mapping(node, deep)


def _interpolated(value: Any, environment: Mapping[str, str]) -> Any:
    """Return a tree with its variables replaced; as in Compose, in values and not in keys."""
    if isinstance(value, dict):
        return {key: _interpolated(each, environment) for key, each in value.items()}
    if isinstance(value, list):
        return [_interpolated(each, environment) for each in value]
    return _expand(value, environment) if isinstance(value, str) else value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)
    elif isinstance(value, str):
        yield value


def _expand(text: str, environment: Mapping[str, str], found: dict[str, str] | None = None) -> str:
    """Return a text with its variables replaced; with `found`, note them there instead of asking for their values."""
    done, at = "", 0
    while (dollar := text.find("$", at)) >= 0:
        place = _PLACE.match(text, dollar)
        if place is None:
            raise Refused(f"{text!r}: a dollar sign that means itself is written $$")
        done += text[at:dollar]
        at = place.end()
        if place["escaped"]:
            done += "$"
        elif place["plain"]:
            done += _value(place["plain"], "", "", environment, found)
        else:
            at = _end_of_brace(text, at)
            inside = _BRACED.fullmatch(text[place.end() : at - 1])
            if inside is None:
                raise Refused(f"{text[dollar:at]}: is no variable")
            done += _value(inside["name"], inside["rule"] or "", inside["rest"] or "", environment, found)
    return done + text[at:]


def _end_of_brace(text: str, at: int) -> int:
    depth = 1
    while depth:
        if at == len(text):
            raise Refused(f"{text!r}: a brace is not closed")
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        at += 1
    return at


def _value(name: str, rule: str, rest: str, environment: Mapping[str, str], found: dict[str, str] | None) -> str:
    if found is not None:
        if found.setdefault(name, rule) != rule:
            raise Refused(f"{name} is asked for in two ways: {found[name]!r} and {rule!r}")
        return ""
    given = environment.get(name) if ":" not in rule else environment.get(name) or None
    if rule.endswith("+"):
        return "" if given is None else _expand(rest, environment)
    if given is not None:
        return given
    if rule.endswith("-"):
        return _expand(rest, environment)
    raise Refused(f"required variable {name} is missing a value: {rest}" if rule else f"{name} is not set")


def _check(given: Any, known: Mapping[str, Any], where: str) -> None:
    if not isinstance(given, dict):
        raise Refused(f"{where}: must hold keys, not {given!r}")
    for key, value in given.items():
        if key not in known:
            raise Refused(f"{where}: {key!r} is no key of Compose that is known here; known are {sorted(known)}")
        wanted = known[key]
        if isinstance(wanted, Mapping):
            _check(value, wanted, f"{where}.{key}")
        elif not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise Refused(f"{where}.{key}={value!r}: has the wrong type")


def _service(name: str, keys: dict[str, Any]) -> Service:
    _check(keys, _SERVICE, name)
    health = keys.get("healthcheck", {})
    if bad := [each for each in keys.get("environment", {}).items() if not isinstance(each[1], str | int)]:
        raise Refused(f"{name}.environment: {bad} are no texts")
    for dependency, how in keys.get("depends_on", {}).items():
        _check(how, {"condition": str}, f"{name}.depends_on.{dependency}")
        if how.get("condition") not in CONDITIONS:
            raise Refused(f"{name}.depends_on.{dependency}: {how} has no condition of {CONDITIONS}")
    return Service(
        name=name,
        image=keys["image"],
        command=_words(keys.get("command", [])),
        environment={key: str(value) for key, value in keys.get("environment", {}).items()},
        depends_on={dependency: how["condition"] for dependency, how in keys.get("depends_on", {}).items()},
        health=_health(name, health["test"]) if health else None,
        health_interval=duration(health.get("start_interval", "5s")),
        stop_signal=keys.get("stop_signal", "SIGTERM"),
        stop_grace_period=duration(keys.get("stop_grace_period", "10s")),
        replicas=keys.get("deploy", {}).get("replicas", 1),
        keys=keys,
    )


def _words(value: list[str] | str) -> tuple[str, ...]:
    return tuple(shlex.split(value)) if isinstance(value, str) else tuple(value)


def _health(name: str, test: list[str] | str) -> tuple[str, ...]:
    kind, *words = ["CMD-SHELL", test] if isinstance(test, str) else test
    if kind not in ("CMD", "CMD-SHELL") or not words or (kind == "CMD-SHELL" and len(words) > 1):
        raise Refused(f"{name}.healthcheck.test={test}: starts with CMD or CMD-SHELL")
    return tuple(words) if kind == "CMD" else ("/bin/sh", "-c", *words)


def duration(text: str) -> timedelta:
    """Return a duration that is written like ``1m30s``."""
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", text)
    if not text or parts is None:
        raise Refused(f"{text!r}: is no duration such as 1m30s")
    hours, minutes, seconds, milliseconds = (int(part or 0) for part in parts.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)


def _check_names(service: Service, services: Mapping[str, Service], project: Mapping[str, Any]) -> None:
    """Refuse a name of a service, network or volume that the file does not define."""
    volumes = [each.partition(":")[0] for each in service.keys.get("volumes", [])]
    for names, defined in (
        (service.depends_on, services),
        (service.keys.get("networks", []), project.get("networks", {})),
        ([each for each in volumes if not each.startswith((".", "/"))], project.get("volumes", {})),
    ):
        if unknown := [name for name in names if name not in defined]:
            raise Refused(f"{service.name}: {unknown} stand nowhere; there are {sorted(defined)}")
    for name, condition in service.depends_on.items():
        if condition == "service_healthy" and services[name].health is None:
            raise Refused(f"{service.name} waits for the health of {name}, which has no health check")
