"""Positive-displacement pumps: internal leakage read from delivered flow."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def leakage_fraction(flow_m3s: ArrayLike, reference_m3s: ArrayLike) -> NDArray[np.float64]:
    """Share of the reference flow that no longer arrives: 1 - Q / Q_ref (ISO 4409 volumetric efficiency ratio).

    ``reference`` is the flow of the healthy pump at the same speed, pressure and oil temperature. Shapes
    broadcast; NaN where either flow is not positive.
    """
    flow, reference = np.asarray(flow_m3s, float), np.asarray(reference_m3s, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        fraction = 1.0 - flow / reference
    return np.where((flow > 0) & (reference > 0), fraction, np.nan)


def reference_flow(
    flow_m3s: ArrayLike, temperature_k: ArrayLike, reference_temperature_k: ArrayLike, slope_per_k: ArrayLike
) -> NDArray[np.float64]:
    """Healthy flow at oil temperature, m3/s: Q_ref exp(slope (T - T_ref)).

    Leakage grows with falling viscosity, and viscosity falls about exponentially with temperature over a few tens
    of kelvin (ASTM D341 linearised), so the logarithm of flow is linear in temperature.
    """
    rise = np.asarray(temperature_k, float) - np.asarray(reference_temperature_k, float)
    return np.asarray(np.asarray(flow_m3s, float) * np.exp(np.asarray(slope_per_k, float) * rise))
