"""Directional valves: what a switching transient says about the valve."""

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
