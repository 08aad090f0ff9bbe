"""The figures of the store's benchmark as tables and documents."""

import pytest

from gnn_service.bench.serve_report import markdown
from gnn_service.bench.store import Bounds, Fill, Lot, Spread, StoreBench
from gnn_service.bench.store_report import store_document, store_grids

LOT = Lot(frames=1000, repository_per_s=4e6, copy_per_s=5e6, write=Spread(9.0, 12.0, 40))
FILLS = (Fill(1_000_000, Spread(0.5, 0.9, 400), 7.0), Fill(10_000_000, Spread(0.6, 1.2, 400), 8.0))
BOUNDS = Bounds(Spread(0.1, 0.2, 400), 0.02, sync_ms=0.3, disk_mb_per_s=320.0)
BENCH = StoreBench("PostgreSQL 18.6", 40, (LOT,), FILLS, BOUNDS, {1: Spread(30.0, 40.0, 40)})


def test_the_disk_bounds_readings_that_are_written_twice():
    assert BOUNDS.readings_per_s(8.0) == pytest.approx(320e6 / 16)


def test_ratios_stand_beside_what_they_are_made_of():
    writes, windows, history = store_grids(BENCH)
    assert writes.rows == (("1000", "4,000,000", "5,000,000", "0.80", "9.00", "12.00", "20%"),)
    assert windows.rows[1] == ("10 M", "0.60", "1.20", "1.20", "5.0", "8.00")
    assert history.rows == (("1 sensor", "30.0", "40.0"),)
    assert "| 1000 | 4,000,000 |" in markdown((writes, windows, history))


def test_a_server_elsewhere_has_no_disk_to_compare_with():
    bench = StoreBench("PostgreSQL 18.6", 40, (LOT,), FILLS, Bounds(Spread(0.1, 0.2, 400), 0.02))
    writes, _, history = store_grids(bench)
    assert writes.rows[0][-1] == "-"
    assert history.rows == ()


def test_the_document_has_the_ratios_that_carry_over():
    document = store_document(BENCH)
    assert document["lots"][0]["ratio"] == pytest.approx(0.8)
    assert document["window_growth"] == pytest.approx(1.2)
    assert document["bounds"]["readings_per_s"] == pytest.approx(20e6)
    assert document["history"]["1"]["p50_ms"] == 30.0
