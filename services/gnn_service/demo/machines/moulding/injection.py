"""Injection and plasticising: filling from pumps and accumulator, holding, metering, charging."""

import numpy as np

from gnn_service.demo.machines.moulding import duty
from gnn_service.demo.machines.moulding.clamping import most_flow, pump_leakage, top_up
from gnn_service.demo.machines.moulding.duty import Segment
from gnn_service.demo.machines.moulding.work import Part
from gnn_service.demo.plant import Array
from gnn_service.physics import gas, motors
from gnn_service.physics import moulding as physics

REFERENCE_K = 293.15
RING_REFERENCE_PA = 60e6
DROOP_REFERENCE_PA = 120e5
ADIABATIC = 1.4
HALVINGS = 10
LEAST_GAS_SHARE = 1e-3
MELT_WEIGHTS = (0.10, 0.20, 0.25, 0.25, 0.20, 0.0)
"""How much each zone decides the temperature of the metered melt."""


def melt_viscosity(part: Part) -> Array:
    """Viscosity of the melt over that of the nominal material at its set temperatures."""
    reference = sum(
        weight * part.p(f"barrel_heaters.setpoint_{zone}") for zone, weight in enumerate(MELT_WEIGHTS, start=1)
    )
    thinning = physics.melt_thinning(part.s("melt_k"), reference, part.p("screw_unit.viscosity_temperature"))
    return np.asarray(part.p("material") * thinning)


def gas_pressure(part: Part) -> Array:
    """Pressure of the accumulator's gas."""
    return np.asarray(
        gas.gas_pressure(
            part.p("accumulator.charge"),
            part.p("accumulator.shell"),
            part.s("gas_volume"),
            part.s("gas_k"),
            REFERENCE_K,
        )
    )


def exchange(part: Part, out: Array) -> Array:
    """Let oil (m3) out of the accumulator, or in where negative; mean pressure at which it passes, Pa."""
    before, warm = part.s("gas_volume"), part.s("gas_k")
    start = gas_pressure(part)
    after = before + out
    cooled = gas.compressed_temperature(warm, before, after, ADIABATIC)
    work = part.p("gas.heat_capacity") * (warm - cooled)
    moved = abs(out) > 1e-9
    part.set(gas_volume=after, gas_k=cooled)
    return np.where(moved, work / np.where(moved, out, 1.0), start)


