"""Failure modes of the excavator: each shows its signs, more with severity, and nothing where there is none."""

from collections.abc import Callable

import numpy as np
import pytest

from gnn_service.demo.machines.excavator.modes import MODES
from gnn_service.demo.machines.excavator.plant import Excavator
from gnn_service.demo.modes import degrade
from gnn_service.demo.parameters import alike, nominal
from gnn_service.demo.plant import Array
from gnn_service.demo.systems import get_system
from gnn_service.domain.shipped import shipped_machine

SEVERITIES = np.array([0.0, 0.3, 0.6, 1.0])
# What grows (or falls) with severity, where it is looked at, and over what: mean, spread or top of the readings.
SIGNS: dict[str, tuple[str, str, Callable[[Array], float], int]] = {
    "E1": ("truck_loading", "pump_main_1.q_case", np.mean, 1),
    "E2": ("levelling", "pump_main_2.disp_cmd", np.mean, 1),
    "E3": ("truck_loading", "hydraulic_tank.level", np.mean, -1),
    "E4": ("hold_test", "boom_cylinder.drift_3min", np.nanmax, 1),
    "E5": ("truck_loading", "boom_cylinder.pos", lambda share: np.diff(share).max(), -1),
    "E6": ("stall", "pump_main_1.p_out", np.max, -1),
    "E7": ("truck_loading", "oil_cooler.t_out", np.mean, 1),
    "E8": ("truck_loading", "return_filter.dp", np.mean, 1),
    "E9": ("truck_loading", "swing_motor.p_a", np.max, -1),
    "E10": ("truck_loading", "pump_main_2.q_case", np.mean, 1),
}


def degraded(mode, severities=SEVERITIES):
    healthy = alike(nominal("excavator"), len(severities))
    return degrade(healthy, (mode,), {mode.id: severities})


def test_the_modes_are_those_of_the_description_on_the_same_components():
    described = {mode.id: mode.component for mode in shipped_machine("excavator").failure_modes}
    assert {mode.mode: mode.component for mode in MODES} == described
    assert [mode.id for mode in MODES] == [f"E{number}" for number in range(1, 11)]


def test_every_change_sign_and_state_exists():
    values, machine = nominal("excavator"), shipped_machine("excavator")
    for mode in MODES:
        assert all(change.parameter in values for change in mode.changes)
        assert all(sign.sensor in machine.sensor_ids for sign in mode.signs)
        assert set(mode.needs) <= set(Excavator.STATES)
        assert 0 < mode.detect_severity <= mode.service_severity < 1


def test_the_shift_covers_all_operating_states():
    system = get_system("excavator")
    assert system.plant is Excavator
    assert set(system.shift) == set(Excavator.STATES)
    assert sum(system.shift.values()) == pytest.approx(1.0)


def test_four_times_the_leakage_of_a_new_pump_is_half_the_way():
    leakage = degraded(MODES[0], np.array([0.5]))["pump_main_1.leakage"]
    assert leakage[0] == pytest.approx(4 * 4e-12)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.id)
def test_the_sign_of_a_mode_moves_one_way_with_severity(build, sensor, mode):
    state, name, summary, way = SIGNS[mode.id]
    plant = build((state,) * len(SEVERITIES), degraded(mode), settle=mode.id == "E7")
    readings = sensor(plant.advance(1975 if state == "hold_test" else 500), name)
    shown = np.array([summary(readings[:, machine]) for machine in range(len(SEVERITIES))])
    assert (way * np.diff(shown) > 0).all(), shown


def test_a_drifted_relief_valve_shows_nothing_while_trucks_are_loaded(build):
    weak = {"main_control_valve.main_relief": np.array([350e5, 300e5])}
    frames = build(("truck_loading",) * 2, weak).advance(400)
    assert np.array_equal(frames.values[..., 0], frames.values[..., 1], equal_nan=True)


def test_load_sensing_makes_up_for_a_leaking_pump_with_its_stroke(build, sensor):
    leaking = {"pump_main_1.leakage": np.array([4e-12, 1.6e-11])}
    frames = build(("levelling",) * 2, leaking).advance(600)
    stroke = sensor(frames, "pump_main_1.disp_cmd").mean(axis=0)
    assert stroke[1] > stroke[0] + 1.0
    assert frames.cycle[-1, 1] == frames.cycle[-1, 0]


def test_the_fan_makes_up_for_a_fouled_cooler_while_it_can(build, sensor):
    fouled = {"oil_cooler.conductance": np.array([1750.0, 1400.0]), "oil_cooler.air_flow": np.array([3.2, 2.9])}
    frames = build(("truck_loading",) * 2, fouled, settle=True).advance(5)
    fan = sensor(frames, "oil_cooler.fan_speed")[0]
    assert fan[1] > fan[0] + 5.0


def test_a_clogged_filter_lets_oil_past_and_particles_with_it(build, sensor):
    clogged = {"return_filter.resistance": np.array([4.6e8, 2e10])}
    plant = build(("truck_loading",) * 2, clogged)
    code = sensor(plant.advance(1200), "hydraulic_tank.iso_6")[-1]
    assert code[1] > code[0] + 0.3


def test_the_service_limits_of_the_maker_leave_a_machine_that_works(build, whole_cycles):
    for mode in MODES[:1] + MODES[3:4]:
        severities = np.array([0.0, mode.service_severity])
        frames = build(("truck_loading",) * 2, degraded(mode, severities)).advance(500)
        assert frames.cycle[-1, 1] >= frames.cycle[-1, 0] - 1
