"""From the readings that a caller sent to what is kept of them: format, units, order and plausibility."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException

from gnn_service.api.bodies import validate
from gnn_service.api.deps import parse_json
from gnn_service.api.schemas.readings import ReadingsBody, Refusal, SensorSent
from gnn_service.api.windows import check_units, to_window
from gnn_service.core.errors import InvalidInputError, InvalidRecordingError, InvalidWindowError, UnitError
from gnn_service.db.events import Operation
from gnn_service.db.repository import instant
from gnn_service.domain.machine import Machine, Sensor
from gnn_service.domain.recording import MICROSECONDS
from gnn_service.domain.units import convert
from gnn_service.model.baseline import plausible
from gnn_service.recordings.folder import readings_of
from gnn_service.recordings.uploads import NAME, TableKind, read_upload

T = TypeVar("T")
READINGS_MAX: Final = 2_000_000
"""Values in one request, at most."""
AHEAD_S: Final = 300.0
"""Seconds that a reading may be ahead of this machine's clock."""
EARLIEST_US: Final = 946_684_800 * MICROSECONDS
"""2000-01-01: what is older comes from a clock that was never set."""
CSV, PARQUET, ARROW = "text/csv", "application/vnd.apache.parquet", "application/vnd.apache.arrow.stream"
_TABLES: Final[Mapping[str, TableKind]] = {
    CSV: "csv",
    PARQUET: "parquet",
    "application/x-parquet": "parquet",
    "application/parquet": "parquet",
    ARROW: "arrow",
}
_WHERE: Final = ""  # paths begin at the body


@dataclass(frozen=True, slots=True)
class Taken:
    """What is kept of a request, and what is not.

    Shapes: ``times`` (T,) int64 microseconds since 1970 UTC, rising; ``values`` (T, S) float32 in the machine's units,
    NaN where missing or refused.
    """

    times: NDArray[np.int64]
    sensors: tuple[str, ...]
    values: NDArray[np.float32]
    operation: Operation | None
    sent: tuple[SensorSent, ...]
    refused: tuple[Refusal, ...]

    @property
    def readings(self) -> int:
        """How many values are kept."""
        return int(self.values.size - np.isnan(self.values).sum())


def kind_of(content_type: str, content_encoding: str) -> TableKind | None:
    """The kind of table that a body is said to be, None for JSON. HTTPException (415) for anything else."""
    kind = content_type.partition(";")[0].strip().lower()
    if content_encoding not in {"", "identity"}:
        raise HTTPException(415, f"Content-Encoding {content_encoding} is not read here; send the body as it is")
    if kind in _TABLES:
        return _TABLES[kind]
    if kind in {"", "application/json"} or (kind.startswith("application/") and kind.endswith("+json")):
        return None
    raise HTTPException(415, f"{kind} is not read here; send application/json, {CSV}, {PARQUET} or {ARROW}")


def take(body: bytes, kind: TableKind | None, machine: Machine, now_s: float) -> Taken:
    """Read and check a body. Takes a while: not on the event loop.

    Raises:
        InvalidInputError: it cannot be read, does not fit the machine, or holds nothing that can be kept.
        RequestValidationError: the JSON has not the right form.
    """
    read = _of_json(body, machine) if kind is None else _of_table(body, kind, machine)
    times, sensors, values, operation, units = read
    sent = _sent(machine, sensors, values, units)
    refused: list[Refusal] = []
    in_time = _check_times(times, values, now_s, refused)
    values = _check_values(machine, sensors, times, values, in_time, refused)
    taken = Taken(times[in_time], sensors, values[in_time], _within(operation, times, in_time), sent, tuple(refused))
    if not sum(each.readings for each in sent):
        raise InvalidInputError("there are no readings; every value is missing", where="readings")
    return taken


Read = tuple[NDArray[np.int64], tuple[str, ...], NDArray[np.float32], Operation | None, Mapping[str, str]]


def _of_json(body: bytes, machine: Machine) -> Read:
    sent = validate(ReadingsBody, parse_json(body))
    check_units({_WHERE: sent})
    window = to_window(sent, machine, _WHERE)
    if window.values.size > READINGS_MAX:
        raise InvalidInputError(f"{window.values.size} values; send at most {READINGS_MAX} at once", where="readings")
    times = np.round(window.times * MICROSECONDS).astype(np.int64)
    close = np.flatnonzero(np.diff(times) <= 0)
    if close.size:
        raise InvalidWindowError("closer to the one before than a microsecond", where=f"times[{int(close[0]) + 1}]")
    operation = None
    if sent.cycle is not None or sent.operating_state is not None:
        # the cycle began before its first sample where that is not its first moment
        begin = times[0] - round((sent.phase_s or 0.0) * MICROSECONDS)
        operation = Operation(np.array([begin]), [sent.cycle], None, [sent.operating_state])
    return times, window.sensors, np.ascontiguousarray(window.values.T), operation, sent.units