class Filling:
    """Melt and oil while the screw injects: what pressure a screw speed takes, and what the supply can give."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.area, self.screw = part.p("injection.area"), part.p("screw.area")
        self.friction = part.p("injection_cylinder.friction")
        filled = part.s("injected") / part.p("cavity")
        length = physics.flow_length(np.minimum(np.maximum(filled, 0.0), 1.0))
        self.scale = part.p("screw_unit.fill_pressure") * length * melt_viscosity(part)
        self.crammed = part.p("screw_unit.melt_bulk_modulus") * np.maximum(filled - 1.0, 0.0)
        self.exponent = part.p("screw_unit.fill_exponent")
        self.ring = part.p("screw_unit.ring_leakage") * part.p("nominal_shot")
        self.valve = part.p("injection.valve") * self.area**2
        self.gain = part.p("manifold.control_gain")
        self.seal = part.p("injection_cylinder.seal_leakage") * part.s("thinning")
        self.null = part.p("manifold.injection_null_leakage")
        self.start = gas_pressure(part)
        self.give = part.s("gas_volume") / (ADIABATIC * self.start)  # m3 of oil a pascal
        self.room = part.p("accumulator.shell") - part.s("gas_volume")

    def pressures(self, speed: Array) -> tuple[Array, Array]:
        """Melt and injection pressure (Pa) at a screw speed; what the check ring lets back does not fill."""
        nominal = self.screw * duty.FILL_SPEED[Segment.FILL_FAST]
        flow = self.screw * speed
        melt = self.scale * (flow / nominal) ** self.exponent + self.crammed
        back = physics.ring_flow(self.ring, 1.0, melt, RING_REFERENCE_PA)
        ahead = np.maximum(flow - back, 0.05 * flow)
        melt = self.scale * (ahead / nominal) ** self.exponent + self.crammed
        return melt, (melt * self.screw + self.friction) / self.area

    def supply(self, pressure: Array) -> Array:
        """Flow of the pumps in pressure control with the gain of `control_gain`, m3/s."""
        wanted = np.maximum(self.gain * (duty.FILL_TARGET_PRESSURE - pressure), 0.0)
        return np.asarray(np.minimum(wanted, most_flow(self.part, pressure)))

    def demand(self, speed: Array, pressure: Array, injection: Array) -> Array:
        """Flow that the injection takes: the cylinders, their seals, the null leakage of the valve."""
        return self.area * speed + self.seal * injection + self.null * pressure

    def node(self, demand: Array, step: Array) -> tuple[Array, Array]:
        """Mean pressure of pumps and accumulator over a step of constant demand, and the pumps' mean flow."""
        settled = duty.FILL_TARGET_PRESSURE - demand / self.gain
        reach = np.maximum(step * self.gain / self.give, 1e-9)
        mean = settled + (self.start - settled) * (1.0 - np.exp(-reach)) / reach
        pumps = self.gain * (duty.FILL_TARGET_PRESSURE - mean)
        most = most_flow(self.part, mean)
        short = pumps > most
        falling = self.start - 0.5 * (demand - most) * step / self.give
        mean = np.where(short, np.minimum(mean, falling), mean)
        return mean, np.minimum(
            np.maximum(pumps, 0.0), np.where(short, most_flow(self.part, np.maximum(mean, 0.0)), most)
        )

    def fastest(self, wanted: Array, step: Array) -> Array:
        """The greatest speed up to ``wanted`` that supply and valve can give in this step, m/s."""
        low, high = np.zeros_like(wanted), wanted
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            enough = self._surplus(middle, step) >= 0.0
            low, high = np.where(enough, middle, low), np.where(enough, high, middle)
        less, more = self._surplus(low, step), self._surplus(high, step)
        crossing = low + (high - low) * less / np.maximum(less - more, 1e-12)
        return np.where(self._surplus(wanted, step) >= 0.0, wanted, np.maximum(crossing, 0.0))

    def _surplus(self, speed: Array, step: Array) -> Array:
        """Flow that is left over at the end of a step at this speed with the valve wide open."""
        _, injection = self.pressures(speed)
        pressure = injection + self.valve * speed * speed
        stored = np.minimum(self.give * (self.start - pressure), self.room) / step
        return self.supply(pressure) + stored - self.demand(speed, pressure, injection)


def fill(part: Part) -> None:
    """Inject with controlled speed until the screw is where the segment ends."""
    melt_side = Filling(part)
    step = part.available
    fast = part.segment == Segment.FILL_FAST
    target = np.where(fast, part.p("slow_from"), duty.SWITCH_OVER)
    way = np.maximum(part.s("screw") - target, 0.0)
    wanted = _commanded(part, melt_side, fast)
    speed = melt_side.fastest(wanted, step)
    moving = speed > 1e-5
    needed = np.where(moving, way / np.where(moving, speed, 1.0), np.where(way > 0, np.inf, 0.0))
    used = np.minimum(step, needed)
    melt, injection = melt_side.pressures(speed)
    take = melt_side.demand(speed, melt_side.start, injection)
    mean, pumps = melt_side.node(take, np.maximum(used, 1e-6))
    # an empty accumulator gives nothing
    pumps = np.maximum(pumps, take - melt_side.room / np.maximum(used, 1e-6))
    pumps = np.minimum(pumps, take + 0.5 * part.s("gas_volume") / np.maximum(used, 1e-6))
    pressure = exchange(part, (take - pumps) * used)
    pressure = np.where(abs(take - pumps) * used > 1e-9, pressure, mean)
    arrived = needed <= step
    late = part.s("elapsed") + used > duty.FILL_TIMEOUT_S
    _inject(part, speed, used, melt)
    part.set(
        screw=np.where(arrived, target, part.s("screw") - speed * used),
        fill_time=part.s("fill_time") + used,
        fill_peak=np.maximum(part.s("fill_peak"), injection),
    )
    part.show(pressure=pressure, flow=pumps, p_hyd=injection, v_screw=speed)
    part.show(opening=_opening(part, speed, pressure - injection))
    leak = melt_side.seal * injection
    null = take - melt_side.area * speed - leak
    part.add(
        valves=((pressure - injection) * (melt_side.area * speed + leak) + pressure * null) * used,
        seals=injection * leak * used,
        friction=melt_side.friction * speed * used,
        drawn=pumps * used,
        returned=(part.p("injection.back") * speed + leak + null) * used,
    )
    part.end(used, arrived | late)


