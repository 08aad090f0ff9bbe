"""Filters, particles in the oil and ISO 4406 codes; numbers, arrays or (codes apart) quantities with units."""

from typing import Any

import numpy as np


def element_resistance(clean: Any, dirt: Any, capacity: Any, steepness: float = 2.1) -> Any:
    """Resistance of a loaded element, same unit as ``clean``: R0 exp(k m / m_cap).

    Pores close in parallel, so that resistance grows about exponentially with the dirt held (multi-pass test,
    ISO 16889); k 2.1 is a factor of 8 at full capacity.
    """
    return clean * np.exp(steepness * dirt / capacity)


def element_drop(flow: Any, resistance: Any, viscosity: Any, turbulent: Any = 0.0, density: Any = 0.0) -> Any:
    """Pressure drop R mu Q + k rho Q^2, Pa, before any bypass; ISO 3968."""
    return resistance * viscosity * flow + turbulent * density * flow * flow


def bypassed(flow: Any, resistance: Any, viscosity: Any, *, cracking: Any, slope: Any) -> tuple[Any, Any]:
    """Pressure drop of an element with a bypass valve, and the share of the flow that goes through the valve.

    Element Q_e = dp / (R mu); valve Q_b = k max(0, dp - p_crack); both carry the flow together, so that once the valve
    is open dp = R mu (Q + k p_crack) / (1 + R mu k). ``slope`` is k in m3/s/Pa.
    """
    line = resistance * viscosity
    closed = line * flow
    drop = np.where(closed > cracking, line * (flow + slope * cracking) / (1.0 + line * slope), closed)
    open_by = slope * np.maximum(drop - cracking, 0.0)
    no_less = 1e-12 * slope * cracking  # at no flow the share is 0, not 0 / 0
    return drop, open_by / (open_by + drop / line + no_less)


def settled_concentration(ingress: Any, cleaning: Any) -> Any:
    """Particle concentration at which a filter takes out what comes in: ingress / (Q (1 - 1 / beta))."""
    return ingress / cleaning


def cleaning_flow(flow: Any, beta: Any, bypass: Any = 0.0) -> Any:
    """Flow that leaves an element without particles, m3/s: Q (1 - 1 / beta) (1 - b); beta by ISO 16889."""
    return flow * (1.0 - 1.0 / beta) * (1.0 - bypass)


def iso4406_code(per_ml: Any) -> Any:
    """Code of ISO 4406 as a continuous number, log2(N / 0.01 per mL); the published code is its ceiling.

    Each code doubles the count: 18 is 1 300 to 2 500 particles a millilitre. ``per_ml`` is a plain number or array.
    """
    return np.log2(np.maximum(per_ml, 1e-2) / 1e-2)


def particles_per_ml(code: Any) -> Any:
    """Particles a millilitre at a continuous ISO 4406 code: 0.01 2^code."""
    return 1e-2 * 2.0**code
