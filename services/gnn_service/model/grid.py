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


def window_length_s(machine: Machine) -> float:
    """How long a full window of this machine is, s."""
    return machine.duty_cycle.period_s if machine.duty_cycle else DEFAULT_LENGTH_S


def step_s(machine: Machine) -> float:
    """Length of one step, s."""
    return window_length_s(machine) / CYCLE_STEPS


def on_grid(machine: Machine, window: Window) -> NDArray[np.float32]:
    """Mean reading of every sensor in every step, (S, CYCLE_STEPS) in the machine's units; NaN = no reading.

    Steps are counted from the start of the duty cycle, so that phases of two windows always lie on each other. Of a
    window longer than a cycle the last complete cycle is used. Raises InvalidWindowError on sensors that the machine
    does not have, and on times that do not rise.
    """
    known = {sensor: row for row, sensor in enumerate(machine.sensor_ids)}
    strange = [sensor for sensor in window.sensors if sensor not in known]
    if strange:
        raise InvalidWindowError(
            f"machine {machine.id} has no sensor {', '.join(strange[:5])}; remove it or describe it", where="window"
        )
    if len(window.times) and (np.diff(window.times) <= 0).any():
        raise InvalidWindowError("times must rise strictly; sort the samples and drop repeated ones", where="window")
    grid = np.full((len(known), CYCLE_STEPS), np.nan, np.float32)
    if len(window.times):
        steps = _steps(machine, window)
        kept = (steps >= 0) & (steps < CYCLE_STEPS)
        rows = np.array([known[sensor] for sensor in window.sensors], dtype=np.intp)
        grid[rows] = _binned_means(window.values[:, kept], steps[kept])
    return grid


def _steps(machine: Machine, window: Window) -> NDArray[np.int64]:
    """The step that each sample falls into, counted from the start of the last complete cycle."""
    length, step = window_length_s(machine), step_s(machine)
    elapsed = window.times - window.times[0] + (window.phase_s or 0.0)
    if elapsed[-1] > LONGEST_WINDOW * length:
        raise InvalidWindowError(
            f"the window spans {elapsed[-1]:.0f} s; send at most {LONGEST_WINDOW} cycles", where="window"
        )
    tick = float(np.median(np.diff(window.times))) if len(window.times) > 1 else step
    complete = int(np.floor((elapsed[-1] + tick) / length + ROUNDING))
    return np.asarray(np.floor((elapsed - max(0, complete - 1) * length) / step + ROUNDING), dtype=np.int64)


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
