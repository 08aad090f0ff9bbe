"""Readings of a recording piece by piece, for stretches that do not fit into memory."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gnn_service.core.errors import InvalidRecordingError
from gnn_service.domain.machine import Machine
from gnn_service.domain.recording import Readings
from gnn_service.recordings.extras import readings_table
from gnn_service.recordings.folder import readings_of
from gnn_service.recordings.tables import TableFile, find_table, read_table

_ENDS_BYTES: Final = 2**16


class ReadingsFile:
    """`readings.parquet` or `readings.csv` of a recording, read from front to back; a CSV file is read whole.

    Raises:
        InvalidRecordingError: it is missing or not whole.
    """

    def __init__(self, folder: Path) -> None:
        path = find_table(folder, "readings")
        if path is None:
            raise InvalidRecordingError("readings.parquet (or readings.csv) is missing", where=str(folder))
        self._path = path
        self._text = None if path.suffix == ".parquet" else read_table(path)
        self.rows = self._text.rows if self._text is not None else self._parquet().metadata.num_rows
        self.columns = self._text.columns if self._text is not None else tuple(self._parquet().schema_arrow.names)

    @property
    def digest(self) -> str:
        """SHA-256 of size, begin and end, where a Parquet file says what is in it: enough to know the file again."""
        size = self._path.stat().st_size
        with self._path.open("rb") as file:
            begin = file.read(_ENDS_BYTES)
            file.seek(max(0, size - _ENDS_BYTES))
            end = file.read(_ENDS_BYTES)
        return hashlib.sha256(str(size).encode() + b"\n" + begin + end).hexdigest()

    def read(self, machine: Machine, *, first: int = 0, rows: int = 50_000) -> Iterator[Readings]:
        """Readings from row ``first`` on, at most ``rows`` at a time.

        Raises:
            InvalidRecordingError: a column or a cell does not fit the machine, or time does not rise.
        """
        last = None
        for offset, table in self._tables(first, rows):
            name = self._path.name if offset == 0 else f"{self._path.name}, behind row {offset}"
            part = readings_of(TableFile(name, table, self._text is not None), machine)
            if last is not None and part.times[0] <= last:
                detail = "time does not rise"
                raise InvalidRecordingError(detail, where=f"{self._path.name}: row {offset + 1}, column ts")
            last = int(part.times[-1])
            yield part

    def _tables(self, first: int, rows: int) -> Iterator[tuple[int, pa.Table]]:
        """Slices and the row that each begins at."""
        if self._text is not None:
            for start in range(first, self.rows, rows):
                yield start, self._text.table.slice(start, rows)
            return
        file = self._parquet()
        ends = np.cumsum([file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)])
        groups = np.flatnonzero(ends > first).tolist()
        if not groups:
            return
        at = int(ends[groups[0] - 1]) if groups[0] else 0
        skipped = first - at
        try:
            for batch in file.iter_batches(batch_size=rows, row_groups=groups):
                table = pa.Table.from_batches([batch])
                if skipped:
                    table, skipped = table.slice(skipped), max(0, skipped - batch.num_rows)
                at += batch.num_rows
                if table.num_rows:
                    yield at - table.num_rows, table
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error) from error

    def _parquet(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self._path)
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> InvalidRecordingError:
        reason = " ".join(str(error).split())[:200]
        return InvalidRecordingError(f"this is no whole Parquet file: {reason}", where=self._path.name)


class ReadingsWriter:
    """Adds readings to `readings.parquet`; made by `readings_writer`. The first ones set the columns for all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self.rows = 0

    def write(self, readings: Readings) -> None:
        """Add readings, later than those before."""
        table = readings_table(readings)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd", version="2.6")
        self._writer.write_table(table)
        self.rows += table.num_rows

    def close(self) -> None:
        """Write the end of the file, without which nobody can read it."""
        if self._writer is not None:
            self._writer.close()


@contextmanager
def readings_writer(folder: Path) -> Iterator[ReadingsWriter]:
    """Writes `readings.parquet` of a recording piece by piece; whole when the block has ended well."""
    writer = ReadingsWriter(folder / "readings.parquet")
    try:
        yield writer
    finally:
        writer.close()
