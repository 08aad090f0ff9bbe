"""Each failure mode moves its signs the right way, and nothing where its cause cannot reach."""

import numpy as np
import pytest

from gnn_service.demo.machines.cnc import MODES, SHIFT
from gnn_service.demo.machines.cnc.plant import CncPlant
from gnn_service.demo.plant import Frames
from gnn_service.domain.shipped import shipped_machine
from tests.support.machining import ALUMINIUM, PHASE, machining_centres, seen, starts

SEVERITIES = np.array([0.0, 0.3, 0.6, 1.0])
IDS = [mode.id for mode in MODES]


def run(state: str, steps: int, **site: float) -> Frames:
    """Every mode at four severities, all else equal: columns of a mode are those of ``of``."""
    size = len(IDS) * len(SEVERITIES)
    severity = {name: np.zeros(size) for name in IDS}
    for number, name in enumerate(IDS):
        severity[name][number * 4 : number * 4 + 4] = SEVERITIES
    return machining_centres(size, state=state, severity=severity, machine=3, **site).advance(steps)


def of(mode: str, values: np.ndarray) -> np.ndarray:
    """What concerns one mode, (..., 4) over its severities."""
    place = IDS.index(mode) * 4
    return values[..., place : place + 4]


def rises(values: np.ndarray) -> bool:
    return bool((np.diff(values) > 0).all())


def falls(values: np.ndarray) -> bool:
    return rises(-values)


@pytest.fixture(scope="module")
def production() -> Frames:
    return run("production", 3_600, part_size=0.2, material=ALUMINIUM, ambient_k=300.15, start_share=0.2)


@pytest.fixture(scope="module")
def reversal() -> Frames:
    return run("reversal_test", 300)


def test_the_modes_are_those_of_the_description_in_its_order():
    machine = shipped_machine("cnc")
    assert [mode.mode for mode in MODES] == [mode.id for mode in machine.failure_modes]
    assert [mode.component for mode in MODES] == [mode.component for mode in machine.failure_modes]


def test_signs_name_sensors_and_needs_name_operating_states():
    for mode in MODES:
        assert {sign.sensor for sign in mode.signs} <= set(shipped_machine("cnc").sensor_ids)
        assert set(mode.needs) <= set(CncPlant.STATES)


def test_a_shift_has_every_state_and_sums_to_one():
    assert set(SHIFT) == set(CncPlant.STATES)
    assert sum(SHIFT.values()) == pytest.approx(1.0)


def test_severity_zero_is_the_healthy_machine_to_the_bit(production):
    healthy = of("C1", production.values)[..., 0]
    for mode in IDS[1:]:
        assert np.array_equal(of(mode, production.values)[..., 0], healthy, equal_nan=True)


def test_a_spalled_bearing_shows_in_envelope_and_acceleration_first_and_in_velocity_last(production):
    frames = run("air_cut", 150)
    envelope, acceleration, velocity = (
        of("C1", seen(frames, f"spindle.{name}")[-1]) for name in ("env_bpfo", "a_rms", "v_rms")
    )
    assert rises(envelope)
    assert rises(acceleration)
    assert rises(velocity)
    early = [values[1] / values[0] - 1.0 for values in (envelope, acceleration, velocity)]
    assert early[0] > 5.0 > early[1] > 0.2 > early[2]
    heat = of("C1", seen(production, "spindle.t_front").max(axis=0))
    assert rises(heat)
    assert 4.0 < heat[-1] - heat[0] < 20.0


def test_kurtosis_in_an_air_cut_is_12_at_a_third_and_7_at_the_end():
    severity = np.array([0.0, 0.35, 1.0])
    frames = machining_centres(3, state="air_cut", severity={"C1": severity}, machine=0).advance(150)
    assert seen(frames, "spindle.kurtosis")[-1] == pytest.approx([3.0, 12.0, 7.0], abs=0.7)


def test_cutting_hides_a_bearings_impacts():
    frames = machining_centres(1, start_share=0.15, severity={"C1": 0.35}).advance(150)
    assert seen(frames, "spindle.kurtosis")[-1, 0] < 9.0


def test_weak_springs_clamp_late_and_let_the_tool_chatter(production):
    late = of("C2", seen(production, "tool_clamp.t_clamp")[-1])
    assert rises(late)
    assert late[-1] > 75.0
    rough = production.phase[:, 0] == PHASE["rough"]
    assert rises(of("C2", seen(production, "spindle.v_rms")[rough].mean(axis=0)))
    force = run("clamp_test", 600)
    assert of("C2", np.nanmean(seen(force, "tool_clamp.force"), axis=0)) == pytest.approx([19.0, 16.6, 14.2, 11.0])


def test_friction_of_a_slack_screw_falls_before_its_reversal_error_alarms(reversal):
    moving = seen(reversal, "x_axis.v")[:, 0] > 166.0
    current = of("C3", np.median(seen(reversal, "x_axis.i")[moving], axis=0))
    assert falls(current)
    bar = of("C3", np.nanmean(seen(run("ball_bar_test", 1_100), "x_axis.reversal"), axis=0))
    assert rises(bar)
    # at a third of the way friction has lost half of what it will lose, and the backlash only a third
    assert (current[0] - current[1]) / (current[0] - current[-1]) > 0.4 > (bar[1] - bar[0]) / (bar[-1] - bar[0])
    assert rises(of("C3", abs(seen(reversal, "x_axis.follow_err")).max(axis=0)))


