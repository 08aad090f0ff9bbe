"""Gas charge of an accumulator from the oil it exchanges at load steps and while the pump fills it."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gnn_service.domain.machine import DutyCycle
from gnn_service.model.virtual.estimate import Estimate, Parameters, Reference
from gnn_service.model.virtual.view import CycleView
from gnn_service.physics.gas import filling_deficit, gas_volume

BAR = 1e5
LITRE_PER_MINUTE = 1e-3 / 60
RELIEF_BAND = 0.97
"""A loaded plateau within this share of the shut-off pressure is in relief mode: the relief valve takes the step."""
FILLED = 4 * BAR
"""A smaller start deficit means that the cycle before ended with a full accumulator."""
TYPICAL: Parameters = {
    "shell_m3": [0.55e-3],
    "exponent": [1.2],
    "delay_s": [0.12],
    "switch_fraction": [0.2],
    "flow_factor": [1.0],
    "error": [0.3, 1.0],
}
"""A small bladder accumulator, for a fit to start from; nothing is estimated with it."""

GRID: NDArray[np.float64] = np.linspace(50.0, 179.0, 130)
"""Charges tried, bar."""


TIE = 1e-9
"""Charges whose costs differ by no more fit alike: above every pressure of the cycle the gas is never compressed."""


class GasCharge:
    """Charge pressure at 20 degC, bar, by a grid search on the gas model with a soft-L1 cost.

    Events per cycle: the volume exchanged at each load step, m3, and the pressure-time deficit while filling, Pa s.
    The parameters hold ``shell_m3``, ``exponent``, ``delay_s``, ``switch_fraction``, ``flow_factor`` and ``error``:
    the standard errors of the load steps (one for each, or one for all of them) in L/min s, then that of the filling
    in bar s. An event that cannot be read is left out, and the interval widens. Where an edge of the grid fits as well
    as any charge, it may be any beyond it, and there is no estimate. Without parameters there is no
    estimate: how much oil an accumulator takes says nothing as long as its size is not known.
    """

    id = "gas_charge"

    def defaults(self) -> Parameters:
        return {}

    def measure(self, view: CycleView, parameters: Parameters, reference: Reference | None) -> Estimate:
        if not parameters:
            nothing = np.zeros(len(view.values["pressure"]))
            return Estimate.of(nothing, nothing, nothing > 0, "needs a calibration for this kind of machine")
        seen, valid = events(view)
        expected = predict(view, GRID, parameters)
        valid = valid & np.isfinite(expected).all(1)
        residual = np.where(valid[:, None], (expected - seen[:, None]) / event_errors(parameters, seen.shape[1]), 0.0)
        cost = (2.0 * (np.sqrt(1.0 + residual**2) - 1.0)).sum(-1)
        weight = np.exp(-0.5 * (cost - cost.min(1, keepdims=True)))
        weight /= weight.sum(1, keepdims=True)
        mean = (weight * GRID).sum(1)
        spread = np.sqrt((weight * (GRID - mean[:, None]) ** 2).sum(1))
        best = GRID[cost.argmin(1)]
        readable, oil = np.asarray(valid.any(1)), view.overall("temperature")
        inside = (cost[:, [0, -1]] > cost.min(1, keepdims=True) + TIE).all(1)
        beyond = f"the charge may lie beyond {GRID[0]:.0f} to {GRID[-1]:.0f} bar, where the estimate ends"
        reason = beyond if (readable & ~inside).any() else "no load step or filling to read"
        return Estimate.of(best, np.maximum(spread, 0.5), readable & inside, reason, oil)

    def reference_sizes(self, duty: DutyCycle) -> Mapping[str, int]:
        return {"centre": 1, "condition": 1}

    def reference(self, view: CycleView, parameters: Parameters) -> Reference | None:
        charge = self.measure(view, parameters, None)
        if not charge.valid.any():
            return None
        oil = view.overall("temperature")[charge.valid]
        return {"centre": [float(np.median(charge.value[charge.valid]))], "condition": [float(np.median(oil))]}


def events(view: CycleView) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """What is observed, (W, J+1), and its validity: J exchanged volumes in L/min s, then the start deficit in bar s."""
    pressure, flow = view.plateaus("pressure"), view.plateaus("flow") / LITRE_PER_MINUTE
    raw = view.values["flow"] / LITRE_PER_MINUTE
    relief = pressure > RELIEF_BAND * pressure[:, :1]
    known = np.isfinite(pressure[:, 0])  # without the shut-off pressure, relief mode cannot be told
    observed, valid = [], []
    for before, after, at in step_table(view):
        around = raw[:, at : at + 3] - flow[:, after, None]
        observed.append((raw[:, at - 1] - flow[:, before] + around.sum(1)) * view.step_s)
        leaves_relief = relief[:, before] & (after == pressure.shape[1] - 1)
        valid.append(known & ~relief[:, after] & (~relief[:, before] | leaves_relief))
    start = view.mean("pressure", view.duty.of_kind("start")[0])
    deficit = pressure[:, 0] - start
    observed.append(deficit / BAR)
    valid.append(deficit > FILLED)
    seen = np.stack(observed, axis=1)
    return np.nan_to_num(seen), np.stack(valid, axis=1) & np.isfinite(seen)


def event_errors(parameters: Parameters, count: int) -> NDArray[np.float64]:
    """Standard error of each of ``count`` events, (J+1,); one for all load steps is repeated for each."""
    *steps, filling = parameters["error"]
    return np.append(np.broadcast_to(steps, count - 1), filling)


def step_table(view: CycleView) -> list[tuple[int, int, int]]:
    """(plateau before, plateau after, step index) of every load step between two plateaus."""
    plateaus = view.duty.of_kind("plateau")
    table = []
    for step in view.duty.of_kind("step"):
        after = next((k for k, p in enumerate(plateaus) if p.start_s >= step.end_s), None)
        if after:
            table.append((after - 1, after, view.step_index(step)))
    return table


def predict(view: CycleView, charge_bar: NDArray[np.float64], parameters: Parameters) -> NDArray[np.float64]:
    """What the gas model expects of the events for each charge: (W, G, J+1) for charges (G,), (W, J+1) for (W, 1)."""
    pressure, flow = view.plateaus("pressure")[:, None], view.plateaus("flow")[:, None]
    temperature = view.overall("temperature")[:, None]
    charge = np.atleast_2d(charge_bar) * BAR
    shell, exponent = parameters["shell_m3"][0], parameters["exponent"][0]
    volume = gas_volume(pressure, charge[..., None], temperature[..., None], shell_m3=shell, exponent=exponent)
    table = step_table(view)
    before, after = [b for b, _, _ in table], [a for _, a, _ in table]
    exchanged = (volume[..., after] - volume[..., before]) / LITRE_PER_MINUTE
    drawn = parameters["switch_fraction"][0] * (flow[..., before] - flow[..., after]) / LITRE_PER_MINUTE
    first, last = pressure[..., 0], pressure[..., -1]
    filling = filling_deficit(
        last, first, charge, temperature,
        flow_m3s=parameters["flow_factor"][0] * flow[..., 1], shell_m3=shell, exponent=exponent,
    )  # fmt: skip
    deficit = parameters["delay_s"][0] * (first - last) + filling
    return np.concatenate([exchanged + drawn, (deficit / BAR)[..., None]], axis=-1)
