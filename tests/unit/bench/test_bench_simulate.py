import pytest

from gnn_service.bench.simulate import HORIZON_BATCH, bench_simulate, points, spread_setting
from gnn_service.core.errors import InvalidInputError
from tests.support.tiny_plant import tiny_system

SYSTEM = tiny_system()


def test_every_batch_is_measured_with_and_without_sensors_and_every_horizon_in_full():
    seen = []
    costs = bench_simulate(
        [SYSTEM], batches=(2, 8), horizons_s=(1.0, 3.0), seconds=0.2, on_point=lambda: seen.append(1)
    )
    assert len(costs) == len(seen) == points(1, (2, 8), (1.0, 3.0))
    assert [(cost.batch, cost.sensors) for cost in costs[:4]] == [(2, False), (2, True), (8, False), (8, True)]
    assert [(cost.batch, round(cost.horizon_s, 6)) for cost in costs[4:]] == [
        (HORIZON_BATCH, 1.0),
        (HORIZON_BATCH, 3.0),
    ]
    assert {cost.machine for cost in costs} == {"tiny"}


def test_both_figures_tell_the_same_cost():
    for cost in bench_simulate([SYSTEM], batches=(4,), horizons_s=(2.0,), seconds=0.2):
        hours_per_step = SYSTEM.plant.STEP_S / 3600
        per_minute = 60 / (cost.us_per_machine_step * 1e-6) * hours_per_step
        assert cost.machine_hours_per_cpu_minute == pytest.approx(per_minute)
        assert cost.cpu_s > 0


def test_machines_are_spread_over_the_states_of_a_shift():
    states = spread_setting(SYSTEM, 10).schedule.at(0.0)
    assert [int((states == number).sum()) for number in range(3)] == [8, 1, 1]


def test_too_short_a_time_is_refused():
    with pytest.raises(InvalidInputError, match=r"seconds: must be at least 0\.2 s"):
        bench_simulate([SYSTEM], seconds=0.1)