def test_a_slack_screw_of_x_leaves_the_other_axes_alone(reversal):
    for axis in ("y_axis", "z_axis"):
        current = of("C3", seen(reversal, f"{axis}.i"))
        assert (current == current[:, :1]).all()


def test_lack_of_lubrication_raises_the_friction_of_several_axes_together(reversal):
    for axis in ("x_axis", "y_axis"):
        moving = seen(reversal, f"{axis}.v")[:, 0] > 166.0
        current = of("C4", np.median(seen(reversal, f"{axis}.i")[moving], axis=0))
        assert rises(current)
        assert 1.7 < current[-1] / current[0] < 2.3
    up, down = (seen(reversal, "z_axis.v")[:, 0] * way > 166.0 for way in (1.0, -1.0))
    z = seen(reversal, "z_axis.i")
    assert rises(of("C4", np.median(z[up], axis=0) - np.median(z[down], axis=0)))


def test_lack_of_lubrication_shows_at_its_source(production):
    assert falls(of("C4", seen(production, "lubrication_unit.p_peak")[-1]))
    assert (np.diff(of("C4", seen(production, "lubrication_unit.t_decay")[-1])) < 0).sum() >= 2


def test_a_leaking_clamp_starts_the_pump_more_often_while_pressure_stays():
    frames = machining_centres(4, state="idle", severity={"C5": SEVERITIES}, machine=0).advance(4_000)
    assert (np.diff(starts(frames)) >= 0).all()
    assert starts(frames)[-1] > 5 * max(starts(frames)[0], 1)
    pressure = seen(frames, "hydraulic_unit.p").mean(axis=0)
    assert pressure == pytest.approx(pressure[0], rel=0.05)


def test_a_leaking_clamp_warms_the_oil_and_works_the_pump(production):
    assert rises(of("C5", seen(production, "hydraulic_unit.t_oil")[-1]))
    assert rises(of("C5", seen(production, "hydraulic_unit.pump_on").mean(axis=0)))


def test_an_accumulator_without_charge_recharges_often_and_swings(production):
    count = of("C6", starts(production))
    assert (np.diff(count) >= 0).all()
    assert count[-1] > 1.5 * count[0]
    assert falls(of("C6", seen(production, "hydraulic_unit.level").mean(axis=0)))
    fall = of("C6", np.diff(seen(production, "hydraulic_unit.p"), axis=0).min(axis=0))
    assert falls(fall)
    assert fall[-1] < 2.0 * fall[0]


def test_a_fouled_condenser_raises_its_pressure_long_before_the_water_drifts(production):
    pressure = of("C7", seen(production, "chiller.p_high").mean(axis=0))
    assert rises(pressure)
    water = of("C7", seen(production, "chiller.t_out").mean(axis=0))
    assert water[2] - water[0] < 0.3
    assert pressure[2] - pressure[0] > 2.0


def test_a_chiller_at_its_limit_lets_the_spindle_grow():
    hot = machining_centres(2, severity={"C7": [0.0, 1.0]}, material=ALUMINIUM, ambient_k=301.15, machine=0).advance(10)
    assert np.diff(seen(hot, "chiller.t_out")[-1])[0] > 1.0
    assert np.diff(seen(hot, "spindle.growth")[-1])[0] > 5.0


def test_lost_refrigerant_lowers_the_high_pressure(production):
    assert falls(of("C11", seen(production, "chiller.p_high").mean(axis=0)))


def test_a_worn_coolant_pump_turns_faster_at_the_same_pressure_until_it_cannot(production):
    cooled = production.phase[:, 0] == PHASE["rough"]
    speed = of("C8", seen(production, "coolant_unit.n_pump")[cooled].mean(axis=0))
    pressure = of("C8", seen(production, "coolant_unit.p_tsc")[cooled].mean(axis=0))
    assert rises(speed)
    assert pressure[:3] == pytest.approx(70.0)
    assert pressure[3] < 69.0


def test_a_clogged_filter_starves_the_pump_in_the_end(production):
    cooled = production.phase[:, 0] == PHASE["rough"]
    assert rises(of("C12", seen(production, "coolant_unit.filter_dp")[cooled].mean(axis=0)))
    speed = of("C12", seen(production, "coolant_unit.n_pump")[cooled].mean(axis=0))
    assert speed[3] > 1.05 * speed[0] == pytest.approx(1.05 * speed[1])


def test_a_dragging_brake_adds_against_every_motion_and_warms_the_motor(reversal, production):
    current = seen(reversal, "z_axis.i")
    up, down = (seen(reversal, "z_axis.v")[:, 0] * way > 166.0 for way in (1.0, -1.0))
    assert rises(of("C9", np.median(current[up], axis=0)))
    assert falls(of("C9", np.median(current[down], axis=0)))
    assert rises(of("C9", seen(production, "z_axis.t_motor")[-1]))


def test_fans_hide_a_clogged_cabinet_until_they_run_at_full_speed(production):
    fan = of("C10", seen(production, "drive_cabinet.fan")[-1])
    heat = of("C10", seen(production, "drive_cabinet.t")[-1])
    assert fan[1] > fan[0]
    assert rises(heat)
    assert heat[1] - heat[0] < 2.0
    assert heat[-1] > 45.0


def test_a_hot_cabinet_slows_the_spindles_run_up():
    plant = machining_centres(2, state="air_cut", settled=False)
    plant._heat.t[15] = np.array([300.0, 335.15])
    speed = seen(plant.advance(12), "spindle.n")[-1]
    assert speed[1] < 0.7 * speed[0]
