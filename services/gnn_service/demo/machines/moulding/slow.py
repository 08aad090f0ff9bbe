"""What changes slowly, once a second: oil and cooler, motors, barrel zones, mould, particles; and where it settles."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.machines.moulding.injection import MELT_WEIGHTS
from gnn_service.demo.machines.moulding.work import ZONES, Work
from gnn_service.demo.plant import Array
from gnn_service.physics import drives, filters, fluid, moulding, thermal

TICK_S = 1.0
WATER_J_M3K = 4.18e6
OIL_J_M3K = 1.68e6
CASE_W_K = 40.0
CASE_SHARE = 0.3
"""Share of a pump's friction that warms its case rather than the oil that passes."""
VALVE_GAIN, VALVE_INTEGRAL_S = 0.12, 400.0
ZONE_BAND_K, ZONE_INTEGRAL_S = 15.0, 300.0
MELT_SHARES = np.array([0.30, 0.28, 0.20, 0.14, 0.08, 0.0])[:, None]
"""Where along the barrel the melt takes its heat."""
PART_COOLING_S = 6.0
COOLEST_WATER_K = 2.0


@dataclass(frozen=True, slots=True)
class Nodes:
    """What the slow nodes need of the parameters, made once."""

    grade: fluid.Walther
    motors: tuple[drives.TwoNode, drives.TwoNode]
    sinks: tuple[Array, Array]
    zone_capacity: Array
    zone_loss: Array
    zone_power: Array
    setpoints: Array

    @classmethod
    def of(cls, p: dict[str, Array]) -> "Nodes":
        """From a batch's parameters."""
        motors, sinks = [], []
        for pump in ("servo_pump_1", "servo_pump_2"):
            case = p[f"{pump}.case_conductance"]
            sink = 1.0 / (1.0 / p[f"{pump}.housing_resistance_thermal"] + case)
            inner = p[f"{pump}.winding_resistance_thermal"]
            capacities = p[f"{pump}.winding_capacity"], p[f"{pump}.housing_capacity"]
            motors.append(drives.two_node(*capacities, inner, sink, TICK_S))
            sinks.append(sink)
        small = p["barrel_heaters.nozzle_capacity"], p["barrel_heaters.nozzle_loss"]
        return cls(
            fluid.walther(p["oil_tank.viscosity_40"], p["oil_tank.viscosity_100"]),
            (motors[0], motors[1]),
            (sinks[0], sinks[1]),
            np.stack([p["barrel_heaters.capacity"]] * (ZONES - 1) + [small[0]]),
            np.stack([p["barrel_heaters.loss"]] * (ZONES - 1) + [small[1]]),
            np.stack([p[f"barrel_heaters.power_{zone}"] for zone in range(1, ZONES + 1)]),
            np.stack([p[f"barrel_heaters.setpoint_{zone}"] for zone in range(1, ZONES + 1)]),
        )


def tick(work: Work, nodes: Nodes) -> dict[str, Array]:
    """Move all slow nodes on by one second of heat; energies (J) that left in it, by ledger entry."""
    second = work.second
    left: dict[str, Array] = {}
    to_oil = _motors(work, nodes, left)
    _oil(work, heat_of_oil(second) + to_oil, left)
    _barrel(work, nodes, left)
    _mould(work)
    refresh(work, nodes)
    _particles(work)
    for name in second:
        second[name] = np.zeros(work.size)
    return left


def heat_of_oil(energies: dict[str, Array]) -> Array:
    """Everything that ends in the oil, J."""
    names = ("valves", "seals", "screw_drive", "leakage_1", "leakage_2", "drag_1", "drag_2")
    return sum((energies[name] for name in names[1:]), energies[names[0]])


