"""A few hundred robots side by side: as many as fit into a processor's cache.

A block is at most one second long: within it temperatures that friction depends on stand still, the motion is known
beforehand, and so all steps of the block are computed at once, (K, B). What follows from step to step (bus, air,
sums) is added up in the order of time, so results are the same however time is cut into blocks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.machines.robot.air import Air
from gnn_service.demo.machines.robot.arm import Arm, Moves, moves_at
from gnn_service.demo.machines.robot.bench import TestBench
from gnn_service.demo.machines.robot.duty import PAYLOADS_KG, PROGRAMS, STATES, TABLES
from gnn_service.demo.machines.robot.heat import SECOND, Heat
from gnn_service.demo.machines.robot.joints import BUS, INVERTERS, Joints, Work
from gnn_service.demo.machines.robot.ledger import ledger_of
from gnn_service.demo.machines.robot.pace import SPIKES, Pace, Place, cycles_of, locate
from gnn_service.demo.machines.robot.readings import Readings
from gnn_service.demo.plant import Array, Parameters, Schedule
from gnn_service.demo.streams import Key
from gnn_service.physics.drives import bus_step

GAS_WARMER_K = 5.0
"""The gas spring is that much warmer than the hall."""
LEAST_SPEED = 0.5
SAMPLES, PASSES = 40, 3
"""Moments of a cycle, and rounds, from which the temperatures of lasting work are found."""


@dataclass(frozen=True, slots=True)
class Block:
    """What is known of (K, B) steps: where they lie, how the arm moves, what the drives do."""

    place: Place
    moves: Moves
    payload: Array
    torques: list[Array]
    work: Work
    cycle: NDArray[np.int64]
    spikes: Array | None


@dataclass(slots=True)
class Supplies:
    """What the bus and the air did in (K, B) steps: W, V, Pa, m3/s."""

    grid: Array
    chopper: Array
    voltage: Array
    reservoir: Array
    inflow: Array


@dataclass(frozen=True, slots=True)
class Out:
    """Where a group writes its share of the frames."""

    values: NDArray[np.float32]
    state: NDArray[np.int8]
    phase: NDArray[np.int8]
    cycle: NDArray[np.int32]
    ledger: Array | None


class Group:
    """B robots and their whole state."""

    def __init__(
        self,
        keys: tuple[Key, ...],
        parameters: Parameters,
        site: Mapping[str, Array],
        schedule: Schedule,
        step_s: float,
    ) -> None:
        self.step_s, self._rate = step_s, round(SECOND / step_s)
        self.ambient, self._site, self._schedule = site["ambient_k"], site, schedule
        self.gas_k = self.ambient + GAS_WARMER_K
        self._pace = Pace(keys, schedule, site["override"], site["heavy_share"], step_s)
        self._now = 0
        self.heat = Heat(parameters, self.ambient)
        self.air = Air(parameters)
        self._bench = TestBench(len(keys), step_s)
        self.set_parameters(parameters)
        self._voltage = self._supply_v
        self._pending = np.zeros((19, self.ambient.size))
        self._restart()

    def set_parameters(self, parameters: Parameters) -> None:
        """Take over changed parameters."""
        self.parameters = parameters
        self.arm, self.joints = Arm(parameters), Joints(parameters)
        self.heat.take(parameters)
        self.air.take(parameters)
        cabinet = {name.partition(".")[2]: value for name, value in parameters.items() if name.startswith("drive_c")}
        self._supply_v, self._limit_v = cabinet["supply_voltage"], cabinet["chopper_voltage"]
        self._sag = cabinet["source_resistance"] / self._supply_v
        self.capacitance, self.rectifier = cabinet["capacitance"], cabinet["rectifier_loss"]
        self._derate_start, self._derate_span = cabinet["derate_start"], cabinet["derate_span"]
        self._readings = Readings(self.arm, self.joints, parameters, self.ambient)
        self._bench.take(parameters, self.arm)
        self._warm()

    def settle(self) -> None:
        """Temperatures of lasting work of the first operating state; the clock starts anew."""
        state = self._schedule.at(0.0)
        working = state != STATES.index("waiting")
        cold = state == STATES.index("cold_start")
        for _ in range(PASSES):
            self.heat.settle(np.where(working, self._usual_losses(), 0.0), cold)
            self._warm()
        self.air.reservoir = self.air.supply
        self._voltage = self._supply_v
        self._restart()

    def advance(self, steps: int, out: Out) -> None:
        """Move on, writing (N, ..., B)."""
        done = 0
        while done < steps:
            first = self._now % self._rate
            if first == 0 and self._now > 0:
                self.heat.begin_second(self._pending / SECOND)
                self._pending = np.zeros_like(self._pending)
                self._warm()
            count = min(self._rate - first, steps - done)
            self._run(first, count, out, slice(done, done + count))
            self._now += count
            done += count

    def _restart(self) -> None:
        self._now = 0
        self._pending = np.zeros_like(self._pending)
        self._warm()
        self._pace.begin(self.air.grip_s, self._derating)

    def _warm(self) -> None:
        winding, gear, cabinet = self.heat.starts
        self.joints.warm(winding, gear)
        over = (cabinet - self._derate_start) / self._derate_span
        self._derating = np.clip(1.0 - over, LEAST_SPEED, 1.0)

    def _run(self, first: int, count: int, out: Out, rows: slice) -> None:
        wraps = self._pace.plan(self._now + count, self.air.grip_s, self._derating)
        block = self._block(count, wraps)
        pressure, loss, taken = self.air.gripper(block.place)
        pending = self._pending.copy() if out.ledger is not None else None
        supplies = self._follow(block.work, taken)
        middle = (first + np.arange(count)[:, None] + 0.5) / self._rate
        pace, later = self._pace, block.place.later
        out.state[rows] = np.where(later, pace.next.state, pace.now.state)
        out.phase[rows] = TABLES.phase.take(block.place.segment)
        out.cycle[rows] = block.cycle
        values = out.values[rows]
        self._readings.joints(values, block.moves, block.torques, block.work, block.spikes, self.step_s)
        self._readings.heat(values, self.heat, middle)
        self._readings.cell(values, self.arm.gas_pressure(block.moves, self.gas_k), pace, block.place)
        self._readings.air(values, self.air, block.place, (pressure, loss), (supplies.reservoir, supplies.inflow))
        grid = supplies.grid * (1.0 + self.rectifier) + self.heat.auxiliary
        self._readings.power(values, supplies.voltage, grid)
        self._bench.report(values, self._readings.index, block.place, block.work, wraps)
        if out.ledger is not None and pending is not None:
            share = (first + np.arange(count)[:, None] + 1.0) / self._rate
            out.ledger[rows] = ledger_of(self, block, supplies, pending, share)
        pace.turn(wraps)

    def _block(self, count: int, wraps: NDArray[np.bool_]) -> Block:
        pace = self._pace
        place = pace.place(self._now, count, wraps)
        payload = np.where(place.later, pace.next.payload, pace.now.payload) * TABLES.loaded.take(place.segment)
        spikes = None
        if (self.parameters["j4_motor.encoder_rate"] > 0).any():
            spikes = np.where(place.later, pace.next.spikes[:, None], pace.now.spikes[:, None])
        cycle = pace.cycle + place.later
        return self._compute(place, payload, cycle, spikes)

    def _compute(self, place: Place, payload: Array, cycle: NDArray[np.int64], spikes: Array | None) -> Block:
        moves = moves_at(place)
        torques = self.arm.torques(moves, payload, self.gas_k)
        extra = self._bench.torques(place)
        work = self.joints.work(moves, torques, TABLES.driven.take(place.segment), extra)
        return Block(place, moves, payload, torques, work, cycle, spikes)

    def _follow(self, work: Work, taken: Array) -> Supplies:
        """Bus, air and sums, one step after the other."""
        shape = taken.shape
        supplies = Supplies(*(np.empty(shape) for _ in range(5)))
        for row in range(len(taken)):
            drawn = work.heat[BUS, row]
            bus = bus_step(
                self._voltage,
                drawn,
                self.step_s,
                capacitance=self.capacitance,
                supply=self._supply_v - self._sag * np.maximum(drawn, 0.0),
                threshold=self._limit_v,
            )
            self._voltage = bus.voltage
            supplies.voltage[row], supplies.grid[row], supplies.chopper[row] = bus
            self.air.draw(taken[row], self.step_s)
            supplies.reservoir[row], supplies.inflow[row] = self.air.reservoir, self.air.inflow
            self._pending += work.heat[:19, row] * self.step_s
            self._pending[INVERTERS] += bus.grid * self.rectifier * self.step_s
        return supplies

    def _usual_losses(self) -> Array:
        """Mean losses (19, B) of production with its programs and parts."""
        size = self.ambient.size
        total = np.zeros((19, size))
        heavy = self._site["heavy_share"]
        shares = ((1.0 - heavy) / 2, (1.0 - heavy) / 2, heavy)
        nothing = np.zeros(size, dtype=np.int64)
        columns, later = np.arange(size), np.zeros((SAMPLES, size), dtype=np.bool_)
        for program in range(len(PROGRAMS)):
            for part, share in zip(PAYLOADS_KG, shares, strict=True):
                cycles = cycles_of(
                    nothing,
                    nothing + program,
                    self._site["override"] * self._derating,
                    np.full(size, part),
                    self.air.grip_s,
                    np.zeros((2 * SPIKES, size)),
                )
                time = (np.arange(SAMPLES)[:, None] + 0.5) / SAMPLES * cycles.seconds
                place = locate(cycles, cycles, time, later, columns)
                block = self._compute(place, part * TABLES.loaded.take(place.segment), nothing, None)
                weight = share / len(PROGRAMS) / SAMPLES
                for row in range(SAMPLES):
                    total += block.work.heat[:19, row] * weight
                    total[INVERTERS] += np.maximum(block.work.heat[BUS, row], 0.0) * self.rectifier * weight
        return total
