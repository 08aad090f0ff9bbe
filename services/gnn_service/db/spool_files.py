"""The few things that the spool does to files: write durably, lock a folder, replace a small file whole."""

import os
import sys
from pathlib import Path
from typing import Final

if sys.platform == "win32":
    import msvcrt
else:
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


class FolderLock:
    """Keeps a folder to one holder at a time, across processes; the system lets go of it when the process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> bool:
        """Take the lock; False where somebody has it."""
        fd = os.open(self._path, os.O_CREAT | os.O_RDWR | BINARY, 0o600)
        try:
            if sys.platform == "win32":
                msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return True

    def release(self) -> None:
        """Let go; a second time is no error."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