def refresh(work: Work, nodes: Nodes) -> None:
    """Viscosity, leakage and filter drop at the oil's temperature; the melt's temperature from its zones."""
    s, p = work.s, work.p
    s["viscosity"] = fluid.dynamic_viscosity(s["oil_k"], nodes.grade, at_15c=p["oil_tank.density"])
    s["thinning"] = fluid.REFERENCE_VISCOSITY_PA_S / s["viscosity"]
    s["melt_k"] = sum((weight * work.zones[zone] for zone, weight in enumerate(MELT_WEIGHTS)), np.zeros(work.size))
    s["filter_drop"], _ = _element(work)


def _element(work: Work) -> tuple[Array, Array]:
    p = work.p
    drop, share = filters.bypassed(
        p["filter_offline.flow"],
        p["filter_offline.resistance"],
        work.s["viscosity"],
        cracking=p["filter_offline.bypass_pressure"],
        slope=p["filter_offline.bypass_slope"],
    )
    return drop, share


def _case(work: Work, pump: int, energies: dict[str, Array], span: Array | float) -> Array:
    """Temperature of a pump's case: leakage and friction warm it, leakage and the flow past it carry heat away."""
    p, s = work.p, work.s
    leak = energies[f"leakage_{pump}"] / span
    heat = leak + CASE_SHARE * energies[f"drag_{pump}"] / span
    through = OIL_J_M3K * p[f"servo_pump_{pump}.leakage"] * s["thinning"] * 60e5
    return s["oil_k"] + heat / (CASE_W_K + through)


def _motors(work: Work, nodes: Nodes, left: dict[str, Array]) -> Array:
    """Temperatures of both motors; what goes to the air is in ``left``, what goes to the oil is returned, J."""
    p, s, second = work.p, work.s, work.second
    to_oil, to_air = np.zeros(work.size), np.zeros(work.size)
    for pump, node, sink in zip((1, 2), nodes.motors, nodes.sinks, strict=True):
        name = f"servo_pump_{pump}"
        case, air = p[f"{name}.case_conductance"], 1.0 / p[f"{name}.housing_resistance_thermal"]
        case_k = _case(work, pump, second, TICK_S)
        around = (case * case_k + air * p["ambient_k"]) * sink
        winding, housing, away = node.step(
            s[f"winding_{pump}"], s[f"housing_{pump}"], second[f"copper_{pump}"], second[f"iron_{pump}"], around
        )
        s[f"winding_{pump}"], s[f"housing_{pump}"] = winding, housing
        surface = around + away * sink
        to_oil = to_oil + case * (surface - case_k) * TICK_S
        to_air = to_air + air * (surface - p["ambient_k"]) * TICK_S
    left["motor_surfaces"] = to_air
    return to_oil


def cooler_conductance(work: Work, valve: Array) -> tuple[Array, Array]:
    """Heat a kelvin between oil and water, and the water's heat capacity flow, W/K, at a valve opening."""
    p = work.p
    water = WATER_J_M3K * p["oil_cooler.water_flow"] * np.maximum(valve, 0.01)
    oil = OIL_J_M3K * p["oil_cooler.oil_flow"]
    least = np.minimum(water, oil)
    effectiveness = thermal.effectiveness_counter(p["oil_cooler.conductance"] / least, least / np.maximum(water, oil))
    return thermal.exchanger_conductance(effectiveness, least), water


def _oil(work: Work, heat: Array, left: dict[str, Array]) -> None:
    p, s = work.p, work.s
    above = s["oil_k"] - p["oil_cooler.setpoint"]
    opening = VALVE_GAIN * above + s["valve_integral"]
    within = (opening > 0.0) & (opening < 1.0)
    s["valve_integral"] = np.where(
        within | (opening * above < 0.0),
        s["valve_integral"] + VALVE_GAIN / VALVE_INTEGRAL_S * above * TICK_S,
        s["valve_integral"],
    )
    s["valve_integral"] = np.minimum(np.maximum(s["valve_integral"], 0.0), 1.0)
    s["valve"] = np.minimum(np.maximum(opening, 0.0), 1.0)
    conductance, water = cooler_conductance(work, s["valve"])
    cooled = conductance * (s["oil_k"] - p["water_k"])
    surface = p["oil_tank.surface"] * (s["oil_k"] - p["ambient_k"])
    s["water_out_k"] = p["water_k"] + cooled / water
    s["oil_k"] = s["oil_k"] + (heat - (cooled + surface) * TICK_S) / p["oil_tank.heat_capacity"]
    left["cooler"], left["tank_surface"] = cooled * TICK_S, surface * TICK_S


