"""What the network's parts do; what must not change its answers is among the properties."""

import pytest
import torch

from gnn_service.model.encode import CHANNELS, CONTEXTS, EVIDENCE_FEATURES, EVIDENCE_SLOTS
from gnn_service.model.grid import STEPS
from gnn_service.model.heads import THRESHOLDS, HealthQuantiles, OrdinalSeverity
from gnn_service.model.network import INPUTS, Architecture, EdgeAttention, MachineNetwork, SensorPooling
from tests.support.tiny_model import SMALL, one_thread, vocabulary

BATCH, NODES, SENSORS, MODES = 2, 5, 7, 4


def network(**changes):
    torch.manual_seed(1)
    return MachineNetwork(vocabulary(), Architecture(**{**SMALL.to_dict(), **changes})).eval()


def inputs(seed=0):
    """A chain of components, the sensors dealt out in turn."""
    torch.manual_seed(seed)
    words = vocabulary()
    edges = torch.zeros(BATCH, NODES, NODES, words.relations)
    for k in range(NODES):
        edges[:, k, k, -1] = 1
        if k:
            edges[:, k, k - 1, 0] = 1
    membership = torch.zeros(BATCH, NODES, SENSORS)
    for sensor in range(SENSORS):
        membership[:, sensor % NODES, sensor] = 1
    made = {
        "readings": torch.randn(BATCH, SENSORS, CHANNELS, STEPS),
        "sensor_mask": torch.ones(BATCH, SENSORS),
        "sensor_features": torch.rand(BATCH, SENSORS, words.sensor_features),
        "membership": membership,
        "component_type": torch.eye(NODES, len(words.component_types)).expand(BATCH, -1, -1).clone(),
        "component_mask": torch.ones(BATCH, NODES),
        "evidence": torch.rand(BATCH, NODES, EVIDENCE_SLOTS, EVIDENCE_FEATURES),
        "context": torch.rand(BATCH, CONTEXTS),
        "edges": edges,
    }
    assert tuple(made) == INPUTS
    return made


def answer(model, made):
    with one_thread(), torch.no_grad():
        return model(*made.values())


def test_answers_have_their_shapes():
    found = answer(network(), inputs())
    assert {name: tuple(value.shape) for name, value in found._asdict().items()} == {
        "severity": (BATCH, NODES, MODES, THRESHOLDS),
        "health": (BATCH, NODES, 3),
        "anomaly": (BATCH, NODES),
        "machine_anomaly": (BATCH,),
        "root": (BATCH, NODES + 1),
    }


def test_the_same_seed_gives_the_same_network():
    one, other = network().state_dict(), network().state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_every_weight_but_the_fixed_places_takes_part_in_learning():
    model = network().train()
    found = model(*inputs().values())
    sum(value[value > -1e3].square().sum() for value in found).backward()
    for name, weight in model.named_parameters():
        if name == "sensors.place":
            assert not weight.requires_grad
        else:
            assert weight.grad is not None, name
            assert weight.grad.abs().sum() > 0, name


def test_without_evidence_the_network_is_blind_to_virtual_sensors():
    one, other = inputs(), inputs()
    other["evidence"] = 1 - other["evidence"]
    blind, seeing = network(use_evidence=False), network()
    assert torch.equal(answer(blind, one).severity, answer(blind, other).severity)
    assert not torch.allclose(answer(seeing, one).severity, answer(seeing, other).severity, atol=1e-3)


def test_a_component_that_is_not_there_is_never_the_root_cause():
    made = inputs()
    made["component_mask"][:, -1] = 0
    root = torch.softmax(answer(network(), made).root, dim=1)
    assert root[:, NODES - 1].tolist() == [0.0] * BATCH
    assert root.sum(1).tolist() == pytest.approx([1.0] * BATCH)


def test_a_one_step_transient_keeps_its_place():
    """The same second of surprise at another place of the cycle is another answer."""
    early, late = inputs(), inputs()
    early["readings"][:, 0, 3, 9] += 5.0
    late["readings"][:, 0, 3, 12] += 5.0
    model = network()
    assert (answer(model, early).severity - answer(model, late).severity).abs().max() > 1e-3


def test_a_component_without_sensors_pools_to_the_same_whatever_others_read():
    torch.manual_seed(0)
    pooling = SensorPooling(8, 2).eval()
    membership = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    with torch.no_grad():
        one, other = (pooling(torch.randn(1, 2, 8), membership) for _ in range(2))
    assert torch.equal(one[:, 1], other[:, 1])
    assert not torch.allclose(one[:, 0], other[:, 0])


def test_attention_hears_only_where_there_is_a_line():
    torch.manual_seed(0)
    attention = EdgeAttention(8, 2, 3).eval()
    edges = torch.zeros(1, 3, 3, 3)
    edges[0, torch.arange(3), torch.arange(3), -1] = 1
    edges[0, 1, 0, 0] = 1
    x = torch.randn(1, 3, 8)
    louder = x.clone()
    louder[0, 0] += 1.0
    with torch.no_grad():
        change = (attention(louder, edges) - attention(x, edges)).abs().sum(-1)[0]
    assert change[0] > 1e-3
    assert change[1] > 1e-3
    assert change[2] == 0


def test_the_type_of_a_line_matters():
    torch.manual_seed(0)
    attention, x = EdgeAttention(8, 2, 3).eval(), torch.randn(1, 2, 8)
    heard = []
    for kind in (0, 1):
        edges = torch.zeros(1, 2, 2, 3)
        edges[0, torch.arange(2), torch.arange(2), -1] = 1
        edges[0, 1, 0, kind] = 1
        with torch.no_grad():
            heard.append(attention(x, edges)[0, 1])
    assert not torch.allclose(heard[0], heard[1], atol=1e-3)


@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0])
def test_severity_thresholds_fall_and_quantiles_rise_for_any_state_and_any_weights(scale):
    torch.manual_seed(3)
    severity, health = OrdinalSeverity(8, 3), HealthQuantiles(8)
    with torch.no_grad():
        severity.gaps.copy_(torch.randn_like(severity.gaps) * 10)
        found, quantiles = (head(scale * torch.randn(4, 6, 8)) for head in (severity, health))
    assert (found.diff(dim=-1) <= 0).all()
    assert (quantiles.diff(dim=-1) >= 0).all()
    assert 0 <= quantiles.min() <= quantiles.max() <= 1
