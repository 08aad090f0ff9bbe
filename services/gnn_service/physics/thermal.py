"""Heat exchangers and thermal nodes; numbers, arrays or quantities with units (pint)."""

from typing import Any

import numpy as np


def effectiveness_cross(units: Any, capacity_ratio: Any) -> Any:
    """Effectiveness of a cross-flow exchanger, both fluids unmixed, from NTU and C_r = C_min / C_max.

    eps = 1 - exp((exp(-C_r NTU^0.78) - 1) NTU^0.22 / C_r). Source: Incropera et al., *Fundamentals of Heat and Mass
    Transfer*, eq. 11.32 (an approximation within 1 %); C_r must be positive.
    """
    slow = units**0.22
    return 1.0 - np.exp((np.exp(-capacity_ratio * units / slow) - 1.0) * slow / capacity_ratio)


def effectiveness_counter(units: Any, capacity_ratio: Any) -> Any:
    """Effectiveness of a counter-flow (plate) exchanger: (1 - e^(-N (1 - C))) / (1 - C e^(-N (1 - C))).

    At C_r = 1 the limit N / (1 + N). Source: Incropera et al., eq. 11.29.
    """
    gap = 1.0 - capacity_ratio
    even = abs(gap) < 1e-9
    decay = np.exp(-units * gap)
    return np.where(even, units / (1.0 + units), (1.0 - decay) / np.where(even, 1.0, 1.0 - capacity_ratio * decay))


def exchanger_conductance(effectiveness: Any, smaller_capacity: Any) -> Any:
    """Heat per kelvin between the two inlets, W/K: eps C_min."""
    return effectiveness * smaller_capacity


def overall_conductance(first: Any, second: Any, fouling: Any = 0.0) -> Any:
    """UA of two films in series with a fouling resistance (K/W): 1 / (1/hA_1 + R_f + 1/hA_2)."""
    return 1.0 / (1.0 / first + fouling + 1.0 / second)


def settled_temperature(power: Any, conductance: Any, ambient: Any) -> Any:
    """Where a node that loses G (T - T_a) ends under a constant power: T_a + P / G."""
    return ambient + power / conductance


def node_decay(conductance: Any, capacity: Any, step: Any) -> Any:
    """Share of the distance to the settled temperature that is left after a step: exp(-G dt / C)."""
    return np.exp(-conductance * step / capacity)


def node_step(temperature: Any, settled: Any, decay: Any) -> Any:
    """Exact solution of C dT/dt = P - G (T - T_a) over a step of constant power: T_s + (T - T_s) decay."""
    return settled + (temperature - settled) * decay


def node_mean(temperature: Any, settled: Any, decay: Any) -> Any:
    """Mean temperature over that step, exact: T_s + (T - T_s) (1 - decay) / -ln(decay)."""
    return settled + (temperature - settled) * (1.0 - decay) / -np.log(decay)
