"""What must not change the network's answers: company in a batch, order, padding, and sensors that say nothing."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gnn_service.domain.catalogue import catalogue
from gnn_service.domain.machine import Machine, Sensor
from gnn_service.model.heads import Answers
from gnn_service.model.network import NEGATIVE_SLOPE, EdgeAttention, factored
from gnn_service.training.export import padded
from tests.support.duty_cycle import Cycle, grids, rig
from tests.support.tiny_model import answers, encoded, healthy_baseline, network, one_thread, stacked, tiny_bundle

NODES = len(rig().components)
TOLERANCE = 1e-5
few = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 2**32 - 1)


def cycles(seed: int, count: int) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    drawn = [
        Cycle(
            charge_bar=random.uniform(85, 135),
            oil_c=random.uniform(30, 60),
            delay_s=random.uniform(0.25, 0.65),
            lost_percent=random.uniform(0, 6),
            relief=(2, 3) if random.random() < 0.2 else (),
            missing=tuple(s.id for s in rig().sensors if random.random() < 0.1),
        )
        for _ in range(count)
    ]
    return grids(drawn, noise=3.0, seed=seed)


def shares(found: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Answers as the numbers in 0..1 that a diagnosis is made of."""
    logits = found["root"].astype(np.float64)
    weight = np.exp(logits - logits.max(-1, keepdims=True))
    squashed = {n: 1 / (1 + np.exp(-found[n].astype(np.float64))) for n in ("severity", "anomaly", "machine_anomaly")}
    return {**squashed, "health": found["health"], "root": weight / weight.sum(-1, keepdims=True)}


