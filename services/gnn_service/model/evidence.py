"""Virtual sensors of a machine with their calibration: what they read, and what that says about each level."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError
from gnn_service.domain.machine import Machine
from gnn_service.model.baseline import Baseline
from gnn_service.model.grid import step_s
from gnn_service.model.levels import LevelScale, expected_severity
from gnn_service.model.virtual.estimate import Estimate, Parameters
from gnn_service.model.virtual.registry import ESTIMATORS
from gnn_service.model.virtual.view import Binding, bind

SCALE_FIELDS = tuple(field.name for field in fields(LevelScale))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Constants of one virtual sensor on one kind of machine, and the level scale of the failure mode it speaks of.

    ``scale`` is for use with the reference of the kind, ``commissioned_scale`` for use with the machine's own
    baseline; both in the virtual sensor's unit. ``sensors`` names the real sensor behind each input.
    """

    parameters: Parameters
    scale: LevelScale | None = None
    commissioned_scale: LevelScale | None = None
    sensors: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        scales = {"scale": self.scale, "commissioned_scale": self.commissioned_scale}
        return {
            "parameters": {name: list(values) for name, values in self.parameters.items()},
            "sensors": dict(self.sensors),
            **{name: s and {key: list(getattr(s, key)) for key in SCALE_FIELDS} for name, s in scales.items()},
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Calibration":
        """Inverse of `to_dict`."""

        def scale(name: str) -> LevelScale | None:
            found = stored.get(name)
            return found and LevelScale(**{key: tuple(found[key]) for key in SCALE_FIELDS})

        return cls(stored["parameters"], scale("scale"), scale("commissioned_scale"), stored["sensors"])


@dataclass(frozen=True, slots=True)
class Evidence:
    """One virtual sensor over W windows: the estimate, log level probabilities (W, L) and mean severity (W,)."""

    binding: Binding
    estimate: Estimate
    log_levels: NDArray[np.float64] | None
    severity: NDArray[np.float64]
    usable: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class VirtualSensors:
    """All virtual sensors switched on for one machine."""

    machine: Machine
    bindings: tuple[Binding, ...]
    calibrations: Mapping[str, Calibration]

    @classmethod
    def of(cls, machine: Machine, calibrations: Mapping[str, Calibration]) -> "VirtualSensors":
        """Bind a machine; where nothing was calibrated for it, the class's defaults hold and no levels are read."""
        bindings = bind(machine, {key: calibration.sensors for key, calibration in calibrations.items()})
        complete = {b.key: calibrations.get(b.key) or Calibration(ESTIMATORS[b.sensor.id].defaults()) for b in bindings}
        return cls(machine, bindings, complete)

    @property
    def parameters(self) -> dict[str, Parameters]:
        """Constants by virtual sensor key, as `fit_baseline` wants them."""
        return {key: calibration.parameters for key, calibration in self.calibrations.items()}

    def check(self, baseline: Baseline) -> None:
        """Raise InvalidInputError when a baseline's virtual part is not of these virtual sensors."""
        for binding in self.bindings:
            given = baseline.virtual.get(binding.key)
            sizes = ESTIMATORS[binding.sensor.id].reference_sizes(binding.duty)
            if given is not None and {name: len(values) for name, values in given.items()} != dict(sizes):
                wanted = ", ".join(f"{name} ({size})" for name, size in sizes.items())
                raise InvalidInputError(
                    f"must hold {wanted}; commission again", where=f"baseline.virtual.{binding.key}"
                )

    def read(self, grids: NDArray[np.float32], baseline: Baseline | None) -> tuple[Evidence, ...]:
        """Measure W windows (W, S, T) with the machine's own baseline, where there is one."""
        own = baseline.virtual if baseline and baseline.origin == "commissioning" else {}
        return tuple(self._one(binding, grids, own.get(binding.key)) for binding in self.bindings)

    def _one(
        self, binding: Binding, grids: NDArray[np.float32], reference: Mapping[str, Sequence[float]] | None
    ) -> Evidence:
        calibration = self.calibrations[binding.key]
        view = binding.view(grids, step_s(self.machine))
        own = {name: list(values) for name, values in reference.items()} if reference else None
        estimate = ESTIMATORS[binding.sensor.id].measure(view, calibration.parameters, own)
        scale = calibration.scale
        if own is not None and calibration.commissioned_scale is not None:
            centre, condition = own.get("centre", [None])[0], own.get("condition", [0.0])[0]
            scale = calibration.commissioned_scale.commissioned(centre, condition)
        if scale is None:
            nothing = np.zeros(len(grids))
            return Evidence(binding, estimate, None, nothing, nothing > 0)
        log_levels = scale.log_posterior(estimate.value, estimate.error, estimate.condition)
        return Evidence(binding, estimate, log_levels, expected_severity(log_levels, scale.severities), estimate.valid)
