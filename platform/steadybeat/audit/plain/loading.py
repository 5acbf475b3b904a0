"""Loading: a Celery application by its name, as `celery -A` finds it; nothing of it is changed, and nothing is sent."""

from __future__ import annotations

import contextlib
import importlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from celery import Celery
from celery.app.utils import find_app

from steadybeat.errors import ConfigurationError, did_you_mean
from steadybeat.telemetry.redaction import redact_text

OPTION = "--plain-celery"


def load(name: str) -> Celery:
    """Return the application of a name, with its tasks.

    Its modules are imported as a worker imports them. What they print goes to standard error.

    Args:
        name: Such as ``shop``, ``shop.celery`` or ``shop.celery:app``.

    Raises:
        ConfigurationError: It cannot be imported, is no Celery application, or has steadybeat.
    """
    if not name.strip(" .:"):
        raise ConfigurationError(f"{OPTION}={name!r}: name the application as celery -A does, such as shop.celery:app.")
    with contextlib.redirect_stdout(sys.stderr):
        app = _found(name)
        with _in_one_line(name, "its tasks"):
            app.loader.import_default_modules()
            app.finalize()
        with _in_one_line(name, "its configuration"):
            _ = app.conf.broker_url, app.conf.beat_schedule
    if getattr(app, "steadybeat", None) is not None:
        raise ConfigurationError(
            f"{OPTION}={name}: this application has steadybeat; ask without the option: celery -A {name} audit"
        )
    return app


def _found(name: str) -> Celery:
    try:
        app = find_app(name)
    except ModuleNotFoundError as error:
        raise _missing(name, error) from error
    except AttributeError as error:
        raise _nameless(name, error) from error
    except (Exception, SystemExit) as error:  # the code of others may raise anything
        raise _broken(name, "it", error) from error
    if not isinstance(app, Celery):
        raise ConfigurationError(
            f"{OPTION}={name}: is {_kind(app)}, no Celery application. Name its variable, such as {_head(name)}:app."
        )
    return app


def _missing(name: str, error: ModuleNotFoundError) -> ConfigurationError:
    module = _head(name)
    missing = error.name or module
    if module == missing or module.startswith(f"{missing}."):
        package, _, _ = missing.rpartition(".")
        here = [f"{package}.{each}" if package else each for each in _modules(package)]
        return ConfigurationError(
            f"{OPTION}={name}: there is no module {missing!r}.{did_you_mean(missing, here)}"
            " Run this in the folder that holds it, or name that in PYTHONPATH."
        )
    return ConfigurationError(
        f"{OPTION}={name}: it imports {missing!r}, which is not here{_at(error)}."
        " Run this in the environment of its workers."
    )


def _nameless(name: str, error: AttributeError) -> ConfigurationError:
    module = sys.modules.get(_head(name))
    if module is None or _raised_within(error):
        return _broken(name, "it", error)
    apps = [f"{_head(name)}:{key}" for key, value in vars(module).items() if isinstance(value, Celery)]
    apps += [f"{_head(name)}.{each}" for each in _modules(_head(name), holding="Celery(")]
    hint = f"name it: {apps[0]}" if apps else f"name the module that has it, such as {_head(name)}.celery"
    return ConfigurationError(f"{OPTION}={name}: no Celery application is found there; {hint}.")


def _modules(package: str, holding: str = "") -> list[str]:
    """Return the modules of a package that is loaded, or of this folder: those in whose text something stands."""
    file = getattr(sys.modules.get(package), "__file__", None) if package else None
    folder = Path(file).parent if file else Path.cwd()
    if package and (file is None or Path(file).name != "__init__.py"):
        return []
    found = [(each if each.suffix == ".py" else each / "__init__.py") for each in sorted(folder.iterdir())]
    names = [(each.parent.name if each.name == "__init__.py" else each.stem, each) for each in found if each.is_file()]
    return [name for name, each in names if name != folder.name and holding in each.read_text("utf-8", "replace")]


def _raised_within(error: BaseException) -> bool:
    """Say whether an error comes out of the code of the application, not out of the search for it."""
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    return not any(part in last for part in ("celery/app/utils", "kombu/utils", "importlib"))


@contextlib.contextmanager
def _in_one_line(name: str, what: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{OPTION}={name}: {what} cannot be read: {error}{_at(error)}. Run this in the environment of its workers."
        ) from error
    except (Exception, SystemExit) as error:
        raise _broken(name, what, error) from error


def _broken(name: str, what: str, error: BaseException) -> ConfigurationError:
    said = redact_text(" ".join(str(error).split()))
    return ConfigurationError(
        f"{OPTION}={name}: {what} cannot be imported: {type(error).__name__}: {said[:300]}{_at(error)}."
        " Run this where its workers run, with their environment variables."
    )


def _at(error: BaseException) -> str:
    """Return where an error comes from: the last place that is in no installed package."""
    places = [
        f" ({Path(each.filename).name}:{each.lineno})"
        for each in traceback.extract_tb(error.__traceback__)
        if "site-packages" not in each.filename
        and Path(each.filename).is_file()
        and __file__ != each.filename
        and not each.filename.startswith(str(Path(importlib.__file__).parent))
    ]
    return places[-1] if places else ""


def _head(name: str) -> str:
    return name.partition(":")[0].strip()


def _kind(value: Any) -> str:
    return f"the module {value.__name__}" if isinstance(value, type(sys)) else f"a {type(value).__name__}"
