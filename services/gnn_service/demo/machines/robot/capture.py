"""What can be captured of the robot: its wrist joint A5 in the friction test."""

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from gnn_service.demo.capture import Beside, CircuitCapture, Course, Moment, Signal
from gnn_service.demo.machines.robot.duty import FRICTION, HOME, SCRIPTS, SHAPES, Segment
from gnn_service.demo.machines.robot.dynamic import STEP_S, Command, Joint, capture
from gnn_service.demo.machines.robot.joints import COLD_SCALE_K, NOMINAL_K
from gnn_service.demo.streams import Key
from gnn_service.physics.drives import torque_constant
from gnn_service.physics.robot import viscous_friction

if TYPE_CHECKING:
    from gnn_service.demo.traces import Trace

CELSIUS = 273.15
CAPTURE_HZ = 250.0
WRIST = 4
REST_S = 0.2
LEVEL, ROLL = np.deg2rad(HOME[1] + HOME[2]), np.deg2rad(HOME[3])
"""Attitude of the forearm and turn of A4 in which the test is made, rad."""


def _moves() -> list[tuple[float, float, Segment]]:
    """From and to (rad) of A5, and the segment, for each move of its friction test from the start position on."""
    ours = [segment for segment in SCRIPTS[FRICTION] if segment.axis == WRIST]
    pairs = list(pairwise(ours))[:-1]  # the last one stands and reports
    return [(float(np.deg2rad(a.pose[WRIST])), float(np.deg2rad(b.pose[WRIST])), b) for a, b in pairs]


def command(time: float) -> Command:
    """A5 in its friction test, after a rest in the position where it begins."""
    moves, left = _moves(), time - REST_S
    for start, end, segment in moves:
        if left < segment.seconds:
            x = max(left, 0.0) / segment.seconds
            way, rate = end - start, 1.0 / segment.seconds
            powers = [(k + 1, c) for k, c in enumerate(SHAPES[segment.shape])]
            place = sum(c * x**k for k, c in powers)
            speed = sum(k * c * x ** (k - 1) for k, c in powers) if left > 0 else 0.0
            acceleration = sum(k * (k - 1) * c * x ** max(k - 2, 0) for k, c in powers) if left > 0 else 0.0
            values = (start + way * place, way * speed * rate, way * acceleration * rate * rate)
            return Command(*(np.array([value]) for value in values))
        left -= segment.seconds
    return Command(np.array([moves[-1][1]]), np.zeros(1), np.zeros(1))


def wrist(moment: Moment, key: Key) -> Course:
    """A5 through its friction test, with the part that the gripper holds and the motor as warm as it is."""
    del key  # nothing in it is random
    p, warm = moment.parameters, moment.values["j5_motor.t_motor"]
    payload = moment.values["gripper.payload"]
    joint = Joint.of(p, payload, level=LEVEL, roll=ROLL)
    ratio = p["j5_reducer.ratio"]
    pull = joint.weight / ratio
    mesh = 0.5 * (1.0 / p["j5_reducer.efficiency"] - p["j5_reducer.efficiency"])
    warm_k = np.array([warm + CELSIUS])
    constant = torque_constant(p["j5_motor.torque_constant"], warm_k)
    viscous = viscous_friction(
        p["j5_reducer.viscous_friction"], warm_k, cold_share=p["j5_reducer.cold_share"],
        nominal_k=NOMINAL_K, scale_k=COLD_SCALE_K,
    )  # fmt: skip
    load = 0.5 * (p["j5_reducer.load_friction"] + mesh) * pull
    joint = replace(
        joint,
        friction=joint.friction + (load + p["j5_motor.brake_drag"]) * ratio,
        viscous=viscous * ratio * ratio,
        torque_per_ampere=np.asarray(constant * ratio),
    )
    seconds = REST_S + sum(segment.seconds for _, _, segment in _moves()) + REST_S
    shot = capture(joint, command, seconds, every=round(1.0 / (CAPTURE_HZ * STEP_S)))
    speed = np.array([float(command(float(time)).speed[0]) for time in shot.time])
    degrees = np.rad2deg
    return Course(
        shot.time,
        {
            "j5_motor.q": degrees(shot.motor[:, 0]),
            "j5_motor.qd": degrees(speed),
            "j5_motor.i_q": shot.current[:, 0],
        },
        {
            "command": Signal("deg", "Commanded angle of A5", degrees(shot.command[:, 0])),
            "link": Signal("deg", "Angle of the link of A5", degrees(shot.link[:, 0])),
            "twist": Signal("deg", "Motor against link: twist of the gear and its backlash",
                            degrees(shot.motor[:, 0] - shot.link[:, 0])),
        },
        {"motor_temperature": (warm, "Cel"), "payload": (payload, "kg")},
    )  # fmt: skip


def _begins(trace: "Trace") -> int:
    """The step of a trace of friction tests in which A5 leaves its start position."""
    angle = trace.values("j5_motor.q")[:, 0]
    start = float(np.rad2deg(_moves()[0][0]))
    moving = np.abs(np.diff(angle)) > 1e-3
    there = np.flatnonzero(moving[1:] & (np.abs(angle[1:-1] - start) < 0.05))
    return int(there[-1 if len(there) == 1 else 0]) + 1


CAPTURES = (
    CircuitCapture(
        id="wrist_joint",
        circuit="motor, belt and strain-wave gear of A5 as a spring with backlash, and the link with its part",
        manoeuvre="friction test of A5: to and fro at 60 deg/s with the arm in its home position",
        components=("j5_motor", "j5_reducer"),
        modes=("R4",),
        rate_hz=CAPTURE_HZ,
        step_s=STEP_S,
        simulate=wrist,
        beside=Beside("friction_test", _begins, ("j5_motor.i_q", "j5_motor.q"), lead_s=REST_S),
    ),
)
