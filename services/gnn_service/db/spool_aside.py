"""What the spool cannot use is set aside for a person to look at, never deleted: damage, and refused records."""

from pathlib import Path
from typing import Final

from gnn_service.core.errors import SpoolFullError
from gnn_service.db import spool_files
from gnn_service.db.spool_format import SpoolRecord
from gnn_service.observability import logs

DAMAGED: Final = "damaged"
REJECTED: Final = "rejected"
_log = logs.logger("gnn_service.db.spool")


class Aside:
    """The folders `damaged` and `rejected` inside the spool's.

    Args:
        bytes_max: rejected records are kept while both folders together hold less.
    """

    def __init__(self, folder: Path, bytes_max: int) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._reported: set[tuple[str, str]] = set()
        self.bytes = sum(file.stat().st_size for name in (DAMAGED, REJECTED) for file in self._files(name))
        self.damaged_total = 0
        self.rejected_total = 0

    def damage(self, segment: Path, what: str) -> None:
        """Report a damaged stretch of a segment; a second time the same one is passed over."""
        if (segment.name, what) not in self._reported:
            self._reported.add((segment.name, what))
            self.damaged_total += 1
            _log.error("a stretch of the spool is damaged", segment=segment.name, what=what)

    def keep_segment(self, segment: Path) -> None:
        """Move a segment with damage away whole; needs no room, so it also works on a full disk."""
        size = segment.stat().st_size
        segment.rename(self._place(DAMAGED) / segment.name)
        spool_files.sync_folder(self._folder)
        self.bytes += size

    def reject(self, record: SpoolRecord, reason: str) -> None:
        """Keep a record that the database refuses for good: a line with kind and reason, then the payload.

        Raises:
            SpoolFullError: too much was set aside already.
            OSError: it cannot be written.
        """
        line = f"{record.sequence} {record.time_us} {record.kind} {' '.join(reason.split())}\n"
        kept = self._place(REJECTED) / f"{record.sequence:020d}-{record.time_us}.record"
        data = line.encode() + record.payload
        if not kept.exists():
            if self.bytes + len(data) > self._bytes_max:
                raise SpoolFullError(f"over {self._bytes_max} bytes were set aside; look at {self._folder}, clear it")
            spool_files.replace(kept, data)
            self.bytes += len(data)
        self.rejected_total += 1
        _log.error("the database refuses a spooled record", kind=record.kind, reason=reason, file=str(kept))

    def _place(self, name: str) -> Path:
        place = self._folder / name
        if not place.is_dir():
            place.mkdir()
            spool_files.sync_folder(self._folder)
        return place

    def _files(self, name: str) -> list[Path]:
        place = self._folder / name
        return [file for file in place.iterdir() if file.is_file()] if place.is_dir() else []
