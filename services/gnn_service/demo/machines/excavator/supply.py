"""Two pumps on one shaft: load sensing, horsepower control, cut-off, filling, leakage and the power they take.

Arrays are (2, B), a row for each pump. Pressures count from the tank's.
"""

from dataclasses import dataclass

import numpy as np

from gnn_service.demo.plant import Array, Parameters
from gnn_service.physics import pumps

PUMPS = ("pump_main_1", "pump_main_2")
VAPOUR_PA, NEEDED_PA, ATMOSPHERE_PA = 0.15e5, 0.55e5, 1.013e5
GAP_VISCOSITY = 0.04
"""Cold oil warms itself in the gaps of a pump: its drag grows no further above this, Pa s."""
_STACKED = (
    "displacement", "max_stroke", "leakage", "friction", "drag", "idle_torque", "torque_limit", "corner_pressure",
    "easing", "standby_pressure", "standby_flow", "suction_laminar", "suction_turbulent", "dead_volume_share",
)  # fmt: skip


@dataclass(slots=True)
class Offer:
    """What the pumps can do in a step, before it is known how much is taken."""

    available: Array
    share: Array
    served: Array


@dataclass(slots=True)
class Delivery:
    """What the pumps did in a step."""

    pressure: Array
    flow: Array
    relief: Array
    leak: Array
    intake: Array
    shaft: Array
    friction: Array
    leakage_loss: Array
    relief_loss: Array


