"""What the quasi-steady excavator says of a moving boom, against the same boom in time."""

import numpy as np
import pytest

from gnn_service.demo.machines.excavator.cylinders import Cylinders, Running
from gnn_service.demo.machines.excavator.dynamic import BoomCircuit, Load, capture
from gnn_service.demo.parameters import alike, nominal

LOADS_N = np.array([150e3, 250e3, 350e3])
PLACE_M = 0.5


@pytest.fixture(scope="module", params=[1.0, 0.7])
def raised(request):
    """Means while three loads rise at one lever: of the circuit in time, and of the quasi-steady cylinders."""
    parameters = dict(alike(nominal("excavator"), 3))
    boom = BoomCircuit(parameters, Load(LOADS_N, np.full(3, 42e3)))
    states = capture(boom, boom.at_rest(0.2), np.full((240, 3), request.param))[130:]
    command = np.zeros((3, 3))
    command[0] = request.param
    force = np.zeros((3, 3))
    force[0] = LOADS_N
    valve = "main_control_valve."
    back, setting = parameters[valve + "make_up_pressure"], parameters[valve + "main_relief"]
    steady = Cylinders(3, 0.1)
    steady.set_parameters(parameters)

    def moved():
        steady.place[:] = PLACE_M
        wish = steady.wish(command, force, back, setting, Running(np.ones(3), boom._thinning))
        return wish, steady.move(wish, force, np.ones((2, 3)), back, setting, boom._thinning)

    for _ in range(30):
        moved()
    wish, motion = moved()
    pump = wish.inner[0] + parameters[valve + "margin"]
    return boom, states, motion, pump


def test_pump_and_head_pressure_of_a_rising_boom_agree_within_five_percent(raised):
    _, states, motion, pump = raised
    assert states[:, 0].mean(axis=0) == pytest.approx(pump, rel=0.05)
    assert states[:, 1].mean(axis=0) == pytest.approx(motion.head[0], rel=0.05)


def test_speed_and_flow_of_a_rising_boom_agree_within_five_percent(raised):
    boom, states, motion, _ = raised
    speed = states[:, 3].mean(axis=0)
    assert speed == pytest.approx(motion.velocity[0], rel=0.05)
    assert speed * boom.head_area == pytest.approx(motion.pump_flow[0], rel=0.05)


def test_what_lifts_the_load_agrees_within_five_percent(raised):
    boom, states, motion, _ = raised
    areas = boom.head_area, boom.rod_area
    push = states[:, 1] * areas[0] - states[:, 2] * areas[1]
    assert push.mean(axis=0) == pytest.approx(motion.head[0] * areas[0] - motion.rod[0] * areas[1], rel=0.05)
