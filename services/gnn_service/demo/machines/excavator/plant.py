"""The excavator in quasi-steady steps of 0.1 s: operator, linkage, load-sensing valves, pumps, swing, oil.

Order of a step: operator's commands - attitude and loads - load pressures - pump pressures, flow and torque limits -
speeds and positions - leaks, losses and heat - temperatures - sensors. Pressures count from the tank's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.machines.excavator import duty
from gnn_service.demo.machines.excavator.cylinders import SHARES, Cylinders, Motion, Running, Wish
from gnn_service.demo.machines.excavator.duty import COLUMN, HELD, Operator
from gnn_service.demo.machines.excavator.geometry import CYLINDERS, GRAVITY, Linkage, Pose, Weights
from gnn_service.demo.machines.excavator.ledger import LEDGER, Step
from gnn_service.demo.machines.excavator.oil import Oil
from gnn_service.demo.machines.excavator.readings import ACCESSORIES, Readings, Seen
from gnn_service.demo.machines.excavator.supply import Delivery, Supply
from gnn_service.demo.machines.excavator.swing import Swing, SwingMotion, SwingWish
from gnn_service.demo.parameters import nominal
from gnn_service.demo.plant import Array, Entry, Frames, Parameters, Plant, Setting, SiteFactor
from gnn_service.physics.valves import compensated_share

COMMAND_GAIN = 12.0
"""Lever travel for a distance: full at a twelfth of the stroke before the target."""
SMALLEST, CLOSE, ARRIVED = 0.22, 0.008, 0.025
SWING_ARRIVED_RAD, SWING_STOPPED = 0.10, 0.15
PAYLOAD_S = 0.5
TRAVEL_EFFICIENCY = 0.85
TRAVEL_LOAD_PA = 190e5
CUT_RECOVERY, CUT_YIELD = 0.8, 2.5
"""How fast (1/s) an operator deepens his cut, and how fast he lifts the bucket when the work stalls."""
REACTION_S = 0.1
"""How long he does so at least, once it stalled."""
EASES_FROM = 0.96
"""Share of the relief pressure from which the engine labours and the operator digs less deep."""
SWEPT_SHARE = 0.52
"""Share of the strokes that fills a bucket at full depth."""
BOOM_REACTION_M = 0.6
SETTLING_SWEEPS, SWEEP_S = 3, 60.0
MAIN_RELIEF_PA, HEAVY_RELIEF_PA = 350e5, 380e5
"""Settings that the controller reckons with when it cuts the pumps off."""
HOLD, READ = duty.PHASES.index("hold"), duty.PHASES.index("hold_read")


@dataclass(slots=True)
class Track:
    """What the travel motors ask for."""

    load: Array
    demand: Array


@dataclass(slots=True)
class Flows:
    """Where the oil went in a step."""

    used: Array
    metering: Array
    travelled: Array
    delivery: Delivery
    returned: Array


def total(rows: Array) -> Array:
    """Sum over boom, stick and bucket, in this order whatever the batch."""
    return np.asarray(rows[0] + rows[1] + rows[2])


class Excavator(Plant):
    """A batch of excavators; see the machine description `excavator` for parameters and sensors."""

    STEP_S: ClassVar[float] = 0.1
    STATES: ClassVar[tuple[str, ...]] = duty.STATES
    PHASES: ClassVar[tuple[str, ...]] = duty.PHASES
    SITE: ClassVar[Mapping[str, SiteFactor]] = MappingProxyType(
        {
            "ambient_k": SiteFactor(298.15, 263.15, 313.15, "air temperature"),
            "operator": SiteFactor(1.0, 0.7, 1.1, "haste: share of the usual lever travel"),
            "soil": SiteFactor(1.0, 0.7, 1.2, "digging resistance, as a multiple of a common soil"),
            "bulk_density": SiteFactor(1650.0, 1400.0, 1900.0, "mass of what fills the bucket, kg/m3"),
            "swing_rad": SiteFactor(1.571, 1.05, 2.1, "swing angle between bank and truck"),
            "grade": SiteFactor(1.0, 0.6, 1.5, "resistance to travel, as a multiple of level firm ground"),
            "dust": SiteFactor(1.0, 0.3, 3.0, "particles that get into the oil, as a multiple of a common site"),
        }
    )
    LEDGER: ClassVar[tuple[Entry, ...]] = LEDGER

    def __init__(self, setting: Setting) -> None:
        size, step = setting.size, self.STEP_S
        self._size, self._clock, self._started = size, 0, False
        self._ticks = round(1.0 / step)
        self._payload_gain = 1.0 - float(np.exp(-step / PAYLOAD_S))
        self._operator = Operator(setting, step)
        self._linkage = Linkage(nominal("excavator"))
        self._supply, self._swing = Supply(size, step), Swing(size, step)
        self._cylinders = Cylinders(size, step)
        self._oil = Oil(setting.site["ambient_k"], setting.site["dust"], step)
        self._readings = Readings(setting.site["ambient_k"])
        self.payload, self._fill, self._cut = np.zeros(size), np.ones(size), np.ones(size)
        self._back, self._height = np.full(size, 2e5), np.zeros(size)
        self._filter_drop, self.tank_volume = np.zeros(size), np.zeros(size)
        self._mark = np.zeros((3, size))
        self._felt, self._reacts = np.zeros(size), np.zeros(size, dtype=np.int64)
        self._reaction = max(round(REACTION_S / step), 1)
        self.set_parameters(setting.parameters)
        self._oil.tick(0.0)
        self._started = True
        self._enter(np.arange(size))
        self._turn_over()

    def set_parameters(self, parameters: Parameters) -> None:
        """Take over changed physical parameters, from the next step on; states such as temperatures stay."""
        for part in (self._supply, self._swing, self._cylinders, self._oil, self._readings):
            part.set_parameters(parameters)
        masses = tuple(parameters[f"{name}.link_mass"] for name in CYLINDERS)
        centres = tuple(parameters[f"{name}.link_centre"] for name in CYLINDERS)
        self._weights = Weights(self._linkage, masses, centres)
        valve = "main_control_valve."
        self._relief = parameters[valve + "main_relief"], parameters[valve + "heavy_lift_relief"]
        self._travel_flow = parameters[valve + "travel_flow"]
        self._pilot = parameters[valve + "control_pressure"] * parameters[valve + "control_flow"]
        force = parameters["bucket_cylinder.dig_force"]
        stick_arm, bucket_arm = (parameters[f"{name}.dig_arm"] for name in CYLINDERS[1:])
        self._dig = np.stack((-BOOM_REACTION_M * force, stick_arm * force, 0.5 * bucket_arm * force))
        self._bucket_volume = parameters["bucket_cylinder.bucket_volume"]
        self._fan_power = parameters["oil_cooler.fan_power"]
        self._speeds = parameters["pump_main_1.idle_speed"], parameters["pump_main_1.speed"]
        self._rod_area = self._cylinders.head_area - self._cylinders.rod_area
        if self._started:
            self._oil.derive()
            self._enter(np.arange(0))
            self._supply.set_speed(self._engine_speed())
            self._turn_over()

    def settle(self) -> None:
        """Bring oil temperature and cleanliness to where long work of this kind leads; clock and cycle are 0 again.

        Tests of minutes (stall, hold test) and a pause with the engine off follow on truck loading. Where the schedule
        begins with the warm-up the oil is as cold as the air.
        """
        for _ in range(SETTLING_SWEEPS):
            self._restart(as_work=True)
            heat = self._mean_heat(round(SWEEP_S / self.STEP_S))
            self._oil.warm_to(heat)
            self._turn_over()
        self._oil.settle_particles()
        self._oil.chill(self._operator.state == duty.WARM_UP)
        self._restart()
        self._turn_over()

    def advance(self, steps: int, *, ledger: bool = False) -> Frames:
        """Move on by a number of steps and tell what was seen in each."""
        values = np.empty((steps, len(self._readings.ids), self._size), dtype=np.float32)
        state, phase = np.empty((2, steps, self._size), dtype=np.int8)
        cycle = np.empty((steps, self._size), dtype=np.int32)
        book = np.empty((steps, len(LEDGER), self._size)) if ledger else None
        for index in range(steps):
            done = self._step(values[index], state[index], phase[index], cycle[index])
            if book is not None:
                done.write(book[index], self._stored())
        return Frames(values, state, phase, cycle, book)

    def _restart(self, *, as_work: bool = False) -> None:
        self._clock = 0
        self._operator.restart(as_work=as_work)
        self._enter(np.arange(self._size))

    def _mean_heat(self, steps: int) -> Array:
        """Mean heat into the oil over whole cycles where there are any, otherwise over all the time, W."""
        total_heat, first, last = np.zeros((3, self._size))
        since, until = np.full((2, self._size), -1.0)
        cycle = np.zeros(self._size, dtype=np.int64)
        for index in range(steps):
            total_heat = total_heat + self._step().heat
            turned = self._operator.cycle > cycle
            cycle = self._operator.cycle.copy()
            opens = turned & (since < 0.0)
            first, since = np.where(opens, total_heat, first), np.where(opens, index, since)
            last, until = np.where(turned, total_heat, last), np.where(turned, index, until)
        whole = until > since
        return np.where(whole, (last - first) / np.where(whole, until - since, 1.0), total_heat / steps)

    def _enter(self, machines: NDArray[np.int64]) -> None:
        """What changes where machines have moved on to another row of their programs."""
        row = self._operator.row
        digging = machines[row[COLUMN["digging"], machines] > 0.0]
        self._fill[digging], self._cut[digging], self._reacts[digging] = 0.0, 1.0, 0
        holding = machines[row[COLUMN["phase"], machines] == HOLD]
        self._mark[:, holding] = self._cylinders.place[:, holding]
        self._swing.rest(machines[row[COLUMN["engine"], machines] == duty.OFF])
        heavy = row[COLUMN["heavy"]] > 0.0
        self._setting = np.where(heavy, self._relief[1], self._relief[0])
        self._nominal = np.where(heavy, HEAVY_RELIEF_PA, MAIN_RELIEF_PA)
        speed = self._engine_speed()
        if not hasattr(self._supply, "speed") or (speed != self._supply.speed).any():
            self._supply.set_speed(speed)
            self._oil.run(self._supply.running)
            self._turn_over()

    def _engine_speed(self) -> Array:
        """Speed of the shaft that the program asks for, revolutions a second."""
        engine = self._operator.row[COLUMN["engine"]]
        slow, fast = self._speeds
        return np.where(engine == duty.FAST, fast, np.where(engine == duty.SLOW, slow, 0.0))

    def _turn_over(self) -> None:
        """Pass on to the pumps what follows from the oil's temperature."""
        self._supply.warm(self._oil.thinning, self._oil.viscosity, self._oil.modulus, self._oil.derating)

    def _step(
        self,
        out: NDArray[np.float32] | None = None,
        state: NDArray[np.int8] | None = None,
        phase: NDArray[np.int8] | None = None,
        cycle: NDArray[np.int32] | None = None,
    ) -> Step:
        """One step of all machines; the arrays take what the sensors show and what the operator did."""
        operator, cylinders, oil = self._operator, self._cylinders, self._oil
        if self._clock and self._clock % self._ticks == 0:
            oil.tick(1.0)
            self._turn_over()
        begun = operator.begin(self._clock)
        if len(begun):
            self._fill[begun] = 1.0
            self._enter(begun)
        row, back, setting, thinning = operator.row, self._back, self._setting, oil.thinning
        command = self._pull_levers()
        pose = self._linkage.pose(cylinders.midway)
        lifted = self._load_bucket(pose)
        weight = self._weights.forces(pose, self.payload)
        soil = self._soil(command, weight, pose)
        force = weight + soil
        wish = cylinders.wish(command, force, back, setting, Running(self._supply.running, thinning))
        inertia = self._weights.inertia(pose, self.payload)
        largest = row[COLUMN["swing_by"]] * self._supply.running
        turn = self._swing.wish(row[COLUMN["swing"]], largest, inertia, back, thinning)
        track = self._drive_tracks()
        motion, swung, flows = self._share_oil(wish, force, turn, track)
        self._dig_on(wish, motion)
        done = self._account(motion, swung, track, flows, (total(soil * motion.velocity), lifted))
        if out is not None and state is not None and phase is not None and cycle is not None:
            state[:], phase[:], cycle[:] = operator.state, row[COLUMN["phase"]], operator.cycle
            self._show(out, command, motion, swung, flows, done)
        self._back, self._filter_drop = oil.back_pressure(flows.returned)
        oil.follow(flows.returned, 0.5 * (flows.delivery.pressure[0] + flows.delivery.pressure[1]))
        self._clock += 1
        moved = operator.finish(self._arrived())
        if len(moved):
            self._enter(moved)
        return done

    def _pull_levers(self) -> Array:
        """Spool commands (3, B) of boom, stick and bucket towards the phase's targets."""
        row = self._operator.row
        target = row[COLUMN["boom"] : COLUMN["bucket"] + 1]
        error = np.where(target == HELD, 0.0, target - self._cylinders.share)
        size = abs(error)
        pull = np.minimum(np.maximum(size * COMMAND_GAIN, SMALLEST), 1.0)
        limit = row[COLUMN["boom_by"] : COLUMN["bucket_by"] + 1]
        return np.asarray(np.copysign(np.minimum(pull, limit), error) * (size > CLOSE) * self._supply.running)

    def _arrived(self) -> NDArray[np.bool_]:
        """Where (B,) every movement of the phase has reached its target."""
        row = self._operator.row
        target = row[COLUMN["boom"] : COLUMN["bucket"] + 1]
        near = (target == HELD) | (abs(target - self._cylinders.share) < ARRIVED)
        place = row[COLUMN["swing"]]
        turned = (abs(place - self._swing.angle) < SWING_ARRIVED_RAD) & (abs(self._swing.speed) < SWING_STOPPED)
        arrived = near[0] & near[1] & near[2] & (turned | (row[COLUMN["swing_waits"]] == 0.0))
        return np.asarray(arrived)

    def _load_bucket(self, pose: Pose) -> Array:
        """Bring the payload nearer to what the phase wants; the power that left with it, W."""
        goal = self._operator.row[COLUMN["load"]] * self._bucket_volume * self._fill
        before = self.payload
        self.payload = before + (goal - before) * self._payload_gain
        heavy = np.flatnonzero(self._operator.row[COLUMN["heavy"]] > 0.0)
        if len(heavy):  # what the cylinders cannot carry stays on the ground
            least, most = (force[:, heavy] for force in self._cylinders.held_within)
            carried = self._weights.of(heavy).capacity(pose.of(heavy), most, least)
            self.payload[heavy] = np.minimum(self.payload[heavy], carried)
        height = self._weights.height(pose)
        between, self._height = 0.5 * (height + self._height), height
        return (before - self.payload) * (GRAVITY / self.STEP_S) * between

    def _soil(self, command: Array, weight: Array, pose: Pose) -> Array:
        """Force (3, B) of the soil on the cylinders against extension, N.

        It resists what digs, and pushes nothing back; it breaks before it opens a line relief valve.
        """
        hardness = self._operator.row[COLUMN["soil"]] * self._cut * (0.75 + 0.5 * self._fill)
        digs = np.where(command >= 0.0, hardness, 0.0)
        digs[0] = np.maximum(digs[1], digs[2])
        soil = digs * self._dig * pose.inverse_arm
        least, most = self._cylinders.held_within
        least, most = np.minimum(least - weight, 0.0), np.maximum(most - weight, 0.0)
        return np.asarray(np.minimum(np.maximum(soil, least), most))

    def _dig_on(self, wish: Wish, motion: Motion) -> None:
        """Fill the bucket with what was cut; the operator cuts thinner while the stick stalls."""
        digging = self._operator.row[COLUMN["digging"]]
        swept = abs(motion.velocity) / self._cylinders.stroke
        rate = self._cut * (swept[1] + swept[2]) * (0.5 / SWEPT_SHARE)
        self._fill = np.where(digging > 0.0, np.minimum(self._fill + rate * self.STEP_S, 1.0), self._fill)
        laboured = (self._supply.highest / self._nominal - EASES_FROM) / (1.0 - EASES_FROM)
        stalled = 1.0 - np.minimum(motion.granted[1], motion.granted[2])
        eased = np.minimum(np.maximum(np.maximum(laboured, stalled), 0.0), 1.0) * digging
        anew = (self._reacts == 0) | (eased > self._felt)
        self._felt = np.where(anew, eased, self._felt)
        self._reacts = np.where(anew, self._reaction, self._reacts) - 1
        change = CUT_RECOVERY * (1.0 - self._cut) - CUT_YIELD * self._felt
        self._cut = np.minimum(np.maximum(self._cut + change * self.STEP_S, 0.15), 1.0)

    def _drive_tracks(self) -> Track:
        """Load pressure and flow of the travel motors."""
        travel = self._operator.row[COLUMN["travel"]]
        return Track(TRAVEL_LOAD_PA * travel, np.where(travel > 0.0, self._travel_flow, 0.0) * self._supply.running)

    def _share_oil(self, wish: Wish, force: Array, turn: SwingWish, track: Track) -> tuple[Motion, SwingMotion, Flows]:
        """Who gets how much of the pumps' oil, and what everybody does with it."""
        back, setting, supply = self._back, self._setting, self._supply
        inner = wish.inner * (wish.demand > 0.0)
        both = np.maximum(np.maximum(inner[0], inner[1]), track.load)
        loads = np.stack((np.maximum(both, inner[2]), np.maximum(both, turn.load)))
        half = 0.5 * track.demand
        demand = np.stack((total(wish.demand * SHARES[0]) + half, total(wish.demand * SHARES[1]) + half))
        first = np.stack((np.zeros_like(half), turn.demand))
        offer = supply.offer(loads, demand, first, setting, self._nominal)
        share = offer.share
        motion = self._cylinders.move(wish, force, share, back, setting, self._oil.thinning)
        swung = self._swing.move(turn, offer.served[1] * compensated_share(setting - turn.load, supply.margin), back)
        tracked = compensated_share(setting - track.load, supply.margin) * half
        first, second = motion.first, motion.pump_flow - motion.first
        tracks = tracked * share[0], tracked * share[1]
        used = np.stack((total(first) + tracks[0], total(second) + tracks[1] + swung.pump_flow))
        delivery = supply.deliver(offer, loads, used, setting, back)
        p1, p2 = delivery.pressure
        metering = total((p1 - wish.inner) * first + (p2 - wish.inner) * second)
        metering += (p2 - swung.high) * swung.pump_flow
        metering += (p1 - track.load) * tracks[0] + (p2 - track.load) * tracks[1]
        travelled = tracks[0] + tracks[1]
        surplus = delivery.flow[0] + delivery.flow[1] - used[0] - used[1]
        returned = total(motion.return_flow) + swung.pump_flow - swung.leak + travelled + surplus
        return motion, swung, Flows(used, metering, travelled, delivery, returned)

    def _account(
        self, motion: Motion, swung: SwingMotion, track: Track, flows: Flows, useful: tuple[Array, Array]
    ) -> Step:
        """Powers of the step, loss by loss; warms the oil."""
        delivery, supply = flows.delivery, self._supply
        pilot = self._pilot * supply.running
        fan = self._fan_power * self._oil.fan_power_share
        load = np.maximum(track.load - self._back, 0.0) * flows.travelled
        rubbed, throttled, leaked = (total(loss) for loss in motion.losses)
        losses = (
            delivery.friction[0], delivery.friction[1], delivery.leakage_loss[0], delivery.leakage_loss[1],
            delivery.relief_loss[0] + delivery.relief_loss[1], flows.metering, throttled, rubbed, leaked,
            *swung.losses, (1.0 - TRAVEL_EFFICIENCY) * load, self._back * flows.returned, pilot,
        )  # fmt: skip
        heat = sum(losses[1:], start=losses[0])
        cooler, surface = self._oil.heat(heat)
        drained = delivery.leak[0] + delivery.leak[1] + swung.leak
        outflow = delivery.intake[0] + delivery.intake[1]
        self.tank_volume = self.tank_volume + (flows.returned + drained - outflow) * self.STEP_S
        inputs = delivery.shaft[0], delivery.shaft[1], pilot, fan
        done = (*useful, TRAVEL_EFFICIENCY * load)
        return Step(inputs, done, (*losses, fan), heat, (cooler, surface, fan))

    def _stored(self) -> tuple[Array, ...]:
        """Energies at the end of a step: lifted masses, swinging masses, heat; J."""
        pose = self._linkage.pose(self._cylinders.share)
        potential = self._weights.potential(pose, self.payload)
        return potential, self._swing.kinetic_energy, self._oil.stored_heat

    def _show(
        self, out: NDArray[np.float32], command: Array, motion: Motion, swung: SwingMotion, flows: Flows, done: Step
    ) -> None:
        """Let the sensors look at the step."""
        row, cylinders = self._operator.row, self._cylinders
        drift = np.where(row[COLUMN["phase"]] == READ, cylinders.drift(self._mark), np.nan)
        drive = sum(done.inputs[1:], start=done.inputs[0])
        engine = (drive + ACCESSORIES) * self._supply.running
        lever = np.where(abs(self._swing.aim) > 0.0, self._swing.aim, 0.0)
        spare = -total(self._rod_area * (cylinders.place - 0.4 * cylinders.stroke))
        seen = Seen(
            command, lever, motion, cylinders.share, drift, self.payload, swung.ports, self._swing.speed,
            self._back, self._filter_drop, engine, spare,
        )  # fmt: skip
        self._readings.write(out, seen, self._supply, flows.delivery, self._oil)
