"""The arrays of a batch: parameters with what follows from them, state, and what moves within one step."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.machines.moulding import duty
from gnn_service.demo.plant import Array, Parameters

Index = NDArray[np.intp]
ZONES = 6

STATE = (
    "elapsed",  # s in the segment
    "lag",  # s of the last step that its segment did not need
    "crosshead",  # m from lock
    "screw",  # m from the front
    "ejector",  # m from rest
    "gas_volume",  # m3
    "gas_k",
    "trim",  # m that cushion control adds to the metering stroke
    "injected",  # m3 of melt in the cavity
    "creep",  # m of screw in the injection test
    "lock_peak",  # Pa, highest head pressure of this lock-up
    "fill_time",
    "fill_peak",
    "plast_time",
    "cooling_time",  # s since holding ended
    "cycle_time",
    "cycle_energy",  # J of the drives
    "tank_change",  # m3 since the start
    "part_heat",  # J of the part that the mould has not taken yet
    "melt_k",
    "winding_1",
    "winding_2",
    "housing_1",
    "housing_2",
    "oil_k",
    "mould_k",
    "thinning",
    "viscosity",  # Pa s
    "valve",  # opening of the cooler's water valve and its controller's integral, 0..1
    "valve_integral",
    "water_out_k",
    "filter_drop",
    "particles_6",  # per m3
    "particles_14",
    "heating",  # W of all zones
)
"""What a machine remembers from step to step, (B,) each."""

FLOW = (
    "available",  # s of this step, with what the last one left
    "used",
    "pressure",  # Pa at the pumps
    "flow",  # m3/s that the pumps deliver
    "on_1",
    "on_2",
    "drawn",  # m3 out of the tank and back
    "returned",
    "valves",  # J lost in valves, seals and leakage, mechanical friction, the hydraulic motor
    "seals",
    "friction",
    "screw_drive",
    "gas",  # J of gas heat to the shell
    "melt",  # J of work on the melt
    "shear",
    "plasticised",  # kg
    "force",  # N of the clamp
    "p_head",
    "v_clamp",
    "p_hyd",
    "v_screw",
    "opening",
    "rpm",
    "p_motor",
    "p_eject",
    "n_1",  # turns a second, torque (N m), current (A)
    "n_2",
    "torque_1",
    "torque_2",
    "current_1",
    "current_2",
    "electric",  # J of the drives
    "inverters",
    "copper_1",
    "copper_2",
    "iron_1",
    "iron_2",
    "leakage_1",
    "leakage_2",
    "drag_1",  # J of the pump's friction
    "drag_2",
)
"""What happens within a step, (B,) each."""

ENERGIES = (
    "valves",
    "seals",
    "friction",
    "screw_drive",
    "shear",
    "plasticised",
    "copper_1",
    "copper_2",
    "iron_1",
    "iron_2",
    "leakage_1",
    "leakage_2",
    "drag_1",
    "drag_2",
)
"""What heats something slow: summed over a second for its temperature, and over a cycle for where that settles."""

PER_CYCLE = (
    "p_lock",
    "imbalance",
    "lock_decay",
    "p_peak",
    "p_switch",
    "cushion",
    "t_plast",
    "fill_time",
    "part_weight",
    "creep",
    "cycle_time",
    "energy",
)
"""Results that stand until the next cycle or test, (B,) each."""


def annulus(bore: Array, rod: Array) -> Array:
    """Area of a piston's rod side, m2."""
    return np.pi / 4.0 * (bore * bore - rod * rod)


