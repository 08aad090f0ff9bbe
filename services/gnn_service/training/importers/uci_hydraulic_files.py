"""Reads the files of UCI data set 447: the published text files, or one archive of one-second means."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidRecordingError

SENSORS: Final = (
    *("PS1", "PS2", "PS3", "PS4", "PS5", "PS6", "EPS1", "FS1", "FS2"),
    *("TS1", "TS2", "TS3", "TS4", "VS1", "CE", "CP", "SE"),
)
LABEL_COLUMNS: Final = ("cooler", "valve", "pump", "accumulator", "stable")
KNOWN_LABELS: Final = {
    "cooler": (3, 20, 100),
    "valve": (73, 80, 90, 100),
    "pump": (0, 1, 2),
    "accumulator": (90, 100, 115, 130),
    "stable": (0, 1),
}
PERIOD_S: Final = 60
CHUNK_CYCLES: Final = 128

ToGrid = Callable[[str, NDArray[np.floating]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Cycles:
    """The set on one time grid.

    ``index`` (C,) int64 published cycle number; ``values`` (C, N, S) float32 with sensors in the order of ``SENSORS``,
    NaN = missing; ``labels`` (C, 5) int64 in the order of ``LABEL_COLUMNS``; ``rates`` the source's samples a second.
    """

    index: NDArray[np.int64]
    values: NDArray[np.float32]
    labels: NDArray[np.int64]
    rates: dict[str, int]


def read_archive(path: Path, to_grid: ToGrid) -> Cycles:
    """Read ``readings`` (C, S, N), ``sensors``, ``labels``, ``label_names`` and ``cycle`` of an .npz archive."""
    try:
        with path.open("rb") as data, np.load(data, allow_pickle=False) as archive:
            missing = {"readings", "sensors", "labels", "label_names", "cycle"} - set(archive.files)
            if missing:
                raise InvalidRecordingError(f"array {min(missing)!r} is missing", where=path.name)
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidRecordingError(f"this is no whole NumPy archive: {error}", where=path.name) from error
    readings, cycle, labels = arrays["readings"], arrays["cycle"], arrays["labels"]
    sensors, names = arrays["sensors"].astype(str).tolist(), arrays["label_names"].astype(str).tolist()
    _check_names(path.name, "sensor", sensors, SENSORS)
    _check_names(path.name, "label", names, LABEL_COLUMNS)
    fits = readings.ndim == 3 and readings.shape[:2] == (cycle.size, len(sensors))
    if not fits or labels.shape != (cycle.size, len(names)) or cycle.size == 0 or readings.dtype.kind != "f":
        detail = f"readings {readings.shape}, labels {labels.shape} and cycle {cycle.shape} do not fit together"
        raise InvalidRecordingError(detail, where=path.name)
    _check_finite(path.name, readings)
    index = cycle.astype(np.int64)
    if (np.diff(index) <= 0).any():
        raise InvalidRecordingError("array cycle goes backwards or repeats", where=path.name)
    ordered = readings[:, [sensors.index(sensor) for sensor in SENSORS]]
    values = np.stack([to_grid(f"{path.name}: {s}", ordered[:, i]) for i, s in enumerate(SENSORS)], axis=2)
    labels = labels[:, [names.index(name) for name in LABEL_COLUMNS]].astype(np.int64)
    _check_labels(path.name, labels)
    return Cycles(index, values, labels, dict.fromkeys(SENSORS, readings.shape[2] // PERIOD_S))


def read_text_files(folder: Path, to_grid: ToGrid, progress: Callable[[str, int, int], None] | None) -> Cycles:
    """Read ``profile.txt`` and one file a sensor: one row a cycle, values separated by tabs, at any rate."""
    labels, _ = _read_rows(folder / "profile.txt", lambda _name, rows: rows.astype(np.float32))
    if labels.shape[1] != len(LABEL_COLUMNS):
        detail = f"{labels.shape[1]} columns, not the {len(LABEL_COLUMNS)} labels"
        raise InvalidRecordingError(detail, where="profile.txt")
    _check_labels("profile.txt", labels)
    values, rates = np.empty((0, 0, 0), dtype=np.float32), {}
    for done, sensor in enumerate(SENSORS):
        name = f"{sensor}.txt"
        if progress:
            progress(name, done, len(SENSORS))
        rows, width = _read_rows(folder / name, to_grid)
        if len(rows) != len(labels):
            detail = f"{len(rows)} cycles, but profile.txt has {len(labels)}: one of them is cut short"
            raise InvalidRecordingError(detail, where=name)
        if not done:
            # One array for all sensors, filled in place: at 100 Hz the whole set is most of a gigabyte.
            values = np.empty((*rows.shape, len(SENSORS)), dtype=np.float32)
        values[:, :, done] = rows
        rates[sensor] = width // PERIOD_S
    return Cycles(np.arange(len(labels), dtype=np.int64), values, labels.astype(np.int64), rates)


def _read_rows(path: Path, reduce: ToGrid) -> tuple[NDArray[np.float32], int]:
    """Rows of numbers in chunks, each reduced before the next is read: 100 Hz files need little memory.

    Returns the reduced rows (C, N) and the width of a row in the file.
    """
    parts: list[NDArray[np.float32]] = []
    width = 0
    try:
        with path.open(encoding="ascii") as lines:
            while (rows := _next_rows(lines, path.name, sum(map(len, parts)))) is not None:
                if width and rows.shape[1] != width:
                    raise InvalidRecordingError(f"rows of {width} and of {rows.shape[1]} samples", where=path.name)
                width = rows.shape[1]
                _check_finite(path.name, rows, sum(map(len, parts)))
                parts.append(reduce(path.name, rows))
    except FileNotFoundError as error:
        raise InvalidRecordingError("this file is missing", where=path.name) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRecordingError(f"cannot be read: {error}", where=path.name) from error
    if not parts:
        raise InvalidRecordingError("this file is empty", where=path.name)
    return np.concatenate(parts), width


def _next_rows(lines: TextIOWrapper, name: str, done: int) -> NDArray[np.float64] | None:
    chunk = []
    for line in lines:
        if line.strip():
            chunk.append(line)
        if len(chunk) == CHUNK_CYCLES:
            break
    if not chunk:
        return None
    try:
        return np.loadtxt(chunk, dtype=np.float64, ndmin=2, comments=None)
    except ValueError:
        raise _bad_row(chunk, name, done) from None


def _bad_row(chunk: list[str], name: str, done: int) -> InvalidRecordingError:
    """Which line of a chunk cannot be read, and why."""
    width = len(chunk[0].split())
    for offset, line in enumerate(chunk):
        where, cells = f"{name}: line {done + offset + 1}", line.split()
        if len(cells) != width:
            return InvalidRecordingError(f"{len(cells)} values, not {width}: is the file cut short?", where=where)
        for position, cell in enumerate(cells):
            try:
                float(cell)
            except ValueError:
                return InvalidRecordingError(f"{cell!r} is not a number", where=f"{where}, value {position + 1}")
    return InvalidRecordingError("rows that are no numbers", where=name)


def _check_finite(name: str, rows: NDArray[np.floating], done: int = 0) -> None:
    bad = np.argwhere(~np.isfinite(rows))
    if bad.size:
        where = f"{name}: cycle {done + int(bad[0][0]) + 1}"
        raise InvalidRecordingError("a value is not finite; the published set has no gaps", where=where)


def _check_names(name: str, kind: str, given: list[str], wanted: tuple[str, ...]) -> None:
    missing = [one for one in wanted if one not in given]
    unknown = [one for one in given if one not in wanted]
    if missing or unknown or len(set(given)) != len(given):
        unwanted = f"unknown or repeated {kind} {(unknown or given)[0]!r}"
        detail = f"{kind} {missing[0]!r} is missing" if missing else unwanted
        raise InvalidRecordingError(detail, where=name)


def _check_labels(name: str, labels: NDArray[np.number]) -> None:
    for column, label in enumerate(LABEL_COLUMNS):
        bad = np.flatnonzero(~np.isin(labels[:, column], KNOWN_LABELS[label]))
        if bad.size:
            value = labels[bad[0], column]
            raise InvalidRecordingError(f"{label} has no level {value:g}", where=f"{name}: cycle {int(bad[0]) + 1}")
