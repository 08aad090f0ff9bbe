"""Temperatures of motors, gears and cabinet, moved on once a second.

What was lost in one second drives the temperatures of the next; within a second they run straight. So the heat of a
second is stored as such until it enters the network, and the ledger closes at every step.
"""

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.machines.robot.arm import JOINTS
from gnn_service.demo.machines.robot.joints import INVERTERS, total
from gnn_service.demo.plant import Array, Parameters
from gnn_service.physics import drives

SECOND = 1.0
LEAST_FAN = 0.3
FAN_EXPONENT = 0.8
"""Heat transfer of air along surfaces grows with speed^0.8 (VDI Heat Atlas, turbulent flow)."""
SETTLING_ROUNDS = 40


class Heat:
    """Windings, housings, gears and castings of six joints (6, B) and the cabinet (B,) of B robots; K, W and J."""

    def __init__(self, parameters: Parameters, ambient_k: Array) -> None:
        self.ambient = ambient_k
        self.take(parameters)
        self.winding = self.housing = self.gear = self.casting = np.broadcast_to(ambient_k, (6, ambient_k.size))
        self.cabinet = ambient_k
        self.begin_second(np.zeros((19, ambient_k.size)))

    def take(self, parameters: Parameters) -> None:
        """Take over changed parameters; temperatures stay."""

        def of(part: str, name: str) -> Array:
            return np.stack([parameters[f"j{joint + 1}_{part}.{name}"] for joint in JOINTS])

        self.c_winding, self.c_housing = of("motor", "winding_capacity"), of("motor", "housing_capacity")
        self.r_winding = of("motor", "winding_resistance_thermal")
        self.r_housing = of("motor", "ambient_resistance_thermal")
        self.r_between = of("motor", "gear_resistance_thermal")
        self.c_gear, self.c_casting = of("reducer", "gear_capacity"), of("reducer", "casting_capacity")
        self.r_gear, self.r_casting = (
            of("reducer", "casting_resistance_thermal"),
            of("reducer", "ambient_resistance_thermal"),
        )
        self._motors = drives.two_node(self.c_winding, self.c_housing, self.r_winding, self.r_housing, SECOND)
        self._gears = drives.two_node(self.c_gear, self.c_casting, self.r_gear, self.r_casting, SECOND)
        cabinet = {name.partition(".")[2]: value for name, value in parameters.items() if name.startswith("drive_c")}
        self.c_cabinet, self.conductance, self.still = (
            cabinet[name] for name in ("capacity", "conductance", "still_share")
        )
        self.fan_start, self.fan_full, self.fan_power = cabinet["fan_start"], cabinet["fan_full"], cabinet["fan_power"]
        self.fan_rated = cabinet["fan_speed"]
        self.controller, self.igbt = cabinet["controller_power"], cabinet["igbt_resistance_thermal"]

    def begin_second(self, losses: Array) -> None:
        """Let the mean losses (19, B) of the last second act through the coming one; see `Work.heat` for the rows."""
        self.losses = losses
        self._from = self.winding, self.housing, self.gear, self.casting, self.cabinet
        between = (self.housing - self.casting) / self.r_between
        winding, housing, motors = self._motors.step(
            self.winding, self.housing, losses[0:6], losses[6:12] - between, self.ambient
        )
        gear, casting, gears = self._gears.step(self.gear, self.casting, losses[12:18], between, self.ambient)
        self.fan = self._fan_at(self.cabinet)
        self.auxiliary = self.controller + self.fan_power * self.fan**3  # W, all of it heat in the cabinet
        self.igbt_k = self.cabinet + self.igbt * losses[INVERTERS]
        wall = self._conductance_at(self.fan)
        pace = wall * SECOND / self.c_cabinet
        end = self.ambient + (losses[INVERTERS] + self.auxiliary) / wall
        left = self.cabinet - end
        cabinet = end + left * np.exp(-pace)
        self.away_cabinet = wall * (end + left * -np.expm1(-pace) / pace - self.ambient)
        self.away = total(motors) + total(gears)
        self.winding, self.housing, self.gear, self.casting, self.cabinet = winding, housing, gear, casting, cabinet

    def at(self, share: Array) -> tuple[Array, Array, Array, Array, Array]:
        """Windings, housings, gears, castings (6, K, B) and cabinet (K, B) at shares (K, 1) of the second."""
        ends = self.winding, self.housing, self.gear, self.casting, self.cabinet
        spread = [
            start[..., None, :] + (end - start)[..., None, :] * share
            for start, end in zip(self._from, ends, strict=True)
        ]
        return spread[0], spread[1], spread[2], spread[3], spread[4]

    def stored(self, share: Array) -> Array:
        """Heat in all nodes above 0 K, with what has not yet entered them, (K, B), at shares (K, 1), J."""
        winding, housing, gear, casting, cabinet = self.at(share)
        nodes = (
            total(self.c_winding[:, None] * winding)
            + total(self.c_housing[:, None] * housing)
            + total(self.c_gear[:, None] * gear)
            + total(self.c_casting[:, None] * casting)
            + self.c_cabinet * cabinet
        )
        return np.asarray(nodes + total(self.losses) * SECOND * (1.0 - share))

    def settle(self, losses: Array, cold: NDArray[np.bool_]) -> None:
        """Go to where lasting losses (19, B) lead; where ``cold`` (B,), to the hall's temperature."""
        motors, gears = losses[0:6] + losses[6:12], losses[12:18]
        # housing and casting exchange heat: a balance of two nodes, solved by elimination
        a, b, c = 1.0 / self.r_housing, 1.0 / self.r_casting, 1.0 / self.r_between
        rise = (motors * (b + c) + gears * c) / (a * b + a * c + b * c)
        other = (gears + c * rise) / (b + c)
        self.housing, self.casting = self.ambient + rise, self.ambient + other
        self.winding = self.housing + self.r_winding * losses[0:6]
        self.gear = self.casting + self.r_gear * gears
        cabinet = self.ambient + losses[INVERTERS] / self.conductance
        for _ in range(SETTLING_ROUNDS):
            fan = self._fan_at(cabinet)
            heat = losses[INVERTERS] + self.controller + self.fan_power * fan**3
            warm = self.ambient + heat / self._conductance_at(fan)
            cabinet = cabinet + 0.3 * (warm - cabinet)
        self.cabinet = cabinet
        for name in ("winding", "housing", "gear", "casting", "cabinet"):
            setattr(self, name, np.where(cold, self.ambient, getattr(self, name)))
        self.begin_second(np.where(cold, 0.0, losses))

    @property
    def starts(self) -> tuple[Array, Array, Array]:
        """Windings, gears and cabinet at the begin of the second."""
        return self._from[0], self._from[2], self._from[4]

    @property
    def spans(self) -> tuple[tuple[Array, Array], tuple[Array, Array], tuple[Array, Array]]:
        """Windings, gears and cabinet at the begin and at the end of the second."""
        winding, gear, cabinet = self.starts
        return (winding, self.winding), (gear, self.gear), (cabinet, self.cabinet)

    @property
    def fan_speed(self) -> Array:
        """Revolutions a second."""
        return self.fan * self.fan_rated

    def _fan_at(self, cabinet_k: Array) -> Array:
        share = (cabinet_k - self.fan_start) / (self.fan_full - self.fan_start)
        return np.clip(share, LEAST_FAN, 1.0)

    def _conductance_at(self, fan: Array) -> Array:
        return np.asarray(self.conductance * (self.still + (1.0 - self.still) * fan**FAN_EXPONENT))
