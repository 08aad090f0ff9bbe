import numpy as np

from gnn_service.demo.plant import Schedule

TWO = Schedule(np.array([[0.0, 10.0, 30.0], [0.0, 20.0, 20.0]]), np.array([[0, 1, 2], [1, 0, 0]]))


def test_a_state_lasts_from_its_start_to_the_next_ones():
    assert TWO.at(0.0).tolist() == [0, 1]
    assert TWO.at(9.999).tolist() == [0, 1]
    assert TWO.at(10.0).tolist() == [1, 1]
    assert TWO.at(1e9).tolist() == [2, 0]


def test_changes_are_told_after_the_begin_and_up_to_the_end():
    assert not TWO.changes_within(0.0, 9.9)
    assert TWO.changes_within(0.0, 10.0)
    assert not TWO.changes_within(10.0, 19.9)
    assert not TWO.changes_within(30.0, 1e9)


def test_a_constant_schedule_never_changes():
    constant = Schedule.constant([2, 0, 1])
    assert constant.at(0.0).tolist() == constant.at(1e6).tolist() == [2, 0, 1]
    assert not constant.changes_within(0.0, 1e6)
