"""Tables that callers send as bytes, and tables as bytes: CSV, Parquet and the Arrow stream format.

Senders are not trusted: a few bytes may claim to be billions of rows, so that sizes are looked at before anything is
unpacked.
"""

import csv
import io
import re
import struct
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidRecordingError
from gnn_service.domain.recording import Readings
from gnn_service.recordings.extras import OPTIONAL_COLUMNS, readings_table
from gnn_service.recordings.tables import MISSING, TableFile, arrow_column

TableKind = Literal["csv", "parquet", "arrow"]
NAME: Final = "body"
"""What errors call it."""
TEXT_MAX: Final = 64
"""Characters of a phase or an operating state."""
_BYTES_A_CELL: Final = 16
_UNIT: Final = re.compile(r"^\s*(.*?)\s*\[([^\[\]]{1,40})\]\s*$")
_HEADER_BATCH, _COMPRESSION = 3, 3  # MessageHeader.RecordBatch and a field of RecordBatch, Arrow's Message.fbs


def read_upload(body: bytes, kind: TableKind, *, cells_max: int) -> tuple[TableFile, dict[str, str]]:
    """A table in bytes, and the units of the columns that name one: ``PS1 [bar]`` in a header, ``unit`` in metadata.

    Args:
        body: all of it.
        kind: its format.
        cells_max: rows times columns, at most.

    Raises:
        InvalidRecordingError: it is no whole table of that kind, holds what no readings are, or is too large.
    """
    if not body:
        raise InvalidRecordingError("it is empty", where=NAME)
    readers = {"csv": _read_csv, "parquet": _read_parquet, "arrow": _read_arrow}
    try:
        table = readers[kind](body, cells_max)
        table.validate(full=True)
    except (pa.ArrowException, OSError, csv.Error, UnicodeDecodeError, struct.error, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidRecordingError(f"this is no whole {kind} table: {reason}", where=NAME) from error
    if table.num_rows == 0:
        raise InvalidRecordingError("this table has no rows", where=NAME)
    table, units = _named(table)
    for name in OPTIONAL_COLUMNS[:2]:
        if name in table.column_names:
            _check_texts(table, name)
    return TableFile(NAME, table, kind == "csv"), units


def readings_csv(readings: Readings, *, header: bool) -> bytes:
    """Readings as CSV, as every CSV is read here; with or without the line of names."""
    table = readings_table(readings)
    columns = {name: table.column(name) for name in table.column_names[1:]}
    texts = readings.phase is not None or readings.operating_state is not None
    return _csv(readings.times, columns, header=header, quoting="needed" if texts else "none")


def columns_csv(times: NDArray[np.int64], columns: Mapping[str, NDArray[Any]]) -> bytes:
    """Columns of numbers beside their times, microseconds since 1970 UTC, as CSV; NaN is an empty cell."""
    return _csv(times, {name: arrow_column(values) for name, values in columns.items()}, header=True, quoting="none")


def _csv(
    times: NDArray[np.int64], columns: Mapping[str, Any], *, header: bool, quoting: Literal["none", "needed"]
) -> bytes:
    instants = np.char.add(np.datetime_as_string(times.astype("datetime64[us]")), "Z")
    table = pa.table({"ts": pa.array(instants.tolist(), pa.string()), **columns})
    written = io.BytesIO()
    if header:  # pyarrow would put quotes around names that need none
        written.write(",".join(table.column_names).encode() + b"\n")
    pa_csv.write_csv(table, written, pa_csv.WriteOptions(include_header=False, quoting_style=quoting))
    return written.getvalue()


def readings_bytes(readings: Readings, kind: TableKind) -> bytes:
    """Readings as a table in bytes, for sending."""
    if kind == "csv":
        return readings_csv(readings, header=True)
    table, written = readings_table(readings), io.BytesIO()
    if kind == "parquet":
        pq.write_table(table, written, compression="zstd")
    else:
        with pa.ipc.new_stream(written, table.schema) as stream:
            stream.write_table(table)
    return written.getvalue()


def _read_csv(body: bytes, cells_max: int) -> pa.Table:
    header = next(csv.reader(io.TextIOWrapper(io.BytesIO(body), encoding="utf-8-sig", newline="")), [])
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InvalidRecordingError(f"column {twice[0]!r} stands there twice", where=NAME)
    _check_size(body.count(b"\n"), len(header), cells_max)
    convert = pa_csv.ConvertOptions(
        column_types={name: pa.string() for name in header}, null_values=list(MISSING), strings_can_be_null=True
    )
    return pa_csv.read_csv(io.BytesIO(body), pa_csv.ReadOptions(use_threads=False), convert_options=convert)


def _read_parquet(body: bytes, cells_max: int) -> pa.Table:
    found = pq.read_metadata(pa.BufferReader(body))
    schema = found.schema.to_arrow_schema()
    _check_types(schema)
    _check_size(found.num_rows, found.num_columns, cells_max)
    groups = [found.row_group(number) for number in range(found.num_row_groups)]
    unpacked = sum(
        group.column(place).total_uncompressed_size for group in groups for place in range(found.num_columns)
    )
    if unpacked > _BYTES_A_CELL * cells_max:
        raise InvalidRecordingError(f"it unpacks to {unpacked} bytes; send less at once", where=NAME)
    texts = [name for name in OPTIONAL_COLUMNS[:2] if name in schema.names]  # as dictionaries they stay small
    return pq.ParquetFile(pa.BufferReader(body), read_dictionary=texts).read(use_threads=False)


def _read_arrow(body: bytes, cells_max: int) -> pa.Table:
    for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(body)):
        if _is_compressed(message.metadata.to_pybytes()):
            raise InvalidRecordingError("its buffers are compressed; write the stream without compression", where=NAME)
    with pa.ipc.open_stream(pa.BufferReader(body)) as stream:
        _check_types(stream.schema)
        rows, batches = 0, []
        for batch in stream:
            rows += batch.num_rows
            _check_size(rows, batch.num_columns, cells_max)
            batches.append(batch)
        return pa.Table.from_batches(batches, stream.schema)


