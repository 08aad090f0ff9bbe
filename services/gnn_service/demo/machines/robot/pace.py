"""Where each robot of a group is in its script: cycles follow each other, each as long as its override makes it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.machines.robot.duty import (
    LONGEST,
    LOT_CYCLES,
    PAYLOADS_KG,
    PROGRAMS,
    SCRIPT_OF_STATE,
    SCRIPTS,
    TABLES,
    WAITING,
    WARM_UP_OVERRIDE,
)
from gnn_service.demo.plant import Array, Schedule
from gnn_service.demo.streams import CycleDraws, Key, Purpose

Index = NDArray[np.int64]
CONTROL_S = 0.1
"""Cycles last whole multiples of this."""
SPIKES = 8
COLD_START = 2
LIFT = 3


@dataclass(frozen=True, slots=True)
class Cycles:
    """One cycle of each of B robots.

    ``begins`` (LONGEST, B): when each segment begins, s from the cycle's start, infinite beyond the script's end;
    ``speeds``: one over its length; ``spikes`` (2 SPIKES, B): random numbers of the cycle.
    """

    state: Index
    script: Index
    begins: Array
    speeds: Array
    seconds: Array
    payload: Array
    override: Array
    spikes: Array


@dataclass(frozen=True, slots=True)
class Place:
    """Where (K, B) moments lie.

    ``segment`` among all, ``share`` of it that has passed, ``speed`` one over its length, ``into`` seconds since it
    began, ``held`` seconds between the cycle's first lift and its begin; ``gripping`` where the
    script is one that grips, ``first`` at the first step of a cycle, ``later`` where it is in the next cycle.
    """

    segment: Index
    share: Array
    speed: Array
    into: Array
    held: Array
    gripping: NDArray[np.bool_]
    first: NDArray[np.bool_]
    later: NDArray[np.bool_]


def cycles_of(state: Index, script: Index, override: Array, payload: Array, grip_s: Array, spikes: Array) -> Cycles:
    """Lay out one cycle of each robot; ``grip_s`` is how long gripping takes at least."""
    size = len(state)
    segment = TABLES.first[script] + np.arange(LONGEST)[:, None]
    inside = segment < TABLES.first[script + 1]
    segment = np.where(inside, segment, 0)
    lengths = TABLES.seconds[segment] / np.where(TABLES.scaled[segment], override, 1.0)
    lengths = np.where(TABLES.grips[segment], np.maximum(lengths, grip_s), lengths)
    lengths = np.where(inside, lengths, 0.0)
    begins = np.zeros((LONGEST, size))
    total = np.zeros(size)
    for row in range(LONGEST):
        begins[row] = total
        total = total + lengths[row]
    seconds = np.ceil(total / CONTROL_S - 1e-6) * CONTROL_S
    return Cycles(
        state,
        script,
        np.where(inside, begins, np.inf),
        np.where(inside, 1.0 / np.where(inside, lengths, 1.0), 0.0),
        seconds,
        payload,
        override,
        spikes,
    )


class Pace:
    """The cycles of B robots: which runs, which comes next, and since when."""

    def __init__(
        self, keys: tuple[Key, ...], schedule: Schedule, override: Array, heavy_share: Array, step_s: float
    ) -> None:
        self._schedule, self._override, self._heavy, self._step = schedule, override, heavy_share, step_s
        self._lots = CycleDraws(keys, Purpose.DUTY, 2)
        self._spikes = CycleDraws(keys, Purpose.INTERMITTENT, 2 * SPIKES)
        self._columns = np.arange(len(keys))

    def begin(self, grip_s: Array, derating: Array) -> None:
        """Start the first cycle at time 0."""
        self.cycle = np.zeros(len(self._columns), dtype=np.int64)
        self.start = np.zeros(len(self._columns), dtype=np.int64)
        self.now = self._cycles(np.zeros(len(self._columns)), self.cycle, grip_s, derating)
        self.steps = self._steps(self.now)
        self.next = self.now

    def plan(self, end: int, grip_s: Array, derating: Array) -> NDArray[np.bool_]:
        """Lay out the next cycle of those that finish before step ``end``; which ones these are."""
        wraps = self.start + self.steps < end
        if wraps.any():
            times: Array = np.multiply(self.start + self.steps, self._step, dtype=np.float64)
            self.next = self._cycles(times, self.cycle + 1, grip_s, derating)
        return np.asarray(wraps)

    def turn(self, wraps: NDArray[np.bool_]) -> None:
        """Make the next cycle the present one, where it has begun."""
        if not wraps.any():
            return
        self.start = np.where(wraps, self.start + self.steps, self.start)
        self.cycle = np.where(wraps, self.cycle + 1, self.cycle)
        self.now = Cycles(
            *(
                np.where(wraps, getattr(self.next, name), getattr(self.now, name))
                for name in ("state", "script", "begins", "speeds", "seconds", "payload", "override", "spikes")
            )
        )
        self.steps = self._steps(self.now)

    def place(self, first: int, count: int, wraps: NDArray[np.bool_]) -> Place:
        """Where the middles of steps ``first`` to ``first + count`` lie, none beyond the next cycle."""
        middle = np.arange(first, first + count)[:, None] - self.start
        later = (middle >= self.steps) & wraps
        since = np.where(later, middle - self.steps, middle)
        time = (since.astype(np.float64) + 0.5) * self._step
        return locate(self.now, self.next, time, later, self._columns, since == 0)

    def _steps(self, cycles: Cycles) -> Index:
        return np.rint(cycles.seconds / self._step).astype(np.int64)

    def _cycles(self, times: Array, cycle: Index, grip_s: Array, derating: Array) -> Cycles:
        index = (self._schedule.starts_s <= times[:, None] + 1e-9).sum(axis=1) - 1
        state = self._schedule.states[self._columns, index]
        lot = self._lots.at(cycle // LOT_CYCLES)
        script = SCRIPT_OF_STATE[state]
        script = np.where(script == 0, (lot[0] * len(PROGRAMS)).astype(np.int64), script)
        payload = np.where(script < WAITING, chosen_payload(lot[1], self._heavy), 0.0)
        override = np.where(state == COLD_START, WARM_UP_OVERRIDE, self._override) * derating
        return cycles_of(state, script, override, payload, grip_s, self._spikes.at(cycle))


def chosen_payload(draw: Array, heavy_share: Array) -> Array:
    """The part of a lot, kg, from a uniform number and the share of the heaviest."""
    light, middle, heavy = PAYLOADS_KG
    other = np.where(draw < heavy_share + (1.0 - heavy_share) / 2, middle, light)
    return np.where(draw < heavy_share, heavy, other)


def locate(
    now: Cycles,
    following: Cycles,
    time: Array,
    later: NDArray[np.bool_],
    columns: Index,
    begun: NDArray[np.bool_] | None = None,
) -> Place:
    """Find the segments of (K, B) times, s from the start of the present or, where ``later``, the next cycle."""
    longest = max(len(SCRIPTS[script]) for script in np.unique(now.script))
    row = np.zeros(time.shape, dtype=np.int8)
    for place in range(1, longest):
        row += time >= now.begins[place]
    begins, speeds = now.begins, now.speeds
    at = row.astype(np.int64) * len(columns) + columns
    started, speed = begins.ravel().take(at), speeds.ravel().take(at)
    segment = TABLES.first[now.script] + row
    if later.any():
        longest = max(len(SCRIPTS[script]) for script in np.unique(following.script))
        row = np.zeros(time.shape, dtype=np.int8)
        for place in range(1, longest):
            row += time >= following.begins[place]
        at = row.astype(np.int64) * len(columns) + columns
        started = np.where(later, following.begins.ravel().take(at), started)
        speed = np.where(later, following.speeds.ravel().take(at), speed)
        segment = np.where(later, TABLES.first[following.script] + row, segment)
    into = time - started
    script = np.where(later, following.script, now.script) if later.any() else np.broadcast_to(now.script, time.shape)
    lifted = np.where(later, following.begins[LIFT], now.begins[LIFT]) if later.any() else now.begins[LIFT]
    return Place(
        segment,
        np.minimum(into * speed, 1.0),
        speed,
        into,
        np.maximum(started - lifted, 0.0),
        script < WAITING,
        np.zeros(time.shape, dtype=np.bool_) if begun is None else begun,
        later,
    )
