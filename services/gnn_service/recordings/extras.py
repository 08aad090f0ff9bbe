"""What may lie beside the readings of a recording: cycles, events, and short tables at a higher rate.

`cycles` has a row a duty cycle (``cycle, start, end``, per-phase means, energies in J), `events` what people did to the
machine (``ts, kind, component, detail``), and `captures/NAME` a short table of the same machine at another rate:
readings as those of the recording, or ``ts`` with readings and, as ``state.NAME``, what no sensor measures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidRecordingError
from gnn_service.domain.recording import Readings
from gnn_service.recordings.tables import Column, arrow_column, find_table, instants_column, read_any, read_table

FileFormat = Literal["parquet", "csv"]
Table = Mapping[str, NDArray[Any]]
"""Columns of one length by name; times are datetime64[us], NaN and '' are missing."""

OPTIONAL_COLUMNS = ("phase", "operating_state", "cycle")
CAPTURES = "captures"


@dataclass(frozen=True, slots=True)
class Extras:
    """The optional tables of a recording; ``captures`` holds readings or tables by the name of their file."""

    cycles: Table | None = None
    events: Table | None = None
    captures: Mapping[str, Readings | Table] = field(default_factory=dict)


def write_extras(extras: Extras, folder: Path, file_format: FileFormat) -> None:
    """Write what there is of them into the folder of a recording."""
    for name in ("cycles", "events"):
        columns = getattr(extras, name)
        if columns is not None:
            write_table(_arrow(columns), folder / f"{name}.{file_format}")
    if extras.captures:
        (folder / CAPTURES).mkdir()
        for name, capture in extras.captures.items():
            table = readings_table(capture) if isinstance(capture, Readings) else _arrow(capture)
            write_table(table, folder / CAPTURES / f"{name}.{file_format}")


def read_extra(folder: Path, name: Literal["cycles", "events"]) -> dict[str, NDArray[Any]] | None:
    """The `cycles` or the `events` of a recording, column by column; None where it has none."""
    path = find_table(Path(folder), name)
    if path is None:
        return None
    file = read_table(path)
    return {column: read_any(file, column) for column in file.columns}


def capture_names(folder: Path) -> tuple[str, ...]:
    """Names of the captures of a recording, sorted."""
    inside = Path(folder) / CAPTURES
    found = {path.stem for path in inside.iterdir() if path.suffix in (".parquet", ".csv")} if inside.is_dir() else ()
    return tuple(sorted(found))


def read_capture(folder: Path, name: str) -> dict[str, NDArray[Any]]:
    """One capture of a recording, column by column, times as datetime64[us]; InvalidRecordingError without it."""
    path = find_table(Path(folder) / CAPTURES, name)
    if path is None:
        known = ", ".join(capture_names(folder)) or "none"
        raise InvalidRecordingError(f"no capture {name!r}; there is: {known}", where=str(folder))
    file = read_table(path)
    return {column: read_any(file, column) for column in file.columns}


def _arrow(columns: Table) -> pa.Table:
    return pa.table({key: arrow_column(np.asarray(values)) for key, values in columns.items()})


def readings_table(readings: Readings) -> pa.Table:
    """Readings as the contract lays them out: ``ts``, the optional columns, one float32 column a sensor."""
    columns: dict[str, Column] = {"ts": instants_column(readings.times)}
    for name in OPTIONAL_COLUMNS:
        values = getattr(readings, name)
        if values is not None:
            column = arrow_column(values)
            columns[name] = column if name == "cycle" else column.dictionary_encode()
    for index, sensor in enumerate(readings.sensors):
        columns[sensor] = arrow_column(np.ascontiguousarray(readings.values[:, index], dtype=np.float32))
    return pa.table(columns)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as Parquet, or as CSV by the file's suffix; the same table gives the same bytes."""
    if path.suffix == ".csv":
        pa_csv.write_csv(_plain(table), path, pa_csv.WriteOptions(quoting_style="needed"))
    else:
        pq.write_table(table, path, compression="zstd", version="2.6", write_statistics=True)


def _plain(table: pa.Table) -> pa.Table:
    """Without dictionaries, which CSV does not know, and with times as ISO 8601 in UTC."""
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column: Any = table.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        elif pa.types.is_timestamp(column.type):
            column = pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ")
        columns[name] = column
    return pa.table(columns)
