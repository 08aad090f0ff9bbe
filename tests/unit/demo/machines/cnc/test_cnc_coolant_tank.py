"""What happens in the coolant tank of a machining centre over a shift."""

import numpy as np
import pytest

from gnn_service.demo.machines.cnc.supplies import CoolantTank
from gnn_service.demo.parameters import alike, nominal

HOUR = 3600


def tank(*shares):
    built = CoolantTank(np.array(shares))
    built.set_parameters(alike(nominal("cnc"), len(shares)))
    return built


def run(built, seconds, flowing):
    """Level and concentration after each second, (N, 2, B)."""
    seen = []
    for _ in range(seconds):
        built.second(flowing)
        seen.append((built.level, built.concentration))
    return np.array(seen)


def test_level_falls_by_what_evaporates_and_is_dragged_out_while_coolant_flows():
    p = nominal("cnc")
    built = tank(0.8, 0.8)
    before = built.level
    run(built, HOUR, np.array([1.0, 0.0]))
    lost = (p["coolant_unit.evaporation"] + p["coolant_unit.drag_out"]) * HOUR / p["coolant_unit.tank_volume"]
    assert before - built.level == pytest.approx([lost, 0.0], rel=1e-9)


def test_only_what_is_dragged_out_takes_concentrate_along():
    p = nominal("cnc")
    built = tank(0.9)
    seen = run(built, 2 * HOUR, np.ones(1))[:, :, 0]
    concentrate = seen[:, 0] * seen[:, 1] * p["coolant_unit.tank_volume"]
    dragged = seen[:, 1].mean() * p["coolant_unit.drag_out"] * (len(seen) - 1)
    assert concentrate[0] - concentrate[-1] == pytest.approx(dragged, rel=1e-3)
    assert seen[-1, 1] > seen[0, 1]


def test_at_the_end_of_its_band_it_is_filled_and_the_concentration_comes_back():
    p = nominal("cnc")
    built = tank(0.02)
    seen = 100 * run(built, HOUR, np.ones(1))[:, :, 0]
    low, high = (100 * (p["coolant_unit.level"] + part * p["coolant_unit.level_band"]) for part in (-0.5, 0.5))
    assert seen[:, 0].min() == pytest.approx(low, abs=0.01)
    assert seen[:, 0].max() == pytest.approx(high, abs=0.05)
    assert seen[seen[:, 0].argmin(), 1] > 8.1
    assert seen[seen[:, 0].argmax(), 1] < 7.9
