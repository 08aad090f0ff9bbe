"""Becomes a PostgreSQL program that ends with the service; run by path in an interpreter of its own.

``python -I -S embedded_launch.py PARENT UID GID PROGRAM ARGUMENT...``: gives up root for UID and GID (-1 keeps them),
asks the kernel (Linux) to send SIGINT when the thread that started this ends, and executes PROGRAM. PostgreSQL takes
SIGINT as a fast shutdown. Not `preexec_fn`: that runs Python in a fork of a process with threads, which can deadlock.
Imports nothing of the package, so that it starts in milliseconds.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """See the module."""
    parent, uid, gid = (int(value) for value in sys.argv[1:4])
    os.umask(0o077)
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":  # after setuid, which clears it
        with suppress(OSError, AttributeError):  # a sandbox may lack it: then the next start stops the server
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)
    if os.getppid() != parent:  # the service died before the kernel was asked
        sys.exit(1)
    os.execv(sys.argv[4], sys.argv[4:])  # noqa: S606 -- no shell is wanted


if __name__ == "__main__":
    main()