class Supply:
    """The pumps' parameters and their swash plates' positions."""

    def __init__(self, size: int, step_s: float) -> None:
        self._step = step_s
        self.stroke = np.full((2, size), 0.05)
        self.intake = np.zeros((2, size))

    def set_parameters(self, parameters: Parameters) -> None:
        """Take over the pumps' and the relief valve's parameters."""
        stack = {name: np.stack([parameters[f"{pump}.{name}"] for pump in PUMPS]) for name in _STACKED}
        self.displacement, self.max_stroke, self.leakage = stack["displacement"], stack["max_stroke"], stack["leakage"]
        self.friction, self.drag, self.idle = stack["friction"], stack["drag"], stack["idle_torque"]
        self.limit, self.corner, self.easing = stack["torque_limit"], stack["corner_pressure"], stack["easing"]
        self.standby_pressure, self.standby_flow = stack["standby_pressure"], stack["standby_flow"]
        self._suction = stack["suction_laminar"], stack["suction_turbulent"]
        self._dead = stack["dead_volume_share"]
        self._gain = 1.0 - np.exp(-self._step / np.stack([parameters[f"{pump}.stroke_lag"] for pump in PUMPS]))
        self.filling = parameters["hydraulic_tank.filling"]
        self._tank = parameters["hydraulic_tank.pressure"] + ATMOSPHERE_PA
        self._rated = parameters["pump_main_1.speed"]
        valve = "main_control_valve."
        self.margin, self._relief_slope = parameters[valve + "margin"], parameters[valve + "relief_slope"]
        self._cut_share, self._cut_band = parameters[valve + "cut_off_share"], parameters[valve + "cut_off_band"]
        self._power = parameters[valve + "shared_power"]
        self._a_turn = self.displacement / (2.0 * np.pi)

    def set_speed(self, speed: Array) -> None:
        """Speed of the shaft (B,) in revolutions a second; 0 is off."""
        self.speed = speed
        self._turning = np.maximum(speed, 1.0)
        self.running = (speed > 0.0).astype(np.float64)
        self._ratio = self._turning / self._rated

    def warm(self, thinning: Array, viscosity: Array, modulus: Array, derating: Array) -> None:
        """What follows from the oil's temperature (B,) and the shaft's speed: once a second is enough."""
        self.thinning, self._viscosity = thinning, viscosity
        gaps = np.minimum(viscosity, GAP_VISCOSITY)
        loss = pumps.loss_torque(self.displacement, self.speed, viscosity=gaps, drag=self.drag, idle=self.idle)
        self._loss = loss * self.running
        self._squeeze = self.displacement * self.speed * self._dead / modulus
        self._lost = self.leakage * thinning + self._squeeze
        self._shared = self._power * derating / (2.0 * np.pi * self._turning)
        laminar, turbulent = self._suction
        passed = pumps.suction_limit(self._tank, VAPOUR_PA, viscosity=viscosity, laminar=laminar, turbulent=turbulent)
        self._fullest = passed / (self.displacement * self._turning)

    def _breathe(self) -> None:
        """Inlet pressure and filling at the intake of the step before."""
        laminar, turbulent = self._suction
        self.inlet = pumps.suction_pressure(
            self._tank, self.intake, viscosity=self._viscosity, laminar=laminar, turbulent=turbulent
        )
        fill = pumps.fill_factor(self.inlet, self._ratio, vapour=VAPOUR_PA, needed=NEEDED_PA)
        self.fill = np.minimum(self.filling * fill, self._fullest)  # cold oil cavitates before it passes faster
        self._unit = self.displacement * self._turning * self.fill

    def offer(self, load: Array, demand: Array, first: Array, setting: Array, nominal: Array) -> Offer:
        """Flow within reach of the swash plates and the shared torque, and the share (2, B) of the demand it serves.

        ``first`` (2, B) is served before the rest of the demand: the swing has priority on its pump. ``load`` is the
        highest load pressure on each pump, ``setting`` the main relief valve's pressure (B,),
        ``nominal`` what the controller takes it for: near it the pumps are cut off.
        """
        self._breathe()
        needed = np.maximum(np.minimum(load + self.margin, setting), self.standby_pressure)
        leak = self.leakage * needed * self.thinning * self.running
        squeeze = self._squeeze * needed
        per_stroke = self._a_turn * needed
        wanted = (demand + first + leak + squeeze) / self._unit
        own = pumps.regulator_torque(self.limit, needed, self.corner, self.easing)
        torque = np.minimum((np.minimum(wanted, 1.0) + self.friction) * per_stroke + self._loss, own)
        half = 0.5 * self._shared
        allowed = np.minimum(own, np.maximum(half, self._shared - torque[::-1]))
        reach = np.maximum((allowed - self._loss) / per_stroke - self.friction, 0.0)
        cut = 1.0 - (1.0 - self._cut_share) * np.minimum(
            np.maximum((needed - nominal + self._cut_band) / self._cut_band, 0.0), 1.0
        )
        # a plate that stays behind its command leaves the margin short: the controller asks for all that it may
        wanted = np.where(wanted > self.max_stroke, 1.0, wanted)
        command = np.minimum(np.minimum(wanted, reach * cut), 1.0) * self.running
        self.command = command
        target = np.minimum(command, self.max_stroke)
        self.stroke = np.where(target > self.stroke, self.stroke + (target - self.stroke) * self._gain, target)
        available = np.maximum(self.stroke * self._unit * self.running - leak - squeeze, 0.0)
        share = np.minimum(np.maximum(available - first, 0.0) / np.maximum(demand, 1e-9), 1.0)
        served = np.minimum(available / np.maximum(first, 1e-9), 1.0)
        return Offer(available, share, served)

    def deliver(self, offer: Offer, load: Array, used: Array, setting: Array, back: Array) -> Delivery:
        """Pressures, relief flow and power, now that the flow taken (2, B) is known."""
        margin = self.margin * offer.share * offer.share
        open_relief = load + self.margin >= setting
        spare = np.maximum(offer.available - used, 0.0)
        relief = np.where(open_relief, spare, 0.0)
        held = np.maximum(np.minimum(load + margin, setting), self.standby_pressure)
        pressure = (np.where(open_relief, setting, held) + relief / self._relief_slope) * self.running
        pressure = np.minimum(pressure, self.stroke * self._unit / self._lost)  # a pump holds no more than it can feed
        leak = self.leakage * pressure * self.thinning
        squeeze = self._squeeze * pressure
        bleed = np.maximum(self.standby_flow * self.running - used - relief, 0.0)
        flow = used + relief + bleed
        self.highest = np.maximum(pressure[0], pressure[1])
        turned = self._a_turn * pressure * (2.0 * np.pi * self.speed)
        stroke = (flow + leak + squeeze) / self._unit
        friction = self.friction * turned + self._loss * (2.0 * np.pi * self.speed)
        shaft = stroke * turned + friction
        lost = pressure * (leak + squeeze) + (1.0 - self.fill) * stroke * turned
        spilled = (relief + bleed) * np.maximum(pressure - back, 0.0)
        self.intake = flow + leak
        return Delivery(pressure, flow, relief, leak, self.intake, shaft, friction, lost, spilled)
