"""Boom, stick and bucket cylinders behind their spools: pressures, demands, speeds, leaks and losses.

Arrays are (3, B) in the order boom, stick, bucket; extension is positive. Pressures count from the tank's.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.machines.excavator.geometry import CYLINDERS
from gnn_service.demo.plant import Array, Parameters
from gnn_service.physics.valves import compensated_share, spool_opening

Flags = NDArray[np.bool_]
RATED_FLOW = 300e-3 / 60.0
"""Flow at which the meter-out edge drops its nominal back pressure, m3/s."""
REGENERATES = np.array([[-1.0], [1.0], [0.0]])
"""Sense of movement in which oil of the loaded side feeds the other one: boom down, stick in."""
LINE_SHARE = 0.97
"""Part of the line relief pressure that loads and soil reach: beyond it they give way before the valve opens."""
SHARES = np.array([[[0.6], [0.4], [1.0]], [[0.4], [0.6], [0.0]]])
"""Part of each section's flow that comes from pump 1 and from pump 2."""


@dataclass(slots=True)
class Running:
    """Whether the engine runs (1 or 0), and how thin the oil is: mu_ref / mu."""

    running: Array
    thinning: Array


@dataclass(slots=True)
class Wish:
    """What the cylinders would do with all the oil they ask for."""

    sense: Array
    active: Flags
    overrun: Flags
    areas: tuple[Array, Array]
    inner: Array
    outer: Array
    friction: Array
    speed: Array
    seal: Array
    demand: Array
    section: Array


@dataclass(slots=True)
class Motion:
    """What the cylinders did in a step."""

    velocity: Array
    pump_flow: Array
    first: Array
    return_flow: Array
    granted: Array
    head: Array
    rod: Array
    losses: tuple[Array, Array, Array]


