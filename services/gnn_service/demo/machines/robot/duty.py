"""What the robot does: poses, segments of motion, programs and tests, and the operating states that hold them.

A script is a list of segments that begins and ends at the home pose, so that any may follow any other. A move is
a quintic point-to-point motion (J. J. Craig, *Introduction to Robotics*, 2005, ch. 7); a test drives an axis with
constant speed in both directions, between ramps that are smooth in acceleration.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.plant import Array, SiteFactor

STATES = ("handling", "waiting", "cold_start", "friction_test", "brake_test", "backlash_test", "accuracy_test")
PHASES = (
    "", "approach", "pick_down", "grip", "lift", "transfer", "place_down", "release", "up", "return",
    "positioning", "steady", "measuring",
)  # fmt: skip
SHIFT = {
    "handling": 0.93,
    "waiting": 0.05,
    "cold_start": 0.015,
    "friction_test": 0.002,
    "brake_test": 0.001,
    "backlash_test": 0.001,
    "accuracy_test": 0.001,
}
SITE: Mapping[str, SiteFactor] = {
    "ambient_k": SiteFactor(298.15, 283.15, 311.15, "air of the hall, K"),
    "override": SiteFactor(0.9, 0.7, 1.0, "speed override that production runs with"),
    "heavy_share": SiteFactor(1 / 3, 0.1, 0.6, "share of lots with the heaviest part; the others share the rest"),
}
PAYLOADS_KG = (20.0, 80.0, 150.0)
LOT_CYCLES = 8
"""Cycles that follow each other with the same program and part."""
WARM_UP_OVERRIDE = 0.6

Test = Literal["", "friction", "brake", "backlash", "accuracy"]
Pose = tuple[float, float, float, float, float, float]

HOME: Pose = (-40.0, -99.0, 103.0, -43.0, 54.0, -9.0)
# above the pick, at it, above the place, at it: degrees; the first program is the one that anchors are taken from
PROGRAMS: tuple[tuple[Pose, Pose, Pose, Pose], ...] = (
    (
        (-62.0, -76.0, 88.0, 83.0, 50.0, 134.0),
        (-62.0, -58.5, 82.5, 83.0, 30.0, 134.0),
        (63.0, -67.0, 85.0, -82.0, 52.0, -130.0),
        (63.0, -42.0, 75.0, -82.0, 44.0, -130.0),
    ),
    (
        (-55.0, -80.0, 92.0, 60.0, 46.0, 90.0),
        (-55.0, -62.0, 86.0, 60.0, 30.0, 90.0),
        (50.0, -72.0, 90.0, -70.0, 48.0, -95.0),
        (50.0, -50.0, 82.0, -70.0, 38.0, -95.0),
    ),
    (
        (-70.0, -70.0, 80.0, 40.0, 55.0, 60.0),
        (-70.0, -52.0, 75.0, 40.0, 38.0, 60.0),
        (45.0, -62.0, 78.0, -45.0, 55.0, -60.0),
        (45.0, -40.0, 70.0, -45.0, 42.0, -60.0),
    ),
    (
        (-48.0, -84.0, 96.0, 75.0, 44.0, 110.0),
        (-48.0, -68.0, 92.0, 75.0, 30.0, 110.0),
        (58.0, -76.0, 93.0, -60.0, 46.0, -120.0),
        (58.0, -56.0, 88.0, -60.0, 36.0, -120.0),
    ),
)
TEST_SPEEDS = (40.0, 18.0, 18.0, 60.0, 60.0, 80.0)
"""Speed of each axis in the friction test, deg/s."""
RAMP_S, STEADY_S = 0.3, 1.5

# coefficients of x, x^2, ... x^5 of the share of the way, for the share x of the time
SHAPES = {
    "move": (0.0, 0.0, 10.0, -15.0, 6.0),
    "steady": (1.0, 0.0, 0.0, 0.0, 0.0),
    "ramp_up": (0.0, 0.0, 2.0, -1.0, 0.0),
    "ramp_down": (2.0, 0.0, -2.0, 1.0, 0.0),
}


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of a script: to which pose (deg), in how many seconds at full override.

    ``axis`` is the axis (from 0) that a test looks at, -1 for none; ``direction`` is +1 or -1 while it runs with
    constant speed; ``report`` marks where the result of the test is known; ``braked`` that drives are off.
    """

    pose: Pose
    seconds: float
    phase: str
    shape: str = "move"
    scaled: bool = True
    loaded: bool = False
    braked: bool = False
    test: Test = ""
    axis: int = -1
    direction: int = 0
    report: bool = False


def _handling(above_pick: Pose, pick: Pose, above_place: Pose, place: Pose) -> tuple[Segment, ...]:
    return (
        Segment(above_pick, 1.4, "approach"),
        Segment(pick, 1.0, "pick_down"),
        Segment(pick, 0.7, "grip", scaled=False),
        Segment(above_pick, 1.0, "lift", loaded=True),
        Segment(above_place, 2.6, "transfer", loaded=True),
        Segment(place, 1.1, "place_down", loaded=True),
        Segment(place, 0.6, "release", scaled=False),
        Segment(above_place, 1.0, "up"),
        Segment(HOME, 2.6, "return"),
    )