def prepared(parameters: Parameters, site: Mapping[str, Array]) -> dict[str, Array]:
    """Parameters by their names in the description, the site's factors, and what follows from both."""
    p = {name: np.ascontiguousarray(value, dtype=np.float64) for name, value in parameters.items()}
    p.update({name: np.ascontiguousarray(site[name], dtype=np.float64) for name in duty.SITE})
    for name in ("clamp", "ejector"):
        p[f"{name}.head"] = np.pi / 4.0 * p[f"{name}_cylinder.bore"] ** 2
        p[f"{name}.rod"] = annulus(p[f"{name}_cylinder.bore"], p[f"{name}_cylinder.rod"])
    count = p["injection_cylinder.count"]
    p["injection.area"] = count * annulus(p["injection_cylinder.bore"], p["injection_cylinder.rod"])
    p["injection.back"] = count * np.pi / 4.0 * p["injection_cylinder.bore"] ** 2
    p["screw.area"] = np.pi / 4.0 * p["screw_unit.diameter"] ** 2
    p["cavity"] = p["shot_kg"] / p["screw_unit.melt_density"] / (1.0 + _packed(p))
    p["nominal_shot"] = p["shot_kg"] / p["screw_unit.melt_density"]
    dose = duty.CUSHION + (1.0 + duty.RING_ALLOWANCE) * p["nominal_shot"] / p["screw.area"]
    p["dose"] = np.minimum(dose, p["screw_unit.stroke"])
    p["slow_from"] = duty.SWITCH_OVER + (1.0 - duty.FAST_SHARE) * (p["dose"] - duty.SWITCH_OVER)
    for name, valve in (("clamp", "clamp"), ("screw", "screw"), ("ejector", "ejector"), ("injection", "injection")):
        p[f"{name}.valve"] = p[f"manifold.{valve}_drop"] / p[f"manifold.{valve}_flow"] ** 2
    p["toggle.friction"] = p["toggle_tiebars.friction_lever"] * p["toggle_tiebars.bushing_friction"]
    p["gas.heat_capacity"] = p["accumulator.charge"] * p["accumulator.shell"] / (293.15 * 0.4)
    return p


def _packed(p: Mapping[str, Array]) -> Array:
    """Share by which holding pressure packs the melt."""
    pressure = duty.HOLD_PRESSURE * p["injection.area"] / p["screw.area"]
    return pressure / p["screw_unit.melt_bulk_modulus"]


class Work:
    """One batch at work; ``p``, ``s``, ``f`` and ``results`` hold (B,) arrays by name."""

    def __init__(self, p: dict[str, Array], size: int) -> None:
        self.p = p
        self.size = size
        self.s = {name: np.zeros(size) for name in STATE}
        self.f = {name: np.zeros(size) for name in FLOW}
        self.results = {name: np.full(size, np.nan) for name in PER_CYCLE}
        self.zones = np.zeros((ZONES, size))
        self.duty = np.zeros((ZONES, size))
        self.zone_integral = np.zeros((ZONES, size))
        self.second = {name: np.zeros(size) for name in ENERGIES}
        self.of_cycle = {name: np.zeros(size) for name in ENERGIES}
        self.last_cycle = {name: np.zeros(size) for name in ENERGIES}
        self.draws = np.zeros((8, size))
        self.segment = np.zeros(size, dtype=np.int64)
        self.testing = np.zeros(size, dtype=np.bool_)
        self.done = np.zeros(size, dtype=np.bool_)

    def slow_state(self) -> dict[str, Array]:
        """What outlives a cycle: states, zones with their controllers, results; by name."""
        zones = {"zones": self.zones, "duty": self.duty, "zone_integral": self.zone_integral}
        return {**self.s, **{f"result {name}": value for name, value in self.results.items()}, **zones}

    def restore(self, kept: Mapping[str, Array]) -> None:
        """Take over what `slow_state` gave."""
        self.s = {name: kept[name] for name in self.s}
        self.results = {name: kept[f"result {name}"] for name in self.results}
        self.zones, self.duty, self.zone_integral = kept["zones"], kept["duty"], kept["zone_integral"]


class Part:
    """Some machines of a batch; reads copies of their rows, writes and adds into them."""

    def __init__(self, work: Work, index: Index) -> None:
        self.work, self.index = work, index
        self.segment = work.segment.take(index)
        self.available = work.f["available"].take(index)

    def p(self, name: str) -> Array:
        """A parameter."""
        return self.work.p[name].take(self.index)

    def s(self, name: str) -> Array:
        """A state."""
        return self.work.s[name].take(self.index)

    def draw(self, column: int) -> Array:
        """A uniform random number of the machine's cycle."""
        return np.asarray(self.work.draws[column].take(self.index))

    def set(self, **values: Array) -> None:
        """New states."""
        for name, value in values.items():
            self.work.s[name][self.index] = value

    def show(self, **values: Array | float) -> None:
        """What happens in this step."""
        for name, value in values.items():
            self.work.f[name][self.index] = value

    def add(self, **values: Array) -> None:
        """More of what happens in this step (energies, volumes)."""
        for name, value in values.items():
            self.work.f[name][self.index] += value

    def result(self, **values: Array) -> None:
        """Results that stand until the next time."""
        for name, value in values.items():
            self.work.results[name][self.index] = value

    def end(self, used: Array, done: NDArray[np.bool_]) -> None:
        """How much of the time was used, and whose segment is over."""
        self.work.f["used"][self.index] = used
        self.work.done[self.index] = done
