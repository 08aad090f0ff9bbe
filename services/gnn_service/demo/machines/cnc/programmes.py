"""What the machining centre is told to do: its operating states, and the segments of each one's programme.

Cutting data are representative of roughing with a 50 mm cutter and finishing with a ball cutter: aluminium
(k_c 800 N/mm2, 420 cm3/min), heat-treated steel 42CrMo4 (2 200 N/mm2, 260 cm3/min) and Ti-6Al-4V (1 900 N/mm2,
70 cm3/min).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.plant import Array
from gnn_service.physics.axes import cutting_power

PRODUCTION, WARM_UP, AIR_CUT, REVERSAL, BALL_BAR, CLAMP, IDLE = range(7)
STATES = ("production", "warm_up", "air_cut", "reversal_test", "ball_bar_test", "clamp_test", "idle")
PHASES = (
    "", "load", "probe", "tool_change", "rough", "semi_finish", "finish", "wash",
    "warm_up_20", "warm_up_40", "warm_up_60", "warm_up_80", "air_cut", "reversal", "ball_bar", "clamp_test", "result",
    "idle",
)  # fmt: skip
MATERIALS = ("aluminium", "42CrMo4", "Ti-6Al-4V")
TOOLS = 12
MAX_SPEED = 250.0
FIXED, PART, OPERATOR = range(3)
"""What a segment's length goes with: nothing, the size of the part (and the feed), or who loads it."""

