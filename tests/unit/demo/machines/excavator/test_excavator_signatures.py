"""The table of signatures: what faults of graded size do to oil, cycle, pressure, drain flow, power and filter.

Estimates hold within 15 %; what `docs/decisions/0010` explains holds at the value recorded there.
"""

from typing import NamedTuple

import numpy as np
import pytest

from gnn_service.demo.machines.excavator.plant import Excavator
from gnn_service.demo.parameters import nominal

STEPS = 900
COLUMNS = ("oil", "cycle", "pressure", "drain", "shaft", "filter")
"""degC, s, bar (99th percentile, pump 1), L/min (pump 1), kW (both pumps), kPa (mean)."""
NOT_STATED = float("nan")
HEALTHY = (72.6, 16.86, 266.0, 3.96, 74.3, 18.8)
LEAKAGE, FILTER = "pump_main_1.leakage", "return_filter.resistance"
SURFACE, AIR = "oil_cooler.conductance", "oil_cooler.air_flow"
SPOOL, SEAL = "main_control_valve.boom_opening", "boom_cylinder.seal_leakage"
RELIEF = "main_control_valve.main_relief"


class Case(NamedTuple):
    """Parameters as multiples of the healthy ones, and the estimates in the order of the columns."""

    factors: dict[str, float]
    estimates: tuple[float, ...]
    state: str = "truck_loading"
    air_c: float = 25.0


CASES = {
    "healthy": Case({}, HEALTHY),
    "leak x2": Case({LEAKAGE: 2}, (72.9, 16.94, 267, 8.0, 75.2, NOT_STATED)),
    "leak x4": Case({LEAKAGE: 4}, (73.5, 17.04, 270, 16.4, 77.3, NOT_STATED)),
    "leak x8": Case({LEAKAGE: 8}, (74.9, 17.41, 278, 34.8, 81.6, NOT_STATED)),
    "leak x16": Case({LEAKAGE: 16}, (84.8, 20.83, 295, 101, 93.5, NOT_STATED)),
    "filter x2": Case({FILTER: 2}, (*HEALTHY[:5], 38)),
    "filter x4": Case({FILTER: 4}, (*HEALTHY[:5], 75)),
    "filter x8": Case({FILTER: 8}, (*HEALTHY[:5], 131)),
    "cooler 0.8": Case({SURFACE: 0.8, AIR: 0.9}, (79.0, 16.92, 266, 4.7, 73.9, 17)),
    "cooler 0.6": Case({SURFACE: 0.6, AIR: 0.8}, (93.1, 17.09, 266, 6.7, 74.1, 15)),
    "cooler 0.5": Case({SURFACE: 0.5, AIR: 0.7}, (102.4, 19.0, 266, 8.3, 70.3, 12)),
    "cooler 0.4": Case({SURFACE: 0.4, AIR: 0.6}, (108.4, 23.8, 266, 9.8, 61.1, 8)),
    "spool 0.9": Case({SPOOL: 0.9}, (72.9, 16.8, 267, NOT_STATED, 75, NOT_STATED)),
    "spool 0.75": Case({SPOOL: 0.75}, (72.5, 18.1, 267, NOT_STATED, 71, NOT_STATED)),
    "spool 0.6": Case({SPOOL: 0.6}, (72.7, 18.1, 267, NOT_STATED, 71, NOT_STATED)),
    "spool 0.45": Case({SPOOL: 0.45}, (69.9, 21.6, 267, NOT_STATED, 61, NOT_STATED)),
    "seal 5e-13": Case({SEAL: 10}, (72.8, 16.88, 266, NOT_STATED, 74.6, 18.8)),
    "seal 2e-12": Case({SEAL: 40}, (73.1, 16.92, 266, NOT_STATED, 75.4, 18.8)),
    "seal 1e-11": Case({SEAL: 200}, (74.4, 17.03, 266, NOT_STATED, 78.8, 18.8)),
    "seal 3e-11": Case({SEAL: 600}, (73.6, 20.2, 266, NOT_STATED, 72.2, 18.8)),
    "hard": Case({}, (87.8, 22.7, 350, 9.4, 90, NOT_STATED), "hard_digging"),
    "hard, relief 300": Case({RELIEF: 300 / 350}, (90.0, 22.7, 300, 9.1, 89, NOT_STATED), "hard_digging"),
    "hard, relief 260": Case({RELIEF: 260 / 350}, (87.5, 22.3, 260, 7.9, 86, NOT_STATED), "hard_digging"),
    "air -10": Case({}, (60, *(NOT_STATED,) * 5), air_c=-10.0),
    "air 40": Case({}, (85, *(NOT_STATED,) * 5), air_c=40.0),
}
RECORDED: dict[str, dict[str, float]] = {
    "leak x16": {"oil": 71, "pressure": 220, "drain": 68, "shaft": 71},
    "cooler 0.6": {"oil": 79, "drain": 5.6},
    "cooler 0.5": {"oil": 89},
    "cooler 0.4": {"oil": 99, "cycle": 18.2, "shaft": 70},
    "seal 3e-11": {"cycle": 17.4},
    "hard": {"oil": 69, "drain": 6.1, "shaft": 73},
    "hard, relief 300": {"oil": 70, "drain": 6.1, "shaft": 77},
    "hard, relief 260": {"oil": 73, "drain": 4.8, "shaft": 77},
    "air -10": {"oil": 53},
    "air 40": {"oil": 78},
}