class Cylinders:
    """Parameters, spool and piston positions of the three cylinder circuits."""

    def __init__(self, size: int, step_s: float) -> None:
        self._step = step_s
        self.spool = np.zeros((3, size))
        self.place = np.full((3, size), 0.3)
        self._slide, self._velocity = np.zeros((2, 3, size))

    def set_parameters(self, parameters: Parameters) -> None:
        """Take over the cylinders' and their spools' parameters."""

        def stack(name: str) -> Array:
            return np.stack([parameters[f"{cylinder}.{name}"] for cylinder in CYLINDERS])

        valve = {
            name.removeprefix("main_control_valve."): value
            for name, value in parameters.items()
            if name.startswith("main_control_valve.")
        }
        count, bore, rod = stack("count"), stack("bore"), stack("rod")
        self.head_area = count * np.pi / 4.0 * bore * bore
        self.rod_area = count * np.pi / 4.0 * (bore * bore - rod * rod)
        self.stroke, self._seal = stack("stroke"), stack("seal_leakage")
        self._coulomb, self._viscous = stack("coulomb_friction"), stack("viscous_friction")
        self._flow = np.stack([valve["boom_flow"], valve["stick_flow"], valve["bucket_flow"]])
        self._lowering = np.stack(
            [valve["boom_lowering_flow"], valve["stick_lowering_flow"], valve["bucket_lowering_flow"]]
        )
        self._dead = np.stack([valve["boom_dead_band"], valve["dead_band"], valve["dead_band"]])
        lag = np.stack([valve["boom_spool_lag"], valve["spool_lag"], valve["spool_lag"]])
        self._follow = 1.0 - np.exp(-self._step / lag)
        full = np.ones_like(valve["boom_opening"])
        self._opening = np.stack([valve["boom_opening"], full, full])
        self._edge = valve["back_pressure"] / RATED_FLOW**2
        self._margin, self._check = valve["margin"], valve["make_up_pressure"]
        ratio = (1.0 - self.rod_area / self.head_area) * self._seal / valve["spool_leakage"]
        self._sag = ratio / (1.0 + ratio)
        line = LINE_SHARE * valve["line_relief"]
        self._rods, self._kept = self.head_area - self.rod_area, 1.0 - self._sag
        self._bearing = self.head_area - self._sag * self.rod_area
        self.held_within = -line * self.rod_area, line * self._bearing
        """Forces (3, B) at which the line relief valves of shut spools would open: the least and the most, N."""
        self.share = self.place / self.stroke
        """Positions as shares of the strokes, 0..1."""

    @property
    def midway(self) -> Array:
        """Where they will be half a step on at their present speeds, as shares: forces there make the work exact."""
        ahead = self.place + (0.5 * self._step) * self._velocity
        return np.asarray(np.minimum(np.maximum(ahead, 0.0), self.stroke) / self.stroke)

    def wish(self, command: Array, force: Array, back: Array, setting: Array, oil: Running) -> Wish:
        """Pressures and demands for these spool commands (3, B) against these forces (positive against extension).

        ``back`` (B,) is the pressure in the return line, ``setting`` the main relief valve's. What overruns is filled
        through make-up valves from behind the return line's check valve.
        """
        self.spool += (command - self.spool) * self._follow
        opening = spool_opening(self.spool, self._dead, self._opening)
        width = abs(opening) * oil.running  # load checks shut when the engine stops
        active = width > 0.0
        extends = opening >= 0.0
        sense = np.where(extends, 1.0, -1.0)
        inlet = np.where(extends, self.head_area, self.rod_area)
        outlet = np.where(extends, self.rod_area, self.head_area)
        friction = self._coulomb + self._viscous * self._slide
        need = sense * force + friction
        leaving = self._slide * outlet
        outer = back + self._edge * leaving * leaving
        inner = (need + outer * outlet) / inlet
        overrun = inner < self._check
        inner = np.where(overrun, self._check, inner)
        outer = np.where(overrun, (self._check * inlet - need) / outlet, outer)
        blocked = active & np.where(extends, self.place >= self.stroke, self.place <= 0.0)
        inner = np.where(blocked, setting, inner)
        outer = np.where(blocked, back, outer)
        overrun &= ~blocked
        seal = np.where(inner < setting, self._seal * (inner - outer), 0.0) * oil.thinning
        section = width * self._flow
        fed = np.maximum(section - seal, 0.0) / inlet
        falls = np.maximum(width * self._lowering - seal, 0.0) / outlet
        speed = np.where(overrun, falls, np.where(blocked, 0.0, fed))
        taken = speed * inlet + seal
        looped = np.where(sense == REGENERATES, np.maximum(taken - (speed * outlet + seal), 0.0), taken)
        demand = np.where(active, np.where(overrun, looped, section), 0.0)
        return Wish(sense, active, overrun, (inlet, outlet), inner, outer, friction, speed, seal, demand, section)

    def move(self, wish: Wish, force: Array, pump_share: Array, back: Array, setting: Array, thinning: Array) -> Motion:
        """Positions after a step with the pumps' shares (2, B) of the demands, and what it cost."""
        inlet, outlet = wish.areas
        mixed = SHARES[0] * pump_share[0] + SHARES[1] * pump_share[1]
        granted = compensated_share(setting - wish.inner, self._margin)
        offered = mixed * granted * wish.section
        seal = np.where(wish.overrun, wish.seal, np.minimum(wish.seal, offered))
        fed = np.maximum(offered - seal, 0.0) / inlet
        speed = np.where(wish.overrun, wish.speed, np.minimum(fed, wish.speed))
        head, rod, sinking = self._held(force, thinning)
        wanted = np.where(wish.active, wish.sense * speed, sinking)
        place = np.minimum(np.maximum(self.place + wanted * self._step, 0.0), self.stroke)
        velocity = (place - self.place) / self._step
        self.place, self.share, self._velocity = place, place / self.stroke, velocity
        slide = abs(velocity) * wish.active
        self._slide = slide
        filled, emptied = slide * inlet, slide * outlet
        least = -np.minimum(filled, emptied)
        seal = np.where(wish.overrun, np.maximum(seal, least), seal)  # at a stop less passes the piston
        taken = np.where(wish.active, filled + seal, 0.0)
        left = np.where(wish.active, emptied + seal, 0.0)
        fed_back = np.where(wish.sense == REGENERATES, np.minimum(taken, left), 0.0)
        pump_flow = np.where(wish.overrun, mixed * (taken - fed_back), taken)
        np.maximum(pump_flow, 0.0, out=pump_flow)
        grown = self._rods * velocity
        looped = (taken - pump_flow) * (back - wish.inner) * wish.overrun
        throttled = (wish.outer - back) * left + looped
        held = abs(velocity * force) * ~wish.active
        leaked = seal * (wish.inner - wish.outer) * wish.active + held
        raises = wish.sense > 0.0
        head = np.where(wish.active, np.where(raises, wish.inner, wish.outer), head)
        rod = np.where(wish.active, np.where(raises, wish.outer, wish.inner), rod)
        losses = (wish.friction * slide, throttled, leaked)
        first = pump_flow * SHARES[0] * pump_share[0] / np.maximum(mixed, 1e-12)
        return Motion(velocity, pump_flow, first, pump_flow - grown, granted, head, rod, losses)

    def _held(self, force: Array, thinning: Array) -> tuple[Array, Array, Array]:
        """Head and rod pressures and velocities of cylinders whose spools are shut (``physics.held_pressures``)."""
        head = np.maximum(force, 0.0) / self._bearing
        carried = np.maximum(-force, 0.0) / self.rod_area
        rod = self._sag * head + carried
        leak = self._seal * thinning
        sinking = leak * (carried / self.rod_area - self._kept * head / self.head_area)
        return head, rod, sinking

    def drift(self, since: Array) -> Array:
        """Way (3, B) that the pistons have moved since they were at ``since``, m."""
        return abs(self.place - since)
