"""The stretch of frames that one diagnosis looks at."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Window:
    """Readings of one machine on one time grid, in the units of its description.

    Shapes: ``values`` (S, T) float32, NaN where missing; ``times`` (T,) float64, seconds since 1970 UTC,
    strictly rising. ``sensors`` names the rows. ``phase_s`` is the place of the first
    sample in the duty cycle, None where the machine has none.
    """

    sensors: tuple[str, ...]
    values: NDArray[np.float32]
    times: NDArray[np.float64]
    phase_s: float | None = 0.0
    cycle: int | None = None
    operating_state: str | None = None

    @property
    def mask(self) -> NDArray[np.bool_]:
        """True where a reading is present, (S, T)."""
        return np.isfinite(self.values)

    @property
    def start(self) -> float:
        """Time of the first sample, seconds since 1970 UTC."""
        return float(self.times[0])

    @property
    def end(self) -> float:
        """Time of the last sample, seconds since 1970 UTC."""
        return float(self.times[-1])
