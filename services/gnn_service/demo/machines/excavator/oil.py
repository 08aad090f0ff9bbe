"""The oil of B machines: temperature, viscosity, stiffness, cleanliness and water; cooler with fan, return filter.

What changes slowly is computed once a second; the temperature itself follows every step with the exact solution for
constant conductance. The filter and the cooler drop pressure with the flow of the moment. Dirt enters with the oil
that moves: rods and pumps bring it in, so that with the engine off nothing enters and nothing is filtered.
"""

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.plant import Array, Parameters
from gnn_service.physics import filters, fluid, thermal

AIR_EXPONENT = 0.6
"""Air-side heat transfer grows with the 0.6th power of the air flow (Incropera et al., banks of tubes)."""
OIL_SIDE = 6.0
"""Conductance of the oil side as a multiple of the whole, at nominal flow."""
LEAST_PRESSURE = 60e5
"""A pump compresses its oil against a load: stiffness is not that of an idling pump, Pa."""
LEAST_FLOW = 1e-5
"""Return flow below which nothing is filtered either, m3/s: keeps ingress / cleaning defined."""
SETTLING_STEPS = 25
SMOOTHING_S = 20.0
"""Over what time flow, pressure and bypass are averaged for what changes slowly."""
SIZES = ("4", "6", "14")
CELSIUS = fluid.CELSIUS_ZERO_K