@pytest.fixture(scope="module")
def shown(build, sensor, whole_cycles):
    """All cases side by side, settled: what each shows over whole cycles, by case and column; the filled buckets."""
    healthy, cases = nominal("excavator"), CASES.values()
    touched = {name for case in cases for name in case.factors}
    changes = {name: healthy[name] * np.array([case.factors.get(name, 1.0) for case in cases]) for name in touched}
    air = {"ambient_k": np.array([case.air_c + 273.15 for case in cases])}
    frames = build([case.state for case in cases], changes, air, settle=True).advance(STEPS, ledger=True)
    readings = {
        "oil": sensor(frames, "hydraulic_tank.t_oil"),
        "pressure": sensor(frames, "pump_main_1.p_out"),
        "drain": sensor(frames, "pump_main_1.q_case"),
        "filter": sensor(frames, "return_filter.dp") * 100.0,
        "shaft": (frames.ledger[:, 0] + frames.ledger[:, 1]) / 1e3,
    }
    payload, found = sensor(frames, "bucket_cylinder.payload"), {}
    for index, name in enumerate(CASES):
        steps = whole_cycles(frames, index)
        row = {column: values[steps, index].mean() for column, values in readings.items()}
        row["pressure"] = np.percentile(readings["pressure"][steps, index], 99)
        cycles = frames.cycle[steps.stop, index] - frames.cycle[steps.start, index]
        row["cycle"] = (steps.stop - steps.start) * Excavator.STEP_S / cycles
        lifting = frames.phase[steps, index] == Excavator.PHASES.index("lift_swing")
        row["payload"] = payload[steps, index][lifting].mean()
        found[name] = row
    return found


@pytest.mark.parametrize("name", CASES)
def test_estimates_hold_within_fifteen_percent_where_nothing_explains_a_difference(shown, name):
    explained = RECORDED.get(name, {})
    for column, estimate in zip(COLUMNS, CASES[name].estimates, strict=True):
        if column not in explained and not np.isnan(estimate):
            assert shown[name][column] == pytest.approx(estimate, rel=0.15), column


@pytest.mark.parametrize("name", RECORDED)
def test_explained_differences_are_what_the_record_says(shown, name):
    recorded = RECORDED[name]
    assert {column: shown[name][column] for column in recorded} == pytest.approx(recorded, rel=0.025)


def test_a_weak_relief_valve_leaves_the_bucket_a_sixth_emptier_in_hard_soil(shown):
    loads = [shown[name]["payload"] for name in ("hard", "hard, relief 260")]
    assert loads[1] / loads[0] == pytest.approx(0.84, abs=0.03)
