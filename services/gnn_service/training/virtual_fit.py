"""Calibrating the virtual sensors on training windows: constants of the physics, and where the levels lie."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from gnn_service.model.levels import LevelScale
from gnn_service.model.virtual import accumulator
from gnn_service.model.virtual.estimate import Estimate, Parameters
from gnn_service.model.virtual.pump import load_flows
from gnn_service.model.virtual.registry import ESTIMATORS
from gnn_service.model.virtual.view import CycleView

MAD_TO_SD = 1.4826
LEAST_SPAN_K = 8.0
LEAST_GROUPS = 5
"""Centres may drift with temperature only over a span this wide, with this many groups at each of its ends."""

LEAST_SPREAD = 0.02
"""Smallest level spread, as a share of the distance between the outer levels."""

LEAST_ERROR = 0.05
"""Smallest standard error of a gas-charge event, in its unit."""

LEAST_WINDOWS = 3
"""Fewer healthy windows than this on a plateau make no line."""

POLYTROPIC_EXPONENT = 1.2
"""Between isothermal (1.0) and adiabatic (1.4): one regime cannot identify it, so physics fixes it."""


def fit_parameters(sensor: str, view: CycleView, level: NDArray[np.int64]) -> Parameters:
    """Calibration of one virtual sensor from training windows with known levels (0 = healthy).

    Where the windows hold nothing to fit, the defaults of its class.
    """
    fits: dict[str, Callable[[CycleView, NDArray[np.int64]], Parameters]] = {
        "switching_delay": _fit_switching_delay,
        "pump_leakage": _fit_pump_leakage,
        "gas_charge": _fit_gas_charge,
    }
    return fits[sensor](view, level)


def fit_scale(
    estimate: Estimate,
    level: NDArray[np.int64],
    severities: tuple[float, ...],
    groups: NDArray[Any] | None = None,
) -> LevelScale | None:
    """Median and robust spread of the estimate on each level; levels without windows are interpolated by severity.

    Where the estimate names a condition, and enough ``groups`` ran at both ends of a wide span of it, the centres of
    levels seen at both ends may drift between them. None where fewer than two levels have two valid windows, or all
    lie on one value: it tells no levels apart.
    """
    at = [np.flatnonzero(estimate.valid & (level == k)) for k in range(len(severities))]
    known = [k for k, rows in enumerate(at) if len(rows) >= 2]
    centres = {k: float(np.median(estimate.value[at[k]])) for k in known}
    if len(known) < 2 or max(centres.values()) == min(centres.values()):
        return None
    near, far, span = _drift(estimate, at, centres, groups)
    filled = [np.interp(severities, [severities[k] for k in known], [side[k] for k in known]) for side in (near, far)]
    scale = LevelScale(
        severities,
        tuple(filled[0].tolist()),
        (1.0,) * len(severities),
        tuple(filled[1].tolist()) if span else (),
        span or (0.0, 0.0),
    )
    condition = np.zeros(len(level)) if estimate.condition is None else estimate.condition
    expected = scale.centres_at(condition)
    spreads = [MAD_TO_SD * float(np.median(np.abs(estimate.value[at[k]] - expected[at[k], k]))) for k in known]
    floor = LEAST_SPREAD * (max(centres.values()) - min(centres.values()))
    # Every level has the same error up to chance, so the pooled spread bounds each from below.
    pooled = max(float(np.median(spreads)), floor)
    found = np.interp(severities, [severities[k] for k in known], spreads)
    return replace(scale, spreads=tuple(float(max(s, pooled)) for s in found))


def _drift(
    estimate: Estimate, at: list[NDArray[np.int64]], centres: dict[int, float], groups: NDArray[Any] | None
) -> tuple[dict[int, float], dict[int, float], tuple[float, float] | None]:
    """Centres of the known levels at both ends of the span of the condition, and the span; None where none is seen."""
    condition = estimate.condition
    if condition is None or groups is None:
        return centres, centres, None
    rows = np.concatenate([at[k] for k in centres])
    middle = (condition[rows].min() + condition[rows].max()) / 2
    ends = [rows[condition[rows] <= middle], rows[condition[rows] > middle]]
    span = tuple(float(np.median(condition[end])) if len(end) else middle for end in ends)
    if span[1] - span[0] < LEAST_SPAN_K or min(len(np.unique(groups[end])) for end in ends) < LEAST_GROUPS:
        return centres, centres, None
    sides: list[dict[int, float]] = []
    for end in ends:
        own = {k: np.intersect1d(at[k], end) for k in centres}
        sides.append({k: float(np.median(estimate.value[r])) if len(r) >= 2 else centres[k] for k, r in own.items()})
    both = {k for k in centres if all(len(np.intersect1d(at[k], end)) >= 2 for end in ends)}
    near, far = ({k: side[k] if k in both else centres[k] for k in centres} for side in sides)
    return near, far, (span[0], span[1])


def _fit_switching_delay(view: CycleView, level: NDArray[np.int64]) -> Parameters:
    estimator = ESTIMATORS["switching_delay"]
    delay = estimator.measure(view, estimator.defaults(), None)
    return {"error_s": [_within_level_error(delay.value, delay.valid, level, floor=1e-3)]}


def _fit_pump_leakage(view: CycleView, level: NDArray[np.int64]) -> Parameters:
    """Log flow of the leak-free windows is linear in oil temperature; one line, one intercept a plateau."""
    flow, temperature = load_flows(view), view.overall("temperature")
    healthy = (level == 0) & np.isfinite(temperature)
    if not (np.isfinite(flow[healthy]).sum(0) >= LEAST_WINDOWS).any():
        return ESTIMATORS["pump_leakage"].defaults()
    centre = float(temperature[healthy].mean())
    rise = temperature[healthy] - centre
    log_flow = np.log(flow[healthy])
    slopes, flows = [], []
    for column in log_flow.T:
        good = np.isfinite(column)
        if good.sum() < LEAST_WINDOWS:
            flows.append(0.0)
            continue
        slope, intercept = (
            np.polyfit(rise[good], column[good], 1) if np.ptp(rise[good]) > 1 else (0.0, column[good].mean())
        )
        slopes.append(slope)
        flows.append(float(np.exp(intercept)))
    parameters = {
        "flow": flows,
        "temperature_k": [centre],
        "slope_per_k": [float(np.median(slopes))],
        "error_percent": [0.3],
    }
    lost = ESTIMATORS["pump_leakage"].measure(view, parameters, None)
    return {**parameters, "error_percent": [_within_level_error(lost.value, lost.valid, level, floor=0.05)]}


def _fit_gas_charge(view: CycleView, level: NDArray[np.int64]) -> Parameters:
    """Robust least squares on the constants of the gas model, and one charge a level."""
    start = accumulator.TYPICAL
    names = ("shell_m3", "delay_s", "switch_fraction", "flow_factor")
    scale = np.array([start[name][0] for name in names])
    seen, valid = accumulator.events(view)
    # A missing plateau or temperature leaves nothing to compare an event with.
    valid &= np.isfinite(accumulator.predict(view, np.full((len(level), 1), 100.0), start)[:, 0])
    if not valid.any():
        return ESTIMATORS["gas_charge"].defaults()
    charges = np.linspace(130.0, 90.0, int(level.max()) + 1)
    unknown = accumulator.event_errors(start, seen.shape[1]).tolist()

    def parameters(x: NDArray[np.float64], error: list[float]) -> Parameters:
        chosen = {name: [float(v)] for name, v in zip(names, x[: len(names)] * scale, strict=True)}
        return {**chosen, "exponent": [POLYTROPIC_EXPONENT], "error": error}

    def residuals(x: NDArray[np.float64], error: list[float]) -> NDArray[np.float64]:
        expected = accumulator.predict(view, x[len(names) :][level][:, None], parameters(x, error))[:, 0]
        return np.where(valid, (expected - seen) / np.asarray(error), 0.0).ravel()

    error, x = [0.15] * seen.shape[1], np.concatenate([np.ones(len(names)), charges])
    lower = np.concatenate([[0.35, 0.0, -2.5, 0.5], np.full(len(charges), 50.0)])
    upper = np.concatenate([[3.0, 4.0, 4.0, 2.5], np.full(len(charges), 180.0)])
    for _ in range(2):
        found = least_squares(residuals, x, loss="soft_l1", bounds=(lower, upper), args=(error,))
        x = found.x
        raw = np.abs(residuals(x, [1.0] * seen.shape[1]).reshape(seen.shape))
        error = [
            max(LEAST_ERROR, MAD_TO_SD * float(np.median(column[good]))) if good.any() else default
            for column, good, default in zip(raw.T, valid.T, unknown, strict=True)
        ]
    return parameters(x, error)


def _within_level_error(
    value: NDArray[np.float64], valid: NDArray[np.bool_], level: NDArray[np.int64], floor: float
) -> float:
    """Robust standard deviation of the estimate around its level's median."""
    deviations = [
        np.abs(value[valid & (level == k)] - np.median(value[valid & (level == k)])) for k in np.unique(level[valid])
    ]
    return max(floor, MAD_TO_SD * float(np.median(np.concatenate(deviations)))) if deviations else floor
