"""The injection circuit in time against a reference integrator, and against the quasi-steady plant."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.machines.moulding import MODES, PLANT
from gnn_service.demo.machines.moulding.dynamic import FINE_STEP_S, STATES, InjectionCircuit
from gnn_service.demo.modes import degrade
from gnn_service.demo.parameters import alike, nominal
from tests.support.moulding import CYCLE_STEPS, column, during, healthy

SCALE = np.array([1e7, 1e7, 0.1, 1.0, 1.0, 30.0, 1e-3])


def circuit(size=1, **severity):
    values = {mode: np.asarray(levels, dtype=float) for mode, levels in severity.items()}
    parameters = degrade(alike(nominal("moulding"), size), MODES, values)
    return InjectionCircuit(parameters, {name: np.full(size, factor.default) for name, factor in PLANT.SITE.items()})


@pytest.fixture(scope="module")
def reference():
    """Radau from the start of filling until the set speed changes."""
    model = circuit()

    def rates(time, y):
        found = model.rates({name: y[i : i + 1] for i, name in enumerate(STATES)}, np.array([-1.0]), time)
        return [float(found[name][0]) for name in STATES]

    def slows_down(_, y):
        return y[STATES.index("screw")] - model.p["slow_from"][0]

    vars(slows_down)["terminal"] = True
    start = [float(model.y[name][0]) for name in STATES]
    return solve_ivp(
        rates, (0.0, 3.0), start, "Radau", rtol=1e-6, atol=1e-6 * SCALE, events=slows_down, dense_output=True
    )


@pytest.mark.parametrize(("step", "tolerance"), [(0.002, 0.035), (0.005, 0.05)])
def test_a_long_step_stays_close_to_the_reference(reference, step, tolerance):
    model, worst = circuit(), np.zeros(len(STATES))
    behind = 0.5 * step / np.ceil(step / FINE_STEP_S - 1e-9)
    for _ in range(int(reference.t[-1] / step) - 1):
        model.step(step)
        truth = reference.sol(model.time)
        truth[STATES.index("speed")] = reference.sol(model.time - behind)[STATES.index("speed")]
        worst = np.maximum(worst, abs(np.array([float(model.y[name][0]) for name in STATES]) - truth) / SCALE)
    assert (worst < tolerance).all(), dict(zip(STATES, worst, strict=True))


def test_filling_takes_as_long_and_as_much_pressure_as_in_the_quasi_steady_plant():
    model = circuit()
    capture = model.capture(4.0, 0.005)
    steady = healthy().advance(CYCLE_STEPS)
    assert model.held[0] == pytest.approx(column(steady, "screw_unit.fill_time")[-1, 0], rel=0.05)
    filling = capture.time_s < model.held[0]
    for sensor in ("manifold.p_sys", "injection_cylinder.p_hyd", "injection_cylinder.v", "servo_pump_1.n"):
        assert capture.signals[sensor][filling].mean() == pytest.approx(during(steady, sensor, "fill")[0], rel=0.05), (
            sensor
        )


def test_after_switch_over_the_pressure_settles_at_holding_pressure():
    capture = circuit().capture(4.0, 0.005)
    assert capture.signals["injection_cylinder.p_hyd"][-1, 0] == pytest.approx(60.0, abs=6.0)
    assert capture.signals["injection_cylinder.pos"].min() > 0.0


def test_a_lagging_servo_valve_overshoots_further_at_switch_over():
    model = circuit(3, I4=[0.0, 0.5, 1.0])
    capture = model.capture(3.2, 0.005)
    at_switch = np.array(
        [np.interp(model.held[i], capture.time_s, capture.signals["injection_cylinder.pos"][:, i]) for i in range(3)]
    )
    soon = np.array(
        [
            np.interp(model.held[i] + 0.1, capture.time_s, capture.signals["injection_cylinder.pos"][:, i])
            for i in range(3)
        ]
    )
    assert (np.diff(at_switch - soon) > 0.3).all()


def test_machines_do_not_see_each_other():
    together, alone = circuit(3, I4=[0.0, 0.5, 1.0]).capture(3.0, 0.005), circuit(1, I4=[0.5]).capture(3.0, 0.005)
    for name, values in alone.signals.items():
        assert np.array_equal(values[:, 0], together.signals[name][:, 1]), name


@pytest.mark.parametrize("step", [0.0, -0.001, 0.003, 0.01])
def test_a_step_that_does_not_fit_is_refused(step):
    with pytest.raises(InvalidInputError, match="does not fit"):
        circuit().capture(0.1, step)
