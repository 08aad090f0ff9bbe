"""Gas side of a hydro-pneumatic accumulator.

Sources: H. Murrenhoff, *Grundlagen der Fluidtechnik*, ch. accumulators (polytropic gas volume);
H. E. Merritt, *Hydraulic Control Systems*, 1967 (flow balance of a volume). All quantities SI, gauge pressures
are treated as absolute, which costs 1 bar in 100 and cancels in a fitted charge.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

REFERENCE_TEMPERATURE_K = 293.15
"""Charge pressures are quoted at 20 degC."""


def charge_at(charge_pa: ArrayLike, temperature_k: ArrayLike) -> NDArray[np.float64]:
    """Charge pressure at gas temperature, Pa: p_T = p T / 293.15 K (Gay-Lussac, gas filling the whole shell)."""
    return np.asarray(np.asarray(charge_pa, float) * np.asarray(temperature_k, float) / REFERENCE_TEMPERATURE_K)


def gas_volume(
    pressure_pa: ArrayLike, charge_pa: ArrayLike, temperature_k: ArrayLike, *, shell_m3: ArrayLike, exponent: float
) -> NDArray[np.float64]:
    """Gas volume at oil pressure, m3: V = V0 min(1, p_T / P)^(1/n).

    Below the charge pressure the accumulator is empty and the gas fills the shell (V = V0). ``exponent`` is the
    polytropic n, 1.0 (isothermal) to 1.4 (adiabatic nitrogen). NaN below 0 K. Shapes broadcast.
    """
    ratio = charge_at(charge_pa, temperature_k) / np.maximum(np.asarray(pressure_pa, float), 1.0)
    ratio = np.where(ratio >= 0, ratio, np.nan)
    return np.asarray(np.asarray(shell_m3, float) * np.minimum(1.0, ratio) ** (1.0 / exponent))


def filling_deficit(
    start_pa: ArrayLike,
    end_pa: ArrayLike,
    charge_pa: ArrayLike,
    temperature_k: ArrayLike,
    *,
    flow_m3s: ArrayLike,
    shell_m3: float,
    exponent: float,
    points: int = 9,
) -> NDArray[np.float64]:
    """Pressure-time deficit while a pump fills the accumulator from start to end pressure, Pa s.

    With constant pump flow Q the pressure P is reached at t(P) = (V(P_start) - V(P)) / Q, so the area between the
    end pressure and the rising pressure is the integral of t(P) dP (trapezoidal rule on ``points`` pressures).
    Shapes broadcast; NaN where the flow is not positive.
    """
    start, end = np.asarray(start_pa, float), np.asarray(end_pa, float)
    fractions = np.linspace(0.0, 1.0, points)
    pressures = start[..., None] + (end - start)[..., None] * fractions
    charge, temperature = np.asarray(charge_pa, float)[..., None], np.asarray(temperature_k, float)[..., None]
    volumes = gas_volume(pressures, charge, temperature, shell_m3=shell_m3, exponent=exponent)
    flow = np.asarray(flow_m3s, float)[..., None]
    time = (volumes[..., :1] - volumes) / np.where(flow > 0, flow, np.nan)
    weights = np.full(points, 1.0 / (points - 1))
    weights[[0, -1]] /= 2
    return np.asarray((time * weights).sum(-1) * (end - start))


def gas_pressure(charge_pa: Any, shell_m3: Any, volume_m3: Any, temperature_k: Any, reference_k: Any) -> Any:
    """Pressure of an ideal gas that was charged to p_0 in the whole shell at a reference temperature.

    p = p_0 (V_0 / V) (T / T_ref). Numbers, arrays or quantities with units.
    """
    return charge_pa * (shell_m3 / volume_m3) * (temperature_k / reference_k)


def heat_capacity(charge_pa: Any, shell_m3: Any, reference_k: Any, ratio: float = 1.4) -> Any:
    """Heat capacity m c_v of a gas charge, J/K: p_0 V_0 / (T_ref (kappa - 1)); kappa 1.4 for nitrogen."""
    return charge_pa * shell_m3 / (reference_k * (ratio - 1.0))


def compressed_temperature(temperature_k: Any, before_m3: Any, after_m3: Any, ratio: float = 1.4) -> Any:
    """Temperature after a change of volume without heat, K: T (V_1 / V_2)^(kappa - 1).

    The gas gives work m c_v (T_1 - T_2), exactly.
    """
    return temperature_k * (before_m3 / after_m3) ** (ratio - 1.0)


def gas_relaxed(temperature_k: Any, shell_k: Any, step: Any, time_constant: Any) -> Any:
    """Gas temperature after heat has passed to the shell for a time, K: T_s + (T - T_s) exp(-dt / tau).

    tau is 20 to 60 s for bladder accumulators (D. R. Otis, A. Pourmovahed, J. Dyn. Sys. Meas. Control 107, 1985).
    """
    return shell_k + (temperature_k - shell_k) * np.exp(-step / time_constant)


def burst_charge(charge_pa: Any, left: Any) -> Any:
    """Charge of a shell after its bladder has burst: what is ``left`` of the gas (0..1) is all that gives way."""
    return charge_pa * left
