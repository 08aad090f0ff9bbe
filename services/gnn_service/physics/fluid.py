"""Hydraulic oil: viscosity, density, heat capacity, and how much it gives way under pressure.

Every function takes numbers, arrays or quantities with units (pint) where its equation has no dimensional constant;
the fits of measured properties take SI floats or arrays and say so.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

ATMOSPHERE_PA = 101_325.0
CELSIUS_ZERO_K = 273.15
DENSITY_REFERENCE_K = 288.15
REFERENCE_VISCOSITY_PA_S = 0.017
"""Viscosity that leakage coefficients are quoted at: about 20 mm2/s, where pump makers rate efficiency."""


@dataclass(frozen=True, slots=True)
class Walther:
    """Viscosity grade: log10 log10(nu + 0.7) = a - b log10 T, nu in mm2/s, T in K (ASTM D341)."""

    a: Any
    b: Any


def walther(nu40_m2s: Any, nu100_m2s: Any) -> Walther:
    """Coefficients of ASTM D341 from the viscosities at 40 and 100 degC in m2/s (floats or arrays)."""
    low, high = (np.log10(np.log10(nu * 1e6 + 0.7)) for nu in (nu40_m2s, nu100_m2s))
    first, second = math.log10(CELSIUS_ZERO_K + 40.0), math.log10(CELSIUS_ZERO_K + 100.0)
    slope = (low - high) / (second - first)
    return Walther(low + slope * first, slope)


def kinematic_viscosity(temperature_k: Any, grade: Walther) -> Any:
    """Kinematic viscosity in m2/s at a temperature in K, by ASTM D341; an empirical fit, floats or arrays."""
    return (10.0**10.0 ** (grade.a - grade.b * np.log10(temperature_k)) - 0.7) * 1e-6


def density(
    temperature_k: Any,
    pressure_pa: Any = 0.0,
    *,
    at_15c: Any = 870.0,
    expansion: Any = 7.7e-4,
    bulk_modulus: Any = 1.4e9,
) -> Any:
    """Density rho15 / (1 + alpha (T - 288.15 K)) (1 + p / K), kg/m3.

    Mineral oil: alpha 7.7e-4 1/K (Modelica library OpenHydraulics, after Manring, *Hydraulic Control Systems*, 2005).
    """
    return at_15c / (1.0 + expansion * (temperature_k - DENSITY_REFERENCE_K)) * (1.0 + pressure_pa / bulk_modulus)


def dynamic_viscosity(temperature_k: Any, grade: Walther, *, at_15c: Any = 870.0) -> Any:
    """Dynamic viscosity nu rho in Pa s, at no pressure; floats or arrays."""
    return kinematic_viscosity(temperature_k, grade) * density(temperature_k, at_15c=at_15c)


def specific_heat(temperature_k: Any) -> Any:
    """c_p = 1800 + 3.5 (T - 273.15 K), J/(kg K): mineral oil, a fit within 5 % from 0 to 120 degC; floats or arrays."""
    return 1800.0 + 3.5 * (temperature_k - CELSIUS_ZERO_K)


def liquid_bulk_modulus(temperature_k: Any, pressure_pa: Any = 0.0) -> Any:
    """K = 8.4e9 exp(-0.0058 T) + 10.9 p, Pa: tangent modulus of mineral oil without air; floats or arrays.

    Tait's equation with the constants of the Modelica library OpenHydraulics: 1.37 GPa at 40 degC.
    """
    return 8.4e9 * np.exp(-0.0058 * temperature_k) + 10.9 * pressure_pa


def entrained_air(absolute_pa: Any, share: Any, *, reference_pa: Any = ATMOSPHERE_PA, exponent: float = 1.2) -> Any:
    """Share of volume that is air at a pressure: alpha r / (alpha r + 1 - alpha), r = (p0 / p)^(1/n).

    ``share`` is the share at ``reference_pa``; n 1.2 lies between slow and fast compression. Source: Murrenhoff,
    *Grundlagen der Fluidtechnik*, ch. pressure media.
    """
    volume = share * (reference_pa / absolute_pa) ** (1.0 / exponent)
    return volume / (volume + 1.0 - share)


def effective_bulk_modulus(
    absolute_pa: Any,
    liquid: Any,
    air_share: Any,
    *,
    walls: Any = np.inf,
    exponent: float = 1.2,
    atmosphere: Any = ATMOSPHERE_PA,
) -> Any:
    """1 / K_e = (1 - alpha) / K_liquid + alpha / (n p) + 1 / K_walls, Pa.

    ``absolute_pa`` is the absolute pressure, ``air_share`` the share of entrained air at atmospheric pressure,
    ``walls`` the modulus of pipe (20 GPa) or hose (0.6 to 1 GPa). Source: Merritt, *Hydraulic Control Systems*, 1967.
    """
    air = entrained_air(absolute_pa, air_share, reference_pa=atmosphere, exponent=exponent)
    return 1.0 / ((1.0 - air) / liquid + air / (exponent * absolute_pa) + 1.0 / walls)
