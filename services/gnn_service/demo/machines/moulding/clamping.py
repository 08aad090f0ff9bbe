"""Clamp, ejector, and the segments in which the oil only circulates or a test holds pressure."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gnn_service.demo.machines.moulding import duty
from gnn_service.demo.machines.moulding.duty import Segment
from gnn_service.demo.machines.moulding.work import Part, Work
from gnn_service.demo.plant import Array
from gnn_service.physics import moulding as physics


def pump_leakage(part: Part) -> Array:
    """Leakage of both pumps a pascal, m3/s/Pa, in this oil."""
    return np.asarray((part.p("servo_pump_1.leakage") + part.p("servo_pump_2.leakage")) * part.s("thinning"))


def most_flow(part: Part, pressure: Array) -> Array:
    """Flow of both pumps at full speed against a pressure, m3/s."""
    first = part.p("servo_pump_1.displacement") * part.p("servo_pump_1.speed_max")
    second = part.p("servo_pump_2.displacement") * part.p("servo_pump_2.speed_max")
    return np.maximum(first + second - pump_leakage(part) * pressure, 0.0)


def toggle_at(part: Part, distance: Array) -> tuple[Array, Array]:
    """Clamping force (N) and toggle ratio at a crosshead distance from lock."""
    shape = (part.p("toggle_tiebars.ratio_at_lock"), part.p("toggle_tiebars.ratio_knee"))
    at_open = part.p("toggle_tiebars.ratio_open")
    left = physics.platen_travel(distance, *shape, at_open)
    force = physics.clamp_force(part.p("toggle_tiebars.stiffness"), part.p("toggle_tiebars.overclosing"), left)
    return force, physics.toggle_ratio(distance, *shape, at_open)


def clamping_force(work: Work) -> Array:
    """Force of every machine's tie bars, N."""
    p = work.p
    left = physics.platen_travel(
        work.s["crosshead"],
        p["toggle_tiebars.ratio_at_lock"],
        p["toggle_tiebars.ratio_knee"],
        p["toggle_tiebars.ratio_open"],
    )
    force = physics.clamp_force(p["toggle_tiebars.stiffness"], p["toggle_tiebars.overclosing"], left)
    return np.asarray(force)


def clamp(part: Part) -> None:
    """Move the crosshead: speed-controlled flow, valve drops both ways, the toggle's load, pressure limited."""
    closing = part.segment <= Segment.LOCK_UP
    drive = np.where(closing, part.p("clamp.head"), part.p("clamp.rod"))
    back = np.where(closing, part.p("clamp.rod"), part.p("clamp.head"))
    at, target = part.s("crosshead"), duty.CLAMP_TARGET[part.segment] * part.p("toggle_tiebars.crosshead_stroke")
    way = np.maximum(np.where(closing, at - target, target - at), 0.0)
    set_flow = duty.FLOW_RESERVE * duty.CLAMP_FLOW[part.segment]
    halfway = np.minimum(0.5 * set_flow / drive * part.available, 0.5 * way)
    elastic, ratio = toggle_at(part, np.where(closing, at - halfway, at + halfway))
    share = part.p("toggle.friction")
    bushings = elastic / ratio * share
    resisting = np.where(closing, elastic, -elastic) / ratio + bushings
    friction = part.p("clamp_cylinder.friction")
    # on opening, the large side drains through a logic valve beside the spool
    drain = part.p("clamp.valve") / np.where(closing, 1.0, part.p("manifold.clamp_return") ** 2)
    axis = Axis(drive, back, part.p("clamp.valve"), drain, part.p("clamp_cylinder.seal_leakage"))
    pressure, supply, behind, leak, speed = move(part, axis, set_flow, resisting + friction)
    moving = speed > 1e-5
    needed = np.where(moving, way / np.where(moving, speed, 1.0), np.where(way > 0, np.inf, 0.0))
    used = np.minimum(part.available, needed)
    stuck = part.s("elapsed") + used > duty.MOTION_TIMEOUT_S
    step = speed * used
    arrived = needed <= part.available
    peak = pressure + _peak_above(part, at, step, elastic / ratio) * (1.0 + share) / drive
    peak = np.minimum(np.maximum(part.s("lock_peak"), peak), part.p("manifold.pressure_limit"))
    part.set(
        crosshead=np.where(arrived, target, np.where(closing, at - step, at + step)),
        lock_peak=np.where(closing, peak, 0.0),
    )
    part.show(
        pressure=supply,
        flow=speed * drive + leak,
        p_head=np.where(closing, pressure, behind),
        v_clamp=np.where(closing, speed, -speed),
    )
    part.add(
        valves=((supply - pressure) * (speed * drive + leak) + behind * speed * back) * used,
        seals=pressure * leak * used,
        friction=(friction + bushings) * step,
        drawn=(speed * drive + leak) * used,
        returned=(speed * back + leak) * used,
    )
    part.end(used, arrived | stuck)


