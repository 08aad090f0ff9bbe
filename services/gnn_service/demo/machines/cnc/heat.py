"""Where the heat goes: bearings, motors, nuts, oil, cooling water with its chiller, coolant and cabinet."""

from functools import reduce
from typing import NamedTuple

import numpy as np

from gnn_service.demo.machines.cnc.feed import LINEAR, ROTARY
from gnn_service.demo.plant import Array, Parameters

(FRONT, REAR, STATOR, HEAD, MOTORS, NUTS, ROTARIES, OIL, WATER, COOLANT, CABINET) = (
    0, 1, 2, 3, slice(4, 7), slice(7, 10), slice(10, 12), 12, 13, 14, 15,
)  # fmt: skip
NODES = 16
WATER_HEAT = 3.9e6
"""Heat capacity of water with a fifth of glycol, J/(m3 K)."""
R410A_PRESSURE, R410A_AT_K, R410A_SLOPE_K = 16.57e5, 298.15, 2_368.0
ATMOSPHERE = 1.013e5
SUPERHEAT_K = 3.0


def condensing_pressure(temperature_k: Array) -> Array:
    """Saturation pressure of R410A, Pa absolute: p = p25 exp(B (1/298.15 K - 1/T)).

    Clausius and Clapeyron's law through 16.6 bar at 25 degC and 27.3 bar at 45 degC (refrigerant tables).
    """
    return np.asarray(R410A_PRESSURE * np.exp(R410A_SLOPE_K * (1.0 / R410A_AT_K - 1.0 / temperature_k)))


def total(rows: Array) -> Array:
    """Sum of rows (N, B) in their order: the same for one machine as for many, which NumPy's sum is not."""
    return np.asarray(reduce(np.add, list(rows)))


class Chill(NamedTuple):
    """The chiller in one second, (B,): W taken from the water, W of the compressor, K of condensation."""

    cooling: Array
    compressor: Array
    condensing_k: Array


