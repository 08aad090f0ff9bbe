"""Where a batch begins: mould open, shot metered, accumulator charged; warm from work, or cold."""

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.machines.moulding import duty, injection, slow
from gnn_service.demo.machines.moulding.sensors import shell_temperature
from gnn_service.demo.machines.moulding.work import ENERGIES, Part, Work
from gnn_service.demo.plant import Array

_WARM_MOTOR_K = 335.0
_WARM_MACHINE = ("oil_k", "winding_1", "winding_2", "housing_1", "housing_2", "mould_k")


def warm(work: Work, nodes: slow.Nodes) -> None:
    """A first guess of a machine that has worked for long."""
    s, p = work.s, work.p
    s["oil_k"], s["mould_k"] = p["oil_cooler.setpoint"].copy(), p["mould_tcu.setpoint"].copy()
    for pump in (1, 2):
        s[f"winding_{pump}"] = np.full(work.size, _WARM_MOTOR_K)
        s[f"housing_{pump}"] = np.full(work.size, _WARM_MOTOR_K)
    s["valve"], s["valve_integral"] = np.full(work.size, 0.3), np.full(work.size, 0.3)
    s["water_out_k"] = p["water_k"].copy()
    s["part_heat"] = np.zeros(work.size)
    work.zones = nodes.setpoints.copy()
    work.zone_integral = np.full_like(work.zones, 0.35)
    for size in ("6", "14"):
        s[f"particles_{size}"] = p[f"filter_offline.ingress_{size}"] / p["filter_offline.flow"]


def cool(work: Work, which: NDArray[np.bool_]) -> None:
    """Some machines have stood for long: everything is as warm as the air."""
    s, p = work.s, work.p
    for name in _WARM_MACHINE:
        s[name] = np.where(which, p["ambient_k"], s[name])
    for name in ("valve", "valve_integral", "part_heat", "heating"):
        s[name] = np.where(which, 0.0, s[name])
    s["water_out_k"] = np.where(which, p["water_k"], s["water_out_k"])
    work.zones = np.where(which, p["ambient_k"], work.zones)
    work.zone_integral = np.where(which, 0.0, work.zone_integral)
    work.duty = np.where(which, 0.0, work.duty)


def ready(work: Work) -> None:
    """Everything that moves is where a cycle begins."""
    s, p = work.s, work.p
    for name in ("elapsed", "lag", "ejector", "injected", "creep", "lock_peak", "fill_time", "fill_peak"):
        s[name] = np.zeros(work.size)
    for name in ("plast_time", "cooling_time", "cycle_time", "cycle_energy", "tank_change"):
        s[name] = np.zeros(work.size)
    s["crosshead"] = p["toggle_tiebars.crosshead_stroke"].copy()
    s["trim"] = trimmed(p)
    s["screw"] = np.minimum(p["dose"] + s["trim"], p["screw_unit.stroke"])
    for name in ENERGIES:
        work.second[name], work.of_cycle[name] = np.zeros(work.size), np.zeros(work.size)


def trimmed(p: dict[str, Array]) -> Array:
    """Where cushion control has come to with a check ring like this one, m."""
    lost = p["nominal_shot"] / p["screw.area"] * duty.RING_STROKE / duty.NOMINAL_STROKE
    trim = lost * (p["screw_unit.ring_leakage"] / duty.SOUND_RING - 1.0)
    return np.asarray(np.minimum(np.maximum(trim, duty.TRIM_LEAST), duty.TRIM_MOST))


def charged(work: Work) -> None:
    """The accumulator is at its charged pressure and as warm as its shell."""
    work.s["gas_k"] = shell_temperature(work)
    hold_gas(work, work.p["accumulator.charged_pressure"])


def hold_gas(work: Work, pressure: Array) -> None:
    """Gas volume that goes with a pressure, at the gas's temperature; no more than the shell."""
    p, s = work.p, work.s
    volume = p["accumulator.charge"] * p["accumulator.shell"] / pressure * s["gas_k"] / injection.REFERENCE_K
    s["gas_volume"] = np.minimum(volume, p["accumulator.shell"])


def gas_pressure(work: Work) -> Array:
    """Pressure of every machine's accumulator, Pa."""
    return injection.gas_pressure(Part(work, np.arange(work.size)))