def assert_same(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> None:
    for name, value in shares(one).items():
        assert np.abs(value - shares(other)[name]).max() <= TOLERANCE, name


def of_real_nodes(found: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Answers without the padding; the last root cause, from outside, stays last."""
    cut = {
        name: value[:, :NODES] if name in {"severity", "health", "anomaly"} else value for name, value in found.items()
    }
    return {**cut, "root": np.concatenate([found["root"][:, :NODES], found["root"][:, -1:]], axis=1)}


def turned(machine: Machine, seed: int, *parts: str) -> tuple[Machine, dict[str, NDArray[np.intp]]]:
    """The machine with some of its lists in another order, and those orders."""
    random = np.random.default_rng(seed)
    orders = {part: random.permutation(len(getattr(machine, part))) for part in parts}
    lists = {part: tuple(getattr(machine, part)[k] for k in order) for part, order in orders.items()}
    return machine.model_copy(update=lists), orders


@pytest.fixture(scope="module")
def exported() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(tiny_bundle(export=True).onnx, options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def sparse_attention() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it compiles a part of itself in a way that torch gives up
        from torch_geometric.nn import GATv2Conv
    return GATv2Conv


def in_onnx(session: onnxruntime.InferenceSession, items: list[Any]) -> dict[str, NDArray[Any]]:
    return dict(zip(Answers._fields, session.run(list(Answers._fields), stacked(items)), strict=True))


@few
@given(seeds)
def test_a_window_alone_and_in_a_full_batch_gets_the_same_numbers(seed):
    items = encoded(rig(), cycles(seed, 16), healthy_baseline())
    together = answers(items)
    for k in (0, 7, 15):
        assert_same(answers(items[k : k + 1]), {name: value[k : k + 1] for name, value in together.items()})


@few
@given(seeds)
def test_the_exported_graph_gives_the_same_numbers_alone_and_in_a_full_batch_as_torch(exported, seed):
    items = encoded(rig(), cycles(seed, 16), healthy_baseline())
    expected, together = answers(items), in_onnx(exported, items)
    assert_same(together, expected)
    for k in (0, 15):
        assert_same(in_onnx(exported, items[k : k + 1]), {name: value[k : k + 1] for name, value in expected.items()})


@few
@given(seeds)
def test_factored_attention_gives_the_same_numbers_as_plain(seed):
    items = encoded(rig(), cycles(seed, 3), healthy_baseline())
    plain = answers(items)
    with factored(network()):
        assert_same(answers(items), plain)
    for name, value in answers(items).items():
        np.testing.assert_array_equal(value, plain[name], err_msg="plain again, to the bit")


def test_windows_get_answers_of_their_own():
    """The laws here would hold for a network that always says the same."""
    found = shares(answers(encoded(rig(), cycles(1, 8), healthy_baseline())))
    for name, value in found.items():
        assert np.ptp(value[:, :NODES] if value.ndim > 1 else value, axis=0).max() > 1e-3, name
    assert np.ptp(found["severity"][0, :NODES], axis=0).max() > 0.1


@few
@given(seeds)
def test_permuting_the_components_permutes_the_answers_and_changes_nothing_else(seed):
    values = cycles(seed, 3)
    machine, orders = turned(rig(), seed, "components", "connections", "failure_modes")
    order = orders["components"]
    plain = of_real_nodes(answers(encoded(rig(), values, healthy_baseline())))
    permuted = of_real_nodes(answers(encoded(machine, values, healthy_baseline())))
    moved = {
        name: value[:, order] if name in {"severity", "health", "anomaly"} else value for name, value in plain.items()
    }
    moved["root"] = np.concatenate([plain["root"][:, :NODES][:, order], plain["root"][:, -1:]], axis=1)
    assert_same(permuted, moved)


@few
@given(seeds)
def test_permuting_the_sensors_changes_nothing(seed):
    values = cycles(seed, 3)
    machine, orders = turned(rig(), seed, "sensors")
    plain = answers(encoded(rig(), values, healthy_baseline()))
    assert_same(answers(encoded(machine, values[:, orders["sensors"]], healthy_baseline())), plain)


@few
@given(
    seeds,
    st.sampled_from(rig().component_ids),
    st.sampled_from([q.id for q in catalogue().quantities]),
    st.sampled_from(["AAA", "ZZZ"]),
    st.sampled_from(["evidence", "context", "command", "derived"]),
)
def test_a_sensor_that_never_reads_changes_nothing(seed, component, quantity, name, role):
    unit = catalogue().quantity(quantity).unit
    extra = Sensor(id=name, component=component, quantity=quantity, unit=unit, role=role, range={"low": 0, "high": 300})
    machine = rig().model_copy(update={"sensors": (extra, *rig().sensors)})
    values = cycles(seed, 3)
    silent = np.concatenate([np.full_like(values[:, :1], np.nan), values], axis=1)
    plain = answers(encoded(rig(), values, healthy_baseline()))
    assert_same(answers(encoded(machine, silent, healthy_baseline())), plain)


@few
@given(seeds, st.integers(2, 3))
def test_padding_to_a_larger_machine_changes_nothing(seed, times):
    items = encoded(rig(), cycles(seed, 2), healthy_baseline())
    grown = [padded(item, times) for item in items]
    assert grown[0]["edges"].shape[0] == times * items[0]["edges"].shape[0]
    assert_same(of_real_nodes(answers(grown)), of_real_nodes(answers(items)))


@few
@given(seeds)
def test_what_stands_in_masked_places_is_never_read(seed):
    """Garbage behind the masks: readings of a masked sensor, type and evidence of a component that is not there."""
    random = np.random.default_rng(seed)
    items = encoded(rig(), cycles(seed, 2), healthy_baseline())
    dirty = [{name: value.copy() for name, value in item.items()} for item in items]
    for item in dirty:
        blind = item["sensor_mask"] < 0.5
        item["readings"][blind] = random.normal(size=item["readings"][blind].shape)
        item["sensor_features"][blind] = random.normal(size=item["sensor_features"][blind].shape)
        item["component_type"][NODES:] = random.normal(size=item["component_type"][NODES:].shape)
        item["evidence"][NODES:] = random.normal(size=item["evidence"][NODES:].shape)
    assert_same(of_real_nodes(answers(dirty)), of_real_nodes(answers(items)))


@few
@given(seeds)
def test_exceeding_a_higher_severity_is_never_likelier(seed):
    found = answers(encoded(rig(), cycles(seed, 4), healthy_baseline()), seed=seed % 3)
    assert (np.diff(found["severity"], axis=-1) < 0).all()


@few
@given(seeds)
def test_quantiles_of_health_never_cross_and_lie_in_their_range(seed):
    health = answers(encoded(rig(), cycles(seed, 4), healthy_baseline()), seed=seed % 3)["health"]
    assert (np.diff(health, axis=-1) >= 0).all()
    assert health.min() >= 0
    assert health.max() <= 1


@few
@given(seeds, st.integers(2, 12), st.integers(1, 4))
def test_dense_attention_equals_the_sparse_one_of_pytorch_geometric(sparse_attention, seed, nodes, relations):
    """GATv2Conv shares key and value and keeps edges out of the value: with such weights both must agree."""
    width, heads = 16, 4
    with one_thread(), torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        dense = EdgeAttention(width, heads, relations + 1)
        sparse = sparse_attention(
            width, width // heads, heads, edge_dim=relations + 1, add_self_loops=False, bias=False,
            negative_slope=NEGATIVE_SLOPE,
        )  # fmt: skip
        for weights in (sparse.lin_l, sparse.lin_r, sparse.lin_edge):
            weights.weight.copy_(torch.randn(weights.weight.shape, generator=generator))
        sparse.att.copy_(torch.randn(1, heads, width // heads, generator=generator))
        for layer in (dense.key, dense.value):
            layer.weight.copy_(sparse.lin_l.weight)
            layer.bias.zero_()
        dense.query.weight.copy_(sparse.lin_r.weight)
        dense.query.bias.zero_()
        dense.edge.weight.copy_(torch.cat([sparse.lin_edge.weight, torch.zeros(width, relations + 1)]))
        dense.attention.copy_(sparse.att[0])
        dense.out.weight.copy_(torch.eye(width))
        dense.out.bias.zero_()

        edges = (torch.rand(nodes, nodes, relations + 1, generator=generator) < 0.2).float()
        edges[..., -1] = torch.eye(nodes)
        x = torch.randn(nodes, width, generator=generator)
        target, source = edges.sum(-1).nonzero(as_tuple=True)
        expected = sparse(x, torch.stack([source, target]), edges[target, source])
        assert torch.allclose(dense(x[None], edges[None])[0], expected, atol=1e-4, rtol=1e-4)
