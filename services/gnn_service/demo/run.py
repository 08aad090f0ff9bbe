"""One machine over some hours, without a pause, with faults that grow on the way.

Beside it run its healthy twin and, where several faults grow, one machine for each of them alone: they tell what can
be seen. Severity stands still within a section, so that the truth of a section is exact.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.capture import Moment
from gnn_service.demo.cycle_table import CycleTable
from gnn_service.demo.fleet import setting_of, shift_schedule
from gnn_service.demo.lives import NO_PROGNOSIS
from gnn_service.demo.modes import SimulatedMode, degrade
from gnn_service.demo.observable import PhaseMeans, is_observable, strengths
from gnn_service.demo.plant import Array, Plant, Schedule, Setting
from gnn_service.demo.progression import intermittent_level, intermittent_states
from gnn_service.demo.sensor_faults import SensorFault, check_sensor_fault
from gnn_service.demo.sensors import SensorBank
from gnn_service.demo.streams import Key, Purpose
from gnn_service.demo.systems import System
from gnn_service.demo.thin import Thinner, interval_steps
from gnn_service.demo.window import RUN_IN_S, SLOT_S, after_run_in

MOST_NUMBERS = 400_000_000
"""Readings that a run may hold: 1.6 GB."""
MOST_CAPTURES = 100
SECTION_S = 60.0
PIECE_STEPS = 600
_TWIN = 1


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run is to be.

    Args:
        seconds: how long.
        ramps: severity at the start and at the end, by mode id; it grows evenly.
        state: operating state throughout; None mixes states as a usual shift does.
        rate_hz: rows a second, each the mean of its interval; None keeps every step.
        sensor_faults: sensors that fail, and when.
        captures: at how many moments circuits are captured at a high rate, evenly from begin to end, one a section at
            most; a single one is at the end.
    """

    seconds: float
    ramps: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    state: str | None = None
    rate_hz: float | None = None
    sensor_faults: tuple[SensorFault, ...] = ()
    captures: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no run, in words."""
        if not 0 < self.seconds < np.inf:
            raise InvalidInputError(f"must be above 0, not {self.seconds / 3600:g} h", where="hours")
        for mode, ends in self.ramps.items():
            if not all(0 <= severity <= 1 for severity in ends):
                raise InvalidInputError(f"severity of {mode} must be within 0 and 1", where="severity")
        if not 0 <= self.captures <= MOST_CAPTURES:
            raise InvalidInputError(f"at most {MOST_CAPTURES} captures, not {self.captures}", where="captures")


@dataclass(frozen=True, slots=True)
class Section:
    """The truth of a stretch of time.

    ``severity``, the share of time that a mode was there as ``active``, and ``observable`` are (M,); ``strength``
    (M, S) tells how far each sensor is off because of a mode, in standard deviations of its noise. ``remaining_h``
    (M,) are the hours from its start to severity 1 of a mode that goes on growing as it does; NaN below severity 0.15
    and where a severity does not grow.
    """

    start_s: float
    end_s: float
    severity: Array
    active: Array
    observable: NDArray[np.bool_]
    strength: Array
    remaining_h: Array


@dataclass(frozen=True, slots=True)
class Run:
    """One machine's readings (N, S) at ``times_s`` (N,), its labels by name, its cycles, and the truth.

    ``ledger`` (N', L) holds the energy of the first hour or less at full rate, for a heat balance; ``site`` its
    circumstances, SI; ``moments`` are those at which circuits are captured.
    """

    times_s: Array
    values: NDArray[np.float32]
    state: NDArray[np.str_]
    phase: NDArray[np.str_]
    cycle: NDArray[np.int64]
    sections: tuple[Section, ...]
    cycles: CycleTable
    ledger: Array
    site: Mapping[str, float]
    moments: tuple[Moment, ...] = ()


def check_size(system: System, plan: RunPlan) -> None:
    """InvalidInputError for a run that would not fit into memory, saying what would."""
    every = interval_steps(plan.rate_hz, system.plant.STEP_S)
    rate = 1.0 / (every * system.plant.STEP_S)
    most_s = MOST_NUMBERS / (rate * len(system.sensors))
    if plan.seconds > most_s:
        raise InvalidInputError(
            f"{plan.seconds / 3600:g} h at {rate:g} Hz do not fit into memory; simulate at most"
            f" {most_s / 3600:.0f} h, or keep fewer rows a second with --rate",
            where="hours",
        )


def simulate_run(system: System, key: Key, plan: RunPlan, say: Callable[[float], object] | None = None) -> Run:
    """Simulate one machine of the fleet. InvalidInputError where the plan does not fit the system.

    ``say`` is told from time to time how many seconds are simulated.
    """
    check_size(system, plan)
    if plan.captures and not system.captures:
        raise InvalidInputError(f"{system.name} has no circuit that can be captured", where="captures")
    return _Running(system, key, plan).run(say or _silent)


def schedule_of_run(system: System, keys: Sequence[Key], state: str | None, seconds: float) -> Schedule:
    """One operating state throughout, or those of a usual shift; InvalidInputError lists the states that there are."""
    states = system.plant.STATES
    if state is None:
        return shift_schedule(system, keys, seconds)
    if state not in states:
        raise InvalidInputError(f"{system.name} has no {state!r}; it has: {', '.join(states)}", where="state")
    return Schedule.constant([states.index(state)] * len(keys))


def single_setting(system: System, key: Key, state: str | None, seconds: float) -> Setting:
    """The machine of a run, healthy, at work in one operating state or those of a shift for so long."""
    return setting_of(system, (key,), schedule_of_run(system, (key,), state, seconds))


class _Running:
    """A run under way. Columns of the plant: the machine, its healthy twin, then each fault alone if there are more."""

    def __init__(self, system: System, key: Key, plan: RunPlan) -> None:
        self._system, self._key, self._plan = system, key, plan
        self._step_s = system.plant.STEP_S
        self._steps = max(1, round(plan.seconds / self._step_s))
        self._ramps = {system.modes.index(system.mode(name)): ends for name, ends in plan.ramps.items()}
        faults = [check_sensor_fault(system.machine, fault) for fault in plan.sensor_faults]
        alone = list(self._ramps) if len(self._ramps) > 1 else []
        self._columns: list[int | None] = [None, None, *alone] if self._ramps else [None]
        keys = (key,) * len(self._columns)
        schedule = after_run_in(schedule_of_run(system, keys, plan.state, plan.seconds), RUN_IN_S, range(len(keys)))
        self._setting = setting_of(system, keys, schedule)
        self._plant: Plant = system.plant(self._setting)
        self._bank = SensorBank(system.machine, (key,), self._step_s, start_s=-RUN_IN_S, faults=[faults])
        self._thinner = Thinner(interval_steps(plan.rate_hz, self._step_s))
        self._table = CycleTable(system.machine.sensor_ids, system.plant.PHASES, system.plant.LEDGER, self._step_s, 1)
        self._rows: list[tuple[NDArray[Any], ...]] = []
        self._books: list[Array] = []
        self._slots = self._episodes()
        self._first_cycle = np.zeros(1, dtype=np.int32)
        self._latest = np.zeros(len(system.sensors), dtype=np.float32)

    def run(self, say: Callable[[float], object]) -> Run:
        """All of it."""
        edges = self._edges()
        self._set(0, self._severity(0, edges[1]), on=False)
        self._plant.settle()
        self._run_in()
        sections, moments = [], []
        captured = _spread(len(edges) - 1, self._plan.captures)
        for number, (first, last) in enumerate(pairwise(edges)):
            sections.append(self._section(first, last))
            if number in captured:
                moments.append(self._moment(last - 1, sections[-1].severity))
            say(last * self._step_s)
        values, state, phase, cycle = (np.concatenate(parts) for parts in zip(*self._rows, strict=True))
        every = interval_steps(self._plan.rate_hz, self._step_s)
        return Run(
            np.arange(len(values), dtype=np.float64) * (every * self._step_s),
            values[:, :, 0],
            np.array(self._system.plant.STATES)[state[:, 0]],
            np.array(self._system.plant.PHASES)[phase[:, 0]],
            cycle[:, 0].astype(np.int64),
            tuple(sections),
            self._table,
            np.concatenate(self._books),
            {name: float(value[0]) for name, value in self._setting.site.items()},
            tuple(moments),
        )

    def _run_in(self) -> None:
        """Give the sensors a past, which a late clock shows."""
        left = round(RUN_IN_S / self._step_s)
        while left:
            frames = self._plant.advance(min(PIECE_STEPS, left))
            self._bank.measure(frames.values[:, :, :1])
            self._first_cycle = frames.cycle[-1, :1]
            left -= len(frames.cycle)

    def _edges(self) -> list[int]:
        """Where sections begin, in steps, and the end; a section lasts a cycle at least, and a minute."""
        cycle = self._system.duty_cycle
        length_s = max(SECTION_S, cycle.period_s if cycle else 0.0) if self._ramps else SECTION_S * 10
        sections = max(1, round(self._steps * self._step_s / length_s))
        return [round(self._steps * number / sections) for number in range(sections + 1)]

    def _severity(self, first: int, last: int) -> Array:
        """Severities (M,) of a section: those of its middle, of a run's first and last section its ends."""
        share = (first / (self._steps - (last - first))) if self._steps > last - first else 0.5
        grown = np.zeros(len(self._system.modes))
        for mode, (start, end) in self._ramps.items():
            grown[mode] = start + (end - start) * share
        return grown

    def _episodes(self) -> dict[int, NDArray[np.bool_]]:
        """When intermittent faults are on, by number of mode and slot; severities are those of the slot's time."""
        slots = int(np.ceil(self._steps * self._step_s / SLOT_S)) + 1
        found = {}
        for mode, (start, end) in self._ramps.items():
            if self._system.modes[mode].life.progression == "intermittent":
                hidden = start + (end - start) * np.linspace(0.0, 1.0, slots)[:, None]
                draws = self._key.stream(Purpose.INTERMITTENT, mode).random((slots, 1))
                found[mode] = intermittent_states(draws, hidden)[:, 0]
        return found

    def _set(self, step: int, severity: Array, *, on: bool = True) -> None:
        """Degrade each column of the plant: the machine fully, the twin not, the others by their own fault alone."""
        slot = int(step * self._step_s / SLOT_S + 1e-9)
        now = {}
        for mode in self._ramps:
            acting = severity[mode]
            if mode in self._slots:
                acting = float(intermittent_level(acting)) if on and self._slots[mode][slot] else 0.0
            column = [acting if own == mode or place == 0 else 0.0 for place, own in enumerate(self._columns)]
            now[self._mode(mode).id] = np.array(column)
        self._plant.set_parameters(degrade(self._setting.parameters, self._system.modes, now))

    def _mode(self, index: int) -> SimulatedMode:
        return self._system.modes[index]

    def _section(self, first: int, last: int) -> Section:
        severity = self._severity(first, last)
        means = PhaseMeans(
            len(self._system.plant.STATES),
            len(self._system.plant.PHASES),
            self._system.machine,
            len(self._columns),
            [(self._column_of(mode), _TWIN) for mode in self._ramps],
        )
        done, on_steps = first, np.zeros(len(self._system.modes))
        while done < last:
            count = min(PIECE_STEPS, last - done)
            if self._slots:
                slot = round(SLOT_S / self._step_s)
                count = min(count, slot - done % slot)
            if self._ramps and (done == first or self._slots):
                self._set(done, severity)
            frames = self._plant.advance(count, ledger=True)
            if len(self._columns) > 1:
                means.add(frames)
            self._latest = frames.values[-1, :, 0]
            _, readings = self._bank.measure(frames.values[:, :, :1])
            labels = frames.state[:, :1], frames.phase[:, :1], frames.cycle[:, :1] - self._first_cycle
            books = None if frames.ledger is None else frames.ledger[:, :, :1]
            self._table.add(readings, labels[1], labels[2], books)
            if books is not None and done * self._step_s < 3600.0:
                self._books.append(books[:, :, 0])
            kept, marks = self._thinner.add(readings, *labels)
            self._rows.append((kept, *marks))
            for mode in self._ramps:
                slot_now = int(done * self._step_s / SLOT_S + 1e-9)
                on_steps[mode] += count if mode not in self._slots or self._slots[mode][slot_now] else 0
            done += count
        return self._truth(first, last, severity, on_steps / (last - first), means)

    def _moment(self, step: int, severity: Array) -> Moment:
        """The machine as it is now; an intermittent fault is caught while it is on."""
        acting = {}
        for mode, described in enumerate(self._system.modes):
            if severity[mode] > 0:
                hidden = float(severity[mode])
                passing = described.life.progression == "intermittent"
                acting[described.id] = float(intermittent_level(hidden)) if passing else hidden
        healthy = {name: np.asarray(value)[:1] for name, value in self._setting.parameters.items()}
        degraded = degrade(healthy, self._system.modes, {name: np.array([s]) for name, s in acting.items()})
        site = {name: np.asarray(value)[:1] for name, value in self._setting.site.items()}
        seen = dict(zip(self._system.machine.sensor_ids, self._latest.astype(float).tolist(), strict=True))
        return Moment(step * self._step_s, degraded, site, seen, acting)

    def _column_of(self, mode: int) -> int:
        """The column of the plant that has this fault and no other."""
        return self._columns.index(mode) if len(self._ramps) > 1 else 0

    def _truth(self, first: int, last: int, severity: Array, active: Array, means: PhaseMeans) -> Section:
        strength = np.zeros((len(self._system.modes), len(self._system.sensors)))
        observable = np.zeros(len(self._system.modes), dtype=bool)
        for mode in self._ramps:
            if severity[mode] > 0:
                strength[mode] = strengths(self._system.machine, means, self._column_of(mode), _TWIN)
                observable[mode] = is_observable(self._system.machine, strength[mode])
        start_s, end_s = first * self._step_s, last * self._step_s
        remaining = self._remaining_h(last - first, severity)
        return Section(start_s, end_s, severity, active * (severity > 0), observable, strength, remaining)

    def _remaining_h(self, section: int, severity: Array) -> Array:
        """Hours (M,) to severity 1 from the start of a section of so many steps, on the straight line of each ramp."""
        growing_h = max(self._steps - section, 0) * self._step_s / 3600.0 or self._plan.seconds / 3600.0
        left = np.full(len(severity), np.nan)
        for mode, (start, end) in self._ramps.items():
            if severity[mode] >= 1.0:
                left[mode] = 0.0
            elif end > start and severity[mode] >= NO_PROGNOSIS:
                left[mode] = (1.0 - severity[mode]) / (end - start) * growing_h
        return left


def _spread(sections: int, count: int) -> set[int]:
    """The sections at whose ends there are captures."""
    if count == 1:
        return {sections - 1}
    return {round(number) for number in np.linspace(0, sections - 1, count).tolist()}


def _silent(seconds: float) -> None:
    """Nobody watches."""
