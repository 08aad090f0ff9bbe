"""A recording as a folder: machine.json, readings, and where known truth and recording.json.

Layout: `readings.parquet` or `readings.csv` with `ts` (microseconds UTC, strictly rising), optional `phase`,
`operating_state` and `cycle`, then one float32 column a sensor (null = missing); `truth.parquet` or `truth.csv` with
`start, end, component, fault, severity, group` and further columns; `recording.json` with the provenance; and what
`gnn_service.recordings.extras` describes.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidRecordingError
from gnn_service.domain.machine import Machine
from gnn_service.domain.recording import Readings, Recording, Truth
from gnn_service.recordings.extras import (
    OPTIONAL_COLUMNS,
    Extras,
    FileFormat,
    readings_table,
    write_extras,
    write_table,
)
from gnn_service.recordings.machine_file import read_machine
from gnn_service.recordings.staging import staged_folder, writing_to
from gnn_service.recordings.tables import (
    Column,
    TableFile,
    arrow_column,
    find_table,
    instants_column,
    read_any,
    read_instants,
    read_integers,
    read_numbers,
    read_table,
    read_texts,
)

TRUTH_COLUMNS = ("start", "end", "component", "fault", "severity", "group")


def read_recording(path: Path) -> Recording:
    """Read one recording and check all of it.

    Sensors that the machine has and the table lacks are left out of ``readings.sensors``; the others stand in the
    order of the machine's description. Raises InvalidRecordingError or InvalidMachineError in one line that says where.
    """
    path = Path(path)
    if not path.is_dir():
        detail = "no such folder; a recording is a folder with machine.json and readings.parquet"
        raise InvalidRecordingError(detail, where=str(path))
    machine_file = path / "machine.json"
    if not machine_file.is_file():
        raise InvalidRecordingError("machine.json is missing; is this a recording?", where=str(path))
    readings_file = find_table(path, "readings")
    if readings_file is None:
        raise InvalidRecordingError("readings.parquet (or readings.csv) is missing", where=str(path))
    machine = read_machine(machine_file)
    readings = readings_of(read_table(readings_file), machine)
    truth_file = find_table(path, "truth")
    truth = None if truth_file is None else truth_of(read_table(truth_file), machine)
    return Recording(machine, readings, truth, _read_info(path / "recording.json"))


def read_recordings(paths: Iterable[Path]) -> list[Recording]:
    """Read recordings and folders of recordings, in the order given, inside a folder by name."""
    return [read_recording(path) for path in recording_folders(paths)]


def recording_folders(paths: Iterable[Path]) -> list[Path]:
    """The recordings among folders and inside folders of recordings, in the order given, inside a folder by name."""
    found: list[Path] = []
    for given in paths:
        path = Path(given)
        if (path / "machine.json").is_file() or not path.is_dir():
            found.append(path)
            continue
        # a name with a dot in front is a folder that somebody is still writing, or was writing when killed
        visible = (folder for folder in path.iterdir() if not folder.name.startswith("."))
        inside = sorted(folder for folder in visible if (folder / "machine.json").is_file())
        if not inside:
            detail = "neither a recording nor a folder of recordings: no machine.json"
            raise InvalidRecordingError(detail, where=str(path))
        found.extend(inside)
    if not found:
        raise InvalidRecordingError("no recording was named")
    return found


def write_recording(
    recording: Recording,
    path: Path,
    *,
    overwrite: bool = False,
    extras: Extras | None = None,
    file_format: FileFormat = "parquet",
    also: Callable[[Path], object] | None = None,
) -> None:
    """Write a recording as a folder, whole or not at all; the same recording gives the same bytes.

    ``also`` writes what else is to lie in the folder, such as pictures, into the folder that it is given.

    Raises InvalidInputError where the folder cannot be written, also where the disk fills up on the way.
    """
    with staged_folder(Path(path), overwrite=overwrite) as folder, writing_to(path):
        write_table(readings_table(recording.readings), folder / f"readings.{file_format}")
        if recording.truth is not None:
            write_table(_truth_table(recording.truth), folder / f"truth.{file_format}")
        if extras is not None:
            write_extras(extras, folder, file_format)
        if also is not None:
            also(folder)
        (folder / "recording.json").write_text(_json(recording.info), encoding="utf-8")
        # last, for it is what makes a folder a recording
        machine = recording.machine.model_dump(mode="json", exclude_none=True)
        (folder / "machine.json").write_text(_json(machine), encoding="utf-8")


def readings_of(file: TableFile, machine: Machine) -> Readings:
    """The readings in a table of this machine; InvalidRecordingError for a column or a cell that does not fit."""
    known = set(machine.sensor_ids)
    for name in file.columns:
        if name != "ts" and name not in known and name not in OPTIONAL_COLUMNS:
            known_ids = ", ".join(machine.sensor_ids)
            detail = f"column {name!r} is no sensor of machine {machine.id}; it has: {known_ids}"
            raise InvalidRecordingError(detail, where=file.name)
    sensors = tuple(sensor for sensor in machine.sensor_ids if sensor in file.columns)
    if not sensors:
        raise InvalidRecordingError(f"no column is a sensor of machine {machine.id}", where=file.name)
    times = read_instants(file, "ts")
    _check_order(file, times)
    values = np.empty((file.rows, len(sensors)), dtype=np.float32)
    for index, sensor in enumerate(sensors):
        values[:, index] = read_numbers(file, sensor)
    return Readings(
        times=times,
        sensors=sensors,
        values=values,
        phase=read_texts(file, "phase") if "phase" in file.columns else None,
        operating_state=read_texts(file, "operating_state") if "operating_state" in file.columns else None,
        cycle=read_integers(file, "cycle") if "cycle" in file.columns else None,
    )


def truth_of(file: TableFile, machine: Machine) -> Truth:
    """The truth in a table; components and faults must be the machine's, severity within 0..1."""
    start, end = read_instants(file, "start"), read_instants(file, "end")
    component, fault = read_texts(file, "component"), read_texts(file, "fault")
    group = read_texts(file, "group")
    severity = read_numbers(file, "severity")
    modes = {(mode.component, mode.id) for mode in machine.failure_modes}
    known = np.isin(component, machine.component_ids)
    fits = np.array([f == "" or (c, f) in modes for c, f in zip(component.tolist(), fault.tolist(), strict=True)])
    for name, good, complaint in (
        ("end", end > start, "must be after start"),
        ("component", known, f"is no component of machine {machine.id}"),
        ("fault", fits, "is no failure mode of this component"),
        ("severity", (severity >= 0) & (severity <= 1), "must be within 0..1"),
        ("group", group != "", "must not be missing"),
    ):
        bad = np.flatnonzero(~good)
        if bad.size:
            row = int(bad[0])
            cell = file.table.column(name)[row].as_py()
            raise file.error(name, f"{cell!r} {complaint}", row)
    extra = {name: read_any(file, name) for name in file.columns if name not in TRUTH_COLUMNS}
    return Truth(start, end, component, fault, severity.astype(np.float32), group, extra)


def _check_order(file: TableFile, times: NDArray[np.int64]) -> None:
    back = np.flatnonzero(np.diff(times) <= 0)
    if back.size:
        row = int(back[0]) + 1
        what = "the same time as the row before" if times[row] == times[row - 1] else "time goes backwards"
        raise file.error("ts", what, row)


def _read_info(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidRecordingError(f"this is no JSON: {error}", where=path.name) from error
    except RecursionError as error:
        raise InvalidRecordingError("this is nested too deeply", where=path.name) from error
    if not isinstance(info, dict):
        raise InvalidRecordingError("must hold one JSON object", where=path.name)
    return info


def _truth_table(truth: Truth) -> pa.Table:
    columns: dict[str, Column] = {"start": instants_column(truth.start), "end": instants_column(truth.end)}
    for name in TRUTH_COLUMNS[2:]:
        columns[name] = arrow_column(getattr(truth, name))
    columns |= {name: arrow_column(np.asarray(values)) for name, values in truth.extra.items()}
    return pa.table(columns)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n"
