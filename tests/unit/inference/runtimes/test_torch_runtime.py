"""The network itself behind the engine's interface, loaded from a bundle's weights."""

import numpy as np
import pytest

from gnn_service.core.errors import BundleError, DeviceUnavailableError, EngineStoppedError
from gnn_service.inference.runtimes.base import DeviceMemoryError, MemoryAware
from gnn_service.inference.runtimes.onnx import OnnxRuntime
from gnn_service.inference.runtimes.references import Known, References
from gnn_service.inference.runtimes.torch_runtime import TorchRuntime, network_of
from gnn_service.model.bundle import Bundle
from tests.support.tiny_model import network, one_thread, tiny_bundle


@pytest.fixture
def runtime():
    with one_thread():
        yield TorchRuntime(network_of(tiny_bundle()))


def batch_of(size, bundle=None):
    item, _ = (bundle or tiny_bundle()).canary
    return {name: np.stack([value] * size) for name, value in item.items()}


def test_the_bundles_canary_is_answered(runtime):
    assert (runtime.name, runtime.device, runtime.buckets) == ("torch", "cpu", None)
    references = References(Known(*tiny_bundle().canary), tolerance=1e-4)
    for size in (1, 3):
        assert references.flaw(runtime.run, size) is None


def test_the_shipped_weights_answer_as_the_shipped_graph_does():
    bundle = Bundle.shipped()
    with one_thread():
        ours = TorchRuntime(network_of(bundle)).run(batch_of(2, bundle))
    for name, value in OnnxRuntime(bundle.onnx, "cpu").run(batch_of(2, bundle)).items():
        np.testing.assert_allclose(ours[name], value, atol=1e-3, rtol=1e-3, err_msg=name)


def test_the_network_of_a_bundle_is_its_network_and_learns_nothing():
    loaded = network_of(tiny_bundle())
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    for name, value in network().state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[name], value)


def test_weights_that_do_not_fit_are_refused_in_one_line():
    tiny = tiny_bundle()
    other = Bundle({**tiny.manifest, "architecture": {**tiny.manifest["architecture"], "width": 64}}, tiny.parts)
    with pytest.raises(BundleError, match="train the bundle again") as refused:
        network_of(other)
    assert "\n" not in str(refused.value)


def test_arrays_that_may_not_be_written_to_are_read(runtime):
    batch = batch_of(1)
    for value in batch.values():
        value.flags.writeable = False
    assert runtime.run(batch)["anomaly"].shape == (1, 16)


def test_memory_that_runs_out_is_told_apart(runtime, monkeypatch):
    def full(*_):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(runtime, "_network", full)
    with pytest.raises(DeviceMemoryError, match="no memory for this batch"):
        runtime.run(batch_of(1))
    assert isinstance(runtime, MemoryAware)
    runtime.release_memory()
    assert runtime.memory_peak_bytes > 2**24


def test_a_device_that_is_not_there_is_an_error():
    with pytest.raises(DeviceUnavailableError, match="cuda:99"):
        TorchRuntime(network(), "cuda:99")


def test_a_closed_runtime_says_so(runtime):
    runtime.close()
    with pytest.raises(EngineStoppedError, match="closed"):
        runtime.run(batch_of(1))
