"""The healthy moulding machine: its cycle, pressures, heat, and what the tie bars and the accumulator show."""

import numpy as np
import pytest

from gnn_service.demo.machines.moulding import MODES, PLANT, SHIFT
from gnn_service.demo.machines.moulding.sensors import READERS
from gnn_service.demo.parameters import nominal
from gnn_service.domain.check import check_machine
from gnn_service.domain.shipped import shipped_machine
from gnn_service.physics import gas
from tests.support.moulding import CYCLE_STEPS, HEAT_UP, IDLE, LEAK_TEST, column, during, healthy, plant

MACHINE = shipped_machine("moulding")


@pytest.fixture(scope="module")
def cycles():
    return healthy().advance(3 * CYCLE_STEPS, ledger=True)


def last(frames, sensor):
    return float(column(frames, sensor)[-1, 0])


def test_its_description_has_nothing_wrong():
    assert check_machine(MACHINE) == []


def test_it_has_a_reader_for_each_sensor_and_a_simulated_mode_for_each_failure_mode():
    assert set(READERS) == set(MACHINE.sensor_ids)
    declared = [(mode.component, mode.id) for mode in MACHINE.failure_modes]
    assert sorted(declared) == sorted((mode.component, mode.mode) for mode in MODES)
    assert {change.parameter for mode in MODES for change in mode.changes} <= set(nominal("moulding"))
    assert {sign.sensor for mode in MODES for sign in mode.signs} <= set(MACHINE.sensor_ids)


def test_the_shift_is_made_of_its_states():
    assert set(SHIFT) == set(PLANT.STATES)
    assert sum(SHIFT.values()) == pytest.approx(1.0)


def test_a_cycle_takes_37_seconds(cycles):
    times = column(cycles, "drive_supply.cycle_time")[:, 0]
    assert times == pytest.approx(37.0, abs=0.15)
    assert last(cycles, "screw_unit.fill_time") == pytest.approx(2.6, abs=0.05)
    assert last(cycles, "screw_unit.t_plast") == pytest.approx(11.0, abs=0.1)


def test_each_phase_takes_as_long_as_described(cycles):
    second = cycles.cycle[:, 0] == 1
    for phase in MACHINE.duty_cycle.phases:
        steps = (second & (cycles.phase[:, 0] == PLANT.PHASES.index(phase.id))).sum()
        assert steps * PLANT.STEP_S == pytest.approx(phase.end_s - phase.start_s, abs=0.11), phase.id


def test_its_drives_take_23_kilowatts_and_the_heaters_10(cycles):
    names = [entry.name for entry in PLANT.LEDGER]
    assert cycles.ledger[:CYCLE_STEPS, names.index("drives")].mean() == pytest.approx(23.5e3, rel=0.05)
    assert cycles.ledger[:CYCLE_STEPS, names.index("heaters")].mean() == pytest.approx(9.5e3, rel=0.1)


def test_its_oil_settles_between_42_and_48_degrees():
    frames = plant(3, site={"ambient_k": [291.15, 297.15, 307.15], "water_k": [291.15, 298.15, 303.15]}).advance(200)
    oil = column(frames, "oil_tank.t_oil")
    assert (oil > 42.0).all()
    assert (oil < 48.0).all()


def test_its_motors_stay_between_55_and_85_degrees(cycles):
    assert 55.0 < last(cycles, "servo_pump_1.t_motor") < 85.0


def test_tie_bars_stretch_by_448_microstrain_at_5000_kilonewtons(cycles):
    locked = cycles.phase[:, 0] == PLANT.PHASES.index("hold")
    force = column(cycles, "toggle_tiebars.force")[locked, 0]
    strain = np.mean([column(cycles, f"toggle_tiebars.strain_{bar}")[locked, 0] for bar in range(1, 5)], axis=0)
    assert force == pytest.approx(5000.0, rel=0.003)
    assert strain == pytest.approx(448.0, abs=2.0)


def test_lock_up_takes_150_to_165_bar(cycles):
    assert 150.0 < last(cycles, "clamp_cylinder.p_lock") < 165.0


def test_injection_peaks_at_110_to_135_bar_and_leaves_8_millimetres_of_cushion(cycles):
    assert 110.0 < last(cycles, "injection_cylinder.p_peak") < 135.0
    assert last(cycles, "screw_unit.cushion") == pytest.approx(8.0, abs=0.5)
    assert last(cycles, "screw_unit.part_weight") == pytest.approx(0.95, abs=0.01)


def test_a_filling_takes_about_five_litres_from_the_accumulator(cycles):
    p = nominal("moulding")
    pressure = column(cycles, "accumulator.p_oil")[cycles.cycle[:, 0] == 1, 0] * 1e5
    volumes = [
        gas.gas_volume(bar, p["accumulator.charge"], 293.15, shell_m3=p["accumulator.shell"], exponent=1.3)
        for bar in (pressure.min(), pressure.max())
    ]
    assert (volumes[0] - volumes[1]) * 1e3 == pytest.approx(4.7, abs=0.5)


def test_what_is_measured_once_a_cycle_holds_through_the_next(cycles):
    weight = column(cycles, "screw_unit.part_weight")[:, 0]
    changes = np.flatnonzero(np.diff(weight)) + 1
    phases = cycles.phase[changes - 1, 0]
    assert len(changes) >= 2
    assert set(phases) == {PLANT.PHASES.index("hold")}


def test_a_mould_for_less_material_makes_lighter_parts_in_a_shorter_cycle():
    frames = plant(2, site={"shot_kg": [0.95, 0.5], "cooling_s": [18.0, 12.0]}).advance(CYCLE_STEPS + 5)
    assert column(frames, "screw_unit.part_weight")[-1] == pytest.approx([0.95, 0.5], abs=0.012)
    times = column(frames, "drive_supply.cycle_time")[-1]
    assert times[1] < times[0] - 6.0


def test_a_stiffer_material_needs_more_pressure():
    frames = plant(3, site={"material": [0.8, 1.0, 1.3]}).advance(CYCLE_STEPS)
    assert (np.diff(column(frames, "injection_cylinder.p_peak")[-1]) > 5.0).all()
    assert (np.diff(during(frames, "plasticizing_motor.p_in", "plasticise")) > 5.0).all()


def test_heating_up_from_cold_takes_20_to_45_minutes_and_production_waits_for_it():
    class Coarse(PLANT):
        STEP_S = 1.0

    made = plant(1, state=HEAT_UP, kind=Coarse)
    assert np.isnan(column(made.advance(1), "screw_unit.cushion")).all()
    zone = column(made.advance(60 * 45), "barrel_heaters.z2_t")[:, 0]
    reached = np.flatnonzero(zone > 215.0)[0] / 60
    assert 20.0 < reached < 45.0
    assert zone.max() < 230.0


def test_standing_still_it_makes_no_cycles_and_takes_little_power():
    frames = plant(1, state=IDLE).advance(400)
    assert (frames.cycle == 0).all()
    assert (frames.state == IDLE).all()
    assert (column(frames, "drive_supply.p_in") < 1.0).all()


def test_the_leak_test_holds_with_one_pump_after_the_other():
    frames = plant(1, state=LEAK_TEST).advance(2000)
    assert (frames.state == LEAK_TEST).all()
    first, second = (during(frames, "servo_pump_1.n", f"pump_test_{pump}")[0] for pump in (1, 2))
    assert 40.0 < first < 120.0
    assert second == 0.0
    assert during(frames, "servo_pump_2.n", "pump_test_2")[0] == pytest.approx(first, rel=0.01)
    assert 1.0 < np.nanmax(column(frames, "screw_unit.creep")) < 5.0
