"""One simulated window of a batch of machines: readings, truth, and what energy did.

Beside each faulty machine runs its healthy twin, and where several faults are at work one machine for each of them
alone: they tell what can be seen. Nothing depends on the batch, nor on how time is cut into stretches.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.modes import degrade
from gnn_service.demo.observable import PhaseMeans, is_observable, strengths
from gnn_service.demo.plant import Array, Frames, Schedule, Setting
from gnn_service.demo.progression import intermittent_level, intermittent_states
from gnn_service.demo.sensor_faults import SensorFault
from gnn_service.demo.sensors import Block, SensorBank
from gnn_service.demo.streams import Key, Purpose
from gnn_service.demo.systems import System

RUN_IN_S = 60.0
"""Time before a window that is simulated and not kept: the latest clock shows the past of so long ago."""
SLOT_S = 5.0
"""An intermittent fault may come or go every so often."""
STRETCH_STEPS = 600
STRETCH_NUMBERS = 8_000_000
"""Perfect values that are in memory at a time, at most; float32."""

Severities = Mapping[str, ArrayLike]


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """How a window is simulated.

    Args:
        seconds: length.
        rate_hz: rows a second in the readings; None takes every step of the plant.
        run_in_s: time before the window that is simulated and not kept.
        noise: real sensors; False shows perfect values (sensor faults are applied all the same).
        twin: run healthy twins; without them nothing is known of what is observable.
        ledger: account for the energy.
    """

    seconds: float
    rate_hz: float | None = None
    run_in_s: float = RUN_IN_S
    noise: bool = True
    twin: bool = True
    ledger: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no window."""
        if not 0 < self.seconds < np.inf:
            raise InvalidInputError(f"{self.seconds!r} is no length of a window in seconds", where="seconds")
        if not 0 <= self.run_in_s < np.inf:
            raise InvalidInputError(f"{self.run_in_s!r} is no length of a run-in in seconds", where="run_in_s")

    def stride(self, step_s: float) -> int:
        """Every how many steps of a plant there is a row; InvalidInputError for a rate that steps do not meet."""
        if self.rate_hz is None:
            return 1
        steps = 1.0 / (self.rate_hz * step_s) if self.rate_hz > 0 else 0.0
        if steps < 1 - 1e-9 or abs(steps - round(steps)) > 1e-6:
            raise InvalidInputError(
                f"{self.rate_hz} Hz does not divide this machine's {1 / step_s:g} Hz", where="rate_hz"
            )
        return round(steps)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Part of a window: ``times_s`` (n,), ``values`` (n, S, B) float32, ``state``, ``phase``, ``cycle`` (n, B).

    ``frames`` is what the plant did in it: every step, perfect values, and the ledger where one is kept.
    """

    times_s: Array
    values: Block
    state: NDArray[np.int8]
    phase: NDArray[np.int8]
    cycle: NDArray[np.int32]
    frames: Frames


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is true of a window.

    ``severity`` (M, B) in the order of the system's modes, hidden severity where a mode is intermittent; ``active``
    (M, B): the share of time that it was there; ``strength`` (M, S, B): how far each sensor is from the healthy twin
    because of this mode, in standard deviations of its noise; ``observable`` (M, B); ``energy_j`` (L, B): by line of
    the plant's ledger, energy of a power, and change of what is stored; None where it was not asked for.
    """

    severity: Array
    active: Array
    strength: NDArray[np.float32]
    observable: NDArray[np.bool_]
    energy_j: Array | None


@dataclass(frozen=True, slots=True)
class Windows:
    """One window of each of B machines: N rows as in ``Stretch``, and the truth."""

    times_s: Array
    values: Block
    state: NDArray[np.int8]
    phase: NDArray[np.int8]
    cycle: NDArray[np.int32]
    outcome: Outcome


def simulate_window(
    system: System,
    setting: Setting,
    severities: Severities,
    plan: WindowPlan,
    sensor_faults: Sequence[Sequence[SensorFault]] = (),
) -> Windows:
    """One window of these machines, with severities (B,) or one number by mode id; see ``WindowRun``."""
    run = WindowRun(system, setting, severities, plan, sensor_faults)
    times, values, state, phase, cycle = zip(
        *((part.times_s, part.values, part.state, part.phase, part.cycle) for part in run.stretches()), strict=True
    )
    return Windows(
        np.concatenate(times),
        np.concatenate(values),
        np.concatenate(state),
        np.concatenate(phase),
        np.concatenate(cycle),
        run.outcome(),
    )


def severity_table(system: System, severities: Severities, size: int) -> Array:
    """Severities (M, B) in the order of the modes; InvalidInputError for an unknown mode or one outside 0..1."""
    table = np.zeros((len(system.modes), size))
    for name, given in severities.items():
        values = np.asarray(given, dtype=np.float64)
        if not ((values >= 0) & (values <= 1)).all():
            raise InvalidInputError(f"severity of {name} is not within 0 and 1", where="severity")
        table[system.modes.index(system.mode(name))] = values
    return table


