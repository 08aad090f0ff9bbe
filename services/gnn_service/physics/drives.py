"""Electric drives: permanent-magnet synchronous motors, their losses and temperatures, inverter and direct-current bus.

Sources: W. Leonhard, *Control of Electrical Drives*, 3rd ed. 2001, ch. 14 (permanent-magnet motor, losses);
D. Schroeder, *Elektrische Antriebe - Grundlagen*, 6th ed. 2017 (copper, iron and inverter losses); IEC 60034-1
(rise of copper's resistance with temperature). Currents are amplitudes of the torque-building current i_q (peak
convention: three phases of amplitude i lose 1.5 R i^2). SI throughout; every function is made of plain operators and
NumPy functions, so floats, arrays of any broadcasting shapes and quantities with units pass through it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Value = float | Array

REFERENCE_K = 293.15
MAGNET_COEFFICIENT = 1.1e-3
"""Loss of remanence of neodymium magnets, 1/K (0.09 to 0.12 % a kelvin in makers' data sheets)."""
COPPER_COEFFICIENT = 3.93e-3
"""Rise of copper's resistance at 20 degC, 1/K (IEC 60028)."""


def torque_constant(
    kt20: Array, magnet_k: Array, *, coefficient: Value = MAGNET_COEFFICIENT, reference: Value = REFERENCE_K
) -> Array:
    """Torque constant of a warm motor, N m/A: Kt = Kt20 (1 - alpha (T - 20 degC)), T of the magnets in K."""
    return kt20 * (1.0 - coefficient * (magnet_k - reference))


def winding_resistance(
    r20: Array, winding_k: Array, *, coefficient: Value = COPPER_COEFFICIENT, reference: Value = REFERENCE_K
) -> Array:
    """Phase resistance of a warm winding, ohm: R = R20 (1 + alpha (T - 20 degC)), T in K."""
    return r20 * (1.0 + coefficient * (winding_k - reference))


def current_for(torque: Array, kt: Array) -> Array:
    """Torque-building current, A (amplitude): i_q = T / Kt."""
    return torque / kt


def copper_loss(resistance: Array, current: Array) -> Array:
    """Heat of the three phases, W: 1.5 R i^2, current as amplitude, resistance of one phase."""
    return 1.5 * resistance * current * current


def iron_loss(speed: Array, hysteresis: Value, eddy: Value) -> Array:
    """Heat of the iron, W: k1 |w| + k2 w^2; w in rad/s, k1 in W s/rad (hysteresis), k2 in W s2/rad2 (eddy currents)."""
    return hysteresis * abs(speed) + eddy * speed * speed


def inverter_loss(
    power: Array, current: Array, *, idle: Value = 25.0, switching: Value = 0.02, drop: Value = 1.2
) -> Array:
    """Heat of one inverter, W: idle + switching |P| + drop |i|.

    Idle electronics in W, a share of the power at its terminals for switching, and a conduction voltage in V
    times the current's amplitude (representative of 600 V IGBT modules).
    """
    return idle + switching * abs(power) + drop * abs(current)


class BusStep(NamedTuple):
    """What a bus did in one step: voltage at its end (V), mean power from the grid and into the chopper (W, >= 0)."""

    voltage: Array
    grid: Array
    chopper: Array


def bus_step(
    voltage: Array, power: Array, step: Value, *, capacitance: Value, supply: Value, threshold: Value
) -> BusStep:
    """One step of a bus that a diode rectifier feeds and a brake chopper protects.

    The capacitor holds C U^2 / 2. What the axes take (``power`` > 0, W) comes out of it; the rectifier keeps it from
    falling below ``supply`` (V), the chopper burns what would lift it above ``threshold`` (V). Energy balances
    exactly: grid - chopper - power = d(C U^2 / 2) / dt.
    """
    half = 0.5 * capacitance
    left = half * voltage * voltage - power * step
    held = np.minimum(np.maximum(left, half * supply * supply), half * threshold * threshold)
    surplus = (held - left) / step
    nothing = 0.0 * surplus
    return BusStep(np.sqrt(held / half), np.maximum(surplus, nothing), np.maximum(-surplus, nothing))


@dataclass(frozen=True, slots=True)
class TwoNode:
    """Exact step of a winding in its housing, for inputs that are constant over the step.

    C_w dT_w/dt = P_w - (T_w - T_h)/R_wh, C_h dT_h/dt = P_h + (T_w - T_h)/R_wh - (T_h - T_a)/R_ha. Built by
    `two_node`; holds the matrix exponential and the second row of its mean over the step.
    """

    ww: Array
    wh: Array
    hw: Array
    hh: Array
    mean_hw: Array
    mean_hh: Array
    r_wh: Array
    r_ha: Array

    def step(
        self, winding: Array, housing: Array, p_winding: Array, p_housing: Array, ambient: Array
    ) -> tuple[Array, Array, Array]:
        """Temperatures of winding and housing at the end of the step (K), and mean heat to the surroundings (W)."""
        heat = p_winding + p_housing
        rise = self.r_ha * heat
        housing_end = ambient + rise
        winding_end = housing_end + self.r_wh * p_winding
        off_w, off_h = winding - winding_end, housing - housing_end
        away = heat + (self.mean_hw * off_w + self.mean_hh * off_h) / self.r_ha
        return (
            winding_end + self.ww * off_w + self.wh * off_h,
            housing_end + self.hw * off_w + self.hh * off_h,
            away,
        )


def two_node(c_winding: Array, c_housing: Array, r_wh: Array, r_ha: Array, step: Value) -> TwoNode:
    """The exact step (s) of a motor's two-node thermal model; capacities in J/K, resistances in K/W.

    exp(A t) = e^(m t) (cosh(s t) I + sinh(s t)/s (A - m I)) with m half the trace of A and s^2 = m^2 - det A, which
    is positive for any passive network (C. Moler, C. Van Loan, SIAM Review 45, 2003, on exponentials of matrices).
    """
    a, b = -1.0 / (c_winding * r_wh), 1.0 / (c_winding * r_wh)
    c, d = 1.0 / (c_housing * r_wh), -1.0 / (c_housing * r_wh) - 1.0 / (c_housing * r_ha)
    m, det = 0.5 * (a + d), a * d - b * c
    s = np.sqrt(0.25 * (a - d) * (a - d) + b * c)
    even, odd = np.exp(m * step) * np.cosh(s * step), np.exp(m * step) * np.sinh(s * step) / s
    ww, wh, hw, hh = even + odd * (a - m), odd * b, odd * c, even + odd * (d - m)
    # mean of exp(A t) over the step: A^-1 (exp(A step) - I) / step, second row
    mean_hw = (-c * (ww - 1.0) + a * hw) / det / step
    mean_hh = (-c * wh + a * (hh - 1.0)) / det / step
    return TwoNode(ww, wh, hw, hh, mean_hw, mean_hh, r_wh, r_ha)
