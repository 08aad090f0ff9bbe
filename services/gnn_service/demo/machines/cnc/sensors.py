"""What the machining centre's sensors would show if they were perfect, each in its own unit."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.machines.cnc import heat as nodes
from gnn_service.demo.machines.cnc.duty import Duty
from gnn_service.demo.machines.cnc.feed import LINEAR, ROTARY, FeedLoad
from gnn_service.demo.machines.cnc.heat import ATMOSPHERE, WATER_HEAT, Heat, condensing_pressure
from gnn_service.demo.machines.cnc.hydraulics import HydraulicLoad, Hydraulics
from gnn_service.demo.machines.cnc.programmes import BALL_BAR, CLAMP, PHASES, PRODUCTION, TOOLS
from gnn_service.demo.machines.cnc.spindle import SpindleLoad, Vibration
from gnn_service.demo.machines.cnc.supplies import CoolantLoad, CoolantTank, Lubrication
from gnn_service.demo.plant import Array, Parameters
from gnn_service.domain.shipped import shipped_machine

BAR, L_MIN, PER_MIN, ZERO_C, STANDARD_G = 1e5, 1e-3 / 60.0, 60.0, 273.15, 9.80665
ARCSECOND = np.pi / 648_000.0
OIL_EXPANSION = 7.7e-4
RESULT = PHASES.index("result")


class Panel:
    """The present readings, ``frame`` (S, B) float32, sensors in the order of the description."""

    ROW: ClassVar[dict[str, int]] = {name: row for row, name in enumerate(shipped_machine("cnc").sensor_ids)}

    def __init__(self, size: int) -> None:
        self.rows = len(self.ROW)
        self.frame: NDArray[np.float32] = np.full((self.rows, size), np.nan, np.float32)

    def set_parameters(self, p: Parameters) -> None:
        """Take over what readings are computed with."""
        self.p = p

    def _set(self, name: str, values: Array) -> None:
        self.frame[self.ROW[name]] = values

    def second(self, heat: Heat, tank: CoolantTank, lubrication: Lubrication, duty: Duty, ambient_k: Array) -> None:
        """Readings that change slowly."""
        p, t = self.p, heat.t - ZERO_C
        for name, row in (("t_front", nodes.FRONT), ("t_rear", nodes.REAR), ("t_motor", nodes.STATOR)):
            self._set(f"spindle.{name}", t[row])
        rise = heat.t[nodes.HEAD] - p["spindle.growth_reference"]
        self._set("spindle.growth", p["spindle.growth_per_kelvin"] * rise * 1e6)
        for axis, motor, nut in zip(LINEAR, t[nodes.MOTORS], t[nodes.NUTS], strict=True):
            self._set(f"{axis}.t_motor", motor)
            self._set(f"{axis}.t_nut", nut)
        for axis, motor in zip(ROTARY, t[nodes.ROTARIES], strict=True):
            self._set(f"{axis}.t_motor", motor)
        self._set("hydraulic_unit.t_oil", t[nodes.OIL])
        through = (heat.cooling - p["chiller.pump_power"]) / (p["chiller.water_flow"] * WATER_HEAT)
        self._set("chiller.t_out", t[nodes.WATER])
        self._set("chiller.t_in", t[nodes.WATER] + np.maximum(through, 0.0))
        self._set("chiller.p_high", (condensing_pressure(heat.condensing_k) - ATMOSPHERE) / BAR)
        current = (heat.compressor + p["chiller.fan_power"]) / (
            np.sqrt(3.0) * p["chiller.voltage"] * p["chiller.power_factor"]
        )
        self._set("chiller.i_comp", current)
        self._set("chiller.flow", p["chiller.water_flow"] / L_MIN)
        self._set("coolant_unit.t", t[nodes.COOLANT])
        self._set("coolant_unit.level", tank.level * 100.0)
        self._set("coolant_unit.concentration", tank.concentration * 100.0)
        self._set("lubrication_unit.p_peak", lubrication.peak / BAR)
        self._set("lubrication_unit.t_decay", lubrication.decay)
        self._set("drive_cabinet.t", t[nodes.CABINET])
        self._set("drive_cabinet.fan", heat.fan * 100.0)
        self._set("drive_cabinet.t_ambient", ambient_k - ZERO_C)
        self._set("tool_changer.tool_age", duty.present_age() / 60.0)

    def fast(self, duty: Duty, velocity: Array, n: Array, vibration: Vibration, air: tuple[Array, Array]) -> None:
        """Commands, vibration, air, and the results of tests where there is one."""
        p = self.p
        for axis, speed in zip(LINEAR, velocity[:3], strict=True):
            self._set(f"{axis}.v", speed * 1e3)
        for axis, speed in zip(ROTARY, velocity[3:], strict=True):
            self._set(f"{axis}.v", np.rad2deg(speed))
        self._set("spindle.n", n * PER_MIN)
        self._set("spindle.v_rms", vibration.velocity * 1e3)
        self._set("spindle.a_rms", vibration.acceleration / STANDARD_G)
        self._set("spindle.kurtosis", vibration.kurtosis)
        self._set("spindle.env_bpfo", vibration.envelope / STANDARD_G)
        result = duty.phase == RESULT
        self._set(
            "tool_clamp.force", np.where(result & (duty.state == CLAMP), p["tool_clamp.clamp_force"] / 1e3, np.nan)
        )
        material = np.where(duty.state == PRODUCTION, duty.material, 0)
        self._set("tool_changer.tool_id", np.where(duty.tool > 0, duty.tool + TOOLS * material, 0))
        self._set("pneumatic_supply.p", air[0] / BAR)
        self._set("pneumatic_supply.flow", air[1] / L_MIN)
        self._measured = result & (duty.state == BALL_BAR)

    def drives(self, s: SpindleLoad, f: FeedLoad, errors: Array, drawn: Array, supply: Array) -> None:
        """Torques, currents, following errors and powers."""
        p = self.p
        self._set("spindle.torque", s.torque)
        self._set("spindle.power", s.power / 1e3)
        for row, axis in enumerate(LINEAR):
            self._set(f"{axis}.i", f.current[row])
            self._set(f"{axis}.follow_err", errors[row] * 1e6)
        for row, axis in enumerate(ROTARY):
            self._set(f"{axis}.i", f.rotary_current[row])
            self._set(f"{axis}.follow_err", errors[3 + row] / ARCSECOND)
        droop = p["drive_cabinet.bus_droop"] * drawn
        self._set("drive_cabinet.u_dc", p["drive_cabinet.bus_voltage"] - droop)
        self._set("drive_cabinet.p_total", supply / 1e3)

    def fluids(self, h: HydraulicLoad, c: CoolantLoad, unit: Hydraulics, reversal: Array) -> None:
        """Clamping hydraulics and coolant."""
        p = self.p
        for row, axis in enumerate(LINEAR):
            self._set(f"{axis}.reversal", np.where(self._measured, reversal[row] * 1e6, np.nan))
        self._set("hydraulic_unit.p", h.pressure / BAR)
        self._set("hydraulic_unit.pump_on", h.pump_on)
        for row, axis in enumerate(ROTARY):
            self._set(f"{axis}.clamp_p", h.pressure / BAR * unit.clamped[row])
        lack = unit.oil / p["hydraulic_unit.tank_volume"]
        self._set("hydraulic_unit.level", (p["hydraulic_unit.level"] - lack) * 100.0)
        self._set("tool_clamp.t_release", unit.t_release * 1e3)
        self._set("tool_clamp.t_clamp", unit.t_clamp * 1e3)
        later = unit.t_release + unit.t_clamp - p["tool_clamp.release_time"] - p["tool_clamp.clamp_time"]
        self._set("tool_changer.t_change", p["tool_changer.change_time"] + later)
        self._set("coolant_unit.p_tsc", c.pressure / BAR)
        self._set("coolant_unit.flow", c.flow / L_MIN)
        self._set("coolant_unit.n_pump", c.speed * PER_MIN)
        self._set("coolant_unit.filter_dp", c.filter_drop / BAR)