def _commanded(part: Part, melt_side: Filling, fast: Array) -> Array:
    """Speed that the valve's closed loop reaches: lag at the start, hysteresis from cycle to cycle, droop with load."""
    ideal = duty.FILL_SPEED[part.segment] * (1.0 + part.p("manifold.injection_hysteresis") * (2.0 * part.draw(1) - 1.0))
    _, injection = melt_side.pressures(ideal)
    ideal = ideal * (1.0 - part.p("manifold.injection_droop") * injection / DROOP_REFERENCE_PA)
    lag, since = part.p("manifold.injection_lag"), part.s("fill_time")
    missing = lag * (np.exp(-since / lag) - np.exp(-(since + part.available) / lag)) / part.available
    return np.where(fast, ideal * (1.0 - missing), ideal)


def _opening(part: Part, speed: Array, drop: Array) -> Array:
    """Opening of the servo valve for this flow at this drop, 0..1."""
    full = np.sqrt(np.maximum(drop, 1e4) / part.p("injection.valve"))
    return np.asarray(np.minimum(part.p("injection.area") * speed / full, 1.0))


def _inject(part: Part, speed: Array, used: Array, melt: Array) -> None:
    """Melt into the cavity and back past the check ring."""
    area = part.p("screw.area")
    back = physics.ring_flow(part.p("screw_unit.ring_leakage"), part.p("nominal_shot"), melt, RING_REFERENCE_PA)
    ahead = np.maximum(area * speed - back, 0.05 * area * speed)
    part.set(injected=part.s("injected") + ahead * used)
    part.add(melt=melt * area * speed * used)


def hold(part: Part) -> None:
    """Pack melt at controlled pressure while the gate freezes; or press on a blocked nozzle, as a test."""
    testing = part.segment == Segment.INJECTION_TEST
    injection = np.where(testing, duty.TEST_PRESSURE, duty.HOLD_PRESSURE)
    supply = injection + duty.SUPPLY_MARGIN
    left = np.maximum(duty.DURATION[part.segment] - part.s("elapsed"), 0.0)
    used = np.minimum(part.available, left)
    span = np.maximum(used, 1e-6)
    screw, area = part.p("screw.area"), part.p("injection.area")
    friction = part.p("injection_cylinder.friction")
    melt = (injection * area - friction) / screw
    full = physics.cavity_volume(part.p("cavity"), melt, part.p("screw_unit.melt_bulk_modulus"))
    share = physics.packed_share(
        part.s("elapsed"),
        used,
        part.p("screw_unit.gate_time"),
        part.p("screw_unit.packing_time") * melt_viscosity(part),
    )
    packed = np.where(testing, 0.0, np.maximum(full - part.s("injected"), 0.0) * share)
    back = physics.ring_flow(part.p("screw_unit.ring_leakage"), part.p("nominal_shot"), melt, RING_REFERENCE_PA) * used
    wanted = (packed + back) / screw
    step = np.minimum(wanted, part.s("screw"))
    part_of = step / np.maximum(wanted, 1e-12)
    part.set(
        screw=part.s("screw") - step,
        injected=part.s("injected") + packed * part_of,
        creep=np.where(testing, part.s("creep") + step, part.s("creep")),
    )
    clamp = top_up(part, supply, span)
    leak = part.p("injection_cylinder.seal_leakage") * part.s("thinning") * injection
    null = part.p("manifold.injection_null_leakage") * supply
    flow = area * step / span + leak
    part.show(pressure=supply, flow=flow + null + clamp, p_hyd=injection, v_screw=step / span)
    part.show(opening=_opening(part, step / span, supply - injection))
    part.add(
        valves=((supply - injection) * flow + supply * null) * used,
        seals=injection * leak * used,
        friction=friction * step,
        melt=melt * screw * step,
        drawn=(flow + null) * used,
        returned=part.p("injection.back") * step + (leak + null) * used,
    )
    part.end(used, left <= part.available)