def _peak_above(part: Part, at: Array, step: Array, mean: Array) -> Array:
    """How far the crosshead's force within a step of locking rises above its mean, N."""
    most = mean
    for fraction in (0.0, 0.25, 0.75, 1.0):
        force, ratio = toggle_at(part, np.maximum(at - fraction * step, 0.0))
        most = np.maximum(most, force / ratio)
    return np.where(part.segment == Segment.LOCK_UP, most - mean, 0.0)


class Motion(NamedTuple):
    """How a cylinder moves: pressures (Pa) at its drive side, at the pumps and behind it, seal leakage, speed."""

    pressure: Array
    supply: Array
    behind: Array
    leak: Array
    speed: Array


@dataclass(frozen=True, slots=True)
class Axis:
    """A cylinder with the valve edges that it moves through."""

    drive: Array
    back: Array
    valve: Array
    drain: Array
    seal: Array


def move(part: Part, axis: Axis, set_flow: Array, force: Array) -> Motion:
    """Motion against a force (pulling where negative) at a set pump flow, less leakage, below the pressure limit."""
    limit, losses = part.p("manifold.pressure_limit"), pump_leakage(part)
    ratio, static = axis.back / axis.drive, force / axis.drive
    rise = axis.drain * ratio**3
    cap = np.sqrt(np.maximum(limit - static, 0.0) / (axis.valve + rise))
    flow = np.minimum(set_flow, cap)
    for _ in range(2):
        supply = np.maximum(static + rise * flow * flow, 0.0) + axis.valve * flow * flow
        flow = np.minimum(np.minimum(set_flow - losses * supply, most_flow(part, supply)), cap)
        flow = np.maximum(flow, 0.0)
    carried = static + rise * flow * flow
    pressure = np.minimum(np.maximum(carried, 0.0), limit)
    supply = np.minimum(pressure + axis.valve * flow * flow, limit)
    # a load that pulls is held by the return edge
    behind = axis.drain * (flow * ratio) ** 2 + np.maximum(-carried, 0.0) / ratio
    leak = np.minimum(axis.seal * part.s("thinning") * pressure, flow)
    return Motion(pressure, supply, behind, leak, (flow - leak) / axis.drive)


def top_up(part: Part, pressure: Array, used: Array) -> Array:
    """Keep the locked clamp at its pressure from a supply at ``pressure``; the flow that it takes, m3/s."""
    held = part.p("toggle_tiebars.lock_pressure")
    leak = part.p("clamp_cylinder.seal_leakage") * part.s("thinning") * held
    gap = part.s("crosshead")
    span = np.maximum(used, 1e-6)
    flow = leak + gap * part.p("clamp.head") / span
    part.add(
        valves=(pressure - held) * flow * used,
        seals=held * leak * used,
        returned=leak * used + gap * part.p("clamp.rod"),
        drawn=flow * used,
    )
    part.set(crosshead=np.zeros_like(gap))
    part.show(p_head=held)
    return np.asarray(flow)


def creep_back(part: Part, used: Array) -> None:
    """Let the locked clamp, shut off from the supply, drift back by its seal leakage."""
    held = part.p("toggle_tiebars.lock_pressure")
    leak = part.p("clamp_cylinder.seal_leakage") * part.s("thinning") * held
    gap = np.minimum(leak / part.p("clamp.head") * used, 0.05 - part.s("crosshead"))
    part.set(crosshead=part.s("crosshead") + gap)
    part.add(returned=gap * (part.p("clamp.head") - part.p("clamp.rod")))
    part.show(p_head=held)


