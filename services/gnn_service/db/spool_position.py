"""Up to which record all is in the database: a small file that is overwritten in place, so it needs no room.

Two slots are written in turn, each with a checksum: a write that a crash cuts short leaves the other one.
"""

import os
import struct
import zlib
from pathlib import Path
from typing import Final

from gnn_service.db import spool_files
from gnn_service.observability import logs

_NAME: Final = "position"
_SLOT: Final = struct.Struct("<QQI")  # turn, position, checksum
_APART: Final = 4096
"""Bytes between the slots, so that no one sector holds both."""
_log = logs.logger("gnn_service.db.spool")


class Position:
    """Reads the file, and makes it where it is not there or damaged.

    Then ``value`` is 0: what is still there is drained once more.

    Raises:
        OSError: it can be neither read nor made.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / _NAME
        self._turn, self.value = 0, 0
        slots = [slot for slot in _slots(path) if slot is not None]
        if slots:
            self._turn, self.value = max(slots)
        else:
            if path.exists():
                _log.warning("the spool's position is damaged; what is there is drained once more", file=str(path))
            spool_files.replace(path, b"".join(_packed(turn, 0).ljust(_APART, b"\0") for turn in (0, 1)))
        self._fd = os.open(path, os.O_RDWR | spool_files.BINARY)

    def move(self, to: int) -> None:
        """Keep another value, durably. OSError where that failed: then it is the old one or the new one."""
        turn = self._turn + 1
        os.lseek(self._fd, turn % 2 * _APART, os.SEEK_SET)
        spool_files.write_all(self._fd, _packed(turn, to))
        spool_files.sync(self._fd)
        self._turn, self.value = turn, to

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


def _packed(turn: int, value: int) -> bytes:
    data = _SLOT.pack(turn, value, 0)[:-4]
    return data + zlib.crc32(data).to_bytes(4, "little")


def _slots(path: Path) -> list[tuple[int, int] | None]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return [_unpacked(data[start : start + _SLOT.size]) for start in (0, _APART)]


def _unpacked(data: bytes) -> tuple[int, int] | None:
    if len(data) < _SLOT.size:
        return None
    turn, value, _ = _SLOT.unpack(data)
    return (turn, value) if data == _packed(turn, value) else None
