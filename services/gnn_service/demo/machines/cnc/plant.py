"""The machining centre as a batch of quasi-steady plants."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.machines.cnc import heat as nodes
from gnn_service.demo.machines.cnc.duty import SITE, Duty
from gnn_service.demo.machines.cnc.feed import Feed, FeedLoad
from gnn_service.demo.machines.cnc.heat import Heat, total
from gnn_service.demo.machines.cnc.hydraulics import HydraulicLoad, Hydraulics
from gnn_service.demo.machines.cnc.programmes import IDLE, PHASES, PRODUCTION, STATES, WARM_UP
from gnn_service.demo.machines.cnc.sensors import Panel
from gnn_service.demo.machines.cnc.spindle import TURN, Spindle, SpindleLoad
from gnn_service.demo.machines.cnc.supplies import Air, Coolant, CoolantLoad, CoolantTank, Lubrication
from gnn_service.demo.plant import Array, Entry, Frames, Parameters, Plant, Schedule, Setting
from gnn_service.demo.streams import CycleDraws, Purpose
from gnn_service.physics.axes import cutting_force, wear_factor

DOOR_S, DOOR_SHARE, DOOR_LAG_S = 300, 0.2, 120.0
_DOOR_CYCLE = 1 << 26
SETTLING_SAMPLES, SETTLING_LOOKS, LOOK_S = 64, 5, 3.7
CHANGES = 12
CLAMPINGS = np.array([10.0, 12.0])[:, None]
"""Clampings of A and C in one part."""
RELEASE_S, CLAMP_S = 1.5, 3.5
"""When in a tool change the drawbar opens and closes, s."""


class CncPlant(Plant):
    """Five-axis machining centres."""

    STEP_S = 0.1
    STATES = STATES
    PHASES = PHASES
    SITE = SITE
    LEDGER: ClassVar[tuple[Entry, ...]] = (
        Entry("supply", "input"),
        Entry("cutting", "useful"),
        Entry("spindle_bearings", "loss"),
        Entry("spindle_motor", "loss"),
        Entry("guides", "loss"),
        Entry("ball_screws", "loss"),
        Entry("brakes", "loss"),
        Entry("feed_motors", "loss"),
        Entry("rotary_friction", "loss"),
        Entry("rotary_motors", "loss"),
        Entry("inverters", "loss"),
        Entry("rectifier", "loss"),
        Entry("hydraulic_pump", "loss"),
        Entry("hydraulic_throttling", "loss"),
        Entry("pump_motors", "loss"),
        Entry("coolant", "loss"),
        Entry("compressor", "loss"),
        Entry("control", "loss"),
        Entry("surroundings", "ambient"),
        Entry("motion", "stored"),
        Entry("height", "stored"),
        Entry("gas", "stored"),
        Entry("heat", "heat_stored"),
    )

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        size = setting.size
        self._per_second = round(1.0 / self.STEP_S)
        self._spindle, self._feed = Spindle(size), Feed(size)
        self._hydraulics, self._coolant, self._air = Hydraulics(size), Coolant(), Air()
        self._heat, self._panel = Heat(size), Panel(size)
        first = np.stack([key.stream(Purpose.PROCESS, _DOOR_CYCLE + 1).random(3) for key in setting.keys], axis=-1)
        self._first_oil, self._first_pulse, self._first_level = first
        self._doors = CycleDraws(setting.keys, Purpose.PROCESS, 1)
        self._lubrication, self._tank = Lubrication(self._first_pulse), CoolantTank(self._first_level)
        self._ambient = setting.site["ambient_k"].copy()
        self._heat.t[:] = self._ambient
        self.set_parameters(setting.parameters)
        self._begin()

    def set_parameters(self, parameters: Parameters) -> None:
        """Take over changed physical parameters, from the next step on; states such as temperatures stay."""
        self._p = parameters
        self._spindle.set_parameters(parameters)
        self._feed.set_parameters(parameters, self.STEP_S)
        for part in (self._hydraulics, self._coolant, self._tank, self._lubrication, self._air, self._heat):
            part.set_parameters(parameters)
        self._panel.set_parameters(parameters)
        self._warm()

    def _begin(self) -> None:
        """The clock at 0: programmes at their start, accumulator and lubrication somewhere in their cycles."""
        p = self._p
        self._number, self._pending = 0, np.zeros((nodes.NODES, self._setting.size))
        lives = (p["tool_changer.shortest_life"], p["tool_changer.longest_life"])
        self._duty = Duty(self._setting, self.STEP_S, lives)
        self._away = np.zeros(self._setting.size)
        h, q = self._hydraulics, self._hydraulics.p
        first = q["pressure_on"] + (q["pressure_off"] - q["pressure_on"]) * self._first_oil
        h.oil = h.oil_at(first)
        h.pressure = h.gas_pressure(h.oil)
        h.clamped = np.stack([self._duty.clamp_a, self._duty.clamp_c])
        h.t_release, h.t_clamp = h.release_times(h.pressure)
        self._tank.begin(self._first_level)
        self._lubrication.share = self._first_pulse.copy()
        self._lubrication.peak, self._lubrication.decay = self._lubrication.pulse(self._ambient)
        self._spindle.speed = np.zeros(self._setting.size)
        start = self._duty.motion(self._duty.tick)
        self._position, self._velocity = start.position, start.velocity

    def _warm(self) -> None:
        t = self._heat.t
        self._spindle.warm(t[nodes.FRONT], t[nodes.REAR], t[nodes.STATOR])
        self._feed.warm(t[nodes.MOTORS], t[nodes.ROTARIES])
        self._hydraulics.warm(t[nodes.OIL])

    # ---- what long work leads to ---------------------------------------------------------------
    def settle(self) -> None:
        """Bring temperatures to where the schedule's first state leads: cold for the warm-up, else those of its work.

        Tests are made on a machine that has been at work. The clock and the count of cycles are 0 afterwards.
        """
        first = self._setting.schedule.at(0.0)
        self._ambient = self._setting.site["ambient_k"].copy()
        idle = np.where(first == IDLE, IDLE, PRODUCTION)
        work = Duty(
            replace(self._setting, schedule=Schedule.constant(idle.tolist())), self.STEP_S, (np.ones(1), np.ones(1))
        )
        self._heat.t[:] = self._ambient + 8.0
        self._heat.t[nodes.WATER] = self._heat.h["set_point"]
        for _ in range(2):
            self._warm()
            self._heat.settle(self._mean_heat(work), self._ambient)
        cold = first == WARM_UP
        self._heat.t = np.where(cold, self._ambient, self._heat.t)
        self._warm()
        self._begin()

    def _mean_heat(self, work: Duty) -> Array:
        """Mean power (16, B) into every node over a part, from samples spread evenly over it."""
        heat = np.zeros((nodes.NODES, self._setting.size))
        clamped = np.zeros((2, self._setting.size))
        for sample in range(SETTLING_SAMPLES):
            work.seek(np.full(self._setting.size, (sample + 0.5) / SETTLING_SAMPLES))
            # rapid moves are short: look at several moments of each sample's motion
            for look in range(SETTLING_LOOKS):
                heat += self._heat_at(work, (work.tick + round(LOOK_S / self.STEP_S) * look) % work.ticks)
            clamped += np.stack([work.clamp_a, work.clamp_c])
        heat, clamped = heat / (SETTLING_SAMPLES * SETTLING_LOOKS), clamped / SETTLING_SAMPLES
        h, length = self._hydraulics, work.ends[-1] * self.STEP_S
        moved = h.volumes * CLAMPINGS
        uses = (CHANGES * h.c["release_volume"] + moved[0] + moved[1]) / length * (work.state == PRODUCTION)
        heat[nodes.OIL] = h.settled_heat(uses, clamped)
        return heat

    def _heat_at(self, work: Duty, tick: NDArray[np.int64]) -> Array:
        """Power (16, B) into every node at a tick of the present segment, speeds reached and tools half worn."""
        start, end = work.motion(tick), work.motion(tick + 1)
        way, speed = end.position - start.position, work.spindle
        cutting = self._cutting(work, way, np.full_like(speed, 0.5), speed)
        spindle = self._spindle.load(speed, speed, cutting, self.STEP_S)
        force = self._force(work, cutting, speed)
        feed = self._feed.load(start.velocity, end.velocity, way, force, work.drives, self.STEP_S)
        coolant = self._coolant.load(work.coolant, work.tool, work.drives)
        return self._heat_of(work, spindle, feed, coolant)

    # ---- one step ------------------------------------------------------------------------------
    def _cutting(self, duty: Duty, way: Array, wear: Array, speed: Array) -> Array:
        """Power (W) at the edge: as programmed, with the path's speed, the tool's wear and the stock's hardness."""
        plan = np.maximum(duty.feed_speed() * self.STEP_S, 1e-9)
        path = np.minimum(abs(way[0]) / plan, 1.0)
        growth = wear_factor(wear, np.ones_like(wear), self._p["tool_changer.wear_growth"])
        reached = np.minimum(speed / np.maximum(duty.spindle, 1e-9), 1.0)
        return np.asarray(duty.power * duty.override * duty.hardness * growth * path * reached)

    def _force(self, duty: Duty, cutting: Array, speed: Array) -> Array:
        return cutting_force(cutting, np.maximum(0.5 * TURN * duty.cutter * speed, 0.5))

    def _heat_of(self, duty: Duty, s: SpindleLoad, f: FeedLoad, c: CoolantLoad) -> Array:
        """Power (16, B) into every node, but for the hydraulic oil."""
        p = self._p
        heat = np.zeros((nodes.NODES, len(s.torque)))
        heat[nodes.FRONT], heat[nodes.REAR], heat[nodes.STATOR] = s.front, s.rear, s.motor
        heat[nodes.MOTORS] = f.motor + f.brake
        heat[nodes.NUTS] = f.guide + f.screw
        heat[nodes.ROTARIES] = f.rotary_motor + f.rotary_friction
        heat[nodes.WATER] = p["chiller.pump_power"]
        heat[nodes.COOLANT] = c.heat
        heat[nodes.CABINET] = s.inverter + f.inverter + self._rectifier(s, f) + p["drive_cabinet.control_power"]
        return heat

    def _drawn(self, s: SpindleLoad, f: FeedLoad) -> Array:
        """Power (W) that the drives take from the bus."""
        return np.asarray(s.power + f.power[0] + f.power[1] + f.power[2] + f.rotary_power[0] + f.rotary_power[1])

    def _rectifier(self, s: SpindleLoad, f: FeedLoad) -> Array:
        return np.asarray(self._p["drive_cabinet.supply_loss"] * abs(self._drawn(s, f)))

    def _second(self) -> None:
        """What is slow: heat, hall air, lubrication, properties that go with temperature."""
        size, second = self._setting.size, self._number // self._per_second
        door = self._doors.at(np.full(size, _DOOR_CYCLE + second // DOOR_S))[0] < DOOR_SHARE
        wanted = self._setting.site["ambient_k"] - self._setting.site["draught_k"] * door
        if self._number:
            self._away = self._heat.second(self._pending, self._ambient)
            self._pending = np.zeros_like(self._pending)
            self._ambient = self._ambient + (wanted - self._ambient) / DOOR_LAG_S
            self._tank.second(self._duty.coolant * self._duty.drives)
            self._lubrication.second(self._ambient)
        self._warm()
        self._derate = self._heat.derate()
        self._heat.cabinet_conductance()
        self._panel.second(self._heat, self._tank, self._lubrication, self._duty, self._ambient)

    def advance(self, steps: int, *, ledger: bool = False) -> Frames:
        """Move on by a number of steps and tell what was seen in each."""
        size = self._setting.size
        values = np.empty((steps, self._panel.rows, size), np.float32)
        state, phase = np.empty((2, steps, size), np.int8)
        cycle = np.empty((steps, size), np.int32)
        book = np.empty((steps, len(self.LEDGER), size)) if ledger else None
        for step in range(steps):
            self._step(None if book is None else book[step])
            values[step] = self._panel.frame
            state[step], phase[step], cycle[step] = self._duty.state, self._duty.phase, self._duty.cycle
            self._duty.tick += 1
            self._number += 1
        return Frames(values, state, phase, cycle, book)

    def _step(self, book: Array | None) -> None:
        entered = self._duty.update(self._number)
        if self._number % self._per_second == 0:
            self._second()
        duty, step_s = self._duty, self.STEP_S
        if len(entered):
            self._position[:, entered], self._velocity[:, entered] = duty.motion(duty.tick[entered], entered)
        there = duty.motion(duty.tick + 1)
        way = there.position - self._position
        end = self._spindle.ramp(duty.spindle, self._derate, step_s)
        mean = 0.5 * (self._spindle.speed + end)
        wear = duty.age_tools(duty.coolant * duty.drives)
        cutting = self._cutting(duty, way, wear, mean)
        s = self._spindle.load(self._spindle.speed, end, cutting, step_s)
        force = self._force(duty, s.cutting, mean)
        f = self._feed.load(self._velocity, there.velocity, way, force, duty.drives, step_s)
        errors = self._feed.follow(way, f, step_s)
        h = self._hydraulic_step()
        c = self._coolant.load(duty.coolant, duty.tool, duty.drives)
        heat = self._heat_of(duty, s, f, c)
        heat[nodes.OIL] = h.pump_loss + h.throttled
        self._pending = self._pending + heat * step_s
        self._spindle.speed = end
        self._position, self._velocity = there
        self._total = self._supply(s, f, h, c)
        self._panel.fast(
            duty, self._velocity, mean, self._spindle.vibration(mean, s.cutting), self._air.load(duty.change)
        )
        self._panel.drives(s, f, errors, self._drawn(s, f), self._total)
        self._panel.fluids(h, c, self._hydraulics, self._feed.reversal)
        if book is not None:
            self._write(book, s, f, h, c)

    def _hydraulic_step(self) -> HydraulicLoad:
        duty = self._duty
        releases = duty.change * (duty.tick == round(RELEASE_S / self.STEP_S))
        clamps = duty.change * (duty.tick == round(CLAMP_S / self.STEP_S))
        self._hydraulics.demand(np.stack([duty.clamp_a, duty.clamp_c]), releases, clamps)
        return self._hydraulics.step(self.STEP_S)

    def _control(self) -> tuple[Array, Array]:
        """Power (W) of control and helpers: what heats the cabinet, and what heats the hall."""
        p, fan = self._p, self._heat.fan
        hall = (
            p["drive_cabinet.auxiliary_power"] + p["drive_cabinet.fan_power"] * fan * fan * fan
            + p["tool_changer.power"] * self._duty.change + p["chiller.fan_power"]
        )  # fmt: skip
        return p["drive_cabinet.control_power"], hall

    def _supply(self, s: SpindleLoad, f: FeedLoad, h: HydraulicLoad, c: CoolantLoad) -> Array:
        """Power (W) from the grid."""
        cabinet, hall = self._control()
        chiller = self._heat.compressor + self._p["chiller.pump_power"]
        drives = self._drawn(s, f) + self._rectifier(s, f)
        return np.asarray(drives + h.power + c.power + chiller + cabinet + hall)

    def _write(self, book: Array, s: SpindleLoad, f: FeedLoad, h: HydraulicLoad, c: CoolantLoad) -> None:
        cabinet, hall = self._control()
        pump, compressor = self._p["chiller.pump_power"], self._heat.compressor
        done = (self._number % self._per_second + 1) * self.STEP_S
        waiting = self._away * (1.0 - done)
        height = self._feed.weight[2] * self._position[2]
        rows = (
            self._total, s.cutting + total(f.process), s.front + s.rear, s.motor, total(f.guide), total(f.screw),
            total(f.brake), total(f.motor), total(f.rotary_friction), total(f.rotary_motor), s.inverter + f.inverter,
            self._rectifier(s, f), h.pump_loss, h.throttled, h.motor_loss + c.motor_loss, c.heat, compressor,
            cabinet + hall + pump, self._away + compressor + hall + h.motor_loss + c.motor_loss,
            self._spindle.kinetic() + self._feed.kinetic(self._velocity), height, self._hydraulics.gas_energy(),
            self._heat.energy() + total(self._pending) + waiting,
        )  # fmt: skip
        for row, values in enumerate(rows):
            book[row] = values
