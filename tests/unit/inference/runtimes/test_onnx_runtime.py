"""ONNX Runtime behind the engine's interface, with real graphs."""

import asyncio

import numpy as np
import pytest

from gnn_service.core.errors import BundleError, DeviceUnavailableError, EngineStoppedError, ModelRefusesError
from gnn_service.inference.engine import Engine
from gnn_service.inference.runtimes.base import DeviceMemoryError, MemoryAware
from gnn_service.inference.runtimes.onnx import OnnxRuntime, _providers
from gnn_service.inference.spec import ModelSpec
from tests.support.inference import model_threads, settings
from tests.support.onnx_graphs import expanding, graph_item, message_passing, reference, sequence


@pytest.fixture(scope="module")
def graph():
    return message_passing()


def stacked(items):
    return {name: np.stack([item[name] for item in items]) for name in items[0]}


def onnx_engine(graph, **changes):
    canary = graph_item(0)
    return Engine(ModelSpec(lambda: OnnxRuntime(graph, "cpu"), canary, reference(canary)), settings(**changes))


@pytest.mark.parametrize("size", [1, 2, 3, 16])
def test_a_batch_is_answered_like_its_graphs_one_by_one(graph, size):
    runtime = OnnxRuntime(graph, "cpu")
    items = [graph_item(seed) for seed in range(size)]
    answers = runtime.run(stacked(items))
    assert {name: array.shape for name, array in answers.items()} == {"nodes": (size, 6, 1), "score": (size,)}
    for row, item in enumerate(items):
        alone = runtime.run(stacked([item]))
        for name, known in reference(item).items():
            np.testing.assert_allclose(answers[name][row], alone[name][0], atol=1e-5, rtol=0)
            np.testing.assert_allclose(answers[name][row], known, atol=1e-5, rtol=0)


def test_a_file_is_as_good_as_its_bytes(graph, tmp_path):
    path = tmp_path / "graph.onnx"
    path.write_bytes(graph)
    runtime = OnnxRuntime(path, "auto", threads=2)
    assert (runtime.name, runtime.device) == ("onnxruntime", "cpu")
    assert (runtime.inputs, runtime.outputs) == (("x", "adjacency"), ("nodes", "score"))


@pytest.mark.parametrize("damage", [lambda graph: b"junk", lambda graph: graph[: len(graph) // 2], lambda graph: b""])
def test_a_damaged_graph_is_refused_in_one_line(graph, damage):
    with pytest.raises(BundleError, match="the ONNX graph cannot be loaded") as refused:
        OnnxRuntime(damage(graph), "cpu")
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"nope\.onnx"):
        OnnxRuntime(tmp_path / "nope.onnx", "cpu")


def test_a_graph_that_answers_no_tensors_is_refused():
    with pytest.raises(BundleError, match=r"output 'many' of the ONNX graph is a seq\(tensor\(float\)\)"):
        OnnxRuntime(sequence(), "cpu")


def test_a_device_that_is_not_there_is_an_error(graph):
    with pytest.raises(DeviceUnavailableError):
        OnnxRuntime(graph, "cuda:99")


def test_memory_that_runs_out_is_told_apart_and_the_runtime_goes_on():
    runtime = OnnxRuntime(expanding(), "cpu")
    with pytest.raises(DeviceMemoryError, match="no memory for this batch"):
        runtime.run({"x": np.array([[2.0**50]], np.float32)})
    runtime.release_memory()
    for _ in range(2):
        assert runtime.run({"x": np.array([[4.0]], np.float32)})["score"].tolist() == [4.0]
        assert runtime._run_options() is None, "given back once, not after every run"


def test_the_peak_of_memory_is_that_of_this_process(graph):
    runtime = OnnxRuntime(graph, "cpu")
    assert isinstance(runtime, MemoryAware)
    assert 2**24 < runtime.memory_peak_bytes < 2**40


class Driver:
    """The CUDA driver of a machine with one GPU of 1000 bytes."""

    def __call__(self, name):
        assert name == "libcuda.so.1"
        return self

    def cuInit(self, flags):  # noqa: N802 - the driver's name for it
        return 0

    def cuDeviceGet(self, device, index):  # noqa: N802
        return 0 if index == 0 else 101

    def cuDeviceTotalMem_v2(self, size, device):  # noqa: N802
        size._obj.value = 1000
        return 0


def test_a_share_of_a_gpus_memory_is_what_onnx_runtime_may_use(monkeypatch):
    monkeypatch.setattr("gnn_service.inference.runtimes.onnx.ctypes.CDLL", Driver())
    (provider, options), fallback = _providers("cuda:0", 0.25)
    assert (provider, fallback) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert (options["device_id"], options["gpu_mem_limit"]) == (0, 250)
    with pytest.raises(DeviceUnavailableError, match="cuda:1"):
        _providers("cuda:1", 0.25)


def test_a_closed_runtime_says_so(graph):
    runtime = OnnxRuntime(graph, "cpu")
    runtime.close()
    with pytest.raises(EngineStoppedError, match="closed"):
        runtime.run(stacked([graph_item(1)]))


async def test_through_the_engine_a_graph_is_answered_the_same_alone_and_in_a_full_batch(graph):
    async with onnx_engine(graph) as subject:
        items = [graph_item(seed) for seed in range(1, 33)]
        together = await asyncio.gather(*(subject.infer(item) for item in items))
        assert subject.stats().batch_size.counts[7] == 2, "two batches of sixteen"
        for item, answer in zip(items, together, strict=True):
            alone = await subject.infer(item)
            for name, known in reference(item).items():
                np.testing.assert_allclose(answer[name], alone[name], atol=1e-5, rtol=0)
                np.testing.assert_allclose(answer[name], known, atol=1e-5, rtol=0)
    assert model_threads() == []


async def test_through_the_engine_graphs_of_any_size_are_answered(graph):
    async with onnx_engine(graph) as subject:
        items = [graph_item(seed, nodes=3 + seed % 4) for seed in range(20)]
        for item, answer in zip(items, await asyncio.gather(*map(subject.infer, items)), strict=True):
            np.testing.assert_allclose(answer["nodes"], reference(item)["nodes"], atol=1e-5, rtol=0)


async def test_a_graph_that_onnx_runtime_refuses_fails_alone(graph):
    async with onnx_engine(graph) as subject:
        odd = {**graph_item(1), "adjacency": np.ones((5, 5), np.float32)}
        answers = await asyncio.gather(
            subject.infer(graph_item(2)), subject.infer(odd), subject.infer(graph_item(3)), return_exceptions=True
        )
        assert isinstance(answers[1], ModelRefusesError)
        assert not any(isinstance(answer, BaseException) for answer in (answers[0], answers[2]))
        assert subject.stats().breaker == "closed"


async def test_a_damaged_graph_stops_the_start_with_its_own_error(graph):
    with pytest.raises(BundleError):
        await onnx_engine(graph[:100]).start()
    assert model_threads() == []
