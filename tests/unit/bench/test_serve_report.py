"""Tables of `bench serve`, and what is noted under them."""

from dataclasses import replace

import numpy as np

from gnn_service.bench.serve import Measured, ServeBench
from gnn_service.bench.serve_bound import Stages
from gnn_service.bench.serve_cold import ColdStart, FirstAnswer
from gnn_service.bench.serve_load import Tally
from gnn_service.bench.serve_report import Grid, cold_grid, load_grids, markdown, scaling_grids
from gnn_service.bench.serve_scaling import Cost, Growth, Scaling, Size
from gnn_service.bench.serve_stats import Asked, Bound, Latency, Run, Speed, Usage, run_of

BOUND = Bound(Speed(1, 500.0, 500.0), Speed(16, 1000.0, 800.0), "onnxruntime on cpu")


def a_run(*, rate: float | None = None, refused: int = 0, known: bool = True, cpu_s: float = 0.1) -> Run:
    endings = {"200": 100} | ({"503": refused} if refused else {})
    late = np.array([0.001]) if rate else np.array([])
    tally = Tally(np.full(100, 0.004), endings, 1.0, cpu_s, late)
    usage = Usage(0.25, 0.5, 1.0, (0.0, 1.0), (100.0, 104.0)) if known else Usage(None, 0.5, 1.0)
    return run_of(Asked("/v1/diagnose", "json", 8, rate, 1), tally, usage, BOUND)


def bench_of(*runs: Run) -> ServeBench:
    return ServeBench("1.2", "3.11.7", 2, (Measured("/v1/diagnose", "json", 8600, BOUND, BOUND, runs),))


def test_markdown_has_a_head_a_rule_and_rows_of_one_width():
    text = markdown([Grid(("a", "b"), (("1", "2"),), ("note",)), Grid(("c",), ())])
    assert text == "| a | b |\n| --- | --- |\n| 1 | 2 |\n\nnote\n\n| c |\n| --- |"


def test_a_row_has_a_cell_for_every_column():
    bench = bench_of(a_run(), a_run(rate=50.0), a_run(known=False))
    for grid in load_grids(bench):
        assert {len(row) for row in grid.rows} == {len(grid.columns)}
        assert [row[2] for row in grid.rows] == ["8 callers", "open, 50/s", "8 callers"]


def test_what_callers_see_and_what_it_costs():
    seen, cost = load_grids(bench_of(a_run()))
    assert seen.rows[0][3:] == ("100", "4.00", "4.00", "4.00", "4.00", "2.0", "0")
    assert cost.rows[0][3:] == ("2.50", "0.50", "0.10", "0.25", "0.10", "0.15", "100", "104", "104")


def test_a_service_that_is_not_known_costs_nothing_that_could_be_told():
    assert load_grids(bench_of(a_run(known=False)))[1].rows[0][-3:] == ("-", "-", "-")


def test_what_limits_a_figure_is_said_under_it():
    runs = (a_run(cpu_s=0.99), a_run(refused=7), a_run(rate=50.0))
    notes = load_grids(bench_of(*runs))[1].notes
    assert "the client was busy" in notes[1]
    assert "200 100, 503 7" in notes[2]
    assert "was 1.00 ms late" in notes[3]
    assert "onnxruntime on cpu, bare" in notes[-1]
    assert notes[-1].endswith("500 and 1000 before, 500 and 1000 after")


def test_growth_of_memory_is_told_of_a_load_that_was_long_enough():
    assert not any("MiB a minute" in note for note in load_grids(bench_of(a_run()))[1].notes)
    long = replace(a_run(), seconds=600.0)
    assert any("MiB a minute" in note for note in load_grids(bench_of(long))[1].notes)


def test_cold_starts_are_told_by_their_medians():
    answers = [FirstAnswer(warm, 1.0, first, 4.0, first / 4) for warm in (True, False) for first in (5.0, 6.0, 40.0)]
    grid = cold_grid(ColdStart((1.5, 1.2, 1.9), tuple(answers)))
    assert grid.rows == (("as set", "1.00", "6.00", "4.00", "1.50"), ("none", "1.00", "6.00", "4.00", "1.50"))
    assert grid.notes == ("medians of 3 processes each; from start to ready: 1.50 s (1.20 to 1.90)",)


def test_scaling_has_what_each_size_costs_and_how_it_grows():
    latency = Latency(1.0, 2.0, 3.0, 4.0)
    cost = Cost("nodes", Size(nodes=4), Stages(1, 10.0, 20.0, 30.0), 2500, 1, latency, 900.0, None, 0)
    costs, growth = scaling_grids(Scaling((cost,), (Growth("nodes", 0.1, 0.5, 0.25, None),)))
    assert costs.rows[0] == (
        "nodes", "4", "32", "60", "1", "2.5", "10", "20", "30", "1", "900", "1.00", "3.00", "-", "0",
    )  # fmt: skip
    assert len(costs.columns) == len(costs.rows[0])
    assert growth.rows == (("nodes", "0.10", "0.50", "0.25", "-"),)