def plasticise(part: Part) -> None:
    """Turn the screw at controlled speed until the shot is metered; the screw moves back against back pressure."""
    limit, valve = part.p("manifold.pressure_limit"), part.p("screw.valve")
    displacement, efficiency = (
        part.p("plasticizing_motor.displacement"),
        part.p("plasticizing_motor.mechanical_efficiency"),
    )
    scatter = 1.0 + part.p("screw_unit.torque_scatter") * (4.0 * part.draw(2) - 2.0)
    torque = part.p("screw_unit.torque") * melt_viscosity(part) * scatter
    drop = motors.motor_drop(torque, displacement, efficiency)
    slowed = np.minimum(np.maximum((limit - drop) / (10.0 * duty.BAR), 0.0), 1.0)
    turning = part.p("screw_unit.speed") * slowed
    leak = part.p("plasticizing_motor.leakage") * part.s("thinning") * drop
    flow = displacement * turning + leak
    supply = np.minimum(drop + valve * flow * flow, limit + 5.0 * duty.BAR)
    area, annulus = part.p("screw.area"), part.p("injection.area")
    back_melt = duty.BACK_PRESSURE * annulus / area
    rate = physics.plasticising_rate(
        part.p("screw_unit.rate"), slowed, back_melt, part.p("screw_unit.rate_back_pressure")
    ) * (1.0 + 0.004 * (2.0 * part.draw(3) - 1.0))
    speed = rate / (part.p("screw_unit.melt_density") * area)
    dose = np.minimum(part.p("dose") + part.s("trim"), part.p("screw_unit.stroke"))
    way = np.maximum(dose - part.s("screw"), 0.0)
    moving = speed > 1e-6
    needed = np.where(moving, way / np.where(moving, speed, 1.0), np.inf)
    used = np.minimum(part.available, needed)
    arrived = needed <= part.available
    late = part.s("elapsed") + used > duty.PLASTICISE_TIMEOUT_S
    step = speed * used
    clamp = top_up(part, supply, np.maximum(used, 1e-6))
    part.set(
        screw=np.where(arrived, dose, part.s("screw") + step),
        plast_time=part.s("plast_time") + used,
        cooling_time=part.s("cooling_time") + used,
    )
    shaft = 2.0 * np.pi * turning * torque * used
    part.show(pressure=supply, flow=flow + clamp, rpm=turning, p_motor=drop, p_hyd=duty.BACK_PRESSURE, v_screw=-speed)
    part.add(
        valves=((supply - drop) * flow + duty.BACK_PRESSURE * annulus * speed) * used,
        seals=drop * leak * used,
        screw_drive=drop * displacement * turning * used - shaft,
        melt=shaft - duty.BACK_PRESSURE * annulus * step,
        shear=shaft - duty.BACK_PRESSURE * annulus * step,
        plasticised=rate * used,
        drawn=flow * used + part.p("injection.back") * step,
        returned=flow * used + annulus * step,
    )
    part.end(used, arrived | late)


def charge(part: Part) -> None:
    """Fill the accumulator again while the part cools."""
    start, step = gas_pressure(part), part.available
    give = part.s("gas_volume") / (ADIABATIC * start)
    gain = 8.0 * part.p("manifold.control_gain")
    reach = np.maximum(step * gain / give, 1e-9)
    near = gain * np.maximum(duty.FILL_TARGET_PRESSURE - start, 0.0) * (1.0 - np.exp(-reach)) / reach
    flow = np.minimum(np.minimum(duty.CHARGE_FLOW, near), most_flow(part, start))
    spare = part.s("gas_volume") - LEAST_GAS_SHARE * part.p("accumulator.shell")
    flow = np.minimum(flow, np.maximum(spare, 0.0) / step)
    mean = exchange(part, -flow * step)
    clamp = top_up(part, mean, step)
    full = gas_pressure(part) >= part.p("accumulator.charged_pressure")
    late = part.s("elapsed") + step > duty.CHARGE_TIMEOUT_S
    part.set(cooling_time=part.s("cooling_time") + step)
    part.show(pressure=mean, flow=flow + clamp)
    part.add(drawn=flow * step)
    part.end(step, full | late | (flow <= 1e-7))


__all__ = ["charge", "exchange", "fill", "gas_pressure", "hold", "plasticise", "pump_leakage"]
