"""Commissioning: what healthy running of one machine looks like, and how far a window is from it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from gnn_service.core.errors import InvalidInputError
from gnn_service.domain.machine import Finite, Machine, Sensor
from gnn_service.model.grid import CYCLE_STEPS, step_s
from gnn_service.model.virtual.estimate import Parameters
from gnn_service.model.virtual.registry import ESTIMATORS
from gnn_service.model.virtual.view import Binding

LEAST_CYCLES = 3
"""Fewer healthy windows than this are refused: their scatter says nothing."""

MAD_TO_SD = 1.4826
SCALE_FLOOR = 0.0005
"""Smallest scatter, as a share of the sensor's measuring range."""

FAR = 1.0
"""Measuring ranges beyond either end of it from which on a reading says nothing: a code for "no value", a lost wire."""

SHARPEST, BLUNTEST = 0.1 * SCALE_FLOOR, 5.0
"""Scatter in measuring ranges that no commissioning learns, also where the described range has changed since."""

LARGEST_VIRTUAL = 1e6
"""No virtual sensor's value is larger, in whichever unit."""


class Baseline(BaseModel):
    """A machine's own healthy reference; JSON-able, in the units of its description.

    ``centre[sensor]`` holds the median of the healthy windows at each of the 60 steps (null where missing),
    ``scale[sensor]`` the scatter between healthy windows at one step. ``virtual`` holds what each virtual sensor
    learned about this machine. ``origin`` tells the machine's own commissioning from the reference of its kind
    that a bundle carries.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["gnn-service/baseline/1"] = "gnn-service/baseline/1"
    machine: str
    origin: Literal["commissioning", "reference"] = "commissioning"
    windows: int = Field(ge=1, description="healthy windows it was learned from")
    centre: Annotated[dict[str, Annotated[tuple[Finite | None, ...], Field(fail_fast=True)]], Field(min_length=1)]
    scale: dict[str, Finite]
    virtual: dict[str, dict[str, Annotated[list[Finite], Field(min_length=1, fail_fast=True)]]] = Field(
        default_factory=dict
    )

    def arrays(self, machine: Machine) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Centre (S, CYCLE_STEPS) and scale (S,) in the machine's order; NaN and 1 where a sensor is not in it."""
        centre = np.full((len(machine.sensors), CYCLE_STEPS), np.nan, np.float32)
        scale = np.ones(len(machine.sensors), np.float32)
        for row, sensor in enumerate(machine.sensor_ids):
            if sensor in self.centre:
                centre[row] = np.array([np.nan if v is None else v for v in self.centre[sensor]], np.float32)
                scale[row] = self.scale[sensor]
        return centre, scale

    def check(self, machine: Machine) -> None:
        """Raise InvalidInputError when this baseline does not belong to that machine."""
        strange = sorted(set(self.centre) - set(machine.sensor_ids))
        short = [s for s, c in self.centre.items() if len(c) != CYCLE_STEPS or not self.scale.get(s, 0.0) > 0]
        if self.machine != machine.id or strange:
            raise InvalidInputError(
                f"the baseline is of machine {self.machine}"
                + (f" with sensors {', '.join(strange)}" if strange else "")
                + f", not of {machine.id}; commission this machine",
                where="baseline",
            )
        if short:
            raise InvalidInputError(
                f"the baseline of {short[0]} needs {CYCLE_STEPS} values and a positive scale; commission again",
                where="baseline",
            )
        if all(value is None for centre in self.centre.values() for value in centre):
            raise InvalidInputError("the baseline holds no reading; commission again", where="baseline.centre")
        for sensor in machine.sensors:
            if sensor.id in self.centre:
                self._check_numbers(sensor)
        for key, parts in self.virtual.items():
            if any(abs(value) > LARGEST_VIRTUAL for values in parts.values() for value in values):
                raise InvalidInputError(
                    "holds what no machine shows; commission again", where=f"baseline.virtual.{key}"
                )

    def _check_numbers(self, sensor: Sensor) -> None:
        """Raise InvalidInputError for numbers that commissioning cannot give; they would blind the model."""
        low, high = plausible(sensor)
        if any(value is not None and not low <= value <= high for value in self.centre[sensor.id]):
            raise InvalidInputError(
                f"lies far outside the measuring range of {sensor.id}; commission again",
                where=f"baseline.centre.{sensor.id}",
            )
        span = sensor.range.high - sensor.range.low
        if not SHARPEST * span <= self.scale[sensor.id] <= BLUNTEST * span:
            raise InvalidInputError(
                f"{self.scale[sensor.id]:g} {sensor.unit} is no scatter of a sensor that measures"
                f" {sensor.range.low:g} to {sensor.range.high:g}; commission again",
                where=f"baseline.scale.{sensor.id}",
            )


