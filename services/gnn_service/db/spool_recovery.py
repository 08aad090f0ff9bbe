"""What a start finds in the spool's folder: whose it is, what is still to drain, what a crash left."""

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from filelock import BaseFileLock, FileLock, Timeout

from gnn_service.core.errors import ConfigurationError
from gnn_service.db import spool_files
from gnn_service.db.spool_aside import Aside
from gnn_service.db.spool_format import HEADER_BYTES, RECORD_BYTES, SegmentName, header_is_whole, scan, time_of
from gnn_service.observability import logs

_LOCK: Final = "lock"
_HINT: Final = "set GNN_DATABASE__SPOOL__FOLDER to a folder that can be written to"
_log = logs.logger("gnn_service.db.spool")


@dataclass(slots=True, eq=False)
class Segment:
    """A file of records.

    Args:
        end: bytes from the start that are durable and whole; what lies behind is not read.
        size: bytes on disk.
        last: sequence number of the last record in it.
        records: to drain; where it was not looked through yet, at most as many.
        damaged: whether a stretch of it is; then it is set aside in the end, not removed.
    """

    path: Path
    name: SegmentName
    end: int
    size: int
    last: int
    records: int = 0
    damaged: bool = False


@dataclass(slots=True)
class Recovered:
    """What is to drain.

    Args:
        position: every record before this sequence number is in the database.
        following: the sequence number that comes next.
        segments: with something to drain, the oldest first.
        cursor: where in the oldest of them that begins.
        oldest_us: when the oldest of them was written, microseconds since 1970 UTC.
        cut_bytes: of writes that a crash had cut short.
    """

    position: int = 0
    following: int = 0
    segments: list[Segment] = field(default_factory=list)
    cursor: int = HEADER_BYTES
    oldest_us: int | None = None
    cut_bytes: int = 0


def unusable(folder: Path, error: OSError) -> ConfigurationError:
    """What is wrong with the folder, and what to do about it."""
    reason = error.strerror or str(error)
    return ConfigurationError(f"cannot use {folder} as the spool: {reason}; {_HINT}", where="database.spool.folder")


def lock_folder(folder: Path) -> BaseFileLock:
    """Create the folder where it is not there yet, and take it for this process.

    Raises:
        ConfigurationError: it cannot be created or written to, or another process has it.
    """
    lock = FileLock(folder / _LOCK, timeout=0, thread_local=False)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.acquire()
        _try_writing(folder)
    except Timeout as error:
        raise ConfigurationError(
            f"another process uses {folder} as its spool; give each its own by GNN_DATABASE__SPOOL__FOLDER",
            where="database.spool.folder",
        ) from error
    except OSError as error:
        lock.release()
        raise unusable(folder, error) from error
    return lock


def _try_writing(folder: Path) -> None:
    probe = folder / f"{_LOCK}.new"
    try:
        probe.unlink(missing_ok=True)
        os.close(spool_files.create(probe))
        probe.unlink()
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:  # a full disk is drained, not refused
            raise


def recover(folder: Path, aside: Aside, position: int) -> Recovered:
    """Look through the segments at both ends: cut what a crash left unfinished, find where draining goes on.

    What lies before sequence number ``position`` is drained. The segments in the middle are looked through when they
    are drained: a start takes no longer for a spool that is full.

    Raises:
        ConfigurationError: a newer version wrote it.
        OSError: the folder cannot be used.
    """
    found = Recovered(position=position, following=position)
    names = {path: name for path in folder.iterdir() if (name := SegmentName.parse(path.name)) is not None}
    ordered = sorted(names.items(), key=lambda item: (item[1].first, item[1].salt))
    begins = max((n for n, (_, name) in enumerate(ordered) if name.first <= position), default=0)
    for number, (path, name) in enumerate(ordered):
        last = number == len(ordered) - 1
        try:
            if begins < number and not last:
                _take(path, name, found, following=ordered[number + 1][1].first)
            else:
                _look_through(path, name, found, aside, last=last)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            aside.damage(path, f"cannot be read: {error.strerror}")
            aside.keep_segment(path)
    if found.segments or found.cut_bytes:
        records = sum(segment.records for segment in found.segments)
        _log.info("the spool holds records from before", records=records, cut_bytes=found.cut_bytes)
    return found


def _take(path: Path, name: SegmentName, found: Recovered, *, following: int) -> None:
    """Take a segment as it is; the next one begins with sequence number ``following``."""
    size = path.stat().st_size
    head = spool_files.read(path, 0, HEADER_BYTES + RECORD_BYTES)
    header_is_whole(head, name.salt, where=str(path))
    found.segments.append(Segment(path, name, size, size, last=following - 1, records=following - name.first))
    found.following = max(found.following, following)
    if found.oldest_us is None:
        found.oldest_us = time_of(head[HEADER_BYTES:], name.salt)


def _look_through(path: Path, name: SegmentName, found: Recovered, aside: Aside, *, last: bool) -> None:
    """Check every record of a segment, and take it in, or remove it where there is nothing to drain."""
    data = path.read_bytes()
    segment = Segment(path, name, end=len(data), size=len(data), last=name.first - 1)
    if len(data) >= HEADER_BYTES and not header_is_whole(data, name.salt, where=str(path)):
        segment.damaged = True
        aside.damage(path, "the header is damaged")
    cursor = HEADER_BYTES
    for stretch in scan(data, name.salt, HEADER_BYTES):
        if stretch.record is None:
            if stretch.cut and last:
                segment.end = stretch.start
            else:
                segment.damaged = True
                aside.damage(path, f"{stretch.end - stretch.start} bytes at {stretch.start}")
            continue
        segment.last = stretch.record.sequence
        if stretch.record.sequence < found.position:
            cursor = stretch.end
            continue
        segment.records += 1
        if found.oldest_us is None:
            found.oldest_us = stretch.record.time_us
    found.following = max(found.following, name.first, segment.last + 1)
    if not segment.records:
        found.cut_bytes += len(data) - segment.end if len(data) >= HEADER_BYTES else len(data)
        _remove(segment, aside)
        return
    if segment.end < len(data):
        found.cut_bytes += len(data) - segment.end
        spool_files.cut(path, segment.end)
        segment.size = segment.end
    if not found.segments:
        found.cursor = cursor
    found.segments.append(segment)


def _remove(segment: Segment, aside: Aside) -> None:
    if segment.damaged:
        aside.keep_segment(segment.path)
    else:
        segment.path.unlink()
