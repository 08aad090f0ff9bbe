"""What the network is trained to answer, and what it is not asked."""

import numpy as np
import pytest
import torch

from gnn_service.model.heads import THRESHOLDS, Answers
from gnn_service.training.dataset import UNKNOWN
from gnn_service.training.losses import WEIGHTS, balanced_weights, make_targets, total_loss
from tests.support.rig import rig_structure

MODES = ("cooler_fouling", "valve_switching_lag", "pump_internal_leakage", "accumulator_gas_loss")


def targets_of(*levels: tuple[int, int, int, int], relief=None):
    columns = np.array(levels).T
    chosen = np.zeros(len(levels), np.float32) if relief is None else np.asarray(relief, np.float32)
    return make_targets(rig_structure(), dict(zip(MODES, columns, strict=True)), chosen)


def place(mode: str) -> tuple[int, int]:
    """Component and output of a failure mode."""
    structure = rig_structure()
    found = next(m for m in structure.machine.failure_modes if m.id == mode)
    kind = next(c.type for c in structure.machine.components if c.id == found.component)
    index = structure.mode_index(kind, found.mode)
    assert index is not None
    return structure.node_of[found.component], index


def answers(examples: int, **given: torch.Tensor) -> Answers:
    structure = rig_structure()
    nodes, modes = len(structure.machine.components), len(structure.vocabulary.modes)
    shapes = {
        "severity": (examples, nodes, modes, THRESHOLDS),
        "health": (examples, nodes, 3),
        "anomaly": (examples, nodes),
        "machine_anomaly": (examples,),
        "root": (examples, nodes + 1),
    }
    made = {name: torch.full(shape, 0.3, requires_grad=True) for name, shape in shapes.items()}
    return Answers(**{**made, **given})


def tensors(targets):
    return {name: torch.from_numpy(value) for name, value in targets.items()}


@pytest.mark.parametrize(
    "mode, level, exceeded",
    [
        ("valve_switching_lag", 0, 0),
        ("valve_switching_lag", 1, 3),
        ("valve_switching_lag", 2, 7),
        ("valve_switching_lag", 3, 11),
        ("pump_internal_leakage", 1, 5),
        ("pump_internal_leakage", 2, 11),
    ],
)
def test_a_severity_exceeds_the_thresholds_below_it(mode, level, exceeded):
    levels = tuple(level if name == mode else 0 for name in MODES)
    node, index = place(mode)
    steps = targets_of(levels)["exceeds"][0, node, index]
    assert steps.tolist() == [1.0] * exceeded + [0.0] * (THRESHOLDS - exceeded)


def test_health_is_what_the_worst_fault_leaves_and_trouble_is_shared_among_its_components():
    found = targets_of((0, 3, 1, 0), (0, 0, 0, 0))
    valve, pump = place("valve_switching_lag")[0], place("pump_internal_leakage")[0]
    assert found["health"][0, [valve, pump]].tolist() == [0.0, 0.5]
    assert found["root"][0, [valve, pump]] == pytest.approx([2 / 3, 1 / 3])
    assert found["root"][1, -1] == 1.0
    assert found["root"].sum(1) == pytest.approx([1.0, 1.0])


def test_components_of_which_nothing_is_known_have_no_weight():
    found = targets_of((0, UNKNOWN, 1, 0), (0, 2, UNKNOWN, 0))
    node, index = place("valve_switching_lag")
    assert found["weight"][0, node, index] == 0
    assert found["weight"][1, node, index] > 0
    assert found["known"][:, node].tolist() == [0.0, 1.0]
    tank = rig_structure().node_of["tank"]
    assert not found["known"][:, tank].any()


def test_unknown_levels_have_no_gradient():
    given = answers(2)
    total_loss(given, tensors(targets_of((0, UNKNOWN, 1, 0), (0, 2, UNKNOWN, 0))))[0].backward()
    for mode, unknown, known in (("valve_switching_lag", 0, 1), ("pump_internal_leakage", 1, 0)):
        node, index = place(mode)
        for gradient in (given.severity.grad[:, node, index], given.health.grad[:, node], given.anomaly.grad[:, node]):
            assert not gradient[unknown].any()
            assert gradient[known].any()


def test_an_example_of_which_nothing_is_known_has_no_gradient_at_all():
    given = answers(2)
    total_loss(given, tensors(targets_of((UNKNOWN,) * 4, (0, 2, 0, 0))))[0].backward()
    for name, value in given._asdict().items():
        assert not value.grad[0].any(), name
        assert value.grad[1].any(), name


def test_a_batch_of_which_nothing_is_known_costs_nothing():
    total, each = total_loss(answers(3), tensors(targets_of(*[(UNKNOWN,) * 4] * 3)))
    assert float(total.detach()) == 0.0
    assert set(each.values()) == {0.0}


def test_the_loss_is_the_weighted_sum_of_its_parts():
    total, each = total_loss(answers(2), tensors(targets_of((0, 1, 0, 0), (2, 0, 0, 3))))
    assert set(each) == set(WEIGHTS)
    assert float(total.detach()) == pytest.approx(sum(WEIGHTS[name] * value for name, value in each.items()))


def test_every_head_prefers_the_truth():
    targets = tensors(targets_of((0, 3, 0, 0), (0, 0, 0, 0)))
    right = {
        "severity": targets["exceeds"] * 8 - 4,
        "health": targets["health"][..., None].expand(-1, -1, 3),
        "anomaly": (targets["health"] < 1).float() * 8 - 4,
        "machine_anomaly": torch.tensor([4.0, -4.0]),
        "root": targets["root"] * 8 - 4,
    }
    _, good = total_loss(answers(2, **right), targets)
    _, bad = total_loss(answers(2, **{n: 1 - v if n == "health" else -v for n, v in right.items()}), targets)
    for name in WEIGHTS:
        assert good[name] < bad[name] / 5, name


def test_cells_of_level_and_mode_weigh_as_the_root_of_their_size():
    level = np.array([0] * 9 + [1] * 4 + [1])
    relief = np.array([False] * 13 + [True])
    weight = balanced_weights(level, relief)
    cells = [weight[:9].sum(), weight[9:13].sum(), weight[13]]
    assert np.array(cells) / cells[2] == pytest.approx([3.0, 2.0, 1.0])
    assert weight.mean() == pytest.approx(1.0)


def test_a_rare_operating_mode_counts_by_itself_at_the_same_level():
    weight = balanced_weights(np.zeros(10, np.int64), np.arange(10) == 0)
    assert weight[0] == pytest.approx(3 * weight[1])


def test_unknown_levels_neither_weigh_nor_dilute():
    known = balanced_weights(np.array([0, 0, 1]), np.zeros(3, bool))
    mixed = balanced_weights(np.array([0, UNKNOWN, 0, 1, UNKNOWN]), np.zeros(5, bool))
    assert mixed[[0, 2, 3]] == pytest.approx(known)
    assert mixed[[1, 4]].tolist() == [0.0, 0.0]
    assert balanced_weights(np.array([UNKNOWN] * 2), np.zeros(2, bool)).tolist() == [0.0, 0.0]


def test_relief_mode_is_told_by_the_context_and_balances_the_severity_weights():
    node, index = place("valve_switching_lag")
    found = targets_of(*[(0, 0, 0, 0)] * 5, relief=[0, 0, 0, 0, 0.4])["weight"][:, node, index]
    assert found[4] == pytest.approx(2 * found[0])
