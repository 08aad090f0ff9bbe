"""What perfect sensors would show, in each sensor's own unit."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.machines.moulding.work import Work
from gnn_service.demo.plant import Array
from gnn_service.physics import filters, gas, moulding

Reader = Callable[[Work], Array]
BAR, ZERO_C = 1e-5, 273.15
OIL_SHARE = 0.94
"""Filling of the tank with the mould open and the accumulator charged."""


def _flow(name: str, scale: float = 1.0) -> Reader:
    return lambda work: work.f[name] * scale


def _state(name: str, scale: float = 1.0, offset: float = 0.0) -> Reader:
    return lambda work: work.s[name] * scale - offset


def _result(name: str, scale: float = 1.0) -> Reader:
    return lambda work: work.results[name] * scale


def _zone(zone: int) -> Reader:
    return lambda work: work.zones[zone] - ZERO_C


def _duty(zone: int) -> Reader:
    return lambda work: work.duty[zone] * 100.0


def _torque(pump: int) -> Reader:
    return lambda work: work.f[f"torque_{pump}"] / work.p[f"servo_pump_{pump}.rated_torque"] * 100.0


def _rms(pump: int) -> Reader:
    return lambda work: work.f[f"current_{pump}"] * np.sqrt(0.5)


def _gas(work: Work) -> Array:
    p, s = work.p, work.s
    shell, volume = p["accumulator.shell"], s["gas_volume"]
    return np.asarray(gas.gas_pressure(p["accumulator.charge"], shell, volume, s["gas_k"], 293.15) * BAR)


def shell_temperature(work: Work) -> Array:
    """Temperature of the accumulator's shell, between the oil and the air, K."""
    return 0.5 * (work.s["oil_k"] + work.p["ambient_k"])


def _position(work: Work) -> Array:
    return (work.p["toggle_tiebars.crosshead_stroke"] - work.s["crosshead"]) * 1e3


def _strain(bar: int) -> Reader:
    def read(work: Work) -> Array:
        stress = moulding.tie_bar_stress(work.f["force"], work.p["toggle_tiebars.bar_diameter"])
        mean = moulding.bar_strain(stress, work.p["toggle_tiebars.bar_modulus"])
        return np.asarray(mean * moulding.tie_bar_shares(work.p["toggle_tiebars.imbalance"])[bar] * 1e6)

    return read


def _level(work: Work) -> Array:
    warm = 1.0 + 7.7e-4 * (work.s["oil_k"] - 318.15)
    level = (OIL_SHARE * warm + work.s["tank_change"] / work.p["oil_tank.volume"]) * 100.0
    return np.asarray(np.minimum(np.maximum(level, 0.0), 100.0))


def _code(size: str) -> Reader:
    return lambda work: filters.iso4406_code(work.s[f"particles_{size}"] * 1e-6)


def _site(name: str, offset: float) -> Reader:
    return lambda work: work.p[name] - offset


