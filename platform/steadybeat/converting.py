"""Converting: what a configuration or the environment holds, as a setting of its type."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import Field
from typing import Any

from steadybeat.errors import ConfigurationError


def convert(key: str, value: Any, spec: Field[Any]) -> Any:
    """Return a value in the type of its setting; texts come from the environment.

    Args:
        key: Under which it was given.
        value: What was given.
        spec: The field of `Settings`.

    Raises:
        ConfigurationError: It cannot be one; names the key and the way out.
    """
    if "document" in spec.metadata:
        return _convert_document(key, value, spec)
    default: Any = spec.default
    wanted: Any = type(default)
    if wanted is tuple:
        parts = value.replace(",", " ").split() if isinstance(value, str) else value
        if isinstance(parts, list | tuple) and all(isinstance(part, str) for part in parts):
            return tuple(parts)
    elif isinstance(value, str) or (wanted is not str and not isinstance(value, bool)):
        try:
            converted = wanted(value)
        except (TypeError, ValueError):
            pass
        else:
            if wanted is not int or float(value) == converted:
                return converted
    kind = {tuple: "a list of names", int: "a whole number", float: "a number of seconds", str: "a text"}[wanted]
    kind = "a number" if key.lower().endswith(("_factor", "_share")) else kind
    raise ConfigurationError(f"{key}={value!r}: must be {kind}, such as {default!r}.", name=key, value=value)


def _convert_document(key: str, value: Any, spec: Field[Any]) -> Any:
    """Return a document; texts are JSON. What is wrong stays unsaid, since it may hold secrets."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if spec.metadata["document"] is dict:
        if isinstance(value, Mapping) and all(isinstance(text, str) for pair in value.items() for text in pair):
            return dict(value)
        kind = "names, each with a text"
    else:
        if isinstance(value, list | tuple) and all(isinstance(each, Mapping) for each in value):
            return tuple(dict(each) for each in value)
        kind = "a list of routes"
    example = spec.metadata["example"]
    raise ConfigurationError(f"{key}: must be {kind}, as JSON in the environment, such as {example}.", name=key)
