"""A simulated machine that runs: frame by frame, in real or faster time, with faults that start now."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.clock import Clock, SystemClock
from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.maintenance import Event, EventKind
from gnn_service.demo.modes import SimulatedMode, degrade
from gnn_service.demo.plant import Setting
from gnn_service.demo.progression import intermittent_level, intermittent_states
from gnn_service.demo.sensor_faults import SensorFault, check_sensor_fault
from gnn_service.demo.sensors import SensorBank
from gnn_service.demo.streams import Purpose
from gnn_service.demo.systems import System
from gnn_service.demo.window import RUN_IN_S, SLOT_S, STRETCH_STEPS, WindowPlan, after_run_in

EPOCH_S = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""Simulated clocks start here."""
RAMP_S = 1.0
"""While a fault grows, the plant is told of it so often."""


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """One row: ``values`` (S,) float32 in the order of the description, NaN for no sample; ``severity`` by mode id."""

    time_s: float
    values: NDArray[np.float32]
    operating_state: str
    phase: str
    cycle: int
    severity: Mapping[str, float]
    sensor_faults: tuple[SensorFault, ...]


def as_record(frame: LiveFrame, sensors: Sequence[str]) -> dict[str, Any]:
    """A frame as a JSON object, with the truth beside the readings; a sensor without a sample is null.

    ``ts`` is of the simulated clock, ``time_s`` counts from the start.
    """
    return {
        "ts": datetime.fromtimestamp(EPOCH_S + frame.time_s, UTC).isoformat(timespec="milliseconds"),
        "time_s": round(frame.time_s, 6),
        "operating_state": frame.operating_state,
        "phase": frame.phase,
        "cycle": frame.cycle,
        "readings": dict(zip(sensors, frame.values, strict=True)),
        "truth": {
            "severity": {mode: round(severity, 6) for mode, severity in frame.severity.items()},
            "sensor_faults": [f"{fault.kind}:{fault.sensor}" for fault in frame.sensor_faults],
        },
    }


@dataclass(frozen=True, slots=True)
class _Growth:
    """A mode on its way from one severity to another."""

    start_s: float
    over_s: float
    start: float
    end: float

    def at(self, time_s: float) -> float:
        share = 1.0 if self.over_s <= 0 else min(max((time_s - self.start_s) / self.over_s, 0.0), 1.0)
        return self.start + (self.end - self.start) * share


@dataclass(slots=True)
class _Chain:
    """On and off of an intermittent mode, slot after slot."""

    stream: np.random.Generator
    on: bool = False
    slot: int = field(default=-1)

    def at(self, slot: int, hidden: float) -> bool:
        while self.slot < slot:
            draws = np.array([[0.0 if self.on else 1.0], [self.stream.random()]])
            self.on = bool(intermittent_states(draws, np.array([[0.5], [hidden]]))[1, 0])
            self.slot += 1
        return self.on