def _is_compressed(message: bytes) -> bool:
    """Whether the header of an Arrow message, a flatbuffer, is of a record batch with compressed buffers."""

    def field(table: int, number: int) -> int | None:
        vtable = table - struct.unpack_from("<i", message, table)[0]
        at = 4 + 2 * number
        if at >= struct.unpack_from("<H", message, vtable)[0]:
            return None
        offset = struct.unpack_from("<H", message, vtable + at)[0]
        return table + offset if offset else None

    root = struct.unpack_from("<I", message)[0]
    kind, header = field(root, 1), field(root, 2)
    if kind is None or header is None or message[kind] != _HEADER_BATCH:
        return False
    batch = header + struct.unpack_from("<I", message, header)[0]
    return field(batch, _COMPRESSION) is not None


def _check_size(rows: int, columns: int, cells_max: int) -> None:
    if rows * max(columns, 1) > cells_max:
        raise InvalidRecordingError(
            f"{rows} rows of {columns} columns are too many; send at most {cells_max} values at once", where=NAME
        )


def _check_types(schema: pa.Schema) -> None:
    """Refuse columns of texts, lists and the like before they are unpacked: readings are numbers at times."""
    for field in schema:
        kind = field.type
        if field.name in OPTIONAL_COLUMNS[:2]:
            text = kind.value_type if pa.types.is_dictionary(kind) else kind
            good = pa.types.is_string(text) or pa.types.is_large_string(text) or pa.types.is_null(text)
        else:
            good = any(
                is_it(kind)
                for is_it in (pa.types.is_floating, pa.types.is_integer, pa.types.is_timestamp, pa.types.is_null)
            )
        if not good:
            raise InvalidRecordingError(f"must not hold {kind}", where=f"{NAME}: column {field.name}")


def _check_texts(table: pa.Table, name: str) -> None:
    chunks: list[Any] = table.column(name).chunks
    for chunk in chunks:
        texts = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
        longest = max((len(text) for text in texts.unique().to_pylist() if text is not None), default=0)
        if longest > TEXT_MAX:
            raise InvalidRecordingError(
                f"a text of {longest} characters; at most {TEXT_MAX}", where=f"{NAME}: column {name}"
            )


def _named(table: pa.Table) -> tuple[pa.Table, dict[str, str]]:
    """The table with plain column names, and the unit of each column that named one."""
    names, units = [], {}
    for field in table.schema:
        found = _UNIT.match(field.name)
        name, unit = (found[1], found[2]) if found else (field.name.strip(), None)
        if unit is None and field.metadata and b"unit" in field.metadata:
            unit = field.metadata[b"unit"].decode("utf-8", "replace")
        names.append(name)
        if unit is not None:
            units[name] = unit
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidRecordingError(f"column {twice[0]!r} stands there twice", where=NAME)
    return table.rename_columns(names), units
