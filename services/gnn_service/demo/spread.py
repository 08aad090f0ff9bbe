"""Machines of one kind are not alike: how far each class of parameter differs between them.

Spreads are representative of series production: bores within 0.1 %, set pressures within 1.5 %, cooler conductance
within 8 %, friction within 15 %, leakages log-normal with a sigma of 0.25.
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
    (r"(^|_)(k_)?(leak|leakage|seal_leakage|null_leakage)(age)?(_|$)|^k_(leak|seal)", Spread("lognormal", 0.25)),
    (r"friction|coulomb|viscous|(^|_)(f_c|f_v|c_f|c_v|fc|fv|mu)(_|$)|(^|_)drag(_|$)", Spread("relative", 0.15)),
    (r"(^|_)(bore|rod|bore_diameter|rod_diameter|screw_diameter)(_|$)|^(area|a)_(head|rod)", Spread("relative", 0.001)),
    (r"(^|_)(relief|set|p_set|set_pressure|standby|margin|precharge|charge)(_pressure)?(_|$)|^p_(relief|set|pre|charge|0)",
     Spread("relative", 0.015)),
    (r"(^|_)(ua|conductance|heat_transfer)(_|$)", Spread("relative", 0.08)),
    (r"(^|_)(kt|torque_constant|winding_resistance)(_|$)", Spread("relative", 0.02)),
    (r"(^|_)(filter|clean)_?resistance|(^|_)(dp_clean|clean_dp)(_|$)", Spread("relative", 0.05)),
)  # fmt: skip
"""Spread by class of parameter, told by its name; all others are equal in all machines."""
_PATTERNS = tuple((re.compile(pattern), spread) for pattern, spread in CLASSES)


def spread_of(parameter: str, declared: Mapping[str, Spread] | None = None) -> Spread:
    """How a parameter, ``component.name``, differs between machines: as declared, else by its class."""
    if declared is not None and parameter in declared:
        return declared[parameter]
    name = parameter.partition(".")[2] or parameter
    return next((spread for pattern, spread in _PATTERNS if pattern.search(name)), EQUAL)
