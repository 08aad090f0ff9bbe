"""Machines of one kind are not alike: how far each class of parameter differs between them.

Spreads are representative of series production: bores within 0.1 %, set pressures within 1.5 %, cooler conductance
within 8 %, friction within 15 %, leakages and vibration log-normal with a sigma of 0.25.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gnn_service.demo.plant import Array


@dataclass(frozen=True, slots=True)
class Spread:
    """How a parameter differs between machines: normal, cut at two sd, which is the half-width; or log-normal."""

    law: Literal["relative", "lognormal", "none"]
    width: float = 0.0

    def factors(self, normal: Array) -> Array:
        """What to multiply the parameter with, for standard normal numbers."""
        if self.law == "lognormal":
            return np.exp(self.width * np.clip(normal, -3.0, 3.0))
        return 1.0 + self.width * np.clip(normal / 2.0, -1.0, 1.0)


EQUAL = Spread("none")
CLASSES: tuple[tuple[str, Spread], ...] = (
    (r"[._](rated|nominal|reference|slope|excess|lever|power|flow|time)(_|$)", EQUAL),  # what others are measured by
    (r"[._]k?_?(leak|leakage|seal)(_|$)|[._]ingress_", Spread("lognormal", 0.25)),
    (r"filter[^.]*\.resistance$|[._]filter_resistance$", Spread("lognormal", 0.25)),  # elements are of any age
    (r"\.water$", Spread("lognormal", 0.4)),
    (r"[._](vibration|unbalance)(_|$)|[._]envelope_base", Spread("lognormal", 0.25)),
    (r"[._](backlash|imbalance)$", Spread("relative", 0.3)),
    (r"[._](scatter|injection_hysteresis)$", Spread("relative", 0.2)),
    (r"[._].*(friction|coulomb|viscous)|[._]drag(_|$)", Spread("relative", 0.15)),
    (r"\.preload$|[._]lag$", Spread("relative", 0.1)),
    (r"[._](ua|conductance)(_|$)", Spread("relative", 0.08)),
    (r"\.(clamp_force|brake_holding|(winding_)?resistance)$|[._]resistance_thermal$", Spread("relative", 0.05)),
    (r"[._](torque_constant|volumetric_efficiency)$|\.rate$", Spread("relative", 0.02)),
    (r"[._](relief|margin|precharge|charge)(_|$)|[._](control|set|standby|lock|bypass)_pressure$|\.pressure(_on|_off)?$",
     Spread("relative", 0.015)),
    (r"[._](bore|rod|screw_diameter)$|\.area_(head|rod)$", Spread("relative", 0.001)),
)  # fmt: skip
"""Spread by class of parameter, told by ``component.name``; all others are equal in all machines."""
_PATTERNS = tuple((re.compile(pattern), spread) for pattern, spread in CLASSES)


def spread_of(parameter: str, declared: Mapping[str, Spread] | None = None) -> Spread:
    """How a parameter, ``component.name``, differs between machines: as declared, else by its class."""
    if declared is not None and parameter in declared:
        return declared[parameter]
    return next((spread for pattern, spread in _PATTERNS if pattern.search(parameter)), EQUAL)
