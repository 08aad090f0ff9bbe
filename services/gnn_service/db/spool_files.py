"""The few things that the spool does to files: write durably, cut, replace a small file whole."""

import os
import sys
from pathlib import Path
from typing import Final

if sys.platform == "darwin":
    import fcntl

_READ_AT_ONCE: Final = 2**24
BINARY: Final = getattr(os, "O_BINARY", 0)
"""Windows changes line ends in files opened without it."""


def write_all(fd: int, data: bytes) -> None:
    """Write every byte; OSError where the system takes no more."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync(fd: int) -> None:
    """Return once the file is on the disk itself.

    After an error nothing that was written since the last success may be believed to be there, and asking again
    proves nothing: the system may have marked the lost pages as clean (P. Rebello et al., "Can Applications Recover
    from fsync Failures?", USENIX ATC 2020).
    """
    if sys.platform == "darwin":
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fsync(fd)


def sync_folder(folder: Path) -> None:
    """Return once the names in a folder are on the disk itself. Windows keeps them so without being asked."""
    if sys.platform == "win32":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def create(path: Path) -> int:
    """A new file, open for writing at its end."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | BINARY, 0o600)


def read(path: Path, start: int, end: int) -> bytes:
    """The bytes from ``start`` to ``end``, fewer where the file is shorter."""
    parts = []
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while start < end and (part := file.read(min(end - start, _READ_AT_ONCE))):
            parts.append(part)
            start += len(part)
    return b"".join(parts)


def cut(path: Path, size: int) -> None:
    """Shorten a file, durably."""
    fd = os.open(path, os.O_RDWR | BINARY)
    try:
        os.ftruncate(fd, size)
        sync(fd)
    finally:
        os.close(fd)


def replace(path: Path, data: bytes) -> None:
    """Give a small file new contents, durably: after a crash it holds the old ones or the new ones."""
    new = path.with_name(path.name + ".new")
    fd = os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | BINARY, 0o600)
    try:
        write_all(fd, data)
        sync(fd)
    finally:
        os.close(fd)
    new.replace(path)
    sync_folder(path.parent)
