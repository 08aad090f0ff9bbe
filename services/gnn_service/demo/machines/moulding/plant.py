"""The plant: batches of moulding machines in quasi-steady steps of 50 ms.

Within a step a machine's segment is advanced to its exact end; what is left of the step is handed on to the next one,
so that times and positions do not depend on the grid.
"""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.machines.moulding import clamping, duty, injection, ledger, sequence, slow, start, supply
from gnn_service.demo.machines.moulding.duty import Segment
from gnn_service.demo.machines.moulding.sensors import Panel, shell_temperature
from gnn_service.demo.machines.moulding.work import ENERGIES, FLOW, Part, Work, prepared
from gnn_service.demo.plant import Array, Entry, Frames, Parameters, Plant, Setting, SiteFactor
from gnn_service.demo.streams import CycleDraws, Purpose
from gnn_service.domain.shipped import shipped_machine
from gnn_service.physics import gas

_ACTIONS = (
    (clamping.clamp, (0, 1, 2, 10, 11, 12)),
    (clamping.quiet, (3, 15, 16, 17, 18, 19, 20)),
    (injection.fill, (4, 5)),
    (injection.hold, (6, 22)),
    (injection.plasticise, (7,)),
    (injection.charge, (8,)),
    (clamping.rest, (9, 21)),
    (clamping.eject, (13, 14)),
)
_GROUP_OF = np.zeros(duty.SEGMENTS, dtype=np.int64)
for _number, (_, _segments) in enumerate(_ACTIONS):
    _GROUP_OF[list(_segments)] = _number
_STATE_OF = np.zeros(duty.SEGMENTS, dtype=np.int8)
_STATE_OF[[Segment.IDLE, Segment.HEAT_UP]] = duty.IDLE, duty.HEAT_UP
_SETTLING_CYCLES = 2
_LONGEST_CYCLE_S = 240.0
_PROCESS_COLUMNS = 8


