"""Positive-displacement pumps: internal leakage read from delivered flow; flow, torque, filling and control.

From ``leakage_flow`` on, functions take numbers, arrays or quantities with units (pint) alike. Displacement is m3 a
revolution and speed revolutions a second, so that D n is m3/s.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

TURN = 2.0 * np.pi


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


def leakage_flow(coefficient: Any, pressure: Any, thinning: Any = 1.0) -> Any:
    """Laminar gap leakage, m3/s: K dp (mu_ref / mu). ``thinning`` is mu_ref / mu; K is quoted at mu_ref.

    Source: Ivantysyn, *Hydrostatic Pumps and Motors*, 2001; linear in pressure because the gaps are narrow.
    """
    return coefficient * pressure * thinning


def delivered_flow(stroke: Any, displacement: Any, speed: Any, leakage: Any, fill: Any = 1.0) -> Any:
    """Flow at the outlet, m3/s: x D n f - Q_leak. ``stroke`` 0..1, D in m3 a revolution, n in revolutions a second."""
    return stroke * displacement * speed * fill - leakage


def shaft_torque(
    stroke: Any, displacement: Any, pressure: Any, speed: Any, *, viscosity: Any, friction: Any, drag: Any, idle: Any
) -> Any:
    """Torque, N m: x D p / 2 pi + C_f D p / 2 pi + C_v D mu w + T_0, w = 2 pi n.

    Losses after McCandlish and Dorey, *The Mathematical Modelling of Hydrostatic Pumps and Motors*, Proc. IMechE 198B,
    1984: dry friction grows with pressure, viscous drag with speed, and the rest is constant.
    """
    return (stroke + friction) * displacement * pressure / TURN + loss_torque(
        displacement, speed, viscosity=viscosity, drag=drag, idle=idle
    )


def loss_torque(displacement: Any, speed: Any, *, viscosity: Any, drag: Any, idle: Any) -> Any:
    """The part of the torque that pressure does not change, N m: C_v D mu w + T_0."""
    return drag * displacement * viscosity * TURN * speed + idle


def torque_limited_stroke(
    torque: Any, displacement: Any, pressure: Any, speed: Any, *, viscosity: Any, friction: Any, drag: Any, idle: Any
) -> Any:
    """The stroke 0.. at which the shaft takes a given torque: the equation of ``shaft_torque`` solved for x.

    Not limited to 1: below the corner pressure the swash plate ends before the torque does. Pressure must be positive.
    """
    rest = torque - loss_torque(displacement, speed, viscosity=viscosity, drag=drag, idle=idle)
    return np.maximum(rest * TURN / (displacement * pressure) - friction, 0.0)


def regulator_torque(limit: Any, pressure: Any, corner: Any, easing: Any) -> Any:
    """Torque that a horsepower regulator allows at a pressure: T (1 - e max(0, 1 - p / p_corner)).

    The two springs of such a regulator follow the hyperbola p Q = constant only above the corner; below it they take
    less than the whole power. Fits the main pump flow test of the Cat 320E RR service manual within 4 %, 90 to 330 bar.
    """
    return limit * (1.0 - easing * np.maximum(1.0 - pressure / corner, 0.0))


def suction_pressure(tank: Any, flow: Any, *, viscosity: Any, laminar: Any, turbulent: Any) -> Any:
    """Pressure at the inlet: p_tank - R mu Q - k Q^2 (same datum as ``tank``)."""
    return tank - laminar * viscosity * flow - turbulent * flow * flow


def suction_limit(tank: Any, vapour: Any, *, viscosity: Any, laminar: Any, turbulent: Any) -> Any:
    """Flow at which the inlet is down to the vapour pressure: ``suction_pressure`` solved for Q; more never passes."""
    drag = laminar * viscosity
    return 2.0 * (tank - vapour) / (drag + (drag * drag + 4.0 * turbulent * (tank - vapour)) ** 0.5)


def fill_factor(inlet_absolute: Any, speed_ratio: Any, *, vapour: Any = 0.15e5, needed: Any = 0.55e5) -> Any:
    """Share of each chamber that fills: min(1, max(0.5, (p_abs - p_v) / (p_need (n / n_N)^2))).

    A pump fills while the inlet pressure accelerates the oil into its chambers; below that it cavitates. Source:
    Ivantysyn, *Hydrostatic Pumps and Motors*, 2001, ch. self-priming; both pressures are representative.
    """
    return np.minimum(np.maximum((inlet_absolute - vapour) / (needed * speed_ratio * speed_ratio), 0.5), 1.0)


def holding_speed(leakage: Any, displacement: Any, outflow: Any = 0.0) -> Any:
    """Speed at which a pump only makes up for leakage, 1/s: (Q_leak + Q_out) / D: what a servo pump shows in hold."""
    return (leakage + outflow) / displacement


def case_pressure(case_flow: Any, resistance: Any, viscosity: Any, tank: Any = 0.0) -> Any:
    """Pressure in the housing: p_tank + R mu Q, laminar flow through the drain line."""
    return tank + resistance * viscosity * case_flow
