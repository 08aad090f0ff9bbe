"""What the moulding machine does: segments of its cycle and tests, set points, operating states, surroundings."""

from enum import IntEnum

import numpy as np

from gnn_service.demo.plant import SiteFactor

STATES = ("production", "idle", "heat_up", "leak_test")
PRODUCTION, IDLE, HEAT_UP, LEAK_TEST = range(4)

SHIFT = {"production": 0.93, "idle": 0.03, "heat_up": 0.02, "leak_test": 0.02}

SITE = {
    "ambient_k": SiteFactor(297.15, 291.15, 307.15, "air at the machine, K"),
    "water_k": SiteFactor(298.15, 291.15, 303.15, "cooling water, K; follows the season"),
    "material": SiteFactor(1.0, 0.8, 1.3, "viscosity of the material over that of the nominal polypropylene"),
    "shot_kg": SiteFactor(0.95, 0.4, 1.25, "weight of the parts of one shot, kg; set with the mould"),
    "cooling_s": SiteFactor(18.0, 8.0, 34.0, "cooling time after holding, s; set with the mould"),
}


class Segment(IntEnum):
    """The steps of the machine's sequence; a phase of the duty cycle may have several."""

    CLOSE_FAST = 0
    MOULD_PROTECT = 1
    LOCK_UP = 2
    NOZZLE = 3
    FILL_FAST = 4
    FILL_SLOW = 5
    HOLD = 6
    PLASTICISE = 7
    CHARGE = 8
    REST = 9
    UNLOCK = 10
    OPEN_FAST = 11
    OPEN_BRAKE = 12
    EJECT_OUT = 13
    EJECT_BACK = 14
    EJECT_WAIT = 15
    ROBOT = 16
    IDLE = 17
    HEAT_UP = 18
    PUMP_TEST_1 = 19
    PUMP_TEST_2 = 20
    CLAMP_TEST = 21
    INJECTION_TEST = 22


_PHASE_OF = {
    Segment.CLOSE_FAST: "close_fast",
    Segment.MOULD_PROTECT: "mould_protect",
    Segment.LOCK_UP: "lock_up",
    Segment.NOZZLE: "nozzle_forward",
    Segment.FILL_FAST: "fill",
    Segment.FILL_SLOW: "fill",
    Segment.HOLD: "hold",
    Segment.PLASTICISE: "plasticise",
    Segment.CHARGE: "cooling",
    Segment.REST: "cooling",
    Segment.UNLOCK: "open",
    Segment.OPEN_FAST: "open",
    Segment.OPEN_BRAKE: "open",
    Segment.EJECT_OUT: "eject",
    Segment.EJECT_BACK: "eject",
    Segment.EJECT_WAIT: "eject",
    Segment.ROBOT: "robot",
    Segment.IDLE: "",
    Segment.HEAT_UP: "",
    Segment.PUMP_TEST_1: "pump_test_1",
    Segment.PUMP_TEST_2: "pump_test_2",
    Segment.CLAMP_TEST: "clamp_test",
    Segment.INJECTION_TEST: "injection_test",
}
PHASES = tuple(dict.fromkeys(["", *_PHASE_OF.values()]))
PHASE_INDEX = np.array([PHASES.index(_PHASE_OF[segment]) for segment in Segment], dtype=np.int8)
SEGMENTS = len(Segment)

NEXT = np.arange(1, SEGMENTS + 1)
NEXT[Segment.INJECTION_TEST] = Segment.PLASTICISE
NEXT[Segment.PUMP_TEST_2] = Segment.CLOSE_FAST
"""What follows in a production cycle; `sequence` knows where a test or a stop differs."""