class MouldingPlant(Plant):
    """Injection moulding machines of the 5 000 kN class at work."""

    STEP_S: ClassVar[float] = 0.05
    STATES: ClassVar[tuple[str, ...]] = duty.STATES
    PHASES: ClassVar[tuple[str, ...]] = duty.PHASES
    SITE: ClassVar[dict[str, SiteFactor]] = duty.SITE
    LEDGER: ClassVar[tuple[Entry, ...]] = ledger.ENTRIES

    def __init__(self, setting: Setting) -> None:
        if not setting.keys:
            raise InvalidInputError("a plant has at least one machine")
        self._setting = setting
        self._size = len(setting.keys)
        self._draws = CycleDraws(setting.keys, Purpose.PROCESS, _PROCESS_COLUMNS)
        self._step = 0
        self._cycle = np.zeros(self._size, dtype=np.int64)
        self._last_cycle_s = np.zeros(self._size)
        self._panel = Panel(shipped_machine("moulding").sensor_ids)
        self._work = Work(prepared(setting.parameters, setting.site), self._size)
        self._nodes = slow.Nodes.of(self._work.p)
        self._ticks = round(slow.TICK_S / self.STEP_S)
        self._targets = setting.schedule.at(0.0)
        start.warm(self._work, self._nodes)
        self._begin()

    def set_parameters(self, parameters: Parameters) -> None:
        """Take over changed physical parameters; what the controller has set and what is warm stays."""
        work = self._work
        pressure, volume, before = start.gas_pressure(work), work.s["gas_volume"], work.p
        work.p = prepared(parameters, self._setting.site)
        self._nodes = slow.Nodes.of(work.p)
        start.hold_gas(work, pressure)
        same = (work.p["accumulator.charge"] == before["accumulator.charge"]) & (
            work.p["accumulator.shell"] == before["accumulator.shell"]
        )
        work.s["gas_volume"] = np.where(same, volume, work.s["gas_volume"])  # rounding must not depend on the batch
        slow.refresh(work, self._nodes)
        self._slow_values = self._panel.slow(work)

    def settle(self) -> None:
        """Run two cycles and put what is slow where such cycles lead; machines that begin with heating up are cold."""
        work = self._work
        start.warm(work, self._nodes)
        self._targets = np.full(self._size, duty.PRODUCTION)
        self._begin()
        done, kept = np.zeros(self._size, dtype=np.int64), work.slow_state()
        for _ in range(round(_SETTLING_CYCLES * _LONGEST_CYCLE_S / self.STEP_S)):
            finished = self._advance_once() & (done < _SETTLING_CYCLES)
            if finished.any():
                slow.settle(work, self._nodes, np.maximum(self._last_cycle_s, 1.0), finished)
                now = work.slow_state()
                kept = {name: np.where(finished, now[name], value) for name, value in kept.items()}
                done = done + finished
            if (done >= _SETTLING_CYCLES).all():
                break
        self._targets = self._setting.schedule.at(0.0)
        work.restore(kept)
        self._begin(kept["gas_volume"], kept["gas_k"])

    def advance(self, steps: int, *, ledger: bool = False) -> Frames:  # noqa: D102 - described by the interface
        if steps < 0:
            raise InvalidInputError(f"{steps} steps cannot be taken")
        work, shape = self._work, (steps, self._size)
        values = np.empty((steps, len(self._panel), self._size), dtype=np.float32)
        state, phase = np.empty(shape, dtype=np.int8), np.empty(shape, dtype=np.int8)
        cycle = np.empty(shape, dtype=np.int32)
        entries = np.empty((steps, len(self.LEDGER), self._size)) if ledger else None
        for row in range(steps):
            self._retarget()
            cycle[row] = self._cycle
            phase[row] = duty.PHASE_INDEX[work.segment]
            state[row] = np.where(work.testing, duty.LEAK_TEST, _STATE_OF[work.segment])
            self._advance_once(values[row], entries[row] if entries is not None else None)
        return Frames(values, state, phase, cycle, entries)

    def _advance_once(
        self, values: NDArray[np.float32] | None = None, entries: Array | None = None
    ) -> NDArray[np.bool_]:
        """One step of every machine; returns who finished a cycle with it."""
        work = self._work
        self._do_segments()
        supply.drive(work)
        self._relax_gas()
        for name in ENERGIES:
            work.second[name] += work.f[name]
            work.of_cycle[name] += work.f[name]
        busy = (work.segment != Segment.IDLE) & (work.segment != Segment.HEAT_UP)
        ended = sequence.advance(work, self._targets)
        work.f["force"] = clamping.clamping_force(work)
        work.s["tank_change"] += work.f["returned"] - work.f["drawn"]
        self._step += 1
        left = slow.tick(work, self._nodes) if self._step % self._ticks == 0 else None
        self._ledger.count(left)
        if left is not None:
            self._slow_values = self._panel.slow(work)
        if values is not None:
            self._panel.read(work, self._slow_values, values)
        if entries is not None:
            self._ledger.read(work, self._nodes, self.STEP_S, entries)
        self._close_cycles(ended, busy)
        return ended

    def _do_segments(self) -> None:
        work = self._work
        for name in FLOW:
            work.f[name] = np.zeros(self._size)
        work.f["available"] = self.STEP_S + work.s["lag"]
        work.f["on_1"] = np.ones(self._size)
        work.f["on_2"] = np.ones(self._size)
        work.done = np.zeros(self._size, dtype=np.bool_)
        groups = _GROUP_OF[work.segment]
        for number, (action, _) in enumerate(_ACTIONS):
            index = np.flatnonzero(groups == number)
            if len(index):
                action(Part(work, index))
        work.s["lag"] = np.where(work.done, work.f["available"] - work.f["used"], 0.0)

    def _relax_gas(self) -> None:
        """Heat passes between the accumulator's gas and its shell."""
        work = self._work
        before, shell = work.s["gas_k"], shell_temperature(work)
        after = gas.gas_relaxed(before, shell, self.STEP_S, work.p["accumulator.thermal_time"])
        work.f["gas"] = work.p["gas.heat_capacity"] * (before - after)
        work.s["gas_k"] = after

    def _close_cycles(self, ended: NDArray[np.bool_], busy: NDArray[np.bool_]) -> None:
        """Count times and energies of the cycle, and begin anew where one is over."""
        work = self._work
        time = work.s["cycle_time"] + work.f["used"]
        work.s["cycle_time"] = np.where(ended | ~busy, 0.0, time)
        work.s["cycle_energy"] = np.where(ended | ~busy, 0.0, work.s["cycle_energy"] + work.f["electric"])
        if ended.any():
            self._last_cycle_s = np.where(ended, time, self._last_cycle_s)
            self._cycle = self._cycle + ended
            for name in ENERGIES:
                work.last_cycle[name] = np.where(ended, work.of_cycle[name], work.last_cycle[name])
                work.of_cycle[name] = np.where(ended, 0.0, work.of_cycle[name])
            self._draw()

    def _draw(self) -> None:
        self._work.draws = self._draws.at(self._cycle)

    def _retarget(self) -> None:
        now = self._step * self.STEP_S
        if self._setting.schedule.changes_within(now - self.STEP_S, now):
            self._targets = self._setting.schedule.at(now)

    def _begin(self, gas_volume: Array | None = None, gas_k: Array | None = None) -> None:
        """Time 0: in the state that the schedule asks for, with the gas as given or just charged."""
        work = self._work
        cold = self._targets == duty.HEAT_UP
        start.cool(work, cold)
        slow.refresh(work, self._nodes)
        start.ready(work)
        start.charged(work)
        if gas_volume is not None and gas_k is not None:
            work.s["gas_volume"] = np.where(cold, work.s["gas_volume"], gas_volume)
            work.s["gas_k"] = np.where(cold, work.s["gas_k"], gas_k)
        work.results = {name: np.where(cold, np.nan, value) for name, value in work.results.items()}
        sequence.begin(work, self._targets)
        self._step = 0
        self._cycle = np.zeros(self._size, dtype=np.int64)
        self._last_cycle_s = np.zeros(self._size)
        self._ledger = ledger.Ledger(self._size)
        self._slow_values = self._panel.slow(work)
        self._draw()
