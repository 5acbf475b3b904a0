"""Becomes another program, on a leash: run as a script by `leash.spawn`, and imported by nobody.

    python -I -S launcher.py DEATH_SIGNAL PARENT_PID UID:GID|- PROGRAM [ARGUMENT …]

A script of its own instead of `preexec_fn`, which may dead-lock in a program that has threads. It imports only
what it needs, because each process of the local stack passes through it.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Change to the wanted user, ask the kernel for the death signal, and become the program."""
    death_signal, parent_pid, user, *argv = sys.argv[1:]
    if user != "-":
        uid, gid = map(int, user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)  # before the next step, because it would take the death signal away again
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != int(parent_pid):  # it has died before the line above
        sys.exit(1)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.exit(f"{argv[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
