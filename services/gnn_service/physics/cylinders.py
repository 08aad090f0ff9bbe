"""Hydraulic cylinders and the linkages they move; numbers, arrays or quantities with units (pint)."""

from typing import Any

import numpy as np


def seal_flow(coefficient: Any, head: Any, rod: Any, thinning: Any = 1.0) -> Any:
    """Leakage past the piston from head to rod side, m3/s: K (p_head - p_rod) mu_ref / mu; laminar gap."""
    return coefficient * (head - rod) * thinning


def net_force(head: Any, rod: Any, head_area: Any, rod_area: Any) -> Any:
    """Force of the oil on the piston in the direction of extension, N: p_head A_head - p_rod A_rod."""
    return head * head_area - rod * rod_area


def stribeck_friction(
    velocity: Any, *, coulomb: Any, static: Any, stribeck_velocity: Any, viscous: Any, smooth: Any
) -> Any:
    """F = (F_c + (F_s - F_c) exp(-(v / v_s)^2)) tanh(v / v_0) + b v, N.

    Source: Armstrong-Helouvry, Dupont and Canudas de Wit, Automatica 30, 1994; tanh makes it smooth at standstill.
    """
    ratio = velocity / stribeck_velocity
    breakaway = coulomb + (static - coulomb) * np.exp(-ratio * ratio)
    return breakaway * np.tanh(velocity / smooth) + viscous * velocity


def held_pressures(
    force: Any, head_area: Any, rod_area: Any, *, seal: Any, spool: Any, thinning: Any = 1.0
) -> tuple[Any, Any, Any]:
    """Head pressure, rod pressure and sinking speed of a closed cylinder that carries ``force`` (> 0) on its head side.

    The load-holding valve is tight on the head side. Oil that passes the piston seal (coefficient ``seal``) fills the
    rod side, which cannot hold it all: the difference of the areas leaves past the spool (``spool``). From
    K_s (p_h - p_r) = A_h v, K_v p_r = (A_h - A_r) v and p_h A_h - p_r A_r = F.
    """
    ratio = (1.0 - rod_area / head_area) * seal / spool
    share = ratio / (1.0 + ratio)
    head = force / (head_area - share * rod_area)
    rod = share * head
    return head, rod, seal_flow(seal, head, rod, thinning) / head_area


def drift(coefficient: Any, head: Any, head_area: Any, duration: Any, thinning: Any = 1.0) -> Any:
    """Way that a held load sinks while the rod side is without pressure: K p t / A, m."""
    return coefficient * head * thinning * duration / head_area


def triangle_angle(length: Any, first: Any, second: Any) -> Any:
    """Angle between the sides a and b of a triangle whose third side is the cylinder, rad.

    cos(phi) = (a^2 + b^2 - L^2) / (2 a b); |a - b| < L < a + b.
    """
    return np.arccos((first * first + second * second - length * length) / (2.0 * first * second))


def triangle_arm(length: Any, first: Any, second: Any) -> Any:
    """Lever arm of the cylinder about the pivot of both links, dL/dphi = a b sin(phi) / L."""
    cosine = (first * first + second * second - length * length) / (2.0 * first * second)
    return first * second * np.sqrt(1.0 - cosine * cosine) / length


def hydraulic_frequency(bulk_modulus: Any, mass: Any, head_area: Any, rod_area: Any, volumes: tuple[Any, Any]) -> Any:
    """Natural frequency of a mass between two oil columns, rad/s: sqrt(K / M (A_h^2 / V_h + A_r^2 / V_r)).

    Source: Merritt, *Hydraulic Control Systems*, 1967, ch. 6; ``volumes`` are head and rod side.
    """
    head, rod = volumes
    return np.sqrt(bulk_modulus / mass * (head_area * head_area / head + rod_area * rod_area / rod))