READERS: dict[str, Reader] = {
    **{f"servo_pump_{pump}.n": _flow(f"n_{pump}", 60.0) for pump in (1, 2)},
    **{f"servo_pump_{pump}.torque": _torque(pump) for pump in (1, 2)},
    **{f"servo_pump_{pump}.i_rms": _rms(pump) for pump in (1, 2)},
    **{f"servo_pump_{pump}.t_motor": _state(f"winding_{pump}", offset=ZERO_C) for pump in (1, 2)},
    "manifold.p_sys": _flow("pressure", BAR),
    "manifold.inj_cmd": _flow("opening", 100.0),
    "accumulator.p_oil": _gas,
    "accumulator.t": lambda work: shell_temperature(work) - ZERO_C,
    "clamp_cylinder.p_head": _flow("p_head", BAR),
    "clamp_cylinder.pos": _position,
    "clamp_cylinder.v": _flow("v_clamp", 1e3),
    "clamp_cylinder.p_lock": _result("p_lock", BAR),
    **{f"toggle_tiebars.strain_{bar + 1}": _strain(bar) for bar in range(4)},
    "toggle_tiebars.force": _flow("force", 1e-3),
    "toggle_tiebars.lock_decay": _result("lock_decay", 100.0),
    "toggle_tiebars.imbalance": _result("imbalance", 100.0),
    "injection_cylinder.p_hyd": _flow("p_hyd", BAR),
    "injection_cylinder.pos": _state("screw", 1e3),
    "injection_cylinder.v": _flow("v_screw", 1e3),
    "injection_cylinder.p_peak": _result("p_peak", BAR),
    "injection_cylinder.p_switch": _result("p_switch", BAR),
    "screw_unit.cushion": _result("cushion", 1e3),
    "screw_unit.rpm": _flow("rpm", 60.0),
    "screw_unit.t_plast": _result("t_plast"),
    "screw_unit.fill_time": _result("fill_time"),
    "screw_unit.part_weight": _result("part_weight"),
    "screw_unit.creep": _result("creep", 1e3),
    "plasticizing_motor.p_in": _flow("p_motor", BAR),
    **{f"barrel_heaters.z{zone + 1}_t": _zone(zone) for zone in range(6)},
    **{f"barrel_heaters.z{zone + 1}_duty": _duty(zone) for zone in range(6)},
    "barrel_heaters.power": _state("heating", 1e-3),
    "ejector_cylinder.p_head": _flow("p_eject", BAR),
    "oil_tank.t_oil": _state("oil_k", offset=ZERO_C),
    "oil_tank.level": _level,
    "oil_tank.iso_6": _code("6"),
    "oil_tank.iso_14": _code("14"),
    "oil_tank.t_ambient": _site("ambient_k", ZERO_C),
    "oil_cooler.valve": _state("valve", 100.0),
    "oil_cooler.t_w_in": _site("water_k", ZERO_C),
    "oil_cooler.t_w_out": _state("water_out_k", offset=ZERO_C),
    "filter_offline.dp": _state("filter_drop", BAR),
    "mould_tcu.t": _state("mould_k", offset=ZERO_C),
    "mould_tcu.flow": lambda work: work.p["mould_tcu.flow"] * 6e4,
    "drive_supply.p_in": lambda work: work.f["electric"] / np.maximum(work.f["used"], 1e-9) * 1e-3,
    "drive_supply.cycle_time": _result("cycle_time"),
    "drive_supply.energy": _result("energy", 1.0 / 3.6e6),
}
"""Readers by the sensor's id."""

SLOW = frozenset(
    {
        *(f"barrel_heaters.z{zone}_{kind}" for zone in range(1, 7) for kind in ("t", "duty")),
        *(f"servo_pump_{pump}.t_motor" for pump in (1, 2)),
        "barrel_heaters.power",
        "accumulator.t",
        "oil_tank.t_oil",
        "oil_tank.iso_6",
        "oil_tank.iso_14",
        "oil_tank.t_ambient",
        "oil_cooler.valve",
        "oil_cooler.t_w_in",
        "oil_cooler.t_w_out",
        "filter_offline.dp",
        "mould_tcu.t",
        "mould_tcu.flow",
    }
)
"""Sensors of what changes once a second at most."""


class Panel:
    """Reads all sensors in the order of the description; what is slow only after a change."""

    def __init__(self, ids: tuple[str, ...]) -> None:
        self._fast = [(row, READERS[name]) for row, name in enumerate(ids) if name not in SLOW]
        self._slow = [(row, READERS[name]) for row, name in enumerate(ids) if name in SLOW]
        self._slow_rows = np.array([row for row, _ in self._slow], dtype=np.intp)

    def __len__(self) -> int:
        return len(self._fast) + len(self._slow)

    def slow(self, work: Work) -> NDArray[np.float32]:
        """The slow sensors, (S_slow, B)."""
        return np.stack([reader(work).astype(np.float32) for _, reader in self._slow])

    def read(self, work: Work, slow: NDArray[np.float32], into: NDArray[np.float32]) -> None:
        """All sensors of one step into (S, B)."""
        for row, reader in self._fast:
            into[row] = reader(work)
        into[self._slow_rows] = slow
