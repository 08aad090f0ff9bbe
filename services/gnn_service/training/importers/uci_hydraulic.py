"""The ZeMA hydraulic test rig: 2 205 load cycles of 60 s with four components degraded in steps.

Data set: UCI Machine Learning Repository 447, "Condition monitoring of hydraulic systems", CC BY 4.0.
Source: N. Helwig, E. Pignanelli, A. Schuetze, I2MTC 2015, doi 10.1109/I2MTC.2015.7151267.
The set gives no clock time. Cycle k of the published order is placed at ``EPOCH`` + k minutes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError, InvalidRecordingError
from gnn_service.domain.machine import Machine
from gnn_service.domain.recording import MICROSECONDS, Readings, Recording, Truth
from gnn_service.domain.shipped import RIG, shipped_machine
from gnn_service.training.importers.uci_hydraulic_files import SENSORS, Cycles, read_archive, read_text_files

PERIOD_S = 60
EPOCH = np.datetime64("2015-01-01T00:00:00", "us").astype(np.int64)
ARCHIVE = "cycles_1hz.npz"
LABELS: dict[str, tuple[int, ...]] = {
    "cooler": (100, 20, 3),
    "valve": (100, 90, 80, 73),
    "pump": (0, 1, 2),
    "accumulator": (130, 115, 100, 90),
}
LABEL_UNITS = {"cooler": "%", "valve": "%", "pump": "leakage grade", "accumulator": "bar"}
INFO: dict[str, Any] = {
    "source": "UCI Machine Learning Repository 447, Condition monitoring of hydraulic systems (ZeMA gGmbH)",
    "url": "https://archive.ics.uci.edu/dataset/447",
    "citation": "N. Helwig, E. Pignanelli, A. Schuetze, I2MTC 2015, doi 10.1109/I2MTC.2015.7151267",
    "licence": "CC-BY-4.0",
    "time": "synthetic: the set has no clock; cycle k starts k minutes after 2015-01-01T00:00:00Z",
    "group": "a block: consecutive cycles of one state of the four components, named by its first cycle",
}

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class _Grid:
    """The table's rate and how many rows a cycle has."""

    rate: Fraction
    samples: int

    @classmethod
    def of(cls, rate_hz: float) -> "_Grid":
        rate = Fraction(rate_hz).limit_denominator(1000) if 0 < rate_hz < 1e6 else Fraction(0)
        if rate <= 0 or (rate * PERIOD_S).denominator != 1:
            detail = f"{rate_hz:g} Hz does not give whole samples in a cycle of {PERIOD_S} s"
            raise InvalidInputError(detail, where="--rate")
        return cls(rate, int(rate * PERIOD_S))


def import_uci_hydraulic(source: Path, *, rate_hz: float = 1, progress: Progress | None = None) -> Recording:
    """One recording from the published text files, at any of their rates, or from ``cycles_1hz.npz``.

    ``source`` is the archive, a folder with it, or a folder with ``profile.txt`` and a text file a sensor. Sensors
    faster than ``rate_hz`` become means of blocks of samples, slower ones stand at the first row of their interval
    and are missing in between. Raises InvalidRecordingError where a file is missing, cut short or not a number.
    """
    source = Path(source)
    grid = _Grid.of(rate_hz)
    archive = source / ARCHIVE if source.is_dir() else source

    def to_grid(name: str, block: NDArray[np.floating]) -> NDArray[np.float32]:
        return on_grid(name, block, grid.samples)

    if archive.is_file() and archive.suffix == ".npz":
        cycles = read_archive(archive, to_grid)
    elif source.is_dir() and (source / "profile.txt").is_file():
        cycles = read_text_files(source, to_grid, progress)
    elif not source.exists():
        raise InvalidInputError("no such file or folder", where=str(source))
    else:
        raise InvalidInputError(f"neither {ARCHIVE} nor a folder with profile.txt, PS1.txt, ...", where=str(source))
    _check_rates(cycles, grid)
    machine = _machine_at(cycles, grid)
    info = INFO | {
        "sampling": {"rate_hz": float(grid.rate), "samples_per_cycle": grid.samples, "source_hz": _plain(cycles.rates)},
        "units": {sensor.id: sensor.unit for sensor in machine.sensors},
        "labels": LABEL_UNITS,
        "cycles": len(cycles.index),
    }
    return Recording(machine, _readings(cycles, grid, machine), _truth(cycles, machine), info)


