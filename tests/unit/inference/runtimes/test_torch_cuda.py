"""The network on a GPU. Most needs one; what decides without one is tested without one."""

import numpy as np
import pytest
import torch

from gnn_service.core import devices
from gnn_service.core.errors import DeviceUnavailableError, EngineFailedError, EngineStoppedError
from gnn_service.inference.runtimes.base import DeviceMemoryError, MemoryAware, RuntimeLostError
from gnn_service.inference.runtimes.references import Known, References
from gnn_service.inference.runtimes.torch_cuda import CudaRuntime, Staging, _translated
from gnn_service.inference.runtimes.torch_runtime import network_of
from gnn_service.model.heads import Answers
from gnn_service.model.network import INPUTS
from tests.support.tiny_model import tiny_bundle

gpu = pytest.mark.requires("gpu")


class Sum(torch.nn.Module):
    """A network that is easily checked: (a, b) -> (a + b, a - b)."""

    def forward(self, a, b):
        return a + b, a - b


def pairs(size, width=3, seed=0):
    draw = np.random.default_rng(seed)
    return {name: draw.normal(size=(size, width)).astype(np.float32) for name in "ab"}


def opened(network=None, **options):
    return CudaRuntime(network or Sum(), "ab", ("sum", "difference"), **options)


# ---- without a GPU ----


def test_without_a_gpu_it_says_what_there_is(monkeypatch):
    monkeypatch.setattr(devices, "available", lambda runtime: ("cpu",))
    with pytest.raises(DeviceUnavailableError, match="'cuda' is not there; torch offers here: cpu"):
        opened()
    with pytest.raises(DeviceUnavailableError, match="is no GPU here"):
        opened(device="auto")


@pytest.mark.parametrize(
    "error, kind",
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), DeviceMemoryError),
        (torch.AcceleratorError("CUDA error: out of memory", 2), DeviceMemoryError),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered", 700), RuntimeLostError),
        (torch.AcceleratorError("CUDA error: device-side assert triggered", 710), RuntimeLostError),
        (torch.AcceleratorError("CUDA error: unspecified launch failure", 719), RuntimeLostError),
        (torch.AcceleratorError("CUDA error: unknown error", 999), RuntimeLostError),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), DeviceMemoryError),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), RuntimeError),
    ],
)
def test_what_torch_raises_is_told_apart(error, kind):
    assert type(_translated(error)) is kind


def test_memory_that_ran_out_during_a_capture_is_found_behind_the_captures_own_error():
    masked = RuntimeError("operation failed due to a previous error during capture")
    masked.__context__ = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    assert type(_translated(masked)) is DeviceMemoryError


def test_a_batch_is_staged_without_a_copy_of_its_own():
    arrays = list(pairs(4).values())
    staging = Staging.of(arrays, "cpu", pinned=False)
    for seed in (1, 2):
        batch = list(pairs(4, seed=seed).values())
        staging.write(batch)
        staging.upload()
        for room, array in zip(staging.device_in, batch, strict=True):
            np.testing.assert_array_equal(room.numpy(), array)


def test_staging_keeps_the_types_of_its_arrays():
    staging = Staging.of([np.zeros((2, 3), np.int64), np.zeros(2, np.float32)], "cpu", pinned=False)
    assert [tensor.dtype for tensor in staging.device_in] == [torch.int64, torch.float32]


# ---- on a GPU ----


@gpu
@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "eager"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 21])
def test_a_batch_of_any_size_is_answered_like_its_items(graphs, size):
    runtime = opened(graphs=graphs)
    assert (runtime.name, runtime.device, runtime.buckets) == ("torch", "cuda:0", (1, 2, 4, 8, 16))
    for seed in (0, 1):
        batch = pairs(size, seed=seed)
        answers = runtime.run(batch)
        np.testing.assert_array_equal(answers["sum"], batch["a"] + batch["b"])
        np.testing.assert_array_equal(answers["difference"], batch["a"] - batch["b"])


@gpu
def test_answers_stay_as_they_were_when_the_next_batch_runs():
    runtime = opened()
    first = runtime.run(pairs(4))
    runtime.run(pairs(4, seed=1))
    np.testing.assert_array_equal(first["sum"], pairs(4)["a"] + pairs(4)["b"])


@gpu
@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "eager"])
def test_the_bundles_canary_is_answered(graphs):
    bundle = tiny_bundle()
    runtime = CudaRuntime(network_of(bundle), INPUTS, Answers._fields, graphs=graphs)
    references = References(Known(*bundle.canary))
    for size in (1, 3, 16):
        assert references.flaw(runtime.run, size) is None


@gpu
def test_memory_that_runs_out_leaves_a_runtime_that_works():
    class Hungry(torch.nn.Module):
        def forward(self, a, b):
            room = torch.empty(2**44 if a.shape[1] == 5 else 1, device=a.device)
            return a + b + 0 * room[:1], a - b

    runtime = opened(Hungry())
    with pytest.raises(DeviceMemoryError):
        runtime.run(pairs(2, width=5))
    runtime.release_memory()
    assert runtime.run(pairs(2))["sum"].shape == (2, 3)
    assert isinstance(runtime, MemoryAware)
    assert runtime.memory_peak_bytes > 0


@gpu
def test_a_network_that_cannot_be_captured_is_an_error_that_says_what_to_do():
    class Waits(torch.nn.Module):
        def forward(self, a, b):
            return a + float(a.sum()), a - b  # reads a number back: not possible in a capture

    with pytest.raises(EngineFailedError, match=r"set model\.cuda_graphs=false"):
        opened(Waits()).run(pairs(2))
    assert opened(Waits(), graphs=False).run(pairs(2))["difference"].shape == (2, 3)


@gpu
def test_the_shape_used_longest_ago_goes_first(monkeypatch):
    monkeypatch.setattr("gnn_service.inference.runtimes.torch_cuda.PROGRAMS_MAX", 2)
    runtime = opened()
    for width in (3, 4, 3, 5):
        runtime.run(pairs(1, width=width))
    assert [shapes[0] for shapes in runtime._programs] == [(1, 3), (1, 5)]


@gpu
def test_a_closed_runtime_says_so():
    runtime = opened()
    runtime.close()
    with pytest.raises(EngineStoppedError, match="closed"):
        runtime.run(pairs(1))
