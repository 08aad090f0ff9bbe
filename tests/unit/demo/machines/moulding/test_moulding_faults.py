"""What each fault of the moulding machine looks like, and how its controls hide it."""

import numpy as np
import pytest

from gnn_service.demo.machines.moulding import MODES
from tests.support.moulding import CYCLE_STEPS, LEAK_TEST, column, during, plant

SEVERITIES = [0.0, 0.25, 0.5, 0.75, 1.0]
KEPT = CYCLE_STEPS + 60


@pytest.fixture(scope="module")
def frames():
    """All modes at all severities in one batch, one mode a machine."""
    size = len(MODES) * len(SEVERITIES)
    severity = {}
    for number, mode in enumerate(MODES):
        values = np.zeros(size)
        values[number * len(SEVERITIES) : (number + 1) * len(SEVERITIES)] = SEVERITIES
        severity[mode.id] = values
    made = plant(size, severity=severity)
    made.advance(CYCLE_STEPS)
    return made.advance(KEPT)


def of(values, mode_id):
    """The machines with one mode, by severity."""
    number = [mode.id for mode in MODES].index(mode_id)
    return values[..., number * len(SEVERITIES) : (number + 1) * len(SEVERITIES)]


def final(frames, sensor, mode_id):
    return of(column(frames, sensor)[-1], mode_id)


def rises(values, least=0.0):
    return bool((np.diff(values) > least).all())


@pytest.mark.parametrize(
    ("mode", "sensor"),
    [
        ("I4", "injection_cylinder.p_peak"),
        ("I5", "clamp_cylinder.p_lock"),
        ("I5b", "toggle_tiebars.imbalance"),
        ("I8", "toggle_tiebars.lock_decay"),
        ("I9", "screw_unit.t_plast"),
        ("I10", "filter_offline.dp"),
        ("I10", "oil_tank.iso_6"),
        ("I10", "oil_tank.iso_14"),
    ],
)
def test_a_sign_grows_with_severity(frames, mode, sensor):
    assert rises(final(frames, sensor, mode))


@pytest.mark.parametrize(
    ("mode", "sensor", "phase", "sign"),
    [
        ("I2", "servo_pump_1.n", "hold", 1),
        ("I2", "servo_pump_2.n", "hold", 1),
        ("I4", "servo_pump_1.n", "hold", 1),
        ("I8", "servo_pump_1.n", "hold", 1),
        ("I3", "manifold.p_sys", "fill", -1),
        ("I3", "drive_supply.p_in", "fill", 1),
        ("I3b", "manifold.p_sys", "fill", -1),
    ],
)
def test_a_sign_grows_in_its_phase(frames, mode, sensor, phase, sign):
    assert rises(sign * of(during(frames, sensor, phase), mode)[::2])  # steps of 0.5: one cycle's mean has a grain


def test_a_leaking_pump_turns_faster_while_the_pressure_holds(frames):
    speed, pressure = (of(during(frames, sensor, "hold"), "I2") for sensor in ("servo_pump_1.n", "manifold.p_sys"))
    assert speed[-1] > 3.0 * speed[0]
    assert pressure == pytest.approx(pressure[0], rel=1e-6)


def test_the_sound_pump_turns_as_fast_as_the_leaking_one_until_each_is_tested_alone():
    made = plant(2, state=LEAK_TEST, severity={"I2": [0.0, 0.5]}).advance(700)
    first, second = during(made, "servo_pump_1.n", "pump_test_1"), during(made, "servo_pump_2.n", "pump_test_2")
    assert first[1] > 3.0 * second[1]
    assert second[1] == pytest.approx(second[0], rel=0.1)


def test_leakage_makes_the_cycle_longer_and_the_cooler_work_harder(frames):
    assert (np.diff(final(frames, "drive_supply.cycle_time", "I2")) > 0).all()
    assert rises(final(frames, "oil_cooler.valve", "I2"))


def test_the_water_valve_opens_fully_before_the_oil_gets_warm(frames):
    valve, oil = final(frames, "oil_cooler.valve", "I7"), final(frames, "oil_tank.t_oil", "I7")
    assert rises(valve[:4])
    assert oil[:3] == pytest.approx(oil[0], abs=0.1)
    assert valve[-1] == 100.0
    assert oil[-1] > oil[0] + 8.0


def test_cushion_control_hides_a_worn_check_ring_until_its_range_is_used_up(frames):
    cushion, dose = (
        final(frames, "screw_unit.cushion", "I1"),
        of(column(frames, "injection_cylinder.pos").max(axis=0), "I1"),
    )
    assert cushion[1] == pytest.approx(cushion[0], abs=1.0)
    assert dose[1] > dose[0] + 3.0
    assert (cushion[2:] < 2.0).all()
    assert rises(-final(frames, "screw_unit.part_weight", "I1")[1:])


def test_the_screw_creeps_at_a_blocked_nozzle_when_the_check_ring_is_worn():
    made = plant(3, state=LEAK_TEST, severity={"I1": [0.0, 0.3, 0.6]}).advance(1700)
    creep = np.nanmax(column(made, "screw_unit.creep"), axis=0)
    assert rises(creep, 2.0)


def test_a_burst_bladder_leaves_no_volume_and_its_oil_pressure_falls_at_once(frames):
    lowest = of(column(frames, "accumulator.p_oil").min(axis=0), "I3b")
    fill = of(during(frames, "servo_pump_1.n", "fill"), "I3b")
    assert lowest[-1] < lowest[0] - 2.0
    assert fill[-1] > 1.1 * fill[0]


def test_a_weak_heater_band_first_shows_in_its_duty_then_in_its_temperature(frames):
    duty = of(column(frames, "barrel_heaters.z2_duty").mean(axis=0), "I6")
    zone = of(column(frames, "barrel_heaters.z2_t").mean(axis=0), "I6")
    assert rises(duty[:4])
    assert zone[:3] == pytest.approx(zone[0], abs=0.5)
    assert zone[0] - zone[-1] > 10.0
    torque = of(during(frames, "plasticizing_motor.p_in", "plasticise"), "I6")
    assert torque[-1] > 1.03 * torque[0]
    assert final(frames, "drive_supply.cycle_time", "I6")[-1] > 38.0


def test_worn_bushings_raise_the_lock_up_pressure_by_a_fifth(frames):
    pressure = final(frames, "clamp_cylinder.p_lock", "I5")
    assert pressure[-1] / pressure[0] == pytest.approx(1.2, abs=0.03)


def test_a_worn_screw_takes_16_to_18_seconds_and_then_makes_the_cycle_longer(frames):
    assert 16.0 < final(frames, "screw_unit.t_plast", "I9")[-1] < 18.0
    times = final(frames, "drive_supply.cycle_time", "I9")
    assert times[:3] == pytest.approx(37.0, abs=0.1)
    assert times[-1] > 38.0


def test_a_clogged_filter_opens_its_bypass_and_three_iso_codes_are_lost(frames):
    codes = final(frames, "oil_tank.iso_6", "I10")
    assert codes[-1] - codes[0] == pytest.approx(2.5, abs=0.5)
    assert final(frames, "filter_offline.dp", "I10")[-1] > 2.2