def _beside_home(axis: int, degrees: float) -> Pose:
    pose = list(HOME)
    pose[axis] += degrees
    return pose[0], pose[1], pose[2], pose[3], pose[4], pose[5]


def _friction_of(axis: int) -> list[Segment]:
    speed = TEST_SPEEDS[axis]
    reach = speed * (STEADY_S + RAMP_S) / 2
    edge = reach - speed * RAMP_S / 2
    there, back, start, end = (_beside_home(axis, at) for at in (edge, -edge, -reach, reach))
    common = Segment(HOME, 1.0, "positioning", test="friction", axis=axis, scaled=False)
    return [
        replace(common, pose=start),
        replace(common, pose=back, seconds=RAMP_S, shape="ramp_up"),
        replace(common, pose=there, seconds=STEADY_S, shape="steady", phase="steady", direction=1),
        replace(common, pose=end, seconds=RAMP_S, shape="ramp_down"),
        replace(common, pose=there, seconds=RAMP_S, shape="ramp_up"),
        replace(common, pose=back, seconds=STEADY_S, shape="steady", phase="steady", direction=-1),
        replace(common, pose=start, seconds=RAMP_S, shape="ramp_down"),
        common,
        replace(common, seconds=0.5, phase="measuring", report=True),
    ]


def _standing(test: Test, axis: int, *, braked: bool) -> list[Segment]:
    common = Segment(HOME, 1.0, "measuring", test=test, axis=axis, braked=braked, scaled=False)
    return [common, replace(common, seconds=0.5, report=True)]


def _accuracy() -> tuple[Segment, ...]:
    away, approach = PROGRAMS[0][0], replace(Segment(HOME, 2.0, "positioning"), test="accuracy", scaled=False)
    report = replace(approach, seconds=0.5, phase="measuring", report=True)
    return (replace(approach, pose=away), approach, replace(approach, pose=away), approach, report)


SCRIPTS: tuple[tuple[Segment, ...], ...] = (
    *(_handling(*poses) for poses in PROGRAMS),
    (Segment(HOME, 10.0, "", braked=True, scaled=False),),
    tuple(segment for axis in range(6) for segment in _friction_of(axis)),
    tuple(segment for axis in range(6) for segment in _standing("brake", axis, braked=True)),
    tuple(segment for axis in range(6) for segment in _standing("backlash", axis, braked=False)),
    _accuracy(),
)
WAITING, FRICTION, BRAKE, BACKLASH, ACCURACY = range(len(PROGRAMS), len(PROGRAMS) + 5)
SCRIPT_OF_STATE = np.array([0, WAITING, 0, FRICTION, BRAKE, BACKLASH, ACCURACY])
"""Script of each state; handling and cold start choose among the programs."""
LONGEST = max(len(script) for script in SCRIPTS)


@dataclass(frozen=True, slots=True)
class Tables:
    """All segments of all scripts one after the other, G of them, as arrays."""

    first: NDArray[np.int64]
    """First segment of each script, and of what follows the last."""
    start: Array
    """Pose at the begin, rad, (6, G)."""
    way: Array
    """Pose at the end less that at the begin, rad, (6, G)."""
    shape: Array
    """Coefficients of the shape, (5, G)."""
    seconds: Array
    scaled: NDArray[np.bool_]
    loaded: Array
    driven: Array
    """1 where the drives are on, 0 where brakes hold."""
    phase: NDArray[np.int8]
    test: dict[str, NDArray[np.bool_]]
    axis: NDArray[np.int64]
    direction: Array
    report: NDArray[np.bool_]
    grips: NDArray[np.bool_]
    releases: NDArray[np.bool_]
    holds: NDArray[np.bool_]


def _tables() -> Tables:
    flat = [segment for script in SCRIPTS for segment in script]
    start = [pose for script in SCRIPTS for pose in (HOME, *(segment.pose for segment in script[:-1]))]
    begin, end = np.deg2rad(np.array(start)).T, np.deg2rad(np.array([segment.pose for segment in flat])).T
    phases = [segment.phase for segment in flat]
    return Tables(
        first=np.cumsum([0] + [len(script) for script in SCRIPTS]),
        start=np.ascontiguousarray(begin),
        way=np.ascontiguousarray(end - begin),
        shape=np.ascontiguousarray(np.array([SHAPES[segment.shape] for segment in flat]).T),
        seconds=np.array([segment.seconds for segment in flat]),
        scaled=np.array([segment.scaled for segment in flat]),
        loaded=np.array([float(segment.loaded) for segment in flat]),
        driven=np.array([float(not segment.braked) for segment in flat]),
        phase=np.array([PHASES.index(phase) for phase in phases], dtype=np.int8),
        test={
            test: np.array([segment.test == test for segment in flat])
            for test in ("friction", "brake", "backlash", "accuracy")
        },
        axis=np.array([segment.axis for segment in flat]),
        direction=np.array([float(segment.direction) for segment in flat]),
        report=np.array([segment.report for segment in flat]),
        grips=np.array([phase == "grip" for phase in phases]),
        releases=np.array([phase == "release" for phase in phases]),
        holds=np.array([phase in {"lift", "transfer", "place_down"} for phase in phases]),
    )


TABLES = _tables()
