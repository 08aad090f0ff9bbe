"""The heat of the public hydraulic test rig: what enters its oil, and what cooler and tank take out of it.

Built from the equations of `physics` alone. Every number is of the rig's published healthy state (UCI data set 447,
stable cycles with a whole cooler) or usual for small air-oil coolers; none is fitted to a fault. The rises hang on the
three usual ones: air at 1 to 2 times the oil's capacity rate, exponents of 0.5 to 0.8 and still shares of 0.05 to 0.15
give 7 to 14 K at 20 % duty, and 14 to 29 K at 3 %. They were chosen knowing the measured rises: this shows that the
equations are plausible, it is no blind prediction.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from gnn_service.physics import fluid, thermal

KELVIN = fluid.CELSIUS_ZERO_K
HEALTHY_K = KELVIN + 36.0
"""Mean of TS1 with a whole cooler."""
AMBIENT_K = KELVIN + 22.3
"""From the cooling efficiency CE = (TS3 - TS4) / (TS3 - T_ambient) = 47 % at TS3 38.9 and TS4 31.0 degC."""
COOLING_W = 2160.0
"""Mean of CP."""
MOTOR_W = 2550.0
"""Mean of EPS1. The rig does no work outside: all of it is heat, here of the oil, though motors warm air too."""
CIRCULATION_FLOW, CIRCULATION_PA, CIRCULATION_EFFICIENCY = 10.17e-3 / 60, 9.86e5, 0.7
"""Mean of FS2 and PS5; the circulation pump's efficiency is usual for a small gear pump."""

AIR_CAPACITY_RATIO = 2.0
"""Capacity rate of the air over that of the oil: usual for small air-oil coolers."""
AIR_EXPONENT = 0.6
"""Heat transfer of plate fins over air speed: j falls with Re^-0.4 (Kays and London, *Compact Heat Exchangers*)."""
STILL_SHARE = 0.1
"""What makers of coolers state of draught and heat transfer with the fan stopped."""


@dataclass(frozen=True, slots=True)
class RigCooling:
    """One tank of oil in balance: pump losses in; cooler and tank surface out. Conductances in W/K."""

    heat_w: float
    oil_capacity: float
    air_capacity: float
    cooler: float
    surface: float

    def cooling(self, fan: float, conductance: float = 1.0) -> float:
        """Heat per kelvin over ambient that the cooler takes, W/K, at shares of fan duty and of its conductance."""
        transfer = STILL_SHARE + (1.0 - STILL_SHARE) * fan**AIR_EXPONENT
        air = self.air_capacity * (STILL_SHARE + (1.0 - STILL_SHARE) * fan)
        smaller, larger = min(air, self.oil_capacity), max(air, self.oil_capacity)
        units = self.cooler * conductance * transfer / smaller
        return float(thermal.exchanger_conductance(thermal.effectiveness_cross(units, smaller / larger), smaller))

    def oil_k(self, fan: float = 1.0, conductance: float = 1.0) -> float:
        """Where the oil's temperature settles, K."""
        leaving = self.cooling(fan, conductance) + self.surface
        return float(thermal.settled_temperature(self.heat_w, leaving, AMBIENT_K))


def healthy_rig() -> RigCooling:
    """Cooler and surface as the healthy state's balance asks for: CP through the cooler, the rest through the tank."""
    heat = MOTOR_W + CIRCULATION_FLOW * CIRCULATION_PA / CIRCULATION_EFFICIENCY
    oil = float(fluid.density(HEALTHY_K) * fluid.specific_heat(HEALTHY_K)) * CIRCULATION_FLOW
    above = HEALTHY_K - AMBIENT_K
    surface = (heat - COOLING_W) / above

    def missing(conductance: float) -> float:
        return RigCooling(heat, oil, AIR_CAPACITY_RATIO * oil, conductance, surface).cooling(1.0) - COOLING_W / above

    conductance = float(np.asarray(brentq(missing, 10.0, 5_000.0)))
    return RigCooling(heat, oil, AIR_CAPACITY_RATIO * oil, conductance, surface)
