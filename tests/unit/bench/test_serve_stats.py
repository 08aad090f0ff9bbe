"""The figures of one load."""

import math

import numpy as np
import pytest

from gnn_service.bench.serve_load import Tally
from gnn_service.bench.serve_stats import (
    Asked,
    Bound,
    Latency,
    Memory,
    Speed,
    Usage,
    growth_exponent,
    run_of,
)
from gnn_service.core.errors import InvalidInputError

BOUND = Bound(one=Speed(1, 500.0, 500.0), full=Speed(16, 1000.0, 800.0))
ASKED = Asked("/v1/diagnose", "json", callers=8, rate_per_s=None, senders=1)
NONE = np.array([])


def tally(answered: int = 100, refused: int = 0, cpu_s: float = 0.1) -> Tally:
    endings = {"200": answered} | ({"503": refused} if refused else {})
    return Tally(np.full(answered, 0.004), endings, 1.0, cpu_s, NONE)


def test_percentiles_are_in_milliseconds():
    latency = Latency.of(np.arange(1, 101) / 1000)
    assert (latency.p50_ms, latency.max_ms) == pytest.approx((50.5, 100))
    assert latency.p95_ms == pytest.approx(95.05)
    assert latency.p99_ms == pytest.approx(99.01)


def test_nobody_answered_is_no_number():
    assert all(math.isnan(value) for value in (Latency.of(NONE).p50_ms, Latency.of(NONE).max_ms))


def test_cpu_efficiency_is_requests_a_cpu_second_over_bare_windows_a_cpu_second():
    run = run_of(ASKED, tally(), Usage(cpu_s=0.25, machine_cpu_s=0.5, elapsed_s=1.0), BOUND)
    assert run.cpu_ms_per_request == pytest.approx(2.5)
    assert run.cpu_efficiency == pytest.approx(400 / 800)
    assert run.over_bare == pytest.approx(100 / 1000)
    assert run.p50_over_bare == pytest.approx(0.004 * 500)
    assert (run.service_cores, run.client_cores) == pytest.approx((0.25, 0.1))
    assert run.other_cores == pytest.approx(0.15)
    assert not run.client_limited


def test_refused_requests_are_errors_and_do_no_work():
    run = run_of(ASKED, tally(answered=50, refused=50), Usage(0.25, 0.5, 1.0), BOUND)
    assert (run.requests, run.errors, run.requests_per_s) == (100, 50, 50)
    assert run.cpu_efficiency == pytest.approx(200 / 800)


def test_a_process_that_is_not_known_has_no_cost():
    run = run_of(ASKED, tally(), Usage(None, 0.5, 1.0), BOUND)
    costs = (run.cpu_ms_per_request, run.cpu_efficiency, run.service_cores, run.other_cores, run.memory)
    assert costs == (None,) * 5


def test_a_run_without_answers_has_no_cost_for_each():
    run = run_of(ASKED, tally(answered=0, refused=9), Usage(0.25, 0.5, 1.0), BOUND)
    assert (run.cpu_ms_per_request, run.cpu_efficiency) == (None, None)
    assert run.service_cores == 0.25


@pytest.mark.parametrize("cpu_s, senders, limited", [(0.9, 1, True), (0.9, 2, False), (1.8, 2, True)])
def test_a_sender_that_is_busy_all_the_time_is_said_to_be_the_limit(cpu_s: float, senders: int, limited: bool):
    asked = Asked("x", "json", 8, None, senders)
    assert run_of(asked, tally(cpu_s=cpu_s), Usage(0.1, 2.0, 1.0), BOUND).client_limited is limited


def test_lateness_of_the_sender_is_told_for_an_open_loop_alone():
    late = Tally(np.array([0.001]), {"200": 1}, 1.0, 0.1, np.array([0.0, 0.002]))
    assert run_of(ASKED, late, Usage(0.1, 0.2, 1.0), BOUND).late_p99_ms == pytest.approx(1.98)
    assert run_of(ASKED, tally(), Usage(0.1, 0.2, 1.0), BOUND).late_p99_ms is None


def test_growth_of_memory_is_the_slope_of_a_line():
    usage = Usage(1.0, 1.0, 120.0, times_s=(0.0, 60.0, 120.0), rss_mib=(100.0, 110.0, 120.0))
    memory = Memory.of(usage)
    assert (memory.before_mib, memory.after_mib, memory.peak_mib) == (100, 120, 120)
    assert memory.growth_mib_per_min == pytest.approx(10)
    assert Memory.of(Usage(None, 1.0, 1.0)) is None


def test_the_bound_of_a_run_is_the_mean_of_before_and_after():
    after = Bound(Speed(1, 700.0, 500.0), Speed(16, 3000.0, 1000.0))
    mean = Bound.mean([BOUND, after])
    assert mean == Bound(Speed(1, 600.0, 500.0), Speed(16, 2000.0, 900.0))


def test_growth_is_the_exponent_of_a_power_law():
    sizes = [4, 8, 16, 32]
    assert growth_exponent(sizes, [5.0] * 4) == pytest.approx(0)
    assert growth_exponent(sizes, [3 * size for size in sizes]) == pytest.approx(1)
    assert growth_exponent(sizes, [0.1 * size**2 for size in sizes]) == pytest.approx(2)


@pytest.mark.parametrize("sizes, costs", [([4], [1.0]), ([4, 8], [1.0]), ([4, 8], [0.0, 1.0]), ([0, 1], [1.0, 1.0])])
def test_growth_needs_two_sizes_that_cost_something(sizes: list[int], costs: list[float]):
    with pytest.raises(InvalidInputError):
        growth_exponent(sizes, costs)
