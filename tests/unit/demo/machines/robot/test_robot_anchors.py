"""The healthy robot against what is known of its class."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gnn_service.demo.machines.robot.arm import Arm, Moves
from gnn_service.demo.machines.robot.duty import PROGRAMS, SCRIPTS, TABLES
from gnn_service.demo.machines.robot.heat import Heat
from gnn_service.demo.machines.robot.joints import Joints
from gnn_service.demo.parameters import alike, nominal
from tests.support.robots import mean_seen, robots, root_mean_square, seen

PARAMETERS = alike(nominal("robot"), 1)
RATIO = [nominal("robot")[f"j{joint}_reducer.ratio"] for joint in range(1, 7)]


@pytest.fixture(scope="module")
def heavy():
    """Two cycles of the reference program with 150 kg at full override."""
    plant = robots(40, override=1.0, heavy_share=1.0)
    frames = plant.advance(480)
    reference = seen(frames, "drive_cabinet.program")[0] == 1
    assert reference.any()
    return [frames.values[:, :, int(np.flatnonzero(reference)[0])][..., None], frames]


def of_reference(heavy, sensor):
    from tests.support.robots import INDEX

    return heavy[0][:, INDEX[sensor], 0].astype(float)


def static_torques(payload):
    still = [np.zeros(1) for _ in range(6)]
    arm = Arm(PARAMETERS)
    with_gas = arm.torques(Moves(still, still, still), np.array([payload]), np.array([293.15]))
    return with_gas, float(arm.balance[0])


def test_stretched_with_150_kg_a2_holds_ten_kilonewton_metres_of_which_the_gas_spring_takes_seven():
    torques, balance = static_torques(150.0)
    assert float(torques[1][0]) - balance == pytest.approx(-10_400, rel=0.02)
    assert balance == 7200.0
    assert float(torques[2][0]) == pytest.approx(-4_000, rel=0.02)


def test_a_handling_cycle_lasts_twelve_seconds_at_full_override(heavy):
    cycles = heavy[1].cycle
    assert (cycles[239] == 0).all()
    assert (cycles[240] == 1).all()


def test_currents_of_the_handling_cycle_are_those_of_the_class(heavy):
    currents = [of_reference(heavy, f"j{joint}_motor.i_q") for joint in range(1, 7)]
    assert_allclose([np.sqrt((i**2).mean()) for i in currents], [4.3, 8.1, 9.0, 2.2, 1.2, 0.8], rtol=0.12)
    assert_allclose([abs(i).max() for i in currents[:5]], [13, 24, 16, 5, 3], rtol=0.12)


def test_motor_speeds_of_the_handling_cycle_are_those_of_the_class(heavy):
    speeds = [abs(of_reference(heavy, f"j{j + 1}_motor.qd")).max() / 6 * RATIO[j] for j in range(6)]
    assert_allclose(speeds, [2800, 1600, 660, 3500, 750, 2700], rtol=0.15)


def test_the_drives_take_three_quarters_of_a_kilowatt_while_motoring(heavy):
    power = np.zeros(480)
    for joint in range(1, 7):
        current, speed = of_reference(heavy, f"j{joint}_motor.i_q"), of_reference(heavy, f"j{joint}_motor.qd")
        torque = current * nominal("robot")[f"j{joint}_motor.torque_constant"]
        power += torque * np.deg2rad(speed) * RATIO[joint - 1]
        power += 1.5 * nominal("robot")[f"j{joint}_motor.resistance"] * current**2
    assert np.maximum(power, 0).mean() == pytest.approx(750, rel=0.15)
    assert np.minimum(power, 0).mean() < -50


def test_no_script_moves_an_axis_faster_or_further_than_it_can():
    limits = nominal("robot")
    for joint in range(6):
        begin, end = TABLES.start[joint], TABLES.start[joint] + TABLES.way[joint]
        low, high = (limits[f"j{joint + 1}_reducer.angle_{side}"] for side in ("low", "high"))
        assert low <= min(begin.min(), end.min())
        assert max(begin.max(), end.max()) <= high
        fastest = (abs(TABLES.way[joint]) / TABLES.seconds * 1.875).max()
        assert fastest <= limits[f"j{joint + 1}_reducer.speed_limit"]


def test_every_script_ends_where_it_begins():
    for number in range(len(SCRIPTS)):
        first, after = TABLES.first[number], TABLES.first[number + 1]
        assert_allclose(TABLES.start[:, first], TABLES.start[:, after - 1] + TABLES.way[:, after - 1])
    assert len(PROGRAMS) == 4


@pytest.mark.parametrize("joint", range(3))
def test_a_gear_warms_up_with_a_time_constant_of_one_to_two_hours(joint):
    heat = Heat(PARAMETERS, np.array([293.15]))
    losses = np.zeros((19, 1))
    losses[12 + joint] = 100.0
    rises = []
    for _ in range(5 * 3600):
        heat.begin_second(losses)
        rises.append(float(heat.gear[joint, 0]) - 293.15)
    # the gear itself follows its casting within minutes; the slow part is what is left after those
    slow = np.array(rises[1800:])
    heat.settle(losses, np.array([False]))
    left = float(heat.starts[1][joint, 0]) - 293.15 - slow
    constant = 3600.0 / np.log(left[0] / left[3600])
    assert 60 * 60 <= constant <= 120 * 60


def test_motors_stay_below_80_degrees_and_gears_below_their_limit_in_a_hot_hall_at_full_speed():
    frames = robots(8, override=1.0, heavy_share=0.6, ambient_k=311.15).advance(20)
    for joint in range(1, 7):
        assert 38 < seen(frames, f"j{joint}_motor.t_motor").max() < 80
    for joint in (1, 2, 3):
        assert 38 < seen(frames, f"j{joint}_reducer.t_gear").max() < 62
    assert seen(frames, "drive_cabinet.t").max() < 50


def test_in_a_usual_hall_temperatures_are_the_usual_ones():
    frames = robots(8).advance(20)
    for joint in (1, 2, 3):
        assert 30 < mean_seen(frames, f"j{joint}_reducer.t_gear").mean() < 55
    assert 30 < mean_seen(frames, "drive_cabinet.t").mean() < 40
    assert 145 < mean_seen(frames, "counterbalance.p").mean() < 165
    assert 0.3 < mean_seen(frames, "drive_cabinet.p_in").mean() < 2.5


def test_on_a_cold_monday_friction_at_speed_is_well_above_that_of_a_warm_gear():
    joints = Joints(PARAMETERS)
    still = [np.zeros((1, 1)) for _ in range(6)]
    speeds = [np.full((1, 1), 200.0 / ratio) for ratio in RATIO]
    friction = []
    for kelvin in (283.15, 313.15):
        joints.warm(np.full((6, 1), 313.15), np.full((6, 1), kelvin))
        work = joints.work(Moves(still, speeds, still), still, np.ones((1, 1)))
        friction.append(np.array([float(one[0, 0]) for one in work.friction]))
    assert ((friction[0] / friction[1] > 1.5) & (friction[0] / friction[1] < 2.0)).all()


def test_following_errors_of_a_healthy_robot_are_small():
    frames = robots(4, override=1.0).advance(600)
    for joint in range(1, 7):
        assert root_mean_square(frames, f"j{joint}_motor.follow_err").max() < 0.03
        assert abs(seen(frames, f"j{joint}_motor.follow_err")).max() < 0.045