class WindowRun:
    """A window that is simulated stretch by stretch, in bounded memory.

    The columns of the plant are the B machines, then for each faulty one its healthy twin and, where it has several
    faults, one machine for each of them alone.
    """

    def __init__(
        self,
        system: System,
        setting: Setting,
        severities: Severities,
        plan: WindowPlan,
        sensor_faults: Sequence[Sequence[SensorFault]] = (),
    ) -> None:
        self._system, self._plan, self._size = system, plan, setting.size
        self._severity = severity_table(system, severities, setting.size)
        self._step_s = system.plant.STEP_S
        self._stride = plan.stride(self._step_s)
        self._run_in = round(plan.run_in_s / self._step_s)
        self._steps = max(1, round(plan.seconds / self._step_s))
        self._columns = _columns(self._severity) if plan.twin else [(b, None) for b in range(setting.size)]
        machine = np.array([index for index, _ in self._columns])
        self._here = self._severity[:, machine] * _presence(self._columns, setting.size, len(system.modes))
        self._healthy = {name: np.asarray(value)[machine] for name, value in setting.parameters.items()}
        self._on = {mode: on[:, machine] for mode, on in self._episodes(setting.keys).items()}
        before = Setting(
            tuple(setting.keys[index] for index in machine),
            self._healthy,
            {name: np.asarray(value)[machine] for name, value in setting.site.items()},
            after_run_in(setting.schedule, plan.run_in_s, machine),
        )
        self._plant = system.plant(before)
        self._bank = SensorBank(
            system.machine, setting.keys, self._step_s, stride=self._stride, start_s=-self._run_in * self._step_s,
            faults=sensor_faults, noise=plan.noise,
        )  # fmt: skip
        self._pairs = _pairs(self._columns, setting.size)
        self._means = PhaseMeans(
            len(system.plant.STATES), len(system.plant.PHASES), system.machine, len(self._columns), self._pairs
        )
        self._energy = _Energy(system, setting.size, self._step_s) if plan.ledger else None

    def stretches(self) -> Iterator[Stretch]:
        """The window's rows, in order; once."""
        self._set_parameters(None)  # what comes and goes has no part in what is slow
        self._plant.settle()
        done = -self._run_in
        while done < self._steps:
            count = self._next_stretch(done)
            self._degrade(done)
            frames = self._plant.advance(count, ledger=self._energy is not None)
            if self._energy is not None and done + count >= 0:
                self._energy.add(frames, counts=done >= 0)
            if done >= 0 and len(self._columns) > self._size:
                self._means.add(frames)
            row = slice(-done % self._stride, None, self._stride)
            times, values = self._bank.measure(frames.values[:, :, : self._size])
            if done >= 0:
                ours = _first(frames, self._size)
                yield Stretch(times, values, ours.state[row], ours.phase[row], ours.cycle[row], ours)
            done += count

    def outcome(self) -> Outcome:
        """The truth, once all stretches have been taken."""
        shape = (len(self._system.modes), len(self._system.sensors), self._size)
        strength = np.zeros(shape, dtype=np.float32)
        observable = np.zeros((shape[0], shape[2]), dtype=bool)
        for column, twin in self._pairs:
            machine, alone = self._columns[column]
            mode = self._only_mode(machine) if column < self._size else alone
            if mode is not None:
                seen = strengths(self._system.machine, self._means, column, twin)
                strength[mode, :, machine] = seen
                observable[mode, machine] = is_observable(self._system.machine, seen)
        active = (self._severity > 0).astype(np.float64)
        for mode, on in self._on.items():
            active[mode] = on[round(self._plan.run_in_s / SLOT_S) :, : self._size].mean(axis=0)
        energy = None if self._energy is None else self._energy.total
        return Outcome(self._severity, active, strength, observable, energy)

    def _only_mode(self, machine: int) -> int | None:
        """The one mode that this machine has, if it has just one."""
        active = np.flatnonzero(self._severity[:, machine])
        return int(active[0]) if len(active) == 1 else None

    def _next_stretch(self, done: int) -> int:
        """Steps to the next stop: the end of the run-in, of a slot of intermittent faults, or of memory."""
        numbers = len(self._system.sensors) * len(self._columns)
        count = min(STRETCH_STEPS, max(1, STRETCH_NUMBERS // numbers))
        if done < 0:
            count = min(count, -1 - done) or 1  # the last step before the window stands alone: what is stored then
        if self._on:
            slot = round(SLOT_S / self._step_s)
            count = min(count, slot - (done + self._run_in) % slot)
        return min(count, self._steps - done)

    def _episodes(self, keys: Sequence[Key]) -> dict[int, NDArray[np.bool_]]:
        """When intermittent faults are on: (slots, B) by number of mode."""
        total = int(np.ceil((self._run_in + self._steps) * self._step_s / SLOT_S)) + 1
        episodes = {}
        for index, mode in enumerate(self._system.modes):
            hidden = self._severity[index]
            if mode.life.progression == "intermittent" and hidden.any():
                draws = np.stack([key.stream(Purpose.INTERMITTENT, index).random(total) for key in keys], axis=-1)
                episodes[index] = intermittent_states(draws, hidden)
        return episodes

    def _degrade(self, done: int) -> None:
        """Let intermittent faults come and go at the beginning of their slots."""
        slot, within = divmod(done + self._run_in, round(SLOT_S / self._step_s))
        if within or not self._on:
            return
        before = [None if slot == 0 else on[slot - 1] for on in self._on.values()]
        if any(was is None or (was != on[slot]).any() for was, on in zip(before, self._on.values(), strict=True)):
            self._set_parameters(slot)

    def _set_parameters(self, slot: int | None) -> None:
        """Degrade the plant as it is in this slot; None leaves intermittent faults out."""
        now = {mode.id: self._here[index] for index, mode in enumerate(self._system.modes)}
        for index, on in self._on.items():
            hidden = self._here[index]
            now[self._system.modes[index].id] = (
                np.zeros_like(hidden) if slot is None else np.where(on[slot], intermittent_level(hidden), 0.0)
            )
        self._plant.set_parameters(degrade(self._healthy, self._system.modes, now))


def _first(frames: Frames, size: int) -> Frames:
    """The frames of the first machines of a batch."""
    ledger = None if frames.ledger is None else frames.ledger[:, :, :size]
    return Frames(
        frames.values[:, :, :size], frames.state[:, :size], frames.phase[:, :size], frames.cycle[:, :size], ledger
    )


def _presence(columns: Sequence[tuple[int, int | None]], size: int, modes: int) -> Array:
    """1 where a column of the plant has its machine's fault of a mode, (M, C): all, none, or the one alone."""
    present = np.zeros((modes, len(columns)))
    present[:, :size] = 1.0
    for column, (_, mode) in enumerate(columns):
        if mode is not None:
            present[mode, column] = 1.0
    return present


def _columns(severity: Array) -> list[tuple[int, int | None]]:
    """Columns of the plant: (machine, None) for the machines and healthy twins, (machine, mode) for one mode alone."""
    columns: list[tuple[int, int | None]] = [(machine, None) for machine in range(severity.shape[1])]
    for machine in range(severity.shape[1]):
        active = np.flatnonzero(severity[:, machine])
        if len(active):
            columns.append((machine, None))
        if len(active) > 1:
            columns.extend((machine, int(mode)) for mode in active)
    return columns


def _pairs(columns: Sequence[tuple[int, int | None]], size: int) -> list[tuple[int, int]]:
    """Columns to compare: each machine with one fault, and each that has one of several alone, with its twin."""
    twins = {machine: column for column, (machine, mode) in enumerate(columns) if column >= size and mode is None}
    several = {machine for machine, mode in columns if mode is not None}
    return [
        (column, twins[machine])
        for column, (machine, mode) in enumerate(columns)
        if machine in twins and (mode is not None if machine in several else column < size)
    ]


def after_run_in(schedule: Schedule, run_in_s: float, machine: Sequence[int] | NDArray[np.int64]) -> Schedule:
    """The schedule of these machines with ``run_in_s`` seconds before it, in the first state of each."""
    starts = np.asarray(schedule.starts_s, dtype=np.float64)[machine].copy()
    starts[:, 1:] += run_in_s
    return Schedule(starts, np.asarray(schedule.states)[machine])


class _Energy:
    """Totals of the ledger's lines: powers over time, and the change of what is stored."""

    def __init__(self, system: System, size: int, step_s: float) -> None:
        entries = system.plant.LEDGER
        self._stored = np.array([entry.kind in ("stored", "heat_stored") for entry in entries])
        self._size, self._step_s = size, step_s
        self._sum = np.zeros((len(entries), size))
        self._first: Array | None = None
        self._last: Array | None = None

    def add(self, frames: Frames, *, counts: bool) -> None:
        """Take over a stretch; one that does not count only tells what is stored before the window."""
        if frames.ledger is None:
            raise InvalidInputError("the plant kept no ledger")
        for line in frames.ledger[:, :, : self._size]:
            if counts:
                self._sum += line
            self._last = line
            if self._first is None:
                self._first = line.copy()
        if not counts and self._last is not None:
            self._first = self._last.copy()

    @property
    def total(self) -> Array:
        """Energies (L, B), J."""
        if self._first is None or self._last is None:
            return self._sum
        return np.where(self._stored[:, None], self._last - self._first, self._sum * self._step_s)
