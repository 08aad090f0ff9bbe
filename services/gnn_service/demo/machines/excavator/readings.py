"""What the excavator's sensors show, in their own units and in the order of the description."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.machines.excavator.cylinders import Motion
from gnn_service.demo.machines.excavator.geometry import CYLINDERS
from gnn_service.demo.machines.excavator.oil import CELSIUS, Oil
from gnn_service.demo.machines.excavator.supply import PUMPS, Delivery, Supply
from gnn_service.demo.plant import Array, Parameters
from gnn_service.domain.shipped import shipped_machine

BAR, LITRE_A_MINUTE = 1e-5, 60e3
ENGINE_POWER = 121e3
"""Net power of the engine, W (Cat 320 technical specifications, 2019)."""
FUEL_L_H_PER_W = 0.252e-3
"""210 g/kWh at 0.835 kg/L."""
ACCESSORIES = 4e3
"""Alternator, water pump and cab, W at full speed."""
SECTIONS = ("boom", "stick", "bucket", "swing")


@dataclass(slots=True)
class Seen:
    """What the sensors of one step look at, besides pumps and oil."""

    command: Array
    swing_command: Array
    motion: Motion
    place: Array
    drift: Array
    payload: Array
    ports: tuple[Array, Array]
    turning: Array
    back: Array
    filter_drop: Array
    engine: Array
    spare_volume: Array


class Readings:
    """Writes the sensors' values of a step."""

    def __init__(self, ambient: Array) -> None:
        self.ids = shipped_machine("excavator").sensor_ids
        self._rows = {name: index for index, name in enumerate(self.ids)}
        self._ambient = ambient - CELSIUS

    def set_parameters(self, parameters: Parameters) -> None:
        """Take over what the sensors depend on."""
        self._tank = parameters["hydraulic_tank.pressure"]
        self._volume = parameters["hydraulic_tank.tank_volume"]
        self._level, self._water = parameters["hydraulic_tank.level"], parameters["hydraulic_tank.water"]
        self._foam = 0.5 * (parameters["hydraulic_tank.air"] - 0.005)
        self._drain = np.stack([parameters[f"{pump}.drain_resistance"] for pump in PUMPS])
        wear = np.stack([parameters[f"{pump}.debris"] for pump in PUMPS])
        shaking = np.stack([parameters[f"{pump}.vibration"] for pump in PUMPS]) * 1e3
        shaking = shaking * np.sqrt(1.0 + 0.15 * (wear - 1.0))
        self._shaking_squared = shaking * shaking
        self._control = parameters["main_control_valve.control_pressure"] * BAR

    def write(self, out: NDArray[np.float32], seen: Seen, supply: Supply, delivery: Delivery, oil: Oil) -> None:
        """Fill ``out`` (S, B)."""
        self._write_pumps(out, seen, supply, delivery, oil)
        self._write_valves(out, seen, supply)
        self._write_cylinders(out, seen)
        self._write_oil(out, seen, oil, supply.running)

    def _write_pumps(self, out: NDArray[np.float32], seen: Seen, supply: Supply, delivery: Delivery, oil: Oil) -> None:
        pressure = (delivery.pressure + self._tank) * BAR
        case = delivery.leak * LITRE_A_MINUTE
        housing = (self._tank + self._drain * oil.viscosity * delivery.leak) * BAR
        starving = (1.0 - supply.fill) * 25.0
        loaded = pressure * 0.012
        vibration = np.sqrt(self._shaking_squared + loaded * loaded + starving * starving) * supply.running
        for index, pump in enumerate(PUMPS):
            self._put(out, f"{pump}.p_out", pressure[index])
            self._put(out, f"{pump}.disp_cmd", supply.command[index] * 100.0)
            self._put(out, f"{pump}.q_case", case[index])
            self._put(out, f"{pump}.p_case", housing[index])
            self._put(out, f"{pump}.vib", vibration[index])
        self._put(out, "pump_main_1.engine_speed", supply.speed * 60.0)
        self._put(out, "pump_main_1.engine_load", seen.engine * (100.0 / ENGINE_POWER))
        self._put(out, "pump_main_1.fuel_rate", (seen.engine * FUEL_L_H_PER_W) + 2.0 * supply.running)

    def _write_valves(self, out: NDArray[np.float32], seen: Seen, supply: Supply) -> None:
        pulled = abs(seen.command[0]) + abs(seen.command[1]) + abs(seen.command[2])
        self._put(out, "main_control_valve.p_ctrl", self._control * (1.0 - 0.012 * pulled) * supply.running)
        for index, name in enumerate(SECTIONS[:3]):
            self._put(out, f"main_control_valve.spool_cmd_{name}", seen.command[index] * 100.0)
        self._put(out, "main_control_valve.spool_cmd_swing", seen.swing_command * 100.0)
        self._put(out, "main_control_valve.p_return", (seen.back + self._tank) * BAR)
        self._put(out, "swing_motor.p_a", (seen.ports[0] + self._tank) * BAR)
        self._put(out, "swing_motor.p_b", (seen.ports[1] + self._tank) * BAR)
        self._put(out, "swing_motor.speed", seen.turning * (60.0 / (2.0 * np.pi)))

    def _write_cylinders(self, out: NDArray[np.float32], seen: Seen) -> None:
        head, rod = (seen.motion.head + self._tank) * BAR, (seen.motion.rod + self._tank) * BAR
        for index, name in enumerate(CYLINDERS):
            self._put(out, f"{name}.p_head", head[index])
            self._put(out, f"{name}.p_rod", rod[index])
            self._put(out, f"{name}.pos", seen.place[index] * 100.0)
            self._put(out, f"{name}.drift_3min", seen.drift[index] * 1e3)
        self._put(out, "bucket_cylinder.payload", seen.payload)

    def _write_oil(self, out: NDArray[np.float32], seen: Seen, oil: Oil, running: Array) -> None:
        self._put(out, "oil_cooler.t_in", oil.temperature - CELSIUS)
        self._put(out, "oil_cooler.t_out", oil.outlet - CELSIUS)
        self._put(out, "oil_cooler.fan_speed", oil.fan * 100.0)
        self._put(out, "oil_cooler.t_ambient", self._ambient)
        self._put(out, "return_filter.dp", seen.filter_drop * BAR)
        self._put(out, "hydraulic_tank.t_oil", oil.temperature - CELSIUS)
        level = self._level + seen.spare_volume / self._volume + self._foam
        self._put(out, "hydraulic_tank.level", 100.0 * np.minimum(np.maximum(level, 0.0), 1.0))
        counted = np.where(running > 0.0, oil.codes, np.nan)  # no flow, nothing passes the particle counter
        for name, code in zip(("iso_4", "iso_6", "iso_14"), counted, strict=True):
            self._put(out, f"hydraulic_tank.{name}", code)
        self._put(out, "hydraulic_tank.water_sat", self._water * 100.0)

    def _put(self, out: NDArray[np.float32], sensor: str, values: Array) -> None:
        out[self._rows[sensor]] = values
