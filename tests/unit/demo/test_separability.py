import numpy as np
import pytest

from gnn_service.demo.separability import auc, separability
from tests.support.tiny_plant import tiny_system

SYSTEM = tiny_system()


def test_auc_is_the_share_of_pairs_in_order_with_ties_half():
    assert auc(np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0])) == 1.0
    assert auc(np.array([1.0, 2.0, 3.0]), np.array([0.0])) == 1.0
    assert auc(np.array([1.0, 3.0]), np.array([2.0, 2.0])) == 0.5
    assert auc(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == pytest.approx(0.875)
    assert auc(np.array([]), np.array([1.0])) == 0.5


def test_small_faults_hide_in_the_fleets_spread_and_large_ones_do_not():
    small = separability(SYSTEM, modes=["T1", "T2"], machines=32, seconds=60.0)
    large = separability(SYSTEM, modes=["T1", "T2"], machines=32, seconds=60.0, severity=(0.9, 1.0))
    assert not any(found.easy for found in small)
    assert [found.sensor for found in large] == ["pump.q_case", "filter.dp"]
    assert all(big.auc > found.auc + 0.05 for big, found in zip(large, small, strict=True))


def test_a_mode_is_looked_at_in_the_work_that_shows_it():
    (relief,) = separability(SYSTEM, modes=["T3"], machines=32, seconds=60.0, severity=(0.9, 1.0))
    assert relief.sensor in {"pump.p_out", "valve.p_a"}
    assert 0.6 < relief.auc < 0.95


def test_the_same_seed_finds_the_same():
    assert separability(SYSTEM, modes=["T2"], machines=8, seconds=30.0) == separability(
        SYSTEM, modes=["T2"], machines=8, seconds=30.0
    )