def plausible(sensor: Sensor) -> tuple[float, float]:
    """The lowest and the highest value that may still be a reading of this sensor, in its unit."""
    reach = FAR * (sensor.range.high - sensor.range.low)
    return sensor.range.low - reach, sensor.range.high + reach


def fit_baseline(
    machine: Machine,
    grids: NDArray[np.float32],
    bindings: Sequence[Binding],
    parameters: Mapping[str, Parameters],
    origin: Literal["commissioning", "reference"] = "commissioning",
) -> Baseline:
    """Baseline of healthy windows ``grids`` (W, S, CYCLE_STEPS).

    Readings far outside a sensor's measuring range count as missing. Raises InvalidInputError with fewer than three
    windows, and where nothing is left of a sensor's readings.
    """
    if len(grids) < LEAST_CYCLES:
        raise InvalidInputError(
            f"{len(grids)} healthy windows are too few; commissioning needs {LEAST_CYCLES}, better ten"
        )
    grids = _without_far(machine, grids)
    centre, scale = robust_centre(machine, grids)
    virtual = {}
    for binding in bindings:
        reference = ESTIMATORS[binding.sensor.id].reference(
            binding.view(grids, step_s(machine)), parameters[binding.key]
        )
        if reference is not None:
            virtual[binding.key] = {name: list(values) for name, values in reference.items()}
    return Baseline(
        machine=machine.id,
        origin=origin,
        windows=len(grids),
        centre={
            sensor: tuple(None if np.isnan(v) else float(f"{v:.7g}") for v in centre[row])
            for row, sensor in enumerate(machine.sensor_ids)
        },
        scale={sensor: float(scale[row]) for row, sensor in enumerate(machine.sensor_ids)},
        virtual=virtual,
    )


def _without_far(machine: Machine, grids: NDArray[np.float32]) -> NDArray[np.float32]:
    """The readings (W, S, T) that can be some; InvalidInputError for a sensor that has others alone."""
    ends = np.array([plausible(sensor) for sensor in machine.sensors]).reshape(-1, 2)  # (S, 2)
    far = (grids < ends[:, :1]) | (grids > ends[:, 1:])
    if not far.any():
        return grids
    kept = np.where(far, np.float32(np.nan), grids)
    lost = far.any((0, 2)) & ~np.isfinite(kept).any((0, 2))
    if lost.any():
        sensor = machine.sensors[int(lost.argmax())]
        raise InvalidInputError(
            f"every reading of {sensor.id} is far outside its measuring range, {sensor.range.low:g} to"
            f" {sensor.range.high:g} {sensor.unit}; leave it out, or correct its unit or its description",
            where=sensor.id,
        )
    return kept


def robust_centre(machine: Machine, grids: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Median at each step (S, T), and scatter pooled over the steps (S,), floored by the sensor's resolution.

    ``grids`` (W, S, T). NaN in the centre where no window has a reading; such steps do not count for the scatter.
    Raises InvalidInputError for a sensor whose numbers are too large for single precision.
    """
    missing = ~np.isfinite(grids).any(0)
    with np.errstate(over="ignore", invalid="ignore"):
        centre, scale = _robust_centre(machine, grids)
    lost = ~np.isfinite(scale) | (~np.isfinite(centre) & ~missing).any(1)
    if lost.any():
        sensor = machine.sensor_ids[int(lost.argmax())]
        raise InvalidInputError("the readings are too large to take their scatter; check their unit", where=sensor)
    return np.where(missing, np.nan, centre).astype(np.float32), scale


def _robust_centre(machine: Machine, grids: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    centre = _nanmedian(grids.astype(np.float64), axis=0).astype(np.float32)
    scatter = MAD_TO_SD * _nanmedian(_nanmedian(np.abs(grids - centre), axis=0), axis=1)
    floor = np.array([SCALE_FLOOR * (s.range.high - s.range.low) for s in machine.sensors])
    return centre, np.fmax(scatter, floor).astype(np.float32)


def _nanmedian(values: NDArray[Any], axis: int) -> NDArray[Any]:
    """Median of what is there, NaN where nothing is; NumPy's own warns about that, in a way that threads disturb."""
    empty = np.isnan(values).all(axis, keepdims=True)
    return np.where(empty.squeeze(axis), np.nan, np.nanmedian(np.where(empty, 0.0, values), axis=axis))
