"""Internal leakage of a pump from the flow that arrives on the load plateaus."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gnn_service.domain.machine import DutyCycle
from gnn_service.model.virtual.estimate import Estimate, Parameters, Reference
from gnn_service.model.virtual.view import CycleView
from gnn_service.physics.pumps import leakage_fraction, reference_flow

COLLAPSED = 0.6
"""A plateau with less than this share of the largest plateau flow is in relief mode and says nothing."""


class PumpLeakage:
    """Lost flow in per cent against the machine's own healthy flow, or against a temperature law of its kind.

    The parameters hold ``flow`` (K,) m3/s per plateau at ``temperature_k``, ``slope_per_k`` and ``error_percent``;
    a plateau with flow 0 is not used. Without commissioning and without a law there is no estimate.
    """

    id = "pump_leakage"

    def defaults(self) -> Parameters:
        return {"slope_per_k": [0.0], "error_percent": [0.3]}

    def measure(self, view: CycleView, parameters: Parameters, reference: Reference | None) -> Estimate:
        healthy = reference or (parameters if "flow" in parameters else None)
        flow, temperature = load_flows(view), view.overall("temperature")
        if healthy is None:
            nothing = np.zeros(len(temperature))
            return Estimate.of(nothing, nothing, nothing > 0, "needs a commissioning baseline")
        expected = reference_flow(
            np.asarray(healthy["flow"])[None, :],
            temperature[:, None],
            healthy["temperature_k"][0],
            parameters["slope_per_k"][0],
        )
        lost = 100.0 * leakage_fraction(flow, expected)
        usable = np.isfinite(lost)
        count = usable.sum(1)
        value = np.where(usable, lost, 0.0).sum(1) / np.maximum(count, 1)
        error = parameters["error_percent"][0] * np.sqrt(2.0 / np.maximum(count, 1))
        return Estimate.of(value, error, count > 0, "no flow on a load plateau, or no oil temperature")

    def reference_sizes(self, duty: DutyCycle) -> Mapping[str, int]:
        return {"flow": len(duty.of_kind("plateau")), "temperature_k": 1, "centre": 1}

    def reference(self, view: CycleView, parameters: Parameters) -> Reference | None:
        flow, temperature = load_flows(view), view.overall("temperature")
        known = np.isfinite(temperature)
        if not np.isfinite(flow[known]).any():
            return None
        centre = [
            float(np.exp(np.mean(np.log(column[np.isfinite(column)])))) if np.isfinite(column).any() else 0.0
            for column in flow[known].T
        ]
        return {"flow": centre, "temperature_k": [float(np.mean(temperature[known]))], "centre": [0.0]}


def load_flows(view: CycleView) -> NDArray[np.float64]:
    """Flow on each plateau, m3/s, (W, K); NaN on plateaus without load flow and in relief mode.

    Only the first and the last loaded plateau are used: those between them are where relief mode strikes.
    """
    flow = view.plateaus("flow")
    largest = np.nanmax(np.where(np.isfinite(flow), flow, 0.0), axis=1, keepdims=True)
    loaded = (flow > COLLAPSED * largest) & (flow > 0)
    from_left = np.cumsum(loaded, axis=1)
    outer = loaded & ((from_left == 1) | (from_left == from_left[:, -1:]))
    return np.where(outer, flow, np.nan)