def _table(values: dict[Segment, float], default: float = 0.0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    table = np.full(SEGMENTS, default)
    for segment, value in values.items():
        table[segment] = value
    return table


L_MIN, BAR = 1e-3 / 60.0, 1e5

CLAMP_FLOW = _table(
    {
        Segment.CLOSE_FAST: 300 * L_MIN,
        Segment.MOULD_PROTECT: 90 * L_MIN,
        Segment.LOCK_UP: 120 * L_MIN,
        Segment.UNLOCK: 105 * L_MIN,
        Segment.OPEN_FAST: 280 * L_MIN,
        Segment.OPEN_BRAKE: 94 * L_MIN,
    }
)
"""Flow set for each motion of the clamp, m3/s."""
CLAMP_TARGET = _table(
    {
        Segment.CLOSE_FAST: 94 / 467,
        Segment.MOULD_PROTECT: 47 / 467,
        Segment.LOCK_UP: 0.0,
        Segment.UNLOCK: 42 / 467,
        Segment.OPEN_FAST: 398 / 467,
        Segment.OPEN_BRAKE: 1.0,
    }
)
"""Where each motion of the clamp ends: crosshead distance from lock over its whole stroke."""
EJECT_FLOW = 90 * L_MIN
FLOW_RESERVE = 1.02
"""Set speed over the speed that the flow takes without leakage."""

DURATION = _table(
    {
        Segment.NOZZLE: 0.5,
        Segment.HOLD: 6.0,
        Segment.EJECT_WAIT: 0.32,
        Segment.ROBOT: 2.2,
        Segment.IDLE: 0.5,
        Segment.HEAT_UP: 0.5,
        Segment.PUMP_TEST_1: 15.0,
        Segment.PUMP_TEST_2: 15.0,
        Segment.CLAMP_TEST: 20.0,
        Segment.INJECTION_TEST: 5.0,
    }
)
"""Length of the segments that a timer ends, s."""
PRESSURE = _table(
    {
        Segment.NOZZLE: 50 * BAR,
        Segment.HEAT_UP: 60 * BAR,
        Segment.PUMP_TEST_1: 150 * BAR,
        Segment.PUMP_TEST_2: 150 * BAR,
    },
    default=8 * BAR,
)
FLOW = _table({Segment.NOZZLE: 80 * L_MIN, Segment.HEAT_UP: 60 * L_MIN}, default=4 * L_MIN)
FLOW[[Segment.PUMP_TEST_1, Segment.PUMP_TEST_2]] = 0.0
"""Pressure (Pa) and flow (m3/s) while nothing but the pumps, the nozzle or a test moves oil."""

FILL_SPEED = _table({Segment.FILL_FAST: 0.0990, Segment.FILL_SLOW: 0.068})
FAST_SHARE = 0.82
SWITCH_OVER = 0.032
CUSHION = 0.008
TRIM_MOST, TRIM_LEAST, TRIM_GAIN = 0.010, -0.003, 0.3
"""Cushion control: how far it moves the metering stroke (m), and the share of the error that it corrects a cycle."""
SOUND_RING = 0.002
RING_STROKE, NOMINAL_STROKE = 0.0054, 0.25
"""Leakage (1/s) of the check ring that the stroke was set with, and the way that it costs of a screw stroke, m."""
RING_ALLOWANCE = 0.0185
"""Share of the shot that the setter adds for what a sound check ring lets back."""
FILL_TARGET_PRESSURE = 171.5 * BAR
CHARGE_FLOW = 140 * L_MIN
HOLD_PRESSURE = 60 * BAR
TEST_PRESSURE = 75 * BAR
SUPPLY_MARGIN = 10 * BAR
BACK_PRESSURE = 8 * BAR
REST_LEAST_S = 2.5
"""From the end of metering: the screw is drawn back, the accumulator charged, before the mould opens."""
DECAY_LEAST_S = 0.5
"""Least time that the clamp is shut off, for the decay of its force to be seen."""
WAIT_MOST_S = 12.0
ZONE_TOLERANCE_K = 12.0
MOTION_TIMEOUT_S, FILL_TIMEOUT_S, PLASTICISE_TIMEOUT_S, CHARGE_TIMEOUT_S = 5.0, 8.0, 60.0, 8.0
