"""Coolant through the spindle and its tank, lubrication pulses and compressed air."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.plant import Array, Parameters


class CoolantLoad(NamedTuple):
    """The high-pressure line in a step, (B,): Pa, m3/s, 1/s, Pa and W."""

    pressure: Array
    flow: Array
    speed: Array
    filter_drop: Array
    power: Array
    heat: Array
    motor_loss: Array


class Coolant:
    """A pump whose speed holds the pressure at the tool, behind a paper filter."""

    def set_parameters(self, p: Parameters) -> None:
        """Take over the parameters of `coolant_unit`."""
        self.p = q = {name.partition(".")[2]: value for name, value in p.items() if name.startswith("coolant_unit.")}
        self.nozzle = q["nozzle_flow"] / np.sqrt(q["pressure"])
        lost = 1.0 - q["volumetric_efficiency"]
        self.leak = lost * q["displacement"] * q["nominal_speed"] / q["pressure"]

    def load(self, on: Array, tool: NDArray[np.int64], running: Array) -> CoolantLoad:
        """The line with its valve open or shut (1, 0); the tools' channels differ in width.

        Speed rises until the set pressure is reached or the pump is at its fastest; then pressure gives way.
        """
        q = self.p
        nozzle = self.nozzle * (1.0 - 0.03 * np.mod(tool, 5))
        drop = q["filter_resistance"] * nozzle * np.sqrt(q["pressure"])
        fill = np.clip((q["feed_pressure"] - drop) / q["fill_pressure"], 0.3, 1.0)
        per_turn = q["displacement"] * fill
        wanted = (nozzle * np.sqrt(q["pressure"]) + self.leak * q["pressure"]) / per_turn
        speed = np.minimum(wanted, q["max_speed"])
        root = (np.sqrt(nozzle * nozzle + 4.0 * self.leak * per_turn * speed) - nozzle) / (2.0 * self.leak)
        pressure = np.where(wanted <= q["max_speed"], q["pressure"], root * root)
        flow = nozzle * np.sqrt(pressure)
        hydraulic = pressure * per_turn * speed * on
        shaft = hydraulic / q["mechanical_efficiency"]
        feed_power = q["feed_pressure"] * q["feed_flow"] / q["feed_efficiency"] * running
        drop_now = q["filter_resistance"] * flow * on
        return CoolantLoad(
            pressure * on, flow * on, speed * on, drop_now, shaft / q["motor_efficiency"] + feed_power,
            hydraulic + hydraulic * (1.0 / q["mechanical_efficiency"] - 1.0) + feed_power,
            shaft * (1.0 / q["motor_efficiency"] - 1.0),
        )  # fmt: skip


class CoolantTank:
    """Level and concentration: water evaporates, emulsion leaves on parts and chips, a mixing unit tops up.

    What evaporates leaves its concentrate behind, so that the concentration is a power of the level; the unit mixes as
    lean as brings it back.
    """

    def __init__(self, share: Array) -> None:
        self.begin(share)

    def begin(self, share: Array) -> None:
        """Start at a share (B,) of the band between empty enough to be filled and full."""
        self._share, self._fills = share, np.zeros(share.shape, dtype=np.bool_)

    def set_parameters(self, p: Parameters) -> None:
        """Take over the parameters of `coolant_unit`."""
        self.p = q = {name.partition(".")[2]: value for name, value in p.items() if name.startswith("coolant_unit.")}
        band = q["level_band"] * q["tank_volume"]
        self._lost = (q["evaporation"] + q["drag_out"]) / band
        self._filled = q["filling_flow"] / band
        self._left_behind = q["evaporation"] / (q["evaporation"] + q["drag_out"])

    def second(self, flowing: Array) -> None:
        """One second with coolant flowing (1) or not (0); filling begins at the band's end and ends when full."""
        share = self._share - self._lost * flowing + self._filled * self._fills
        self._fills = np.where(self._fills, share < 1.0, share <= 0.0)
        self._share = share

    @property
    def level(self) -> Array:
        """Share of the tank's volume."""
        return np.asarray(self.p["level"] + (self._share - 0.5) * self.p["level_band"])

    @property
    def concentration(self) -> Array:
        """Share of concentrate."""
        return np.asarray(self.p["concentration"] * (self.p["level"] / self.level) ** self._left_behind)


class Lubrication:
    """Pulses of oil at a fixed interval; the machine keeps the last pulse's peak and decay."""

    def __init__(self, share: Array) -> None:
        self.share = share
        self.peak, self.decay = np.zeros_like(share), np.zeros_like(share)

    def set_parameters(self, p: Parameters) -> None:
        """Take over the parameters of `lubrication_unit`."""
        self.p = {name.partition(".")[2]: value for name, value in p.items() if name.startswith("lubrication_unit.")}

    def pulse(self, ambient_k: Array) -> tuple[Array, Array]:
        """Peak pressure (Pa) and decay (s): a line of constant compliance, emptied through its restrictors."""
        q = self.p
        cold = 1.0 + q["pressure_per_kelvin"] * (ambient_k - 293.15)
        peak = q["peak_pressure"] * q["pulse_volume"] / q["rated_volume"] * cold
        decay = q["decay_time"] * np.log(np.maximum(peak / q["decay_pressure"], 1.0))
        return np.asarray(peak), np.asarray(decay)

    def second(self, ambient_k: Array) -> None:
        """One second of the interval."""
        self.share = self.share + 1.0 / self.p["interval"]
        due = self.share >= 1.0
        if due.any():
            peak, decay = self.pulse(ambient_k)
            self.peak, self.decay = np.where(due, peak, self.peak), np.where(due, decay, self.decay)
            self.share = np.where(due, self.share - 1.0, self.share)


class Air:
    """Sealing air always, cleaning air at tool changes, through one line."""

    def set_parameters(self, p: Parameters) -> None:
        """Take over the parameters of `pneumatic_supply`."""
        self.p = {name.partition(".")[2]: value for name, value in p.items() if name.startswith("pneumatic_supply.")}

    def load(self, cleaning: Array) -> tuple[Array, Array]:
        """Pressure (Pa) and flow (m3/s at normal conditions)."""
        q = self.p
        flow = q["sealing_flow"] + q["cleaning_flow"] * cleaning
        return q["pressure"] - q["line_resistance"] * flow, flow
