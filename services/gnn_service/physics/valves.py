"""Valves: what a switching transient says about one, orifices, spools and relief valves."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def switching_delay(
    mean_pressure_pa: ArrayLike, settled_pressure_pa: ArrayLike, duration_s: float
) -> NDArray[np.float64]:
    """Equivalent switching delay, s: the time a valve that opens at once would have stayed shut.

    delay = duration (1 - mean(P) / P_settled), the area between the settled and the observed downstream pressure
    over the stretch in which the valve was told to open, divided by the settled pressure. It is the dead time plus
    half the ramp of a linear opening (Merritt, *Hydraulic Control Systems*, 1967, ch. 5). Shapes broadcast;
    NaN where the settled pressure is not positive.
    """
    settled = np.asarray(settled_pressure_pa, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        delay = duration_s * (1.0 - np.asarray(mean_pressure_pa, float) / settled)
    return np.where(settled > 0, delay, np.nan)


def orifice_flow(area: Any, drop: Any, density: Any, *, discharge: Any = 0.65, smoothing: Any = 2e4) -> Any:
    """Q = A C_d sqrt(2 / rho) dp / (dp^2 + eps^2)^(1/4), m3/s; odd in dp and smooth through 0.

    ``smoothing`` (Pa) is where turbulent flow gives way to laminar. C_d 0.62 to 0.70. Source: Merritt, *Hydraulic
    Control Systems*, 1967; the regularisation is that of Ellman and Piche, J. Dyn. Sys. Meas. Control 121, 1999.
    """
    return area * discharge * np.sqrt(2.0 / density) * drop / np.sqrt(np.sqrt(drop * drop + smoothing * smoothing))


def orifice_slope(area: Any, drop: Any, density: Any, *, discharge: Any = 0.65, smoothing: Any = 2e4) -> Any:
    """Slope dQ / d(dp) of ``orifice_flow``: A C_d sqrt(2 / rho) (dp^2 / 2 + eps^2) / (dp^2 + eps^2)^(5/4)."""
    square = drop * drop + smoothing * smoothing
    quarter = np.sqrt(np.sqrt(square))
    return area * discharge * np.sqrt(2.0 / density) * (0.5 * drop * drop + smoothing * smoothing) / (square * quarter)


def orifice_drop(flow: Any, area: Any, density: Any, *, discharge: Any = 0.65) -> Any:
    """Pressure drop of an orifice at a flow: rho / 2 (Q / (C_d A))^2, with the sign of the flow, Pa."""
    velocity = flow / (discharge * area)
    return 0.5 * density * velocity * abs(velocity)


def relief_flow(pressure: Any, setting: Any, slope: Any) -> Any:
    """Q = k max(0, p - p_set), m3/s: a relief valve above its cracking pressure; a check valve has a small p_set."""
    return slope * np.maximum(pressure - setting, 0.0)


def relief_pressure(flow: Any, setting: Any, slope: Any) -> Any:
    """Pressure at which a relief valve passes a flow: p_set + Q / k (its override)."""
    return setting + flow / slope


def spool_opening(command: Any, dead_band: Any, share: Any = 1.0) -> Any:
    """Opening -1..1 for a command -1..1: none inside the dead band, then linear up to ``share`` of full opening."""
    beyond = np.maximum(abs(command) - dead_band, 0.0) / (1.0 - dead_band)
    return share * np.copysign(np.minimum(beyond, 1.0), command)


def compensated_share(headroom: Any, margin: Any) -> Any:
    """Share of its set flow that a pressure-compensated section passes: sqrt(min(1, max(0, dp / margin))).

    With the full margin the compensator holds the flow whatever the load; with less the metering edge decides.
    Source: Murrenhoff, *Grundlagen der Fluidtechnik*, ch. load sensing.
    """
    return np.sqrt(np.minimum(np.maximum(headroom / margin, 0.0), 1.0))
