"""The spool as files: records appended durably, read in order, and forgotten once they are in the database.

Blocking, and for one thread; `db.spool` gives it that thread. The folder holds segments named by the sequence number
that they begin with, `position` (the sequence number up to which all is in the database), `lock`, and what was set
aside. Nothing is written to a segment after a restart or after a failed write: a new one begins.
"""

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from gnn_service.core.config_spool import SpoolSettings
from gnn_service.core.errors import GnnServiceError, SpoolFailedError, SpoolFullError
from gnn_service.db import spool_files, spool_recovery
from gnn_service.db.spool_aside import Aside
from gnn_service.db.spool_format import (
    HEADER_BYTES,
    RECORD_BYTES,
    SegmentName,
    SpoolRecord,
    Stretch,
    encode_header,
    encode_record,
    scan,
    time_of,
)
from gnn_service.db.spool_position import Position
from gnn_service.db.spool_recovery import Segment
from gnn_service.db.spool_stats import SpoolStats
from gnn_service.observability import logs

FULL_RETRY_S: Final = 30.0
"""What callers are told to wait before they try a full spool again, in seconds."""
NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
T = TypeVar("T")
Entry = tuple[str, bytes]
"""Kind and payload of a record to be."""
_log = logs.logger("gnn_service.db.spool")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a record that was read ends."""

    segment: Segment
    end: int
    record: SpoolRecord


class SpoolLog:
    """Opens the folder, creating it where it is not there yet.

    Args:
        folder: one process at a time.
        settings: its bounds.
        wall: seconds since 1970 UTC.

    Raises:
        ConfigurationError: the folder cannot be used, another process has it, or a newer version wrote it.
    """

    def __init__(self, folder: Path, settings: SpoolSettings, wall: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._settings = settings
        self._wall = wall
        self._lock = spool_recovery.lock_folder(folder)
        try:
            self._aside = Aside(folder, settings.bytes_max)
            self._position = Position(folder)
            found = spool_recovery.recover(folder, self._aside, self._position.value)
        except OSError as error:
            self._lock.release()
            raise spool_recovery.unusable(folder, error) from error
        except BaseException:
            self._lock.release()
            raise
        self._next = found.following
        self._segments = deque(found.segments)  # the oldest first; the last one is written to while `_fd` is open
        self._cursor = found.cursor  # in the oldest segment: what lies before it is drained
        self._oldest_us = found.oldest_us
        self._cut_bytes = found.cut_bytes
        self._ahead: deque[_Place] = deque()  # read and not yet drained
        self._fd: int | None = None
        self._closed = False
        self._lacking = 0  # bytes of the last group that there was no room for
        self._no_space_at = float("-inf")  # by the wall clock: the disk, not the bound
        self._accepted = self._refused = self._overage = self._drained = self._failures = 0

    @property
    def position(self) -> int:
        """Every record before this sequence number is in the database."""
        return self._position.value

    def stats(self) -> SpoolStats:
        """What it holds and has seen."""
        return SpoolStats(
            records=sum(segment.records for segment in self._segments),
            bytes=self._bytes(),
            oldest_s=self._oldest_s(),
            accepted_total=self._accepted,
            refused_total=self._refused,
            overage_total=self._overage,
            drained_total=self._drained,
            rejected_total=self._aside.rejected_total,
            damaged_total=self._aside.damaged_total,
            cut_bytes_total=self._cut_bytes,
            failures_total=self._failures,
            aside_bytes=self._aside.bytes,
            full=self._is_full(),
        )

    def close(self) -> None:
        """Let go of the files and the folder."""
        self._closed = True
        self._stop_writing()
        self._position.close()
        self._lock.release()

    # ---- writing ----

    def append(self, groups: Sequence[Sequence[Entry]]) -> list[int | GnnServiceError]:
        """Write groups of records with one fsync; each group is accepted whole or refused whole.

        Returns:
            For each group the sequence number of its last record, or the error that it is refused with:
            SpoolFullError for no room, SpoolFailedError where the disk fails.
        """
        room = self._room()
        overage = self._oldest_s() > self._settings.age_max_s
        outcomes: list[int | GnnServiceError] = []
        accepted: list[SpoolRecord] = []
        now_us = int(self._wall() * 1e6)
        for group in groups:
            size = sum(RECORD_BYTES + len(kind.encode()) + len(payload) for kind, payload in group)
            if refusal := self._refusal(size, room, overage=overage):
                outcomes.append(refusal)
                continue
            room -= size
            first = self._next + len(accepted)
            accepted += [SpoolRecord(first + n, kind, payload, now_us) for n, (kind, payload) in enumerate(group)]
            outcomes.append(first + len(group) - 1)
        if accepted and (failure := self._commit(accepted)):
            outcomes = [failure if isinstance(outcome, int) else outcome for outcome in outcomes]
        self._count(groups, outcomes, overage=overage)
        return outcomes

    def _refusal(self, size: int, room: int, *, overage: bool) -> GnnServiceError | None:
        if self._closed:
            return SpoolFailedError("the spool is closed")
        if size > room:
            self._lacking = size
            limit = self._settings.bytes_max
            return SpoolFullError(f"the spool holds its {limit} bytes", retry_after_s=FULL_RETRY_S)
        if overage and self._settings.over_age == "refuse":
            limit_s = self._settings.age_max_s
            return SpoolFullError(f"the spool's oldest waits over {limit_s:g} s", retry_after_s=FULL_RETRY_S)
        return None

    def _commit(self, records: Sequence[SpoolRecord]) -> GnnServiceError | None:
        first = self._next
        self._next += len(records)  # numbers are never used again, whatever becomes of these records
        try:
            segment = self._segment_to_write(first)
            size = self._write(segment, records)
        except OSError as error:
            self._failures += 1
            self._abandon()
            _log.error("the spool cannot be written", folder=str(self._folder), error=str(error))
            if error.errno in NO_SPACE:
                self._no_space_at = self._wall()
                return SpoolFullError(f"no room on the spool's disk: {error.strerror}", retry_after_s=FULL_RETRY_S)
            return SpoolFailedError(f"the spool's disk fails: {error.strerror or error}", retry_after_s=FULL_RETRY_S)
        self._no_space_at = float("-inf")
        segment.end += size
        segment.size = segment.end
        segment.last = records[-1].sequence
        segment.records += len(records)
        if self._oldest_us is None:
            self._oldest_us = records[0].time_us
        return None

    def _segment_to_write(self, first: int) -> Segment:
        if self._fd is not None and self._segments[-1].end < self._settings.segment_bytes:
            return self._segments[-1]
        self._stop_writing()
        name = SegmentName.new(first)
        path = self._folder / str(name)
        self._fd = spool_files.create(path)
        if not self._segments:
            self._cursor = HEADER_BYTES
        self._segments.append(Segment(path, name, end=0, size=0, last=first - 1))
        return self._segments[-1]

    def _write(self, segment: Segment, records: Sequence[SpoolRecord]) -> int:
        assert self._fd is not None  # noqa: S101 - there is a segment to write to
        begins = segment.end == 0
        salt = segment.name.salt
        parts = [encode_header(salt)] if begins else []
        data = b"".join((*parts, *(encode_record(record, salt) for record in records)))
        spool_files.write_all(self._fd, data)
        spool_files.sync(self._fd)
        if begins:
            spool_files.sync_folder(self._folder)
        return len(data)

    def _abandon(self) -> None:
        """Write no more to the segment that failed, and take away what may be half there."""
        if self._fd is None:
            return
        segment = self._segments[-1]
        try:
            if segment.end == 0:
                segment.path.unlink()
            else:
                os.ftruncate(self._fd, segment.end)
        except OSError as error:  # its end is known: what lies behind is not read
            _log.warning("a failed segment was not shortened", segment=segment.path.name, error=str(error))
        segment.size = max(segment.end, os.fstat(self._fd).st_size)
        self._stop_writing()
        if segment.end == 0:
            self._segments.pop()

    def _stop_writing(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            try:
                os.close(fd)
            except OSError as error:  # its contents were made durable before
                _log.warning("a segment was not closed cleanly", error=str(error))

    def _count(
        self, groups: Sequence[Sequence[Entry]], outcomes: Sequence[int | GnnServiceError], *, overage: bool
    ) -> None:
        for group, outcome in zip(groups, outcomes, strict=True):
            if isinstance(outcome, int):
                self._accepted += len(group)
                self._overage += len(group) if overage else 0
            else:
                self._refused += len(group)

    # ---- reading and forgetting ----

    def segments(self) -> tuple[Path, ...]:
        """The files that hold what is to drain, the oldest first."""
        return tuple(segment.path for segment in self._segments)

    def survey(self, path: Path, digest: Callable[[Iterable[SpoolRecord]], T]) -> T | None:
        """What ``digest`` makes of the records of a segment that are not drained; None where it is gone.

        Raises:
            OSError: the segment cannot be read.
        """
        segment = next((segment for segment in self._segments if segment.path == path), None)
        if segment is None:
            return None
        stretches = scan(spool_files.read(path, 0, segment.end), segment.name.salt, HEADER_BYTES)
        records = (stretch.record for stretch in stretches if stretch.record is not None)
        return digest(record for record in records if record.sequence >= self.position)

    def read(self, bytes_max: int) -> tuple[SpoolRecord, ...]:
        """The oldest records that are not drained, in order: one at least where there is any, else none.

        About ``bytes_max`` of them, all from one segment; the same again until `advance`.

        Raises:
            OSError: a segment cannot be read.
        """
        self._ahead.clear()
        records: list[SpoolRecord] = []
        for segment in tuple(self._segments):
            start = self._cursor if segment is self._segments[0] else HEADER_BYTES
            for stretch in self._stretches(segment, start, bytes_max):
                if stretch.record is None:
                    segment.damaged = True
                    self._aside.damage(segment.path, f"{stretch.end - stretch.start} bytes at {stretch.start}")
                else:
                    records.append(stretch.record)
                    self._ahead.append(_Place(segment, stretch.end, stretch.record))
            if records:
                break
        if not records and self._segments:
            self._forget_all()
        return tuple(records)

    @staticmethod
    def _stretches(segment: Segment, start: int, bytes_max: int) -> list[Stretch]:
        """What stands in a segment from ``start`` on, as much as fits into ``bytes_max`` but one record at least."""
        salt = segment.name.salt
        end = min(segment.end, start + bytes_max)
        found = list(scan(spool_files.read(segment.path, start, end), salt))
        if end < segment.end and found and found[-1].record is None:  # it may only have been cut in two
            found.pop()
            if not any(stretch.record for stretch in found):
                found = []
                for stretch in scan(spool_files.read(segment.path, start, segment.end), salt):
                    found.append(stretch)
                    if stretch.record is not None:
                        break
        return [Stretch(start + part.start, start + part.end, part.record) for part in found]

    def advance(self, past: int) -> None:
        """Forget the records before sequence number ``past``, durably: they are in the database.

        Only records of the last `read` can be forgotten.

        Raises:
            ValueError: it would forget more than that.
            OSError: the disk fails; nothing is forgotten.
        """
        if past <= self.position:
            return
        if not self._ahead or past > self._ahead[-1].record.sequence + 1:
            raise ValueError(f"records before {past} were not all read")
        try:
            self._position.move(past)
        except OSError:
            self._failures += 1
            raise
        while self._ahead and self._ahead[0].record.sequence < past:
            place = self._ahead.popleft()
            while self._segments[0] is not place.segment:
                self._remove_oldest()
            self._cursor = place.end
            place.segment.records = max(0, place.segment.records - 1)
            self._drained += 1
        if not any(segment.records for segment in self._segments):  # what may be left is damage
            self._forget_all()
        elif self._cursor >= self._segments[0].end:
            if len(self._segments) > 1:
                self._remove_oldest()
            else:
                self._forget_all()
        self._oldest_us = self._time_of_oldest()

    def reject(self, record: SpoolRecord, reason: str) -> None:
        """Set aside a record that the database refuses for good; `advance` past it afterwards.

        Raises:
            SpoolFullError: too much was set aside already.
            OSError: it cannot be written.
        """
        self._aside.reject(record, reason)

    def _forget_all(self) -> None:
        """Remove every segment: nothing in them is left to drain."""
        self._oldest_us = None
        self._stop_writing()
        while self._segments:
            self._remove_oldest()

    def _remove_oldest(self) -> None:
        segment = self._segments.popleft()
        self._cursor = HEADER_BYTES
        try:
            if segment.damaged:
                self._aside.keep_segment(segment.path)
            else:
                segment.path.unlink(missing_ok=True)
        except OSError as error:  # `position` says that it is drained; the next start removes it
            _log.warning("a drained segment was not removed", segment=segment.path.name, error=str(error))

    def _time_of_oldest(self) -> int | None:
        if not self._segments:
            return None
        if self._ahead:
            return self._ahead[0].record.time_us
        segment = self._segments[0]
        try:
            head = spool_files.read(segment.path, self._cursor, self._cursor + RECORD_BYTES)
        except OSError:  # the next reading will say so
            return self._oldest_us
        found = time_of(head, segment.name.salt)
        return self._oldest_us if found is None else found  # behind damage: the next reading will tell

    def _is_full(self) -> bool:
        """Whether what was refused last would be refused again. A disk's state is believed for a while only."""
        if self._settings.over_age == "refuse" and self._oldest_s() > self._settings.age_max_s:
            return True
        return self._lacking > self._room() or self._wall() - self._no_space_at < FULL_RETRY_S

    def _room(self) -> int:
        return self._settings.bytes_max - self._bytes() - (HEADER_BYTES if self._fd is None else 0)

    def _bytes(self) -> int:
        return sum(segment.size for segment in self._segments)

    def _oldest_s(self) -> float:
        return max(0.0, self._wall() - self._oldest_us / 1e6) if self._oldest_us is not None else 0.0
