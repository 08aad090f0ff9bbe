"""The server's log on disk: kept, and bounded."""

import os
from pathlib import Path

LOG_BYTES = 10 * 2**20
"""Size at which a log is put aside; as much again is kept of the one before."""


def bound_log(path: Path, limit: int = LOG_BYTES) -> bool:
    """Put the log aside as ``.1`` where it has grown over ``limit`` bytes; whether it had.

    The server holds the file open for appending, so it is copied and cut, not renamed: what is written in between
    is lost. Only the last ``limit`` bytes are kept.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return False
    if size <= limit:
        return False
    kept = path.with_name(path.name + ".1")
    with path.open("rb+") as log, kept.open("wb") as aside:
        log.seek(size - limit)
        aside.write(log.read(limit))
        os.ftruncate(log.fileno(), 0)
    return True
