"""Commissioning: what healthy running of one machine looks like, and how far a window is from it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from gnn_service.core.errors import InvalidInputError
from gnn_service.domain.machine import Finite, Machine
from gnn_service.model.grid import CYCLE_STEPS, step_s
from gnn_service.model.virtual.estimate import Parameters
from gnn_service.model.virtual.registry import ESTIMATORS
from gnn_service.model.virtual.view import Binding

LEAST_CYCLES = 3
"""Fewer healthy windows than this are refused: their scatter says nothing."""

MAD_TO_SD = 1.4826
SCALE_FLOOR = 0.0005
"""Smallest scatter, as a share of the sensor's measuring range."""


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
    centre: Annotated[dict[str, tuple[Finite | None, ...]], Field(min_length=1)]
    scale: dict[str, Finite]
    virtual: dict[str, dict[str, Annotated[list[Finite], Field(min_length=1)]]] = Field(default_factory=dict)

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


def fit_baseline(
    machine: Machine,
    grids: NDArray[np.float32],
    bindings: Sequence[Binding],
    parameters: Mapping[str, Parameters],
    origin: Literal["commissioning", "reference"] = "commissioning",
) -> Baseline:
    """Baseline of healthy windows ``grids`` (W, S, CYCLE_STEPS). Raises InvalidInputError with fewer than three."""
    if len(grids) < LEAST_CYCLES:
        raise InvalidInputError(
            f"{len(grids)} healthy windows are too few; commissioning needs {LEAST_CYCLES}, better ten"
        )
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


def robust_centre(machine: Machine, grids: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Median at each step (S, T), and scatter pooled over the steps (S,), floored by the sensor's resolution.

    ``grids`` (W, S, T). NaN in the centre where no window has a reading; such steps do not count for the scatter.
    """
    missing = ~np.isfinite(grids).any(0)
    centre = _nanmedian(grids, axis=0)
    scatter = MAD_TO_SD * _nanmedian(_nanmedian(np.abs(grids - centre), axis=0), axis=1)
    floor = np.array([SCALE_FLOOR * (s.range.high - s.range.low) for s in machine.sensors])
    return np.where(missing, np.nan, centre).astype(np.float32), np.fmax(scatter, floor).astype(np.float32)


def _nanmedian(values: NDArray[Any], axis: int) -> NDArray[Any]:
    """Median of what is there, NaN where nothing is; NumPy's own warns about that, in a way that threads disturb."""
    empty = np.isnan(values).all(axis, keepdims=True)
    return np.where(empty.squeeze(axis), np.nan, np.nanmedian(np.where(empty, 0.0, values), axis=axis))
