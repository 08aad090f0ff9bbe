import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.cascades import Cascade, cascade_matrix, pushes
from tests.support.tiny_plant import MODES

SEVERITY = np.array([[0.0, 0.5, 1.0], [0.0, 0.0, 0.0], [0.0] * 3, [0.0] * 3, [0.0] * 3])


def test_a_worn_pump_makes_the_filter_age_faster_in_proportion_and_nothing_else():
    speed = 1.0 + pushes(*cascade_matrix(MODES, [Cascade("T1", "T2", 4.0)]), SEVERITY).sum(axis=1)
    assert speed[1].tolist() == [1.0, 3.0, 5.0]
    assert (np.delete(speed, 1, axis=0) == 1.0).all()


def test_a_bypass_acts_only_above_the_severity_at_which_it_opens():
    speed = 1.0 + pushes(*cascade_matrix(MODES, [Cascade("T1", "T2", 2.0, above=0.5)]), SEVERITY).sum(axis=1)
    assert speed[1].tolist() == [1.0, 1.0, 3.0]


def test_two_causes_add_up():
    both = np.array([[1.0], [0.0], [1.0], [0.0], [0.0]])
    speed = 1.0 + pushes(*cascade_matrix(MODES, [Cascade("T1", "T2", 1.0), Cascade("T3", "T2", 0.5)]), both).sum(axis=1)
    assert speed[1] == 2.5


def test_a_cascade_of_an_unknown_mode_is_refused():
    with pytest.raises(InvalidInputError, match="'T9'"):
        cascade_matrix(MODES, [Cascade("T1", "T9", 1.0)])
