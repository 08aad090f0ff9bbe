"""Lives as time-lapse windows: some minutes of work at moments spread over each life, each life a recording.

All windows of a handful of lives are simulated side by side, in stretches, so that memory stays bounded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.cycle_table import CycleTable
from gnn_service.demo.export import Span, events_table, info_of, instance, moment_us, truth_of
from gnn_service.demo.fleet import lapse_schedule, setting_of
from gnn_service.demo.life_kinds import LifeKind, life_plan
from gnn_service.demo.lives import Lives, looks, simulate_lives
from gnn_service.demo.maintenance import Event
from gnn_service.demo.plant import Setting
from gnn_service.demo.sensor_faults import SensorFault, draw_sensor_fault
from gnn_service.demo.streams import Key, Purpose
from gnn_service.demo.systems import System
from gnn_service.demo.thin import Thinner, interval_steps
from gnn_service.demo.window import Outcome, WindowPlan, WindowRun
from gnn_service.domain.recording import MICROSECONDS, Readings, Recording
from gnn_service.recordings.extras import Extras, Table

_FULL_RATE, _FAULTY_SENSOR = 11, 12


@dataclass(frozen=True, slots=True)
class LapsePlan:
    """How lives are turned into windows.

    Args:
        windows: how many of each life.
        window_s: how long each is.
        rate_hz: rows a second, each the mean of its interval.
        full_share: share of windows that is also kept at the plant's full rate.
        sensor_share: share of lives with a failing component in which a sensor fails as well.
    """

    windows: int = 24
    window_s: float = 600.0
    rate_hz: float = 1.0
    full_share: float = 0.05
    sensor_share: float = 0.14


@dataclass(frozen=True, slots=True)
class _Schedule:
    """When windows of K lives are, and what is true then: hours and (M, K, W) severities, remaining hours, causes."""

    hours: NDArray[np.float64]
    severity: NDArray[np.float64]
    remaining_h: NDArray[np.float64]
    cause: NDArray[np.int8]
    sensor_faults: tuple[tuple[tuple[SensorFault, ...], ...], ...]


def simulate_lapse(
    system: System, kinds: Sequence[LifeKind], keys: Sequence[Key], plan: LapsePlan, names: Sequence[str]
) -> Iterator[tuple[str, Recording, Extras]]:
    """The recordings of these lives, a kind, a key and a name each; nothing of a life depends on the others."""
    lives = _lives(system, kinds, keys)
    schedule = _schedule(system, kinds, keys, lives, plan)
    flat = [replace(key, window=number) for key in keys for number in range(plan.windows)]
    work = lapse_schedule(system, flat, plan.window_s)
    setting = setting_of(system, flat, work, hours=schedule.hours.ravel())
    severities = {
        mode.id: schedule.severity[index].ravel()
        for index, mode in enumerate(system.modes)
        if schedule.severity[index].any()
    }
    faults = [window for life in schedule.sensor_faults for window in life]
    run = WindowRun(system, setting, severities, WindowPlan(plan.window_s, ledger=True), faults)
    gathered = _Gathered(system, plan, flat)
    for part in run.stretches():
        gathered.add(part.values, part.state, part.phase, part.cycle, part.frames.ledger)
    outcome = run.outcome()
    for number, (kind, key, name) in enumerate(zip(kinds, keys, names, strict=True)):
        life = _Life(system, kind, plan, key, name, number)
        yield name, *life.recording(gathered, schedule, outcome, lives[number].events[0], setting)


def _lives(system: System, kinds: Sequence[LifeKind], keys: Sequence[Key]) -> list[Lives]:
    """Each life by itself; those of one kind are made together."""
    found: dict[Key, Lives] = {}
    for kind in dict.fromkeys(kinds):
        alike = [key for key, own in zip(keys, kinds, strict=True) if own == kind]
        lives = simulate_lives(system, alike, life_plan(system, kind))
        found |= {key: _one(lives, number) for number, key in enumerate(alike)}
    return [found[key] for key in keys]


def _one(lives: Lives, number: int) -> Lives:
    return replace(
        lives,
        severity=lives.severity[:, :, number : number + 1],
        failure_h=lives.failure_h[:, :, number : number + 1],
        cause=lives.cause[:, :, number : number + 1],
        end_h=lives.end_h[number : number + 1],
        events=lives.events[number : number + 1],
    )


def _schedule(
    system: System, kinds: Sequence[LifeKind], keys: Sequence[Key], lives: Sequence[Lives], plan: LapsePlan
) -> _Schedule:
    hours = np.stack([looks(life, [key], plan.windows)[0] for life, key in zip(lives, keys, strict=True)])
    for window in range(1, plan.windows):  # two looks at one time would be one window
        hours[:, window] = np.maximum(hours[:, window], hours[:, window - 1] + (plan.window_s + 1.0) / 3600.0)
    shape = (len(system.modes), len(keys), plan.windows)
    severity, remaining, cause = np.zeros(shape), np.full(shape, np.nan), np.full(shape, -1, dtype=np.int8)
    for number, life in enumerate(lives):
        for window in range(plan.windows):
            grown, left = life.at(hours[number, window : window + 1])
            cause[:, number, window] = life.causes_at(hours[number, window : window + 1])[:, 0]
            for index, mode in enumerate(system.modes):
                severity[index, number, window] = grown[mode.id][0]
                remaining[index, number, window] = left[mode.id][0]
    faults = tuple(
        _sensor_faults(system, kind, key, hours[row], plan)
        for row, (kind, key) in enumerate(zip(kinds, keys, strict=True))
    )
    return _Schedule(hours, severity, remaining, cause, faults)


def _sensor_faults(
    system: System, kind: LifeKind, key: Key, hours: NDArray[np.float64], plan: LapsePlan
) -> tuple[tuple[SensorFault, ...], ...]:
    """The sensor that fails in a life, by window: from one of its windows on, for good."""
    chance, when = key.of_machine().stream(Purpose.SENSOR_FAULT, _FAULTY_SENSOR).random(2)
    if not (kind.sensor_fails or (kind.may_fail and chance < plan.sensor_share)):
        return ((),) * len(hours)
    fault = draw_sensor_fault(system.machine, key.of_machine())
    begin = min(1 + int(when * (len(hours) - 1)), len(hours) - 1)
    since = [max(0.0, float(hour - hours[begin])) for hour in hours]
    return tuple(
        (replace(fault, start_s=-np.inf, age_h=age),) if number >= begin else () for number, age in enumerate(since)
    )


class _Gathered:
    """What is kept of all windows while they are simulated."""

    def __init__(self, system: System, plan: LapsePlan, keys: Sequence[Key]) -> None:
        kind = system.plant
        self._thinner = Thinner(interval_steps(plan.rate_hz, kind.STEP_S))
        self.cycles = CycleTable(system.machine.sensor_ids, kind.PHASES, kind.LEDGER, kind.STEP_S, len(keys))
        self.full = [
            column
            for column, key in enumerate(keys)
            if key.stream(Purpose.SENSOR_FAULT, _FULL_RATE).random() < plan.full_share
        ]
        self._rows: list[tuple[NDArray[Any], ...]] = []
        self._full: list[tuple[NDArray[Any], ...]] = []

    def add(
        self,
        values: NDArray[np.float32],
        state: NDArray[np.int8],
        phase: NDArray[np.int8],
        cycle: NDArray[np.int32],
        ledger: NDArray[np.float64] | None,
    ) -> None:
        self.cycles.add(values, phase, cycle, ledger)
        kept, marks = self._thinner.add(values, state, phase, cycle)
        self._rows.append((kept, *marks))
        at = self.full
        # copies, so that a few columns do not keep the whole stretch
        self._full.append((values[:, :, at].copy(), state[:, at].copy(), phase[:, at].copy(), cycle[:, at].copy()))

    def rows(self) -> tuple[NDArray[Any], ...]:
        """Values (N, S, B), state, phase and cycle (N, B) at the low rate."""
        if len(self._rows) > 1:
            self._rows = [tuple(np.concatenate(parts) for parts in zip(*self._rows, strict=True))]
        return self._rows[0]

    def full_rows(self) -> tuple[NDArray[Any], ...]:
        """The same at full rate, of the columns ``full``."""
        if len(self._full) > 1:
            self._full = [tuple(np.concatenate(parts) for parts in zip(*self._full, strict=True))]
        return self._full[0]


@dataclass(frozen=True, slots=True)
class _Life:
    """One life of the batch; its windows are columns ``number * windows`` and the following."""

    system: System
    kind: LifeKind
    plan: LapsePlan
    key: Key
    name: str
    number: int

    def recording(
        self,
        gathered: _Gathered,
        schedule: _Schedule,
        outcome: Outcome,
        events: Sequence[Event],
        setting: Setting,
    ) -> tuple[Recording, Extras]:
        plan, system = self.plan, self.system
        machine = instance(system.machine, self.name, plan.rate_hz)
        first = self.number * plan.windows
        starts = [moment_us(float(hour)) for hour in schedule.hours[self.number]]
        tables = [gathered.cycles.columns(first + window, start) for window, start in enumerate(starts)]
        base = np.cumsum([0] + [int(table["cycle"][-1]) + 1 for table in tables])
        for window, table in enumerate(tables):
            table["cycle"] = table["cycle"] + base[window]
            tables[window] = {"window": np.full(len(table["cycle"]), window), **table}
        readings = [
            self._readings(gathered.rows(), first + window, start, 1 / plan.rate_hz, int(base[window]))
            for window, start in enumerate(starts)
        ]
        captures = {
            f"window_{column - first:02d}": self._readings(
                gathered.full_rows(), place, starts[column - first], system.plant.STEP_S, int(base[column - first])
            )
            for place, column in enumerate(gathered.full)
            if first <= column < first + plan.windows
        }
        spans = [self._span(schedule, outcome, window, start) for window, start in enumerate(starts)]
        info = info_of(system, machine, self.key, plan.rate_hz, self._how(spans, setting, first, captures))
        truth = truth_of(system, spans, self.name)
        extras = Extras(_joined_tables(tables), events_table(self._told(events, schedule)), captures)
        return Recording(machine, _joined(readings), truth, info), extras

    def _readings(
        self, rows: tuple[NDArray[Any], ...], column: int, start_us: int, interval_s: float, base: int
    ) -> Readings:
        values, state, phase, cycle = rows
        elapsed = np.round(np.arange(len(values)) * (interval_s * MICROSECONDS)).astype(np.int64)
        return Readings(
            times=start_us + elapsed,
            sensors=self.system.machine.sensor_ids,
            values=np.ascontiguousarray(values[:, :, column]),
            phase=np.array(self.system.plant.PHASES)[phase[:, column]],
            operating_state=np.array(self.system.plant.STATES)[state[:, column]],
            cycle=cycle[:, column].astype(np.int64) + base,
        )

    def _span(self, schedule: _Schedule, outcome: Outcome, window: int, start_us: int) -> Span:
        column = self.number * self.plan.windows + window
        modes, causes = self.system.modes, schedule.cause[:, self.number, window]
        return Span(
            start_us,
            start_us + round(self.plan.window_s * MICROSECONDS),
            float(schedule.hours[self.number, window]),
            outcome.severity[:, column],
            outcome.active[:, column],
            outcome.observable[:, column],
            outcome.strength[:, :, column],
            schedule.remaining_h[:, self.number, window],
            schedule.sensor_faults[self.number][window],
            tuple(modes[own if cause < 0 else cause].component for own, cause in enumerate(causes.tolist())),
        )

    def _how(
        self, spans: Sequence[Span], setting: Setting, first: int, captures: dict[str, Readings]
    ) -> dict[str, Any]:
        windows = [
            {
                "hour": round(span.hour, 4),
                "severity": {
                    mode.id: round(float(span.severity[index]), 6)
                    for index, mode in enumerate(self.system.modes)
                    if span.severity[index] > 0
                },
                "site": {name: float(value[first + number]) for name, value in setting.site.items()},
                "full_rate": f"window_{number:02d}" in captures,
            }
            for number, span in enumerate(spans)
        ]
        return {"kind": "life", "life": self.kind.plan, "window_s": self.plan.window_s, "windows": windows}

    def _told(self, events: Sequence[Event], schedule: _Schedule) -> list[Event]:
        """The life's events, and when a sensor began to fail."""
        faulty = schedule.sensor_faults[self.number]
        begun = [
            Event(float(schedule.hours[self.number, window]), "sensor_fault", "", fault.sensor, fault.kind)
            for window, faults in enumerate(faulty)
            for fault in faults
            if window == 0 or not faulty[window - 1]
        ]
        return sorted([*events, *begun], key=lambda event: event.hour)


def _joined(parts: Sequence[Readings]) -> Readings:
    def column(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    names = ("times", "values", "phase", "operating_state", "cycle")
    joined = {name: column(name) for name in names}
    return Readings(sensors=parts[0].sensors, **joined)


def _joined_tables(tables: Sequence[dict[str, NDArray[Any]]]) -> Table:
    """Rows under each other; a column that a table lacks is missing there."""
    names = dict.fromkeys(name for table in tables for name in table)
    return {
        name: np.concatenate([
            table[name] if name in table else np.full(len(table["cycle"]), np.nan, np.float32) for table in tables
        ])
        for name in names
    }  # fmt: skip