class Oil:
    """State and parameters of what conditions the oil."""

    def __init__(self, ambient: Array, dust: Array, step_s: float) -> None:
        self._step, self._ambient, self._dust = step_s, ambient, dust
        size = len(ambient)
        self.temperature = ambient.copy()
        self.outlet = ambient.copy()
        self.flow = np.full(size, 1e-3)
        self.pressure = np.full(size, 60e5)
        self.bypass, self._running = np.zeros(size), np.ones(size)
        self.particles = np.full((3, size), 1e9)
        self._codes = np.asarray(filters.iso4406_code(self.particles * 1e-6))
        self._smoothing = step_s / SMOOTHING_S

    def set_parameters(self, parameters: Parameters) -> None:
        """Take over parameters of tank, cooler, filter and return line."""
        tank = {
            name.removeprefix("hydraulic_tank."): v
            for name, v in parameters.items()
            if name.startswith("hydraulic_tank.")
        }
        self._tank, self.water = tank, tank["water"]
        self._grade = fluid.walther(tank["viscosity_40"], tank["viscosity_100"])
        self._cooler = {
            name.removeprefix("oil_cooler."): v for name, v in parameters.items() if name.startswith("oil_cooler.")
        }
        self._resistance = parameters["return_filter.resistance"]
        self._cracking, self._slope = (
            parameters["return_filter.bypass_pressure"],
            parameters["return_filter.bypass_slope"],
        )
        self._beta = np.stack([parameters[f"return_filter.beta_{size}"] for size in SIZES])
        debris = 0.5 * (parameters["pump_main_1.debris"] + parameters["pump_main_2.debris"])
        self._dirt = np.stack([tank[f"ingress_{size}"] for size in SIZES]) * self._dust * debris
        self._line = parameters["main_control_valve.return_laminar"], parameters["main_control_valve.return_turbulent"]
        self._cooler_bypass = parameters["main_control_valve.cooler_bypass"]
        self._check = parameters["main_control_valve.make_up_pressure"]

    def tick(self, seconds: float) -> None:
        """Let some seconds pass for what changes slowly, then work out what follows from temperature and flow."""
        self._clean(seconds)
        self._seen = self.temperature, self.flow.copy(), self.pressure.copy()
        self.derive()

    def derive(self) -> None:
        """Viscosity, stiffness, fan and cooling from the parameters and the state at the last tick."""
        temperature, flow, pressure = self._seen
        tank, cooler = self._tank, self._cooler
        self.viscosity = fluid.dynamic_viscosity(temperature, self._grade, at_15c=tank["density_15"])
        self.thinning = fluid.REFERENCE_VISCOSITY_PA_S / self.viscosity
        pressure = np.maximum(pressure, LEAST_PRESSURE)
        liquid = fluid.liquid_bulk_modulus(temperature, pressure)
        self.modulus = fluid.effective_bulk_modulus(pressure + fluid.ATMOSPHERE_PA, liquid, tank["air"])
        hot = (temperature - tank["derate_start"]) / (tank["derate_end"] - tank["derate_start"])
        self.derating = 1.0 - tank["derate_share"] * np.minimum(np.maximum(hot, 0.0), 1.0)
        warmth = (temperature - cooler["fan_start"]) / (cooler["fan_full"] - cooler["fan_start"])
        self._wanted = cooler["fan_low"] + (1.0 - cooler["fan_low"]) * np.minimum(np.maximum(warmth, 0.0), 1.0)
        density = fluid.density(temperature, at_15c=tank["density_15"])
        self._oil_capacity = density * fluid.specific_heat(temperature) * np.maximum(flow, 2e-4)
        self._forced = self._cooling_at(self._wanted, self._oil_capacity)
        self._let_cool()

    def run(self, running: Array) -> None:
        """Take over where (B,) the engine runs (1) or not (0): it drives the fan and the flow through the cooler."""
        self._running = running
        self._let_cool()

    def _let_cool(self) -> None:
        """Conductance to the air and what it does in a step; with the engine off the surface's alone."""
        self.fan, self.cooling = self._wanted * self._running, self._forced * self._running
        self.fan_power_share = self.fan**3
        self.conductance = self.cooling + self._tank["surface_conductance"]
        rate = self.conductance * self._step / self._tank["heat_capacity"]
        self._decay = np.exp(-rate)
        self._mean = (1.0 - self._decay) / rate

    def _cooling_at(self, fan: Array, oil: Array) -> Array:
        """Heat per kelvin that the cooler gives off, W/K, at a fan share and a capacity rate of the oil, W/K."""
        whole = self._cooler["conductance"]
        air_side = whole / (1.0 - 1.0 / OIL_SIDE) * fan**AIR_EXPONENT
        conductance = thermal.overall_conductance(air_side, OIL_SIDE * whole)
        air = self._cooler["air_flow"] * self._cooler["air_heat"] * fan
        smaller = np.minimum(air, oil)
        effectiveness = thermal.effectiveness_cross(conductance / smaller, smaller / np.maximum(air, oil))
        return np.asarray(thermal.exchanger_conductance(effectiveness, smaller))

    def _clean(self, seconds: float) -> None:
        """Particles and the cooler's outlet temperature after some seconds at the flow of the last ones."""
        if seconds <= 0.0:
            return
        volume, flow = self._tank["oil_volume"], np.maximum(self.flow, LEAST_FLOW)
        cleaning = filters.cleaning_flow(flow, self._beta, self.bypass)
        settled = filters.settled_concentration(self._dirt * flow, cleaning)
        stirred = thermal.node_step(self.particles, settled, thermal.node_decay(cleaning, volume, seconds))
        self.particles = np.where(self._running > 0.0, stirred, self.particles)
        self._codes = np.asarray(filters.iso4406_code(self.particles * 1e-6))
        cold = self.temperature - self.cooling * (self.temperature - self._ambient) / self._oil_capacity
        self.outlet = thermal.node_step(self.outlet, cold, np.exp(-seconds / self._cooler["outlet_time"]))

    def warm_to(self, power: Array) -> None:
        """Set the temperature at which cooler and surface give off this power (B,), fan control included."""
        for _ in range(SETTLING_STEPS):
            self.tick(0.0)
            self.temperature += 0.5 * (self._ambient + power / self.conductance - self.temperature)
        self.tick(0.0)

    def settle_particles(self) -> None:
        """Bring the particles to where ingress and filter balance, and the cooler's outlet to its temperature."""
        self._clean(1e6)

    def chill(self, machines: NDArray[np.bool_]) -> None:
        """Give these machines (B,) the temperature of the air, as after a night."""
        self.temperature = np.where(machines, self._ambient, self.temperature)
        self.outlet = np.where(machines, self._ambient, self.outlet)
        self.tick(0.0)

    def follow(self, flow: Array, pressure: Array) -> None:
        """Take the return flow and the pumps' mean pressure of a step into their running means."""
        self.flow += (flow - self.flow) * self._smoothing
        self.pressure += (pressure - self.pressure) * self._smoothing

    def heat(self, power: Array) -> tuple[Array, Array]:
        """Take in this power (B,) for a step; the power given off by cooler and surface, means over the step."""
        settled = thermal.settled_temperature(power, self.conductance, self._ambient)
        gap = self.temperature - settled
        self.temperature = settled + gap * self._decay
        rise = settled + gap * self._mean - self._ambient
        return self.cooling * rise, self._tank["surface_conductance"] * rise

    def back_pressure(self, flow: Array) -> tuple[Array, Array]:
        """Pressure before the cooler and the filter's drop at a flow to the tank (B,), above the tank's; Pa."""
        flow = np.maximum(flow, 0.0)
        drop, bypass = filters.bypassed(
            flow, self._resistance, self.viscosity, cracking=self._cracking, slope=self._slope
        )
        self.bypass += (bypass - self.bypass) * self._smoothing
        laminar, turbulent = self._line
        cooler = np.minimum(laminar * self.viscosity * flow, self._cooler_bypass)
        return self._check + drop + cooler + turbulent * flow * flow, drop

    @property
    def codes(self) -> Array:
        """ISO 4406 codes (3, B) as continuous numbers."""
        return self._codes

    @property
    def stored_heat(self) -> Array:
        """Heat in oil and metal, J, from 0 degC."""
        return self._tank["heat_capacity"] * (self.temperature - CELSIUS)