def quiet(part: Part) -> None:
    """Timed segments: oil circulates at a set pressure and flow; a test holds pressure against shut valves."""
    duration = duty.DURATION[part.segment]
    robot = part.segment == Segment.ROBOT
    duration = np.where(robot, duration * (0.99 + 0.02 * part.draw(0)), duration)
    left = np.maximum(duration - part.s("elapsed"), 0.0)
    used = np.minimum(part.available, left)
    pressure, flow = duty.PRESSURE[part.segment], duty.FLOW[part.segment]
    part.show(
        pressure=pressure,
        flow=flow,
        on_1=np.where(part.segment == Segment.PUMP_TEST_2, 0.0, 1.0),
        on_2=np.where(part.segment == Segment.PUMP_TEST_1, 0.0, 1.0),
    )
    part.add(valves=pressure * flow * used, drawn=flow * used, returned=flow * used)
    part.end(used, left <= part.available)


def rest(part: Part) -> None:
    """Wait for the part to freeze, the screw to be drawn back, and the barrel to be warm enough."""
    cooled, since = part.s("cooling_time"), part.s("elapsed")
    drawn_back = duty.REST_LEAST_S - (cooled - part.s("plast_time"))
    needed = np.maximum(np.maximum(part.p("cooling_s") - cooled, drawn_back), duty.DECAY_LEAST_S - since)
    setpoints = np.stack([part.p(f"barrel_heaters.setpoint_{zone}") for zone in range(1, 7)])
    cold = (part.work.zones[:, part.index] < setpoints - duty.ZONE_TOLERANCE_K).any(axis=0)
    latest = part.p("cooling_s") + duty.WAIT_MOST_S - cooled
    left = np.maximum(np.where(cold, np.maximum(needed, latest), needed), 0.0)
    testing = part.segment == Segment.CLAMP_TEST
    left = np.where(testing, duty.DURATION[Segment.CLAMP_TEST] - since, left)
    used = np.minimum(part.available, left)
    pressure, flow = duty.PRESSURE[part.segment], duty.FLOW[part.segment]
    creep_back(part, used)
    part.set(cooling_time=cooled + used)
    part.show(pressure=pressure, flow=flow)
    part.add(valves=pressure * flow * used, drawn=flow * used, returned=flow * used)
    part.end(used, left <= part.available)


def eject(part: Part) -> None:
    """Push the part out, and come back."""
    out = part.segment == Segment.EJECT_OUT
    drive = np.where(out, part.p("ejector.head"), part.p("ejector.rod"))
    back = np.where(out, part.p("ejector.rod"), part.p("ejector.head"))
    friction = np.where(out, 1.0, 0.25) * part.p("ejector_cylinder.friction")
    valve = part.p("ejector.valve")
    axis = Axis(drive, back, valve, valve, part.p("ejector_cylinder.seal_leakage"))
    set_flow = np.full_like(drive, duty.FLOW_RESERVE * duty.EJECT_FLOW)
    pressure, supply, behind, leak, speed = move(part, axis, set_flow, friction)
    speed = np.maximum(speed, 1e-3)
    flow = speed * drive + leak
    at = part.s("ejector")
    way = np.maximum(np.where(out, part.p("ejector_cylinder.stroke") - at, at), 0.0)
    used = np.minimum(part.available, way / speed)
    step = speed * used
    arrived = way <= speed * part.available
    end = np.where(out, part.p("ejector_cylinder.stroke"), 0.0)
    part.set(ejector=np.where(arrived, end, np.where(out, at + step, at - step)))
    part.show(pressure=supply, flow=flow, p_eject=np.where(out, pressure, behind))
    part.add(
        valves=((supply - pressure) * flow + behind * speed * back) * used,
        seals=pressure * leak * used,
        friction=friction * step,
        drawn=flow * used,
        returned=(speed * back + leak) * used,
    )
    part.end(used, arrived)
