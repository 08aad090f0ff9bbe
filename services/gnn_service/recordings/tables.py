"""Columns of Parquet and CSV files as NumPy arrays, with errors that name the file, the row and the column.

A CSV file is comma separated UTF-8 with one header line. A cell that is empty or says NaN, NA or null is missing.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidRecordingError

Column: TypeAlias = "pa.Array[Any]"

INSTANT = pa.timestamp("us", tz="UTC")
MISSING = ("", "nan", "NaN", "NAN", "na", "NA", "N/A", "null", "NULL", "None")
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class TableFile:
    """A table and the name that its errors carry; from CSV every column is text."""

    name: str
    table: pa.Table
    is_text: bool

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.table.num_rows)

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names in the file's order."""
        return tuple(self.table.column_names)

    def column(self, name: str) -> Column:
        """One column as a single array; InvalidRecordingError where it is not there."""
        if name not in self.columns:
            raise InvalidRecordingError(f"column {name!r} is missing; there is: {_some(self.columns)}", where=self.name)
        return self.table.column(name).combine_chunks()

    def error(self, name: str, detail: str, row: int | None = None) -> InvalidRecordingError:
        """An error at a column and, where given, at a row (0-based): a line number in CSV, a row number in Parquet."""
        place = "" if row is None else f"line {row + 2}, " if self.is_text else f"row {row + 1}, "
        return InvalidRecordingError(detail, where=f"{self.name}: {place}column {name}")


def find_table(folder: Path, stem: str) -> Path | None:
    """`<stem>.parquet` or `<stem>.csv` in a folder; None where neither is there, an error where both are."""
    found = [path for suffix in (".parquet", ".csv") if (path := folder / f"{stem}{suffix}").is_file()]
    if len(found) > 1:
        raise InvalidRecordingError(f"both {found[0].name} and {found[1].name} are there; keep one", where=str(folder))
    return found[0] if found else None


