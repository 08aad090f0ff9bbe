"""OpenVINO behind the engine's interface, with real graphs."""

import asyncio
import logging

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from gnn_service.core.errors import BundleError, DeviceUnavailableError, EngineFailedError, EngineStoppedError
from gnn_service.inference.engine import Engine
from gnn_service.inference.runtimes.base import MemoryAware
from gnn_service.inference.runtimes.references import Known, References
from gnn_service.inference.spec import ModelSpec
from tests.support.inference import settings
from tests.support.onnx_graphs import graph_item, message_passing, reference

pytestmark = pytest.mark.requires("openvino")


@pytest.fixture(scope="module")
def graph():
    return message_passing()


def opened(graph, **options):
    from gnn_service.inference.runtimes.openvino import OpenVinoRuntime

    return OpenVinoRuntime(graph, **options)


def stacked(items):
    return {name: np.stack([item[name] for item in items]) for name in items[0]}


def known(seed=0, off=0.0):
    item = graph_item(seed)
    return References(Known(item, {name: value + np.float32(off) for name, value in reference(item).items()}))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 16, 19])
def test_a_batch_of_any_size_is_answered_like_its_graphs_one_by_one(graph, size):
    runtime = opened(graph)
    assert (runtime.name, runtime.device, runtime.buckets) == ("openvino", "cpu", (1, 4, 16))
    items = [graph_item(seed) for seed in range(size)]
    answers = runtime.run(stacked(items))
    assert {name: array.shape for name, array in answers.items()} == {"nodes": (size, 6, 1), "score": (size,)}
    for row, item in enumerate(items):
        for name, value in reference(item).items():
            np.testing.assert_allclose(answers[name][row], value, atol=1e-5, rtol=0)


def test_answers_stay_as_they_were_when_the_next_batch_runs(graph):
    runtime = opened(graph)
    first = runtime.run(stacked([graph_item(1)]))
    kept = {name: value.copy() for name, value in first.items()}
    runtime.run(stacked([graph_item(2)]))
    for name, value in kept.items():
        np.testing.assert_array_equal(first[name], value)


def test_arrays_that_are_not_in_one_piece_are_read_rightly(graph):
    item = graph_item(3)
    scattered = {name: np.asfortranarray(value)[None] for name, value in item.items()}
    assert not scattered["x"].flags.c_contiguous
    np.testing.assert_allclose(opened(graph).run(scattered)["nodes"][0], reference(item)["nodes"], atol=1e-5)


def test_single_precision_is_what_it_computes_in(graph):
    runtime = opened(graph)
    runtime.run(stacked([graph_item(1)]))
    (compiled,) = runtime._compiled.values()
    assert str(compiled._graph.get_property("INFERENCE_PRECISION_HINT")) == "<Type: 'float32'>"
    assert compiled._graph.get_property("INFERENCE_NUM_THREADS") == 1
    assert not compiled._graph.get_property("ENABLE_CPU_PINNING")


def test_further_shapes_share_one_graph(graph, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("gnn_service.inference.runtimes.openvino.COMPILED_MAX", 2)
    runtime = opened(graph)
    for nodes in (3, 4, 5, 6, 5):
        item = graph_item(nodes, nodes)
        np.testing.assert_allclose(
            runtime.run(stacked([item]))["nodes"][0], reference(item)["nodes"], atol=1e-5, rtol=0
        )
    assert len(runtime._compiled) == 2
    assert caplog.text.count("share a slower graph") == 1


def test_what_does_not_give_the_reference_answers_is_not_used(graph):
    runtime = opened(graph, references=known(off=0.1))
    with pytest.raises(EngineFailedError, match=r"does not give the model's reference answers: nodes is off by 0\.1"):
        runtime.run(stacked([graph_item(5)]))


def test_compiled_graphs_are_kept_and_used_again(graph, tmp_path):
    for _ in range(2):
        runtime = opened(graph, references=known(), cache=tmp_path / "cache")
        np.testing.assert_allclose(runtime.run(stacked([graph_item(5)]))["score"], reference(graph_item(5))["score"])
        assert len(list((tmp_path / "cache").glob("*.blob"))) == 1


def test_a_cached_graph_that_answers_wrongly_is_compiled_anew(graph, tmp_path, monkeypatch, caplog):
    """What a cache holds is only as good as what wrote it: here a graph of other weights, under this one's name."""
    runtime = opened(graph, references=known(), cache=tmp_path)
    real = runtime._built

    def built(model, *, cached=True):
        return real(wrong if cached else model)

    other = onnx.load_from_string(graph)
    first = other.graph.initializer[0]
    first.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(first), first.name))
    wrong = runtime._core.read_model(other.SerializeToString())
    wrong.reshape({"x": [1, 6, 4], "adjacency": [1, 6, 6]})
    monkeypatch.setattr(runtime, "_built", built)
    answers = runtime.run(stacked([graph_item(5)]))
    np.testing.assert_allclose(answers["nodes"][0], reference(graph_item(5))["nodes"], atol=1e-5)
    assert "it is compiled anew" in caplog.text


def test_a_damaged_cache_costs_time_only(graph, tmp_path):
    opened(graph, cache=tmp_path).run(stacked([graph_item(5)]))
    (blob,) = tmp_path.glob("*.blob")
    blob.write_bytes(b"junk")
    answers = opened(graph, cache=tmp_path).run(stacked([graph_item(5)]))
    np.testing.assert_allclose(answers["nodes"][0], reference(graph_item(5))["nodes"], atol=1e-5)


@pytest.mark.parametrize("damage", [lambda graph: b"junk", lambda graph: graph[: len(graph) // 2]])
def test_a_damaged_graph_is_refused_in_one_line(graph, damage):
    with pytest.raises(BundleError, match="the ONNX graph cannot be loaded") as refused:
        opened(damage(graph))
    assert "\n" not in str(refused.value)


def test_another_device_than_the_cpu_is_not_there(graph):
    with pytest.raises(DeviceUnavailableError, match="openvino computes on: cpu"):
        opened(graph, device="cuda:0")


def test_arrays_that_the_graph_does_not_take_are_named(graph):
    with pytest.raises(ValueError, match="the graph takes x, adjacency; wrong: adjacency, y"):
        opened(graph).run({"x": np.zeros((1, 6, 4), np.float32), "y": np.zeros((1, 6), np.float32)})


def test_memory_is_reported_and_given_back_between_runs(graph):
    runtime = opened(graph)
    before = runtime.run(stacked([graph_item(1)]))
    runtime.release_memory()
    np.testing.assert_array_equal(runtime.run(stacked([graph_item(1)]))["score"], before["score"])
    assert isinstance(runtime, MemoryAware)
    assert 2**24 < runtime.memory_peak_bytes < 2**40


def test_a_closed_runtime_says_so(graph):
    runtime = opened(graph)
    runtime.close()
    with pytest.raises(EngineStoppedError, match="closed"):
        runtime.run(stacked([graph_item(1)]))


async def test_through_the_engine_graphs_of_any_size_are_answered(graph):
    canary = graph_item(0)
    spec = ModelSpec(lambda: opened(graph, references=known()), canary, reference(canary))
    async with Engine(spec, settings()) as subject:
        items = [graph_item(seed, nodes=5 + seed % 2) for seed in range(20)]
        for item, answer in zip(items, await asyncio.gather(*map(subject.infer, items)), strict=True):
            np.testing.assert_allclose(answer["nodes"], reference(item)["nodes"], atol=1e-5, rtol=0)