def _of_table(body: bytes, kind: TableKind, machine: Machine) -> Read:
    file, units = read_upload(body, kind, cells_max=READINGS_MAX)
    readings = readings_of(file, machine)
    values = readings.values
    for column, sensor in enumerate(_sensors(machine, readings.sensors)):
        unit = units.get(sensor.id)
        if unit is None or unit == sensor.unit:
            continue
        try:
            converted = convert(values[:, column], unit, sensor.unit, quantity=sensor.quantity)
        except UnitError as error:
            raise UnitError(error.detail, where=f"{NAME}: column {sensor.id}") from error
        if (np.abs(converted) > np.finfo(np.float32).max).any():
            raise InvalidRecordingError("holds what is no measurement", where=f"{NAME}: column {sensor.id}")
        values[:, column] = converted
    operation = None
    if any(column is not None for column in (readings.cycle, readings.phase, readings.operating_state)):
        operation = Operation(
            readings.times,
            None if readings.cycle is None else readings.cycle.tolist(),
            None if readings.phase is None else [text or None for text in readings.phase.tolist()],
            None if readings.operating_state is None else [text or None for text in readings.operating_state.tolist()],
        ).changes()
    return readings.times, readings.sensors, values, operation, units


def _sensors(machine: Machine, ids: Sequence[str]) -> list[Sensor]:
    """The sensors of these ids, in their order."""
    known = {sensor.id: sensor for sensor in machine.sensors}
    return [known[name] for name in ids]


def _sent(
    machine: Machine, sensors: tuple[str, ...], values: NDArray[np.float32], units: Mapping[str, str]
) -> tuple[SensorSent, ...]:
    present = (~np.isnan(values)).sum(axis=0)
    own = {sensor.id: sensor.unit for sensor in machine.sensors}
    return tuple(
        SensorSent(sensor=name, unit=units.get(name, own[name]), kept_in=own[name], readings=int(count))
        for name, count in zip(sensors, present, strict=True)
    )


def _check_times(
    times: NDArray[np.int64], values: NDArray[np.float32], now_s: float, refused: list[Refusal]
) -> NDArray[np.bool_]:
    """Which ticks may be kept, (T,)."""
    ahead = times > (now_s + AHEAD_S) * MICROSECONDS
    early = times < EARLIEST_US
    now = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    for wrong, reason in (
        (ahead, f"in the future: over {AHEAD_S:g} s ahead of this service's clock, {now}"),
        (early, "before 2000: from a clock that was not set, or in another unit"),
    ):
        if wrong.any():
            count = int((~np.isnan(values[wrong])).sum())
            refused.append(Refusal(sensor=None, reason=reason, readings=count, first=instant(times[wrong][0])))
    return ~(ahead | early)


def _check_values(
    machine: Machine,
    sensors: tuple[str, ...],
    times: NDArray[np.int64],
    values: NDArray[np.float32],
    in_time: NDArray[np.bool_],
    refused: list[Refusal],
) -> NDArray[np.float32]:
    """The values without those that no sensor of that range can have measured."""
    checked = values
    for column, sensor in enumerate(_sensors(machine, sensors)):
        low, high = plausible(sensor)
        far = in_time & ((values[:, column] < low) | (values[:, column] > high))
        if not far.any():
            continue
        if checked is values:
            checked = values.copy()
        checked[far, column] = np.nan
        first = int(np.flatnonzero(far)[0])
        reason = (
            f"far outside the measuring range {sensor.range.low:g} to {sensor.range.high:g} {sensor.unit};"
            " is it in another unit?"
        )
        found = float(values[first, column])
        refused.append(
            Refusal(sensor=sensor.id, reason=reason, readings=int(far.sum()), first=instant(times[first]), value=found)
        )
    return checked


def _within(operation: Operation | None, times: NDArray[np.int64], in_time: NDArray[np.bool_]) -> Operation | None:
    """What the machine did at ticks that are kept; a cycle may have begun before the first of them."""
    if operation is None or not in_time.any():
        return None
    if in_time.all():
        return operation
    low, high = times[in_time][0], times[in_time][-1]
    keep = [place for place, time in enumerate(operation.times.tolist()) if low <= time <= high]
    if not keep:
        return None
    return Operation(
        operation.times[keep],
        _at(operation.cycle, keep),
        _at(operation.phase, keep),
        _at(operation.operating_state, keep),
    )


def _at(column: Sequence[T] | None, places: Sequence[int]) -> list[T] | None:
    return None if column is None else [column[place] for place in places]