def on_grid(name: str, values: NDArray[np.floating], samples: int) -> NDArray[np.float32]:
    """Bring rows of one sensor, (C, N), to (C, samples): block means, or NaN between slow samples."""
    cycles, given = values.shape
    if given % PERIOD_S or given == 0:
        raise InvalidRecordingError(f"{given} samples a row are no whole number a second for {PERIOD_S} s", where=name)
    if given % samples == 0:
        blocks = values.reshape(cycles, samples, given // samples)
        return np.asarray(blocks.mean(axis=2, dtype=np.float64), dtype=np.float32)
    if samples % given == 0:
        sparse = np.full((cycles, samples), np.nan, dtype=np.float32)
        sparse[:, :: samples // given] = values
        return sparse
    rate = f"{samples / PERIOD_S:g} Hz"
    detail = f"{rate} neither divides nor is a multiple of its {given // PERIOD_S} Hz; choose another --rate"
    raise InvalidInputError(detail, where=name)


def _check_rates(cycles: Cycles, grid: _Grid) -> None:
    fastest = max(cycles.rates.values())
    if grid.rate > fastest:
        raise InvalidInputError(f"this source has at most {fastest} Hz", where="--rate")


def _plain(rates: dict[str, int]) -> dict[str, int]:
    return {name: int(rate) for name, rate in rates.items()}


def _machine_at(cycles: Cycles, grid: _Grid) -> Machine:
    """The rig's description with the rate that each sensor has in this table."""
    machine = shipped_machine(RIG)
    table = float(grid.rate)
    sensors = tuple(s.model_copy(update={"rate_hz": min(table, float(cycles.rates[s.id]))}) for s in machine.sensors)
    return machine.model_copy(update={"sensors": sensors})


def _readings(cycles: Cycles, grid: _Grid, machine: Machine) -> Readings:
    count = len(cycles.index)
    offsets = np.array([round(Fraction(k * MICROSECONDS) / grid.rate) for k in range(grid.samples)], dtype=np.int64)
    starts = EPOCH + cycles.index * PERIOD_S * MICROSECONDS
    return Readings(
        times=(starts[:, None] + offsets[None, :]).reshape(-1),
        sensors=SENSORS,
        values=cycles.values.reshape(count * grid.samples, len(SENSORS)),
        phase=np.tile(_phase_names(machine, offsets / MICROSECONDS), count),
        cycle=np.repeat(cycles.index, grid.samples),
    )


def _phase_names(machine: Machine, offsets_s: NDArray[np.float64]) -> NDArray[np.str_]:
    """The duty-cycle phase at each offset into the cycle, '' between phases."""
    phases = machine.duty_cycle.phases if machine.duty_cycle else ()
    names = [next((p.id for p in phases if p.start_s <= offset < p.end_s), "") for offset in offsets_s]
    return np.array(names, dtype=np.str_)


def block_names(index: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.str_]:
    """The block of each cycle, (C,): broken where any label (C, L) changes or the published cycle index jumps.

    A block is named by its first published cycle, so it keeps its name in any part of the set that holds all of it.
    """
    breaks = np.ones(len(index), dtype=np.bool_)
    breaks[1:] = (np.diff(labels, axis=0) != 0).any(axis=1) | (np.diff(index) != 1)
    first = index[breaks][np.cumsum(breaks) - 1]
    return np.array([f"block-{cycle:04d}" for cycle in first], dtype=np.str_)


def _truth(cycles: Cycles, machine: Machine) -> Truth:
    """One row for each cycle and labelled component, cycle by cycle in the order of ``LABELS``."""
    count, width = len(cycles.index), len(LABELS)
    start = np.repeat(EPOCH + cycles.index * PERIOD_S * MICROSECONDS, width)
    fault = np.empty((count, width), dtype="<U64")
    severity = np.empty((count, width), dtype=np.float32)
    for column, (component, values) in enumerate(LABELS.items()):
        mode = machine.modes_of(component)[0]
        level = np.array([values.index(int(label)) for label in cycles.labels[:, column]])
        steps = np.array([step.severity for step in mode.levels], dtype=np.float32)
        severity[:, column] = steps[level]
        fault[:, column] = np.where(level > 0, mode.id, "")
    extra = {name: np.repeat(cycles.labels[:, column], width) for column, name in enumerate(LABELS)}
    extra["stable"] = np.repeat(cycles.labels[:, width] == 0, width)
    extra["cycle"] = np.repeat(cycles.index, width)
    return Truth(
        start=start,
        end=start + PERIOD_S * MICROSECONDS,
        component=np.tile(np.array(list(LABELS)), count),
        fault=fault.reshape(-1).astype(np.str_),
        severity=severity.reshape(-1),
        group=np.repeat(block_names(cycles.index, cycles.labels[:, :width]), width),
        extra=extra,
    )
