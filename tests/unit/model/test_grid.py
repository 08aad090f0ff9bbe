"""From samples at any rate to the steps of a cycle, and what is refused on the way."""

from dataclasses import replace

import numpy as np
import pytest

from gnn_service.core.errors import InvalidWindowError
from gnn_service.domain.window import Window
from gnn_service.model.grid import CYCLE_STEPS, LONGEST_WINDOW, on_grid, step_s, window_length_s
from tests.support.duty_cycle import rig

START = 1.6e9


def signal(seconds=60, rate=1, *, sensors=("PS1", "TS1"), phase_s=0.0, seed=3):
    """Samples whose mean in second k is k + 10 row."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=(len(sensors), seconds, rate))
    noise -= noise.mean(-1, keepdims=True)
    values = np.arange(seconds)[None, :, None] + 10.0 * np.arange(len(sensors))[:, None, None] + noise
    times = START + np.arange(seconds * rate) / rate
    return Window(
        sensors=sensors, values=values.reshape(len(sensors), -1).astype(np.float32), times=times, phase_s=phase_s
    )


def row(grid, sensor):
    return grid[rig().sensor_ids.index(sensor)]


def without_cycle():
    return rig().model_copy(update={"duty_cycle": None})


@pytest.mark.parametrize("rate", [1, 10, 100])
def test_every_rate_gives_the_means_of_the_steps(rate):
    grid = on_grid(rig(), signal(rate=rate))
    assert grid.shape == (len(rig().sensors), CYCLE_STEPS)
    assert grid.dtype == np.float32
    assert row(grid, "PS1") == pytest.approx(np.arange(60), abs=1e-4)
    assert row(grid, "TS1") == pytest.approx(np.arange(60) + 10, abs=1e-4)


def test_a_sensor_that_is_not_in_the_window_is_missing():
    grid = on_grid(rig(), signal())
    assert np.isnan(row(grid, "FS1")).all()


def test_a_slow_sensor_has_a_reading_only_where_it_gave_one():
    window = signal(seconds=60, rate=1)
    thinned = replace(window, values=window.values[:, ::10], times=window.times[::10])
    grid = on_grid(rig(), thinned)
    assert np.flatnonzero(np.isfinite(row(grid, "PS1"))).tolist() == [0, 10, 20, 30, 40, 50]
    assert row(grid, "PS1")[30] == pytest.approx(window.values[0, 30])


@pytest.mark.parametrize("seed", range(5))
def test_a_clock_that_jitters_costs_no_step(seed):
    window = signal()
    jitter = np.random.default_rng(seed).uniform(-0.2, 0.2, 60)
    grid = on_grid(rig(), replace(window, times=window.times + jitter))
    assert row(grid, "PS1") == pytest.approx(np.arange(60), abs=1e-4)


def test_missing_samples_are_left_out_of_the_mean():
    window = signal(rate=10)
    values = window.values.copy()
    values[0, 3:10] = np.nan
    values[0, 50:60] = np.nan
    grid = on_grid(rig(), replace(window, values=values))
    assert row(grid, "PS1")[0] == pytest.approx(float(values[0, :3].mean()), abs=1e-5)
    assert np.isnan(row(grid, "PS1")[5])
    assert np.isfinite(row(grid, "TS1")).all()


def test_a_partial_window_lies_where_its_phase_puts_it():
    grid = on_grid(rig(), signal(seconds=20, phase_s=25.0))
    assert np.flatnonzero(np.isfinite(row(grid, "PS1"))).tolist() == list(range(25, 45))
    assert row(grid, "PS1")[25] == pytest.approx(0, abs=1e-5)


def test_a_phase_beyond_the_period_is_a_later_cycle():
    one, other = (on_grid(rig(), signal(seconds=20, phase_s=phase)) for phase in (25.0, 25.0 + 3 * 60))
    assert np.array_equal(one, other, equal_nan=True)


def test_an_unknown_phase_counts_from_the_first_sample():
    assert np.array_equal(on_grid(rig(), signal(phase_s=None)), on_grid(rig(), signal(phase_s=0.0)), equal_nan=True)


@pytest.mark.parametrize("seconds, first", [(60, 0), (61, 0), (119, 0), (120, 60), (170, 60), (180, 120)])
def test_of_a_longer_window_the_last_complete_cycle_is_used(seconds, first):
    grid = on_grid(rig(), signal(seconds=seconds))
    assert row(grid, "PS1") == pytest.approx(np.arange(first, first + 60), abs=1e-4)


def test_a_window_that_joins_in_mid_cycle_is_read_from_its_complete_cycle():
    grid = on_grid(rig(), signal(seconds=90, phase_s=30.0))
    assert row(grid, "PS1") == pytest.approx(np.arange(30, 90), abs=1e-4)


@pytest.mark.parametrize("seconds", [60, 75, 150])
def test_without_a_duty_cycle_the_last_minute_is_read(seconds):
    machine = without_cycle()
    grid = on_grid(machine, signal(seconds=seconds, phase_s=17.0))
    assert window_length_s(machine) == 60.0
    assert row(grid, "PS1") == pytest.approx(np.arange(seconds - 60, seconds), abs=1e-4)


def test_a_cycle_of_another_length_has_as_many_steps():
    cycle = rig().duty_cycle.model_copy(update={"period_s": 120.0})
    machine = rig().model_copy(update={"duty_cycle": cycle})
    grid = on_grid(machine, signal(seconds=120))
    assert step_s(machine) == 2.0
    assert row(grid, "PS1") == pytest.approx(np.arange(0.5, 120, 2), abs=1e-4)


def test_one_sample_fills_one_step():
    window = signal()
    grid = on_grid(rig(), replace(window, values=window.values[:, :1], times=window.times[:1]))
    assert np.flatnonzero(np.isfinite(row(grid, "PS1"))).tolist() == [0]


def test_a_window_without_samples_is_all_missing():
    window = signal()
    grid = on_grid(rig(), replace(window, values=window.values[:, :0], times=window.times[:0]))
    assert np.isnan(grid).all()


def test_the_order_of_the_sensors_in_a_window_does_not_matter():
    window = signal(sensors=("TS1", "FS1", "PS1"))
    turned = replace(window, sensors=window.sensors[::-1], values=window.values[::-1])
    assert np.array_equal(on_grid(rig(), window), on_grid(rig(), turned), equal_nan=True)


def test_readings_of_a_sensor_that_the_machine_does_not_have_are_refused_by_name():
    with pytest.raises(InvalidWindowError, match="has no sensor PS9; remove it or describe it"):
        on_grid(rig(), signal(sensors=("PS1", "PS9")))


def test_a_sensor_that_comes_twice_is_refused():
    with pytest.raises(InvalidWindowError, match="comes twice"):
        on_grid(rig(), signal(sensors=("PS1", "PS1")))


@pytest.mark.parametrize(
    "change", [lambda t: t[::-1], lambda t: np.where(t == t[7], t[6], t)], ids=["back", "repeated"]
)
def test_times_that_do_not_rise_are_refused(change):
    window = signal()
    with pytest.raises(InvalidWindowError, match="rise strictly"):
        on_grid(rig(), replace(window, times=change(window.times)))


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf, -5.0, 1.6e18])
def test_times_that_are_no_times_are_refused(strange):
    window = signal()
    with pytest.raises(InvalidWindowError, match="seconds since 1970"):
        on_grid(rig(), replace(window, times=np.where(window.times == window.times[-1], strange, window.times)))


def test_a_phase_that_is_no_time_is_refused():
    with pytest.raises(InvalidWindowError, match="seconds"):
        on_grid(rig(), signal(phase_s=float("nan")))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_reading_is_refused_with_its_place(value):
    window = signal()
    window.values[1, 7] = value
    with pytest.raises(InvalidWindowError, match=r"TS1\[7\]: the reading is infinite"):
        on_grid(rig(), window)


def test_shapes_that_do_not_fit_each_other_are_refused():
    window = signal()
    with pytest.raises(InvalidWindowError, match=r"2 sensors at 60 times need \(2, 60\)"):
        on_grid(rig(), replace(window, values=window.values[:, :-1]))


def test_a_window_of_very_many_cycles_is_refused_rather_than_searched():
    window = signal()
    stretched = START + np.arange(60) * (LONGEST_WINDOW * 60 / 58)
    with pytest.raises(InvalidWindowError, match=f"at most {LONGEST_WINDOW} cycles"):
        on_grid(rig(), replace(window, times=stretched))