def read_table(path: Path) -> TableFile:
    """Read a Parquet file, or a CSV file with every column as text; InvalidRecordingError where it cannot be."""
    is_text = path.suffix.lower() == ".csv"
    try:
        if path.stat().st_size == 0:
            raise InvalidRecordingError("this file is empty", where=path.name)
        table = _read_csv(path) if is_text else pq.read_table(path)
    except (pa.ArrowException, OSError, csv.Error, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        kind = "CSV" if is_text else "Parquet"
        raise InvalidRecordingError(f"this is no whole {kind} file: {reason}", where=path.name) from error
    if table.num_rows == 0:
        raise InvalidRecordingError("this table has no rows", where=path.name)
    return TableFile(path.name, table, is_text)


def _read_csv(path: Path) -> pa.Table:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        header = next(csv.reader(lines), [])
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InvalidRecordingError(f"column {twice[0]!r} stands there twice", where=path.name)
    convert = pa_csv.ConvertOptions(
        column_types={name: pa.string() for name in header}, null_values=list(MISSING), strings_can_be_null=True
    )
    return pa_csv.read_csv(path, convert_options=convert)


def csv_columns(path: Path) -> list[str]:
    """Column names in the first line of a CSV file; comma, semicolon or tab, whichever is there most."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            first = lines.readline()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRecordingError(f"cannot be read: {error}", where=str(path)) from error
    if not first.strip():
        raise InvalidRecordingError("there is no header in the first line", where=path.name)
    return next(csv.reader([first], delimiter=max(",;\t", key=first.count)))


def read_instants(file: TableFile, name: str) -> NDArray[np.int64]:
    """A column of times as microseconds since 1970 UTC, (R,); a time without a zone is read as UTC."""
    column = file.column(name)
    _refuse_missing(file, name, column)
    if file.is_text:
        column = _cast_text(file, name, column, _instants_of_text, "a time like 2025-01-31T12:00:00Z")
    elif pa.types.is_timestamp(column.type):
        column = _instants_of_timestamps(column)
    else:
        raise file.error(name, f"must be a timestamp, not {column.type}")
    return np.asarray(column.cast(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)


def read_numbers(file: TableFile, name: str) -> NDArray[np.float64]:
    """A column of numbers, (R,); missing is NaN, an infinite number is an error."""
    column = file.column(name)
    if file.is_text:
        column = _cast_text(file, name, column, lambda part: part.cast(pa.float64()), "a number")
    elif pa.types.is_null(column.type):
        return np.full(file.rows, np.nan)
    elif not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise file.error(name, f"must hold numbers, not {column.type}")
    values = np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)
    too_large = np.flatnonzero(np.abs(values) > LARGEST)
    if too_large.size:
        raise file.error(name, f"{values[too_large[0]]} is not finite in single precision", int(too_large[0]))
    return values


def read_integers(file: TableFile, name: str) -> NDArray[np.int64]:
    """A column of whole numbers without gaps, (R,)."""
    column = file.column(name)
    _refuse_missing(file, name, column)
    if file.is_text:
        column = _cast_text(file, name, column, lambda part: part.cast(pa.int64()), "a whole number")
    elif not pa.types.is_integer(column.type):
        raise file.error(name, f"must hold whole numbers, not {column.type}")
    return np.asarray(column.cast(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)


def read_texts(file: TableFile, name: str) -> NDArray[np.str_]:
    """A column of text, (R,); missing is ''."""
    column = file.column(name)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_null(column.type)):
        raise file.error(name, f"must hold text, not {column.type}")
    filled = column.cast(pa.string()).fill_null("")
    return np.array(filled.to_pylist(), dtype=np.str_)


def read_any(file: TableFile, name: str) -> NDArray[Any]:
    """A column of whatever it holds: bool, int64, float64 (also whole numbers with gaps), time or text."""
    column = file.column(name)
    if file.is_text:
        column = _guess(column)
    if pa.types.is_boolean(column.type):
        _refuse_missing(file, name, column)
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.bool_)
    if pa.types.is_integer(column.type) and column.null_count == 0:
        return np.asarray(column.cast(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)
    if pa.types.is_timestamp(column.type):
        return _instants_of_timestamps(column).to_numpy(zero_copy_only=False).astype("datetime64[us]")
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    return read_texts(file, name)


def arrow_column(values: NDArray[Any]) -> Column:
    """The inverse of the readers: NaN becomes null, '' in text becomes null, bool, int64 and times stay."""
    if values.dtype.kind == "f":
        return cast(Column, pa.array(values, from_pandas=True))
    if values.dtype.kind == "M":
        return cast(Column, pa.array(values.astype("datetime64[us]")).cast(pa.timestamp("us")).cast(INSTANT))
    if values.dtype.kind in "iu":
        return cast(Column, pa.array(values.astype(np.int64)))
    if values.dtype.kind == "b":
        return cast(Column, pa.array(values))
    return pa.array([str(value) or None for value in values.tolist()], type=pa.string())


def instants_column(microseconds: NDArray[np.int64]) -> Column:
    """Times as a timestamp column, microseconds UTC."""
    return cast(Column, pa.array(microseconds, type=pa.int64()).cast(INSTANT))


def _refuse_missing(file: TableFile, name: str, column: Column) -> None:
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise file.error(name, "must not be missing", row)


def _cast_text(file: TableFile, name: str, column: Column, convert: Callable[[Column], Column], wanted: str) -> Column:
    """Convert a text column; where that fails, bisect for the first cell that cannot be."""
    column = pc.utf8_trim_whitespace(column.cast(pa.string()))
    try:
        return convert(column)
    except pa.ArrowInvalid:
        low, high = 0, len(column)
        while high - low > 1:
            middle = (low + high) // 2
            try:
                convert(column.slice(low, middle - low))
                low = middle
            except pa.ArrowInvalid:
                high = middle
        raise file.error(name, f"{column[low].as_py()!r} is not {wanted}", low) from None


def _instants_of_text(column: Column) -> Column:
    zoned = pc.match_substring_regex(column, r"(Z|[+-]\d{2}:?\d{2})$")
    if pc.all(zoned).as_py():
        return cast(Column, column.cast(INSTANT))
    if pc.any(zoned).as_py():
        column = pc.if_else(zoned, column, pc.replace_substring_regex(column, "^(.*)$", "\\1Z"))
        return cast(Column, column.cast(INSTANT))
    return cast(Column, column.cast(pa.timestamp("us")).cast(INSTANT))


def _instants_of_timestamps(column: Column) -> Column:
    """Zoned or not, in any resolution; what is finer than a microsecond is cut off."""
    return cast(Column, column.cast(pa.timestamp("us", tz=column.type.tz), safe=False).cast(INSTANT))


def _guess(column: Column) -> Column:
    for wanted in (pa.int64(), pa.float64(), pa.bool_()):
        try:
            return column.cast(wanted)
        except pa.ArrowInvalid:
            continue
    dated = pc.all(pc.match_substring_regex(column, r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:")).as_py()
    return _instants_of_text(column) if dated and column.null_count == 0 else column


def _some(names: tuple[str, ...], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return f"{shown}, ..." if len(names) > most else shown
