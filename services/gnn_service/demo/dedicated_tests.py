"""Tests that people run on the simulated machines: how long each lasts, and which windows of a life hold one.

A leaking seal that a cylinder at work hides is seen where the machine is stopped and loaded; such a result exists
only when the test has come to its end, so a stretch of it is as long as the test.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from gnn_service.demo.plant import Array, Schedule
from gnn_service.demo.streams import Key, Purpose

TEST_S: dict[str, dict[str, float]] = {
    "excavator": {"stall": 36.0, "hold_test": 198.0},
    "moulding": {"leak_test": 150.0},  # the cycle that is under way ends first
    "cnc": {"reversal_test": 61.0, "ball_bar_test": 121.0, "clamp_test": 61.0},
    # the program that is under way ends first: 26 s at most
    "robot": {"friction_test": 67.0, "brake_test": 36.0, "backlash_test": 36.0, "accuracy_test": 35.0},
}
"""Seconds that each test state takes from its request to its result, by machine."""
EVERY = 4
"""One of so many windows of a life holds a test: a quarter."""
_TURN, _MOMENT = 21, 22


def planned_tests(tests: Mapping[str, float], keys: Sequence[Key], seconds: float) -> list[str]:
    """The test of each window, or '': each fourth window of a life, the tests in turn from one that its key draws.

    Faults have no part in it. A test that is longer than a window is not planned.
    """
    fitting = [state for state, length in tests.items() if length <= seconds]
    planned = []
    for key in keys:
        first, turn = (int(n) for n in key.of_machine().stream(Purpose.SITE, _TURN).integers(0, 2**31, 2))
        number, rest = divmod(key.window + first % EVERY, EVERY)
        planned.append("" if rest or not fitting else fitting[(number + turn) % len(fitting)])
    return planned


def with_tests(
    work: Schedule, planned: Sequence[str], tests: Mapping[str, float], states: Sequence[str], keys: Sequence[Key],
    seconds: float,
) -> Schedule:  # fmt: skip
    """The work of these windows, interrupted for the tests that are planned, each at a moment that its key draws."""
    rows = []
    for index, (state, key) in enumerate(zip(planned, keys, strict=True)):
        starts, numbers = work.starts_s[index], work.states[index]
        if state:
            length = tests[state]
            begin = float(key.stream(Purpose.SITE, _MOMENT).random()) * (seconds - length)
            starts, numbers = _interrupted(starts, numbers, (begin, begin + length), states.index(state))
        rows.append((starts, numbers))
    return schedule_of(rows)


def _interrupted(
    starts: Array, states: np.ndarray[tuple[int], np.dtype[np.int64]], span: tuple[float, float], state: int
) -> tuple[Array, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    begin, end = span
    before, after = starts < begin, starts > end
    resumed = states[int((starts <= end).sum()) - 1]
    return (
        np.concatenate([starts[before], [begin, end], starts[after]]),
        np.concatenate([states[before], [state, resumed], states[after]]),
    )


def schedule_of(rows: Sequence[tuple[Sequence[float] | Array, Sequence[int] | Array]]) -> Schedule:
    """Starts and states of each machine as a schedule; rows that are shorter repeat their last stretch."""
    longest = max(len(starts) for starts, _ in rows)
    starts, states = np.empty((len(rows), longest)), np.empty((len(rows), longest), dtype=np.int64)
    for index, (own_starts, own_states) in enumerate(rows):
        count = len(own_starts)
        starts[index, :count], states[index, :count] = own_starts, own_states
        starts[index, count:], states[index, count:] = own_starts[-1], own_states[-1]
    return Schedule(starts, states)
