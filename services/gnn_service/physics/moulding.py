"""Injection moulding: toggle and tie bars, filling, holding, check ring, plasticising, barrel zones, mould.

Sources: F. Johannaber, *Injection Moulding Machines*, 4th ed. 2008 (toggle, plasticising, check ring); T. A. Osswald,
G. Menges, *Materials Science of Polymers for Engineers*, 3rd ed. 2012 (power law, temperature shift); D. V. Rosato,
*Injection Molding Handbook*, 3rd ed. 2000 (holding, gate freezing). SI throughout. Functions take numbers, arrays of
any broadcasting shapes, or quantities with units, where nothing else is said.
"""

from typing import Any

import numpy as np


def intensification(injection_area: Any, screw_area: Any) -> Any:
    """Melt pressure over injection pressure without friction: A_cylinder / A_screw."""
    return injection_area / screw_area


def toggle_ratio(distance: Any, at_lock: Any, knee: Any, at_open: Any) -> Any:
    """Platen force over crosshead force at a crosshead distance u from lock: max(i_lock / (1 + u / a), i_open).

    Near its stretched position a toggle's ratio rises hyperbolically (Johannaber, ch. clamping units); the form is a
    fit with the ratio at lock, the distance ``knee`` at which it has halved, and the ratio of the open linkage.
    """
    return np.maximum(at_lock / (1.0 + distance / knee), at_open)


def platen_travel(distance: Any, at_lock: Any, knee: Any, at_open: Any) -> Any:
    """Way of the platen from a crosshead distance u to lock, m: the integral of du / i(u) of ``toggle_ratio``."""
    bend = knee * (at_lock / at_open - 1.0)
    near = np.minimum(distance, bend)
    return (near + near * near / (2.0 * knee)) / at_lock + (distance - near) / at_open


def clamp_force(stiffness: Any, overclosing: Any, travel_left: Any) -> Any:
    """Force of the stretched tie bars, N: k max(0, y_0 - y); y_0 is how far the mould is set too thick."""
    return stiffness * np.maximum(overclosing - travel_left, 0.0 * overclosing)


def clamp_energy(force: Any, stiffness: Any) -> Any:
    """Elastic energy of tie bars and frame, J: F^2 / (2 k)."""
    return force * force / (2.0 * stiffness)


def crosshead_force(clamp: Any, ratio: Any, friction_share: Any) -> Any:
    """Crosshead force that a clamping force needs, N: F / i (1 + f); with f < 0 what it gives back on opening.

    ``friction_share`` is the bushings' friction over the ideal force: about the coefficient of friction times the sum
    of pin radii over the lever arm (Johannaber, ch. clamping units).
    """
    return clamp / ratio * (1.0 + friction_share)


def tie_bar_shares(imbalance: Any) -> tuple[Any, Any, Any, Any]:
    """Each bar's strain over the mean, for an imbalance (greatest - smallest) / mean; two bars lie halfway."""
    return 1.0 + imbalance / 2.0, 1.0 - imbalance / 4.0, 1.0 + imbalance / 4.0, 1.0 - imbalance / 2.0


def tie_bar_stress(force: Any, diameter: Any, count: int = 4) -> Any:
    """Mean stress of the tie bars, Pa: F / (n pi d^2 / 4)."""
    return force / (count * np.pi * diameter * diameter / 4.0)


def bar_strain(stress: Any, modulus: Any) -> Any:
    """Hooke's law: sigma / E."""
    return stress / modulus


def melt_thinning(temperature_k: Any, reference_k: Any, coefficient: Any) -> Any:
    """Viscosity over that at a reference temperature: exp(-b (T - T_ref)), b in 1/K (Osswald and Menges)."""
    return np.exp(-coefficient * (temperature_k - reference_k))


def filling_pressure(scale: Any, flow_ratio: Any, exponent: Any, flow_length: Any, viscosity_ratio: Any) -> Any:
    """Melt pressure while a cavity fills, Pa: K (Q / Q_0)^m L f(T).

    A power-law melt in a channel whose filled length L (0..1) grows; m 0.2 to 0.4 for thermoplastics.
    """
    return scale * flow_ratio**exponent * flow_length * viscosity_ratio


def flow_length(filled_share: Any, sprue: Any = 0.3) -> Any:
    """Length of the flow path over the longest one: s + (1 - s) V / V_cavity; sprue and runner make the share s."""
    return sprue + (1.0 - sprue) * filled_share


def ring_flow(coefficient: Any, shot: Any, pressure: Any, reference: Any) -> Any:
    """Melt that leaks back past the check ring, m3/s: c V_shot p / p_ref, c in 1/s at the reference pressure."""
    return coefficient * shot * pressure / reference


def packed_share(time: Any, step: Any, gate: Any, packing: Any) -> Any:
    """Share of the missing melt that is packed in from ``time`` on, while the gate freezes; exact over the step.

    dD/dt = -D / t_p exp(-t / t_g) gives 1 - exp(-(t_g / t_p) (exp(-t / t_g) - exp(-(t + dt) / t_g))).
    """
    return 1.0 - np.exp(-gate / packing * (np.exp(-time / gate) - np.exp(-(time + step) / gate)))


def cavity_volume(geometric: Any, pressure: Any, bulk_modulus: Any) -> Any:
    """Melt that a cavity takes at a pressure, m3 of melt without pressure: V (1 + p / K)."""
    return geometric * (1.0 + pressure / bulk_modulus)


def plasticising_rate(rate: Any, speed_ratio: Any, back_pressure: Any, loss: Any) -> Any:
    """Melt delivered by the screw, kg/s: G_0 (n / n_0) max(0, 1 - k p_back) (metering zone with pressure flow)."""
    return rate * speed_ratio * np.maximum(1.0 - loss * back_pressure, 0.0)


def zone_heat(temperatures: Any, conductance: Any, loss: Any, ambient: Any) -> Any:
    """Heat into each barrel zone from its neighbours less what it loses, W; zones (Z, ...) in a row.

    k (T_left + T_right - 2 T) - G (T - T_a), the ends with one neighbour; floats or arrays.
    """
    flow = conductance * (temperatures[1:] - temperatures[:-1])
    heat = -loss * (temperatures - ambient)
    heat[:-1] += flow
    heat[1:] -= flow
    return heat