def _barrel(work: Work, nodes: Nodes, left: dict[str, Array]) -> None:
    """Zones with PI controllers; the screw's work heats the melt, the zones give what is missing."""
    p, zones = work.p, work.zones
    error = nodes.setpoints - zones
    asked = error / ZONE_BAND_K + work.zone_integral
    free = ((asked > 0.0) | (error > 0.0)) & ((asked < 1.0) | (error < 0.0))
    integral = np.where(free, work.zone_integral + error * (TICK_S / ZONE_BAND_K / ZONE_INTEGRAL_S), work.zone_integral)
    work.zone_integral = np.minimum(np.maximum(integral, 0.0), 1.0)
    work.duty = np.minimum(np.maximum(asked, 0.0), 1.0)
    electric = work.duty * nodes.zone_power
    warming = work.second["plasticised"] * p["screw_unit.melt_enthalpy"] * (zones - p["screw_unit.feed_temperature"])
    to_melt = MELT_SHARES * (warming - work.second["shear"])
    lost = nodes.zone_loss * (zones - p["ambient_k"])
    net = electric + moulding.zone_heat(zones, p["barrel_heaters.neighbour"], nodes.zone_loss, p["ambient_k"])
    work.zones = zones + (net * TICK_S - to_melt) / nodes.zone_capacity
    work.s["heating"] = electric.sum(axis=0)
    left["barrel_surface"], left["melt_heat"] = lost.sum(axis=0) * TICK_S, to_melt.sum(axis=0)
    left["heaters"] = work.s["heating"] * TICK_S


def _mould(work: Work) -> None:
    p, s = work.p, work.s
    given = s["part_heat"] * (1.0 - np.exp(-TICK_S / PART_COOLING_S))
    lost = p["mould_tcu.conductance"] * (s["mould_k"] - tempering_water(work)) + p["mould_tcu.surface"] * (
        s["mould_k"] - p["ambient_k"]
    )
    s["part_heat"] = s["part_heat"] - given
    s["mould_k"] = s["mould_k"] + (given - lost * TICK_S) / p["mould_tcu.heat_capacity"]


def tempering_water(work: Work) -> Array:
    """Water that the temperature unit sends: colder as the mould warms, never colder than what cools it, K."""
    p = work.p
    above = work.s["mould_k"] - p["mould_tcu.setpoint"]
    return np.maximum(p["mould_tcu.setpoint"] - 5.0 - 4.0 * above, p["water_k"] + COOLEST_WATER_K)


def _particles(work: Work) -> None:
    p, s = work.p, work.s
    _, bypass = _element(work)
    for size in ("6", "14"):
        cleaned = filters.cleaning_flow(p["filter_offline.flow"], p[f"filter_offline.beta_{size}"], bypass)
        gain = p[f"filter_offline.ingress_{size}"] - cleaned * s[f"particles_{size}"]
        s[f"particles_{size}"] = s[f"particles_{size}"] + gain / p["oil_tank.volume"] * TICK_S


def settle(work: Work, nodes: Nodes, span: Array, which: NDArray[np.bool_]) -> None:
    """Set the slow states of some machines to where cycles like the last one (``span`` s long) lead."""
    _settle_motors(work, nodes, span, which)
    _settle_oil(work, span, which)
    _settle_barrel(work, nodes, span, which)
    refresh(work, nodes)
    _, bypass = _element(work)
    for size in ("6", "14"):
        cleaned = filters.cleaning_flow(work.p["filter_offline.flow"], work.p[f"filter_offline.beta_{size}"], bypass)
        _put(work, f"particles_{size}", work.p[f"filter_offline.ingress_{size}"] / np.maximum(cleaned, 1e-9), which)


