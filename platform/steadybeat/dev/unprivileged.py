"""Postgres under root: it refuses to run as root, so it needs another user, and places which that user may enter.

Nothing is changed that is not ours: no system user is made, and no folder of somebody else's gets wider
permissions. Where the clone or its virtual environment is closed to other users (a home such as ``/root`` often
is), data and programs live in a folder below ``/var/tmp`` instead, named after a hash of the path they stand for.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

from steadybeat.dev.embedded import ServerError

ACCOUNTS = ("postgres", "nobody")


def account() -> pwd.struct_passwd | None:
    """Return the system user to run Postgres as, or None where this one will do.

    Raises:
        ServerError: This is root, and there is no user to change to.
    """
    if os.geteuid() != 0:
        return None
    for name in ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerError(
        "Postgres does not run as root, and there is no system user 'postgres' or 'nobody'. "
        "Run this as an ordinary user, or give STEADYBEAT_DATABASE_URL."
    )


def data_folder(folder: Path, user: pwd.struct_passwd | None) -> Path:
    """Return the empty or earlier data folder of a server, created for `user`.

    It is ``data`` in the server's folder; a link to a folder elsewhere where `user` may not get to it.

    Raises:
        ServerError: The folder elsewhere belongs to somebody else.
    """
    data = folder / "data"
    if user is None:
        data.mkdir(mode=0o700, exist_ok=True)
        return data
    folder.chmod(folder.stat().st_mode | 0o011)
    if not _may_enter(folder):
        elsewhere = _elsewhere(folder) / "data"
        elsewhere.mkdir(mode=0o700, exist_ok=True)
        if data.is_symlink():
            data.unlink()
        data.symlink_to(elsewhere)
        data = elsewhere
    data.mkdir(mode=0o700, exist_ok=True)
    if data.stat().st_uid != user.pw_uid:
        for each in (data, *data.rglob("*")):
            os.chown(each, user.pw_uid, user.pw_gid, follow_symlinks=False)
    return data


def programs_folder(install: Path, user: pwd.struct_passwd | None) -> Path:
    """Return the folder of Postgres' programs that `user` may run: the installed one, or a copy.

    Args:
        install: ``pginstall18`` of the package; the libraries it needs lie beside the package.
        user: Who will run them.
    """
    postgres = install / "bin" / "postgres"
    if user is None or (_may_enter(postgres.parent) and postgres.stat().st_mode & stat.S_IXOTH):
        return install / "bin"
    package = install.parent
    site = _elsewhere(install)
    copy = site / package.name / install.name
    if not (copy / "complete").exists():
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(install, copy, dirs_exist_ok=True)
        if libraries.exists():
            shutil.copytree(libraries, site / libraries.name, dirs_exist_ok=True)
        for each in site.rglob("*"):
            each.chmod(0o755 if each.is_dir() or each.stat().st_mode & stat.S_IXUSR else 0o644)
        (copy / "complete").touch()
    return copy / "bin"


def forget(folder: Path, install: Path | None) -> None:
    """Remove what stands outside the clone for a server's folder and for Postgres' programs, if there is anything.

    Args:
        folder: The server's folder, as it was given to `data_folder`.
        install: As it was given to `programs_folder`.
    """
    for path in (folder.absolute(), install):
        if path is not None and (away := _path_elsewhere(path)).is_dir() and away.lstat().st_uid == os.geteuid():
            shutil.rmtree(away)


def _may_enter(folder: Path) -> bool:
    """Whether every user may pass through a folder and all above it."""
    real = folder.resolve()
    return all(each.stat().st_mode & stat.S_IXOTH for each in (real, *real.parents))


def _elsewhere(path: Path) -> Path:
    """Return our folder outside the clone that stands for `path`."""
    folder = _path_elsewhere(path)
    folder.mkdir(mode=0o755, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise ServerError(f"{folder} belongs to somebody else. Remove it, or run from another folder.")
    folder.chmod(0o755)
    return folder


def _path_elsewhere(path: Path) -> Path:
    kept = Path("/var/tmp")  # noqa: S108 - kept over a restart, unlike /tmp; who uses it checks its owner
    name = f"steadybeat-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    return (kept if kept.is_dir() else Path(tempfile.gettempdir())) / name
