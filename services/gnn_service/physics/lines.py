"""Pressure drop of pipes and hoses, and the pressure of what they hold; numbers, arrays or quantities with units."""

from typing import Any

import numpy as np

TURBULENT_FROM = 2300.0
"""Reynolds number at which pipe flow turns turbulent."""


def reynolds_number(flow: Any, diameter: Any, kinematic_viscosity: Any) -> Any:
    """Re = 4 |Q| / (pi d nu)."""
    return 4.0 * abs(flow) / (np.pi * diameter * kinematic_viscosity)


def laminar_drop(flow: Any, length: Any, diameter: Any, viscosity: Any) -> Any:
    """Hagen-Poiseuille: dp = 128 mu l Q / (pi d^4), with the sign of the flow."""
    return 128.0 * viscosity * length * flow / (np.pi * diameter**4)


def turbulent_drop(flow: Any, length: Any, diameter: Any, *, density: Any, kinematic_viscosity: Any) -> Any:
    """Darcy-Weisbach with Blasius' friction factor of smooth pipes, 0.3164 / Re^(1/4); good from Re 2300 to 1e5."""
    reynolds = np.maximum(reynolds_number(flow, diameter, kinematic_viscosity), 1.0)
    velocity = 4.0 * flow / (np.pi * diameter * diameter)
    return 0.3164 / np.sqrt(np.sqrt(reynolds)) * length / diameter * 0.5 * density * velocity * abs(velocity)


def line_drop(flow: Any, length: Any, diameter: Any, *, density: Any, kinematic_viscosity: Any) -> Any:
    """Drop of a straight line: laminar below Re 2300, Blasius above; the larger of both joins them without a gap.

    Below about Re 1200 Poiseuille is the larger one, above it Blasius, so that the change comes early rather than with
    a jump. Source: Murrenhoff, *Grundlagen der Fluidtechnik*, ch. flow losses.
    """
    laminar = laminar_drop(flow, length, diameter, kinematic_viscosity * density)
    turbulent = turbulent_drop(flow, length, diameter, density=density, kinematic_viscosity=kinematic_viscosity)
    return np.where(abs(laminar) > abs(turbulent), laminar, turbulent)


def pressure_rate(inflow: Any, volume: Any, bulk_modulus: Any) -> Any:
    """dp/dt = K / V (sum of flows in - flows out - dV/dt) of a closed volume."""
    return bulk_modulus / volume * inflow