Motion = tuple[float, float, float, float]
"""Speed, stroke, acceleration and least dwell of one axis: m/s, m, m/s2 (rotary axes: rad) and s."""
STILL: Motion = (0.01, 0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a programme in which the commands stay the same.

    ``spindle`` in revolutions a second, ``power`` in W at the edge of a new tool, ``cutter`` its diameter in m;
    ``axes`` the motions of X, Y, Z, A and C; ``tool`` counts from 1, 0 where none is needed.
    """

    phase: str
    seconds: float
    scale: int = FIXED
    tool: int = 0
    spindle: float = 0.0
    power: float = 0.0
    cutter: float = 0.05
    axes: tuple[Motion, ...] = (STILL, STILL, STILL, STILL, STILL)
    coolant: bool = False
    clamp_a: bool = True
    clamp_c: bool = True
    change: bool = False
    drives: bool = True


@dataclass(frozen=True, slots=True)
class Material:
    """How a material is cut: speeds in revolutions a second, feed in m/s, removal in m3/s, force in Pa."""

    specific_force: float
    rough_rate: float
    semi_rate: float
    finish_rate: float
    rough_speeds: tuple[float, float, float, float]
    semi_speeds: tuple[float, float, float, float]
    finish_speeds: tuple[float, float, float, float]
    feed: float


CM3_MIN = 1e-6 / 60.0
DATA = (
    Material(
        800e6, 420 * CM3_MIN, 190 * CM3_MIN, 60 * CM3_MIN,
        (150.0, 150.0, 133.0, 150.0), (200.0, 190.0, 200.0, 180.0), (250.0, 240.0, 250.0, 225.0), 0.10,
    ),
    Material(
        2200e6, 260 * CM3_MIN, 75 * CM3_MIN, 22 * CM3_MIN,
        (75.0, 75.0, 67.0, 83.0), (150.0, 133.0, 150.0, 142.0), (217.0, 200.0, 225.0, 208.0), 0.05,
    ),
    Material(
        1900e6, 70 * CM3_MIN, 63 * CM3_MIN, 16 * CM3_MIN,
        (67.0, 67.0, 70.0, 67.0), (133.0, 133.0, 140.0, 133.0), (200.0, 200.0, 208.0, 200.0), 0.03,
    ),
)  # fmt: skip

RAPIDS: tuple[Motion, ...] = ((0.833, 0.6, 6.0, 5.0), (0.833, 0.35, 6.0, 5.5), (0.833, 0.35, 6.0, 4.5))
RETRACT: Motion = (0.5, 0.25, 6.0, 1.5)


def _linear(speed: float, strokes: tuple[float, float, float], acceleration: float) -> tuple[Motion, ...]:
    """The path of a cutter: X along it, Y stepping over, Z following the floor."""
    shares = (1.0, 0.2, 0.1)
    return tuple(
        (share * speed, stroke, acceleration, 0.0) for share, stroke in zip(shares, strokes, strict=True)
    )  # fmt: skip


def production(material: Material) -> tuple[Segment, ...]:
    """One part: load, probe, four tools each for roughing, semi-finishing and 5-axis finishing, wash; 21 min."""
    rapids = (*RAPIDS, (0.6, 0.8, 3.0, 14.0), (1.5, 1.5, 5.0, 13.0))
    parts = [
        Segment("load", 75, OPERATOR, axes=rapids, clamp_a=False, clamp_c=False),
        Segment("probe", 75, OPERATOR, axes=(*RAPIDS, STILL, STILL)),
    ]
    k = material.specific_force
    finish = (*_linear(0.5 * material.feed, (0.15, 0.05, 0.02), 1.0), (0.15, 0.5, 0.5, 0.0), (0.4, 2.5, 1.0, 0.0))
    kinds = (
        ("rough", 105.0, material.rough_speeds, material.rough_rate, 0.05,
         (*_linear(material.feed, (0.45, 0.2, 0.03), 0.3), STILL, STILL), True),
        ("semi_finish", 60.0, material.semi_speeds, material.semi_rate, 0.025,
         (*_linear(0.8 * material.feed, (0.3, 0.15, 0.03), 0.5), STILL, STILL), True),
        ("finish", 75.0, material.finish_speeds, material.finish_rate, 0.01, finish, False),
    )  # fmt: skip
    for number, (phase, seconds, speeds, rate, cutter, axes, clamped) in enumerate(kinds):
        for place, speed in enumerate(speeds):
            tool = 4 * number + place + 1
            change = (STILL, STILL, RETRACT, STILL, STILL)
            parts.append(Segment("tool_change", 5.5, FIXED, tool, axes=change, change=True))
            power = float(cutting_power(k, rate))
            parts.append(
                Segment(
                    phase,
                    seconds,
                    PART,
                    tool,
                    speed,
                    power,
                    cutter,
                    axes,
                    coolant=True,
                    clamp_a=clamped,
                    clamp_c=clamped,
                )
            )
    parts.append(Segment("wash", 84, OPERATOR, axes=(*RAPIDS[:2], STILL, STILL, (1.0, 3.0, 3.0, 6.0)), clamp_c=False))
    return tuple(parts)


def _all(speed: float, stroke: float, acceleration: float = 3.0) -> tuple[Motion, ...]:
    return ((speed, stroke, acceleration, 0.0),) * 3


def _warm_up() -> tuple[Segment, ...]:
    axes = (*_all(0.1, 0.35), (0.1, 1.0, 0.5, 1.0), (0.5, 3.0, 1.0, 1.0))
    steps = ((20, 0.2), (40, 0.4), (60, 0.6), (80, 0.8))
    return tuple(
        Segment(f"warm_up_{name}", 180, tool=1, spindle=share * MAX_SPEED, axes=axes, clamp_a=False, clamp_c=False)
        for name, share in steps
    )


def _programmes() -> tuple[tuple[Segment, ...], ...]:
    quiet = (STILL, STILL)
    reversal = Segment("reversal", 60, axes=(*_all(10.0 / 60.0, 0.4), *quiet))
    bar = Segment("ball_bar", 100, axes=(*_all(0.05, 0.15, 1.0), *quiet))
    change = Segment("tool_change", 5.5, FIXED, 1, axes=(STILL, STILL, RETRACT, STILL, STILL), change=True)
    return (
        *(production(material) for material in DATA),
        _warm_up(),
        (Segment("air_cut", 60, tool=1, spindle=0.8 * MAX_SPEED),),
        (reversal,),
        (bar, Segment("result", 20)),
        (change, Segment("clamp_test", 34.5), Segment("result", 20)),
        (Segment("idle", 60, drives=False),),
    )


PROGRAMMES = _programmes()
COLUMNS = (
    "phase", "seconds", "scale", "tool", "spindle", "power", "cutter", "coolant", "clamp_a", "clamp_c", "change",
    "drives",
)  # fmt: skip
PROGRAMME_OF_STATE = (0, 3, 4, 5, 6, 7, 8)
"""First programme of each state; production has one for each material."""


@dataclass(frozen=True, slots=True)
class Table:
    """Every programme's segments as arrays: ``length`` (P,), ``columns`` (P, K) by field, ``motion`` (4, 5, P, K)."""

    length: NDArray[np.int64]
    columns: dict[str, Array]
    motion: Array


def _table() -> Table:
    length = np.array([len(programme) for programme in PROGRAMMES])
    shape = (len(PROGRAMMES), int(length.max()))
    columns = {name: np.zeros(shape) for name in COLUMNS}
    motion = np.zeros((4, 5, *shape))
    for row, programme in enumerate(PROGRAMMES):
        for place, segment in enumerate(programme):
            for name in COLUMNS:
                value = getattr(segment, name)
                columns[name][row, place] = PHASES.index(value) if name == "phase" else value
            motion[:, :, row, place] = np.array(segment.axes).T
    return Table(length, columns, motion)


TABLE = _table()