class Heat:
    """Temperatures (K) of the nodes, (16, B), moved on once a second."""

    def __init__(self, size: int) -> None:
        self.t = np.full((NODES, size), 295.15)
        self.condensing_k = np.full(size, 303.15)
        self.fan, self.compressor, self.cooling = np.zeros((3, size))

    def set_parameters(self, p: Parameters) -> None:
        """Take over capacities and conductances of all components."""
        s = {name.partition(".")[2]: value for name, value in p.items() if name.startswith("spindle.")}
        self.s = s
        self.h = {name.partition(".")[2]: value for name, value in p.items() if name.startswith("chiller.")}
        self.k = {name.partition(".")[2]: value for name, value in p.items() if name.startswith("drive_cabinet.")}
        water = self.h["water_volume"] * WATER_HEAT
        rows = [s["heat_capacity_front"], s["heat_capacity_rear"], s["heat_capacity_stator"], s["heat_capacity_head"]]
        rows += [p[f"{axis}.heat_capacity_motor"] for axis in LINEAR]
        rows += [p[f"{axis}.heat_capacity_nut"] for axis in LINEAR]
        rows += [p[f"{axis}.heat_capacity"] for axis in ROTARY]
        rows += [p["hydraulic_unit.heat_capacity"], water, p["coolant_unit.heat_capacity"], self.k["heat_capacity"]]
        self.capacity = np.stack(rows)
        nothing = np.zeros_like(water)
        outside = [nothing, nothing, nothing, s["conductance_ambient"]]
        outside += [p[f"{axis}.conductance_motor"] for axis in LINEAR]
        outside += [p[f"{axis}.conductance_nut"] for axis in LINEAR]
        outside += [nothing, nothing, p["hydraulic_unit.conductance_ambient"], nothing]
        outside += [p["coolant_unit.conductance_ambient"], nothing]
        self.outside = np.stack(outside)
        self.to_water = np.stack([p[f"{axis}.conductance_water"] for axis in ROTARY])
        self.inner = np.stack([s["conductance_front"], s["conductance_rear"], s["conductance_stator"]])
        full = self.h["condenser_conductance"] * (1.0 + 0.8 * (1.0 - self.h["charge"]))
        self.condenser = full
        self.evaporator = self.h["evaporator_conductance"] * self.h["charge"]
        # below nine tenths of its charge the evaporator starves
        self.most = self.h["capacity"] * np.minimum(self.h["charge"] / 0.9, 1.0) ** 2.2

    def chill(self, ambient_k: Array) -> Chill:
        """What the chiller does at its present temperatures: it modulates within its band, up to what it can."""
        h, water = self.h, self.t[WATER]
        demand = h["capacity"] * np.clip((water - h["set_point"]) / h["band"] + 0.5, 0.0, 1.0)
        limit_k = 1.0 / (
            1.0 / R410A_AT_K - np.log((h["high_pressure_limit"] + ATMOSPHERE) / R410A_PRESSURE) / R410A_SLOPE_K
        )
        able = (
            self.most
            * (1.0 - 0.012 * (self.condensing_k - 308.15))
            * np.clip((limit_k - self.condensing_k) / 4.0, 0.05, 1.0)
        )
        cooling = np.minimum(demand, able)
        evaporating = water - cooling / self.evaporator - SUPERHEAT_K
        lift = np.maximum(self.condensing_k - evaporating, 8.0)
        compressor = cooling * lift / (h["efficiency"] * evaporating)
        wanted = ambient_k + (cooling + compressor) / self.condenser
        return Chill(cooling, compressor, self.condensing_k + (wanted - self.condensing_k) * 0.1)

    def flows(self, heat: Array, ambient_k: Array, cooling: Array) -> tuple[Array, Array]:
        """Net power into each node (16, B) and the heat that leaves for the surroundings without the chiller (B,)."""
        t = self.t
        net = heat - self.outside * (t - ambient_k)
        away = total(heat - net)
        inner = self.inner * (t[:3] - t[HEAD])
        net[:3] -= inner
        jacket = self.s["jacket_conductance"] * (t[HEAD] - t[WATER])
        net[HEAD] += inner[0] + inner[1] + inner[2] - jacket
        turned = self.to_water * (t[ROTARIES] - t[WATER])
        net[ROTARIES] -= turned
        net[WATER] += jacket + turned[0] + turned[1] - cooling
        blown = self.cabinet_conductance() * (t[CABINET] - ambient_k)
        net[CABINET] -= blown
        return net, away + blown

    def cabinet_conductance(self) -> Array:
        """W/K between the cabinet's air and the hall; the thermostat turns the fans up with temperature."""
        k = self.k
        share = np.clip((self.t[CABINET] - k["fan_start"]) / (k["fan_full"] - k["fan_start"]), 0.0, 1.0)
        self.fan = k["fan_low"] + (1.0 - k["fan_low"]) * share
        return np.asarray(k["conductance"] * (self.fan * k["air_flow"]) ** 0.8 + k["conductance_wall"])

    def derate(self) -> Array:
        """Share of the drives' power that a hot cabinet leaves."""
        k = self.k
        hot = np.clip((self.t[CABINET] - k["derate_start"]) / (k["derate_end"] - k["derate_start"]), 0.0, 1.0)
        return np.asarray(1.0 - (1.0 - k["derate_least"]) * hot)

    def second(self, heat: Array, ambient_k: Array) -> Array:
        """One second with these mean powers (16, B) into the nodes; heat to the surroundings (B,), W."""
        chill = self.chill(ambient_k)
        net, away = self.flows(heat, ambient_k, chill.cooling)
        self.t = self.t + net / self.capacity
        self.cooling, self.compressor, self.condensing_k = chill
        return away + chill.cooling

    def settle(self, heat: Array, ambient_k: Array, rounds: int = 400) -> None:
        """Go to the temperatures at which these powers stay: every node at its own pace, as far as it is stable."""
        pace = self.outside.copy()
        pace[:3] += self.inner
        pace[HEAD] += self.inner[0] + self.inner[1] + self.inner[2] + self.s["jacket_conductance"]
        pace[ROTARIES] += self.to_water
        pace[WATER] += (
            self.s["jacket_conductance"] + self.to_water[0] + self.to_water[1] + self.h["capacity"] / self.h["band"]
        )
        for _ in range(rounds):
            chill = self.chill(ambient_k)
            net, _away = self.flows(heat, ambient_k, chill.cooling)
            pace[CABINET] = self.cabinet_conductance()
            self.t = self.t + 0.7 * net / pace
            self.condensing_k = chill.condensing_k
        self.cooling, self.compressor, self.condensing_k = self.chill(ambient_k)

    def energy(self) -> Array:
        """Heat stored in all nodes, J (B,), from 0 degC."""
        return total(self.capacity * (self.t - 273.15))
