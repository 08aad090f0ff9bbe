"""Switching delay of a valve from the pressure behind it."""

from collections.abc import Mapping

import numpy as np

from gnn_service.domain.machine import DutyCycle
from gnn_service.model.virtual.estimate import Estimate, Parameters, Reference
from gnn_service.model.virtual.view import CycleView
from gnn_service.physics.valves import switching_delay


class SwitchingDelay:
    """Area delay of the pressure behind the valve in the stretch where it is told to open."""

    id = "switching_delay"

    def defaults(self) -> Parameters:
        return {"error_s": [0.01]}

    def measure(self, view: CycleView, parameters: Parameters, reference: Reference | None) -> Estimate:
        switch = view.duty.of_kind("switch")[0]
        after = next(p for p in view.duty.of_kind("plateau") if p.start_s >= switch.end_s)
        settled = view.mean("pressure", after)
        delay = switching_delay(view.mean("pressure", switch), settled, switch.end_s - switch.start_s)
        valid = np.isfinite(delay) & (settled > 0)
        return Estimate.of(
            delay, np.full_like(delay, parameters["error_s"][0]), valid, "pressure missing at the switch"
        )

    def reference_sizes(self, duty: DutyCycle) -> Mapping[str, int]:
        return {"centre": 1}

    def reference(self, view: CycleView, parameters: Parameters) -> Reference | None:
        delay = self.measure(view, parameters, None)
        return {"centre": [float(np.median(delay.value[delay.valid]))]} if delay.valid.any() else None