class LiveMachine:
    """One machine at work, frame after frame, for as long as anyone asks.

    Args:
        system: what kind of machine.
        setting: its parts, site and schedule; of one machine. The last state of the schedule goes on for ever.
        rate_hz: frames a second; None gives every step of the plant.
        noise: real sensors; False shows perfect values.
        run_in_s: time that is simulated before the first frame: a past that a late clock can show.
    """

    def __init__(
        self,
        system: System,
        setting: Setting,
        *,
        rate_hz: float | None = None,
        noise: bool = True,
        run_in_s: float = RUN_IN_S,
    ) -> None:
        if setting.size != 1:
            raise InvalidInputError(f"a live simulation runs one machine, not {setting.size}", where="setting")
        self._system, self._setting = system, setting
        self._step_s = system.plant.STEP_S
        self._stride = WindowPlan(1.0, rate_hz).stride(self._step_s)
        schedule = after_run_in(setting.schedule, run_in_s, [0])
        self._plant = system.plant(replace(setting, schedule=schedule))
        self._plant.set_parameters(setting.parameters)
        self._plant.settle()
        self._done, self._told_at = 0, -1
        self._told: dict[str, float] = {}
        self._growth: dict[str, _Growth] = {}
        self._chains: dict[str, _Chain] = {}
        self._events: list[Event] = []
        self._faults: list[SensorFault] = []
        self._bank = SensorBank(
            system.machine, setting.keys, self._step_s, stride=self._stride, start_s=-run_in_s, noise=noise,
            remember=True,
        )  # fmt: skip
        self._first_cycle: int | None = None
        self._run_in(round(run_in_s / self._step_s))

    @property
    def time_s(self) -> float:
        """Seconds since the start, of the next frame."""
        return -(-self._done // self._stride) * self.interval_s

    @property
    def _now_s(self) -> float:
        """Seconds since the start, of the plant's next step."""
        return self._done * self._step_s

    @property
    def interval_s(self) -> float:
        """Time between two frames, s."""
        return self._stride * self._step_s

    @property
    def severity(self) -> dict[str, float]:
        """Severity of each mode that has begun, hidden where it is intermittent."""
        return self._severity_at(self.time_s)

    def _severity_at(self, time_s: float) -> dict[str, float]:
        return {mode: growth.at(time_s) for mode, growth in self._growth.items()}

    @property
    def events(self) -> tuple[Event, ...]:
        """What was done to it, in order; ``hour`` is of its own time."""
        return tuple(self._events)

    def start_fault(self, mode_id: str, severity: float = 0.5, *, over_s: float = 0.0) -> Event:
        """Let a failure mode go to this severity, at once or over a time; InvalidInputError if that is no fault."""
        mode = self._system.mode(mode_id)
        if not 0 <= severity <= 1 or not 0 <= over_s < np.inf:
            raise InvalidInputError(f"severity {severity!r} over {over_s!r} s cannot be", where="severity")
        before = self.severity.get(mode.id, 0.0)
        self._growth[mode.id] = _Growth(self.time_s, over_s, before, severity)
        self._told_at = -1
        return self._note("onset", mode, "", before, severity)

    def repair(self, mode_id: str) -> Event:
        """Do the right thing: the mode falls to what the repair leaves, or stays where it was if that is less."""
        mode = self._system.mode(mode_id)
        before = self.severity.get(mode.id, 0.0)
        after = min(before, mode.residual)
        self._growth[mode.id] = _Growth(self.time_s, 0.0, after, after)
        self._told_at = -1
        return self._note("repair", mode, mode.repair, before, after)

    def start_sensor_fault(self, fault: SensorFault) -> SensorFault:
        """Let a sensor fail from now on; InvalidInputError if the fault does not fit the machine."""
        begun = replace(check_sensor_fault(self._system.machine, fault), start_s=self.time_s)
        self._faults.append(begun)
        self._bank.start(0, begun)
        return begun

    def replace_sensor(self, sensor_id: str) -> None:
        """Put in a new sensor: its faults are gone, also that of the one it was exchanged with."""
        if sensor_id not in self._system.machine.sensor_ids:
            raise InvalidInputError(f"{self._system.name} has no sensor {sensor_id!r}", where="sensor")
        self._faults = [one for one in self._faults if sensor_id not in (one.sensor, one.partner)]
        self._bank.replace(0, sensor_id)

    def next_frame(self) -> LiveFrame:
        """Move on by one frame."""
        while True:
            self._grow()
            time_s = self.time_s
            frames = self._plant.advance(1)
            self._done += 1
            if self._first_cycle is None:
                self._first_cycle = int(frames.cycle[0, 0])
            times, values = self._bank.measure(frames.values)
            if len(times):
                state, phase = int(frames.state[0, 0]), int(frames.phase[0, 0])
                return LiveFrame(
                    time_s,
                    values[0, :, 0],
                    self._system.plant.STATES[state],
                    self._system.plant.PHASES[phase],
                    int(frames.cycle[0, 0]) - self._first_cycle,
                    self._severity_at(time_s),
                    tuple(self._faults),
                )

    async def frames(self, *, speed: float = 1.0, clock: Clock | None = None) -> AsyncGenerator[LiveFrame, None]:
        """Frames without end: each when it is due, ``speed`` times faster than real time (inf: as fast as they come).

        A simulation that falls behind catches up without pauses; it gives way to others before every frame, so that
        it can be cancelled there.
        """
        if not speed > 0:
            raise InvalidInputError(f"speed {speed!r} is not above 0", where="speed")
        clock = clock or SystemClock()
        began, first = clock.monotonic(), self.time_s
        while True:
            due = began + (self.time_s - first) / speed
            await clock.sleep(max(0.0, due - clock.monotonic()))
            yield self.next_frame()

    def _run_in(self, steps: int) -> None:
        """Work that nobody sees."""
        while steps:
            frames = self._plant.advance(min(STRETCH_STEPS, steps))
            self._bank.measure(frames.values)
            steps -= len(frames.cycle)

    def _grow(self) -> None:
        """Tell the plant of faults that grow, come and go; not more often than it makes a difference."""
        slot = int(self._now_s / min(RAMP_S, SLOT_S))
        if not self._growth or slot == self._told_at:
            return
        self._told_at = slot
        now = {mode_id: self._effective(mode_id, hidden) for mode_id, hidden in self._severity_at(self._now_s).items()}
        if now != self._told:
            self._told = now
            severities = {mode: np.array([value]) for mode, value in now.items()}
            self._plant.set_parameters(degrade(self._setting.parameters, self._system.modes, severities))

    def _effective(self, mode_id: str, hidden: float) -> float:
        """The severity that acts: of an intermittent mode only while it is on."""
        mode = self._system.mode(mode_id)
        if mode.life.progression != "intermittent":
            return hidden
        if mode_id not in self._chains:
            number = self._system.modes.index(mode)
            stream = self._setting.keys[0].stream(Purpose.INTERMITTENT, number)
            self._chains[mode_id] = _Chain(stream, slot=int(self._now_s / SLOT_S) - 1)
        on = self._chains[mode_id].at(int(self._now_s / SLOT_S), hidden)
        return float(intermittent_level(hidden)) if on else 0.0

    def _note(self, kind: EventKind, mode: SimulatedMode, action: str, before: float, after: float) -> Event:
        event = Event(self.time_s / 3600.0, kind, mode.id, mode.component, action, before, after)
        self._events.append(event)
        return event
