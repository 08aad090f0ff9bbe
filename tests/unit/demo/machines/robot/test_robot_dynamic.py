"""Joint A5 in full dynamics against a reference integration, the quasi-steady robot and its resonance."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import solve_ivp

from gnn_service.demo.machines.robot import MODES
from gnn_service.demo.machines.robot.arm import Arm
from gnn_service.demo.machines.robot.dynamic import Joint, State, capture, quintic
from gnn_service.demo.modes import degrade
from gnn_service.demo.parameters import alike, nominal
from gnn_service.physics.robot import resonance

START, END = np.deg2rad([50.0]), np.deg2rad([30.0])


def joint(severity=0.0, size=1, payload=150.0):
    return Joint.of(degrade(alike(nominal("robot"), size), MODES, {"R4": np.full(size, severity)}), payload)


def reference(model, command, seconds, start):
    def slopes(time, y):
        state = State(*(np.array([value]) for value in y))
        return [float(value[0]) for value in model.slopes(command(time), state)]

    times = np.linspace(0.0, seconds, round(seconds * 100) + 1)[1:]
    solution = solve_ivp(
        slopes, (0.0, seconds), [float(value[0]) for value in start], method="Radau", rtol=1e-8, atol=1e-9,
        t_eval=times, max_step=0.02,
    )  # fmt: skip
    return solution.y


@pytest.mark.parametrize("severity", [0.0, 1.0])
def test_a_capture_agrees_with_a_reference_integration(severity):
    model = joint(severity)
    command = quintic(START, END, 0.05, 0.8)
    start = model.at_rest(START)
    exact = reference(model, command, 1.0, start)
    shot = capture(model, command, 1.0, start=start)
    way = float(abs(END - START)[0])
    assert abs(shot.motor[:, 0] - exact[0]).max() < 0.05 * way / 10
    assert abs(shot.link[:, 0] - exact[2]).max() < 0.05 * way / 10
    twist, true_twist = shot.motor[:, 0] - shot.link[:, 0], exact[0] - exact[2]
    assert abs(twist - true_twist).max() < 0.05 * abs(true_twist).max()


def test_half_the_step_has_about_a_quarter_of_the_error():
    model, command = joint(), quintic(START, END, 0.05, 0.8)
    start = model.at_rest(START)
    exact = reference(model, command, 0.8, start)
    errors = []
    for step in (0.005, 0.0025):
        shot = capture(model, command, 0.8, start=start, step_s=step, every=round(0.01 / step))
        errors.append(abs(shot.link[:, 0] - exact[2]).max())
    assert errors[1] < 0.4 * errors[0]


def ringing(severity):
    """Frequency of the link on a motor that stands, Hz."""
    model = joint(severity)
    command = quintic(START, START, 0.0, 1.0)
    rest = model.at_rest(START)
    start = rest._replace(link=rest.link + 0.3 * (rest.link - rest.motor))
    shot = capture(model, command, 1.5, start=start, every=1)
    swing = shot.link[:, 0] - shot.link[:, 0].mean()
    size = 1 << 15
    spectrum = abs(np.fft.rfft(swing * np.hanning(len(swing)), size))
    frequency = np.fft.rfftfreq(size, 0.002)
    above = frequency > 3.0
    return float(frequency[above][spectrum[above].argmax()])


def test_the_link_rings_slower_as_its_belt_slackens():
    found = [ringing(severity) for severity in (0.0, 0.5, 1.0)]
    assert found[0] > found[1] > found[2]
    assert found[2] / found[0] == pytest.approx(np.sqrt(0.35), rel=0.2)
    held = resonance(nominal("robot")["j5_reducer.stiffness"], Arm(alike(nominal("robot"), 1)).wrist_inertia(150.0))
    assert found[0] == pytest.approx(float(held[0]), rel=0.35)


def test_current_of_a_move_is_that_of_the_quasi_steady_robot():
    model, command = joint(), quintic(START, END, 0.0, 1.0)
    shot = capture(model, command, 1.0)
    currents = []
    for time in shot.time:
        asked = command(float(time))
        inertia = (model.motor_inertia + model.link_inertia) * asked.acceleration
        rub = model.viscous * asked.speed + model.friction * asked.speed / np.hypot(asked.speed, 0.02)
        currents.append((inertia + rub - model.load(asked.angle)) / model.torque_per_ampere)
    steady = np.stack(currents)
    assert_allclose(np.sqrt((shot.current**2).mean()), np.sqrt((steady**2).mean()), rtol=0.05)
    assert_allclose(shot.current.mean(), steady.mean(), rtol=0.05)


def test_backlash_lets_the_link_lag_behind_the_motor_at_a_reversal():
    up = quintic(np.deg2rad([-5.0]), np.deg2rad([5.0]), 0.05, 0.6)
    tight, loose = (capture(joint(severity, payload=0.0), up, 1.0) for severity in (0.0, 1.0))
    assert np.ptp(loose.motor - loose.link) > 2 * np.ptp(tight.motor - tight.link)


def test_robots_side_by_side_do_not_feel_each_other():
    severity = np.linspace(0, 1, 5)
    many = Joint.of(degrade(alike(nominal("robot"), 5), MODES, {"R4": severity}), 150.0)
    command = quintic(START, END, 0.05, 0.8)
    wide = capture(many, quintic(np.repeat(START, 5), np.repeat(END, 5), 0.05, 0.8), 0.5)
    for place in (0, 3):
        alone = Joint.of(degrade(alike(nominal("robot"), 1), MODES, {"R4": severity[place : place + 1]}), 150.0)
        assert_array_equal(wide.link[:, place], capture(alone, command, 0.5).link[:, 0])