def _put(work: Work, name: str, value: Array, which: NDArray[np.bool_]) -> None:
    work.s[name] = np.where(which, value, work.s[name])


def _settle_motors(work: Work, nodes: Nodes, span: Array, which: NDArray[np.bool_]) -> None:
    p, sums = work.p, work.last_cycle
    for pump, sink in zip((1, 2), nodes.sinks, strict=True):
        name = f"servo_pump_{pump}"
        case, air = p[f"{name}.case_conductance"], 1.0 / p[f"{name}.housing_resistance_thermal"]
        around = (case * _case(work, pump, sums, span) + air * p["ambient_k"]) * sink
        copper, iron = sums[f"copper_{pump}"] / span, sums[f"iron_{pump}"] / span
        housing = around + (copper + iron) * sink
        _put(work, f"housing_{pump}", housing, which)
        _put(work, f"winding_{pump}", housing + copper * p[f"{name}.winding_resistance_thermal"], which)


def _settle_oil(work: Work, span: Array, which: NDArray[np.bool_]) -> None:
    """The valve that holds the set point, or the temperature with it shut or wide open."""
    p, s = work.p, work.s
    power = heat_of_oil(work.last_cycle) / span
    for pump in (1, 2):
        case = _case(work, pump, work.last_cycle, span)
        power = power + p[f"servo_pump_{pump}.case_conductance"] * (s[f"housing_{pump}"] - case)
    target = p["oil_cooler.setpoint"]
    surface, water, air = p["oil_tank.surface"], p["water_k"], p["ambient_k"]
    needed = power - surface * (target - air)
    low, high = np.zeros(work.size), np.ones(work.size)
    for _ in range(30):
        middle = 0.5 * (low + high)
        enough = cooler_conductance(work, middle)[0] * (target - water) >= needed
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    conductance, flow = cooler_conductance(work, high)
    free = (power + surface * air + conductance * water) / (surface + conductance)
    _put(work, "oil_k", free, which)
    _put(work, "valve", high, which)
    _put(work, "valve_integral", np.where(free > target + 0.5, 1.0, high), which)
    _put(work, "water_out_k", water + conductance * (free - water) / flow, which)


def _settle_barrel(work: Work, nodes: Nodes, span: Array, which: NDArray[np.bool_]) -> None:
    """Zones at their set points, or as warm as full heating leaves them; sweeps from zone to zone."""
    p = work.p
    mass, shear = work.last_cycle["plasticised"] / span, work.last_cycle["shear"] / span
    heat, feed, air = mass * p["screw_unit.melt_enthalpy"], p["screw_unit.feed_temperature"], p["ambient_k"]
    neighbour = p["barrel_heaters.neighbour"]
    zones, power = nodes.setpoints.copy(), np.zeros_like(nodes.setpoints)
    for _ in range(60):
        before = zones.copy()
        for zone in range(ZONES):
            beside = [zones[other] for other in (zone - 1, zone + 1) if 0 <= other < ZONES]
            gain = MELT_SHARES[zone, 0] * heat
            slope = nodes.zone_loss[zone] + gain + neighbour * len(beside)
            given = nodes.zone_loss[zone] * air + gain * feed + MELT_SHARES[zone, 0] * shear + neighbour * sum(beside)
            asked = slope * nodes.setpoints[zone] - given
            power[zone] = np.minimum(np.maximum(asked, 0.0), nodes.zone_power[zone])
            zones[zone] = (given + power[zone]) / slope
        if (zones == before).all():  # to the last bit: more sweeps would change nothing
            break
    work.zones = np.where(which, zones, work.zones)
    duty = power / nodes.zone_power
    work.zone_integral = np.where(
        which, np.minimum(np.maximum(duty - (nodes.setpoints - zones) / ZONE_BAND_K, 0.0), 1.0), work.zone_integral
    )
    work.duty = np.where(which, duty, work.duty)
    _put(work, "heating", power.sum(axis=0), which)
