"""The energy ledger: every loss from its own component, every joule of heat until it has left."""

import numpy as np

from gnn_service.demo.machines.moulding.slow import TICK_S, Nodes, heat_of_oil
from gnn_service.demo.machines.moulding.work import Work
from gnn_service.demo.plant import Array, Entry
from gnn_service.physics import moulding

_LOSSES = {
    "valves": ("valves",),
    "seals": ("seals",),
    "screw_drive": ("screw_drive",),
    "friction": ("friction",),
    "pump_leakage": ("leakage_1", "leakage_2"),
    "pump_friction": ("drag_1", "drag_2"),
    "motors": ("copper_1", "copper_2", "iron_1", "iron_2"),
    "inverters": ("inverters",),
    "gas": ("gas",),
}
_SLOW_AMBIENT = ("cooler", "tank_surface", "motor_surfaces", "barrel_surface", "melt_heat")

ENTRIES = (
    Entry("drives", "input"),
    Entry("heaters", "input"),
    Entry("melt", "useful"),
    *(Entry(name, "loss") for name in _LOSSES),
    Entry("heater_bands", "loss"),
    *(Entry(name, "ambient") for name in _SLOW_AMBIENT),
    Entry("structure", "ambient"),
    Entry("cabinet", "ambient"),
    Entry("accumulator_shell", "ambient"),
    Entry("tie_bars", "stored"),
    Entry("gas", "stored"),
    Entry("oil", "heat_stored"),
    Entry("motors", "heat_stored"),
    Entry("barrel", "heat_stored"),
)
"""Gas heat is a loss that a cold gas gives back in part: negative while the accumulator has just been emptied."""


class Ledger:
    """Spreads what the slow nodes exchanged in a second evenly over the next one, and keeps what is not told yet."""

    def __init__(self, size: int) -> None:
        self._rate = {name: np.zeros(size) for name in (*_SLOW_AMBIENT, "heaters")}
        self._told = self._rate
        self._steps = 0

    def count(self, left: dict[str, Array] | None) -> None:
        """One more step; ``left`` is what left the slow nodes (J) where a second is over with it."""
        self._told = self._rate
        self._steps += 1
        if left is not None:
            self._rate = {name: energy / TICK_S for name, energy in left.items()}
            self._steps = 0

    def read(self, work: Work, nodes: Nodes, step_s: float, into: Array) -> None:
        """Powers (W) of this step and energies (J) at its end into (L, B), in the order of `ENTRIES`."""
        f = work.f
        rows = [f["electric"] / step_s, self._told["heaters"], f["melt"] / step_s]
        rows += [sum((f[part] for part in parts[1:]), f[parts[0]]) / step_s for parts in _LOSSES.values()]
        rows += [self._told["heaters"], *(self._told[name] for name in _SLOW_AMBIENT)]
        rows += [f["friction"] / step_s, f["inverters"] / step_s, f["gas"] / step_s]
        rows += [
            moulding.clamp_energy(f["force"], work.p["toggle_tiebars.stiffness"]),
            work.p["gas.heat_capacity"] * work.s["gas_k"],
            *self._heat(work, nodes, step_s),
        ]
        for row, value in enumerate(rows):
            into[row] = value

    def _heat(self, work: Work, nodes: Nodes, step_s: float) -> tuple[Array, Array, Array]:
        """Heat of oil, motors and barrel, with what is under way to or from them."""
        p, s, second = work.p, work.s, work.second
        untold = {name: rate * (TICK_S - self._steps * step_s) for name, rate in self._rate.items()}
        oil = p["oil_tank.heat_capacity"] * s["oil_k"] + heat_of_oil(second)
        oil = oil + untold["cooler"] + untold["tank_surface"]
        motors = untold["motor_surfaces"]
        for pump in (1, 2):
            name = f"servo_pump_{pump}"
            motors = motors + p[f"{name}.winding_capacity"] * s[f"winding_{pump}"]
            motors = motors + p[f"{name}.housing_capacity"] * s[f"housing_{pump}"]
            motors = motors + second[f"copper_{pump}"] + second[f"iron_{pump}"]
        barrel = (nodes.zone_capacity * work.zones).sum(axis=0) - untold["heaters"]
        return oil, motors, barrel + untold["barrel_surface"] + untold["melt_heat"]
