"""The feed drive in full dynamics against a reference solution, and the waveform of a spindle's vibration."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from gnn_service.demo.machines.cnc import MODES
from gnn_service.demo.machines.cnc.dynamic import AxisModel, AxisState, simulate_axis, spindle_waveform, to_and_fro
from gnn_service.demo.modes import degrade
from gnn_service.demo.parameters import alike, nominal
from gnn_service.demo.plant import Parameters
from gnn_service.demo.streams import Key
from tests.support.machining import machining_centres, seen

STROKE, SPEED, ACCELERATION, SECONDS = 0.1, 10.0 / 60.0, 3.0, 1.5


def worn(severity: float, mode: str = "C3") -> Parameters:
    return degrade(alike(nominal("cnc"), 1), MODES, {mode: np.array([severity])})


def reference(parameters: Parameters, axis: str) -> tuple[np.ndarray, np.ndarray]:
    """Position of the table (mm) by an implicit Runge-Kutta method, begun anew wherever the command breaks."""
    model = AxisModel.of(parameters, axis)
    move = [np.array([value]) for value in (STROKE, SPEED, ACCELERATION)]

    def rates(time: float, state: np.ndarray) -> np.ndarray:
        command = to_and_fro(np.array([time]), *move)
        return np.concatenate(model.rates(AxisState(*state[:, None]), command))

    ramp = SPEED / ACCELERATION
    half = STROKE / SPEED + ramp
    breaks = sorted({0.0, ramp, half - ramp, half, half + ramp, 2 * half - ramp, SECONDS})
    state, times, table = np.concatenate(model.at_rest()), [], []
    for start, end in pairwise(breaks):
        part = solve_ivp(rates, (start, end), state, method="Radau", rtol=1e-8, atol=1e-11, max_step=0.02)
        state = part.y[:, -1]
        times.append(part.t)
        table.append(part.y[2] * 1e3)
    return np.concatenate(times), np.concatenate(table)


@pytest.mark.parametrize(("severity", "axis"), [(0.0, "x_axis"), (1.0, "x_axis"), (0.0, "z_axis")])
def test_steps_of_2_and_5_ms_follow_the_reference(severity, axis):
    parameters = worn(severity)
    times, table = reference(parameters, axis)
    for step, most in ((0.002, 0.015), (0.005, 0.03)):
        at, shown = simulate_axis(
            parameters, axis, SECONDS, stroke=STROKE, speed=SPEED, acceleration=ACCELERATION, step_s=step
        )
        here = np.isin(np.round(at, 6), np.round(np.arange(1, 300) * 0.005, 6))
        error = abs(np.interp(at[here], times, table) - shown[f"{axis}.position"][here, 0])
        # interpolating the reference at its own steps costs as much as the method
        assert error.max() < most * STROKE * 1e3


def test_cruise_currents_agree_with_the_quasi_steady_plant():
    plant = machining_centres(1, state="reversal_test", machine=0)
    frames = plant.advance(400)
    for row, axis in enumerate(("x_axis", "y_axis", "z_axis")):
        moving = seen(frames, f"{axis}.v")[:, 0] > 166.0
        steady = np.median(seen(frames, f"{axis}.i")[moving, 0]) * plant._feed.kt[row, 0] / 1.8
        times, shown = simulate_axis(alike(nominal("cnc"), 1), axis, 2.0)
        cruise = (times > 1.0) & (times < 1.5)
        assert shown[f"{axis}.i"][cruise].mean() == pytest.approx(steady, rel=0.05)


def test_backlash_shows_in_the_following_error_after_each_reversal():
    parameters = degrade(alike(nominal("cnc"), 3), MODES, {"C3": np.array([0.0, 0.5, 1.0])})
    times, shown = simulate_axis(parameters, "x_axis", 4.5)
    error = abs(shown["x_axis.follow_err"][times > 0.5])
    assert (np.diff(error.max(axis=0)) > 5.0).all()


def test_a_standing_vertical_axis_holds_its_weight():
    times, shown = simulate_axis(alike(nominal("cnc"), 1), "z_axis", 0.5, stroke=1e-6, speed=1e-6, acceleration=1.0)
    assert shown["z_axis.i"][times > 0.3] * 1.8 == pytest.approx(20.3, rel=0.03)


def test_an_axis_of_a_batch_moves_as_it_does_alone():
    both = degrade(alike(nominal("cnc"), 2), MODES, {"C9": np.array([0.0, 1.0])})
    _, together = simulate_axis(both, "z_axis", 0.3)
    _, alone = simulate_axis({name: value[1:] for name, value in both.items()}, "z_axis", 0.3)
    for name, values in together.items():
        assert np.array_equal(values[:, 1:], alone[name])


def waveform(severity: float) -> np.ndarray:
    values = {name: float(value[0]) for name, value in worn(severity, "C1").items()}
    return spindle_waveform(values, Key(3, 1), speed=50.0)[1]


def kurtosis(values: np.ndarray) -> float:
    centred = values - values.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2)


def test_a_spall_makes_the_waveform_impulsive_and_spread_damage_makes_it_noise_again():
    healthy, spalled, ruined = (waveform(severity) for severity in (0.0, 0.5, 1.0))
    assert kurtosis(healthy) == pytest.approx(3.0, abs=0.3)
    assert kurtosis(spalled) > 5.0
    assert kurtosis(ruined) < 0.7 * kurtosis(spalled)
    assert healthy.std() < spalled.std() < ruined.std()


def test_the_waveforms_envelope_rings_at_the_outer_races_defect_frequency():
    values = abs(waveform(0.5))
    spectrum = abs(np.fft.rfft(values - values.mean()))
    frequency = np.fft.rfftfreq(len(values), 1.0 / 25_600.0)
    band = (frequency > 100.0) & (frequency < 800.0)
    assert frequency[band][spectrum[band].argmax()] == pytest.approx(8.6 * 50.0, rel=0.03)


def test_the_same_key_gives_the_same_waveform():
    assert np.array_equal(waveform(0.4), waveform(0.4))
