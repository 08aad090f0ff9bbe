"""The boom circuit in time against a stiff solver, a textbook frequency and the quasi-steady excavator."""

from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from gnn_service.demo.machines.excavator.dynamic import BoomCircuit, Load, capture
from gnn_service.demo.parameters import alike, nominal
from gnn_service.physics.cylinders import hydraulic_frequency

SCALE = np.array([10e6, 10e6, 10e6, 0.1, 1.0, 1.0, 1.0])


def circuit(size=1, **changes):
    parameters = dict(alike(nominal("excavator"), size))
    for name, value in changes.items():
        parameters[name.replace("__", ".")] = np.broadcast_to(np.asarray(value, float), (size,)).copy()
    return BoomCircuit(parameters, Load(np.full(size, 250e3), np.full(size, 42e3)))


def reference(boom: BoomCircuit, state: Any, pieces: Any) -> Any:
    """Radau, started anew at every change of the command: [(seconds, command)] to states at 100 Hz."""
    seen = []
    for seconds, command in pieces:
        held = np.array([command])

        def rates(_: float, y: Any, held: Any = held) -> Any:
            return boom.derivative(y[:, None], held)[:, 0]

        times = np.arange(1, round(seconds * 100) + 1) / 100
        answer: Any = solve_ivp(
            rates, (0.0, seconds + 1e-9), state, method="Radau", t_eval=times, rtol=1e-6, atol=1e-7 * SCALE
        )
        seen.append(answer.y.T)
        state = answer.y[:, -1]
    return np.concatenate(seen)


PIECES = ((0.1, 0.0), (0.8, 0.8), (0.3, 0.4), (0.4, -0.5))


def test_steps_of_five_milliseconds_stay_within_a_twentieth_of_a_stiff_solver():
    boom = circuit()
    start = boom.at_rest()
    exact = reference(boom, start[:, 0], PIECES)
    commands = np.concatenate([np.full((round(seconds * 100), 1), command) for seconds, command in PIECES])
    errors = [(abs(capture(boom, start, commands, steps=steps)[:, :, 0] - exact) / SCALE).max() for steps in (2, 5)]
    assert errors[0] < 0.05
    assert errors[1] < errors[0]


def test_a_pushed_boom_swings_at_the_frequency_of_its_oil_columns():
    boom = circuit(boom_cylinder__coulomb_friction=1.0, boom_cylinder__viscous_friction=1.0)
    state = boom.at_rest()
    state[3] = 0.02
    speed = boom.run(state, np.zeros((800, 1)), 0.0025)[:, 3, 0]
    turns = np.flatnonzero(np.diff(np.sign(speed)))
    measured = np.pi / (np.diff(turns).mean() * 0.0025)
    head, rod = boom._volumes(state[4])
    expected = hydraulic_frequency(boom.modulus, 42e3, boom.head_area, 0.0 * boom.rod_area, (head, rod))
    assert measured == pytest.approx(float(expected[0]), rel=0.25)


def test_the_method_neither_damps_nor_drives_the_oil_spring():
    boom = circuit(boom_cylinder__coulomb_friction=1e-6, boom_cylinder__viscous_friction=1e-6)
    state = boom.at_rest()
    state[2], state[3] = 100e5, 0.02
    state[1] = (250e3 + state[2] * boom.rod_area) / boom.head_area
    speed = boom.run(state, np.zeros((1600, 1)), 0.005)[:, 3, 0]
    assert np.ptp(speed[-200:]) == pytest.approx(np.ptp(speed[:200]), rel=0.02)


def test_the_boom_rises_as_fast_as_in_the_quasi_steady_machine():
    boom = circuit()
    states = capture(boom, boom.at_rest(), np.ones((300, 1)))
    parameters = nominal("excavator")
    assert states[150:, 3, 0].mean() == pytest.approx(
        parameters["main_control_valve.boom_flow"] / boom.head_area[0], rel=0.05
    )
    assert (states[150:, 0] - states[150:, 1]).mean() == pytest.approx(20e5, rel=0.1)


def test_against_its_stop_the_relief_valve_holds_the_pressure():
    boom = circuit()
    states = capture(boom, boom.at_rest(0.97), np.ones((200, 1)))
    assert 350e5 < states[-1, 0, 0] < 350e5 * 1.08
    assert states[-1, 4, 0] == pytest.approx(1.26, abs=0.02)


def test_a_sticky_spool_answers_late_and_air_makes_pressure_rise_slowly():
    boom = circuit(3, main_control_valve__boom_spool_lag=[0.04, 0.25, 0.04], hydraulic_tank__air=[0.005, 0.005, 0.08])
    states = capture(boom, boom.at_rest(), np.ones((60, 3)))
    moved = (states[:, 4] - boom.at_rest()[4] > 0.005).argmax(axis=0)
    assert moved[1] > moved[0] + 5
    assert (states[:, 0, 2] > 80e5).argmax() >= (states[:, 0, 0] > 80e5).argmax()
    assert boom.modulus[2] < boom.modulus[0]
