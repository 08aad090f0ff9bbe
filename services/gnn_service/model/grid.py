"""From a window at any rate to the steps the network looks at."""

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidWindowError
from gnn_service.domain.machine import Machine
from gnn_service.domain.window import Window

CYCLE_STEPS = 60
"""Steps that one duty cycle, or one window of a machine without a cycle, is divided into."""

STEPS = 64
"""Steps the network takes; the rest is padding, masked."""

DEFAULT_LENGTH_S = 60.0
"""Length of the window of a machine without a duty cycle."""

ROUNDING = 1e-6
LONGEST_WINDOW = 100
"""Windows longer than this many cycles are refused rather than searched."""

LATEST = 253_402_300_800.0
"""10000-01-01, s since 1970 UTC: calendars end here."""


def window_length_s(machine: Machine) -> float:
    """How long a full window of this machine is, s."""
    return machine.duty_cycle.period_s if machine.duty_cycle else DEFAULT_LENGTH_S


def step_s(machine: Machine) -> float:
    """Length of one step, s."""
    return window_length_s(machine) / CYCLE_STEPS


def on_grid(machine: Machine, window: Window) -> NDArray[np.float32]:
    """Mean reading of every sensor in every step, (S, CYCLE_STEPS) in the machine's units; NaN = no reading.

    Steps are counted from the start of the duty cycle, so that phases of two windows always lie on each other. Of a
    window longer than a cycle the last complete cycle is used; without a duty cycle, the last minute. A sample stands
    for the time until the next one, and belongs to the step in which the middle of that time lies: clocks may jitter.

    Raises InvalidWindowError on sensors that the machine does not have or that come twice, on shapes that do not fit
    each other, on times that do not rise or are no times, and on infinite readings.
    """
    _check(machine, window)
    grid = np.full((len(machine.sensors), CYCLE_STEPS), np.nan, np.float32)
    if len(window.times):
        steps = _steps(machine, window)
        kept = (steps >= 0) & (steps < CYCLE_STEPS)
        rows = {sensor: row for row, sensor in enumerate(machine.sensor_ids)}
        index = np.array([rows[sensor] for sensor in window.sensors], dtype=np.intp)
        grid[index] = _binned_means(window.values[:, kept], steps[kept])
    return grid


def _check(machine: Machine, window: Window) -> None:
    known = set(machine.sensor_ids)
    strange = [sensor for sensor in window.sensors if sensor not in known]
    if strange:
        raise InvalidWindowError(
            f"machine {machine.id} has no sensor {', '.join(strange[:5])}; remove it or describe it", where="window"
        )
    if len(set(window.sensors)) < len(window.sensors):
        raise InvalidWindowError("a sensor comes twice; send each once", where="window.sensors")
    wanted = (len(window.sensors), len(window.times))
    if window.values.shape != wanted:
        raise InvalidWindowError(
            f"values have shape {window.values.shape}; {wanted[0]} sensors at {wanted[1]} times need {wanted}",
            where="window.values",
        )
    if not ((window.times >= 0) & (window.times < LATEST)).all() or not np.isfinite(window.phase_s or 0.0):
        raise InvalidWindowError("times must be seconds since 1970; are they in another unit?", where="window.times")
    if (np.diff(window.times) <= 0).any():
        raise InvalidWindowError(
            "times must rise strictly; sort the samples and drop repeated ones", where="window.times"
        )
    infinite = np.argwhere(np.isinf(window.values))
    if len(infinite):
        row, sample = (int(k) for k in infinite[0])
        raise InvalidWindowError(
            "the reading is infinite; send a number, or null where it is missing",
            where=f"window.{window.sensors[row]}[{sample}]",
        )


def _steps(machine: Machine, window: Window) -> NDArray[np.int64]:
    """The step that each sample falls into, counted from the start of the last complete cycle."""
    length, step = window_length_s(machine), step_s(machine)
    elapsed = window.times - window.times[0]
    if elapsed[-1] > LONGEST_WINDOW * length:
        raise InvalidWindowError(
            f"the window spans {elapsed[-1]:.0f} s; send at most {LONGEST_WINDOW} cycles", where="window.times"
        )
    tick = float(np.median(np.diff(window.times))) if len(window.times) > 1 else step
    middle = min(tick, step) / 2
    if machine.duty_cycle is None:
        start = max(0.0, elapsed[-1] + tick - length)
    else:
        elapsed = elapsed + (window.phase_s or 0.0) % length
        complete = int((elapsed[-1] + tick + middle) // length)
        start = max(0, complete - 1) * length
    return np.asarray(np.floor((elapsed - start + middle) / step + ROUNDING), dtype=np.int64)


def _binned_means(values: NDArray[np.float32], steps: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean of the present samples of each step, (R, CYCLE_STEPS)."""
    present = np.isfinite(values)
    total = np.zeros((len(values), CYCLE_STEPS))
    count = np.zeros((len(values), CYCLE_STEPS))
    for row in range(len(values)):
        total[row] = np.bincount(steps, np.where(present[row], values[row], 0.0), CYCLE_STEPS)
        count[row] = np.bincount(steps, present[row], CYCLE_STEPS)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, total / count, np.nan).astype(np.float32)
