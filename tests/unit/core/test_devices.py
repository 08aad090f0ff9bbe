import sys
from types import SimpleNamespace

import pytest

from gnn_service.core import devices
from gnn_service.core.errors import ConfigurationError, DeviceUnavailableError


@pytest.fixture(autouse=True)
def forget():
    probe = devices.probe  # a test may put another in its place
    probe.cache_clear()
    yield
    probe.cache_clear()


@pytest.fixture
def torch(monkeypatch):
    """A torch that a test gives its devices."""
    fake = SimpleNamespace(
        cuda=SimpleNamespace(is_available=lambda: False, device_count=lambda: 0),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: False)),
    )
    monkeypatch.setitem(sys.modules, "torch", fake)
    monkeypatch.setattr(devices, "find_spec", lambda name: fake if name == "torch" else None)
    return fake


@pytest.fixture
def onnxruntime(monkeypatch):
    fake = SimpleNamespace(get_available_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    monkeypatch.setattr(devices, "find_spec", lambda name: fake)
    return fake


def test_auto_takes_the_best_device_that_torch_shows(torch):
    assert devices.resolve("auto", "torch") == "cpu"
    devices.probe.cache_clear()
    torch.backends.mps.is_available = lambda: True
    assert devices.available("torch") == ("mps", "cpu")
    devices.probe.cache_clear()
    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: 2
    assert devices.available("torch") == ("cuda:0", "cuda:1", "cpu")
    assert devices.resolve("auto", "torch") == "cuda:0"
    assert devices.resolve("cuda", "torch") == "cuda:0"
    assert devices.resolve("cuda:1", "torch") == "cuda:1"


def test_an_explicit_device_that_is_not_there_lists_those_that_are(torch):
    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: 1
    with pytest.raises(DeviceUnavailableError, match="'cuda:1' is not there; torch offers here: cuda:0, cpu"):
        devices.resolve("cuda:1", "torch")
    with pytest.raises(DeviceUnavailableError, match="'mps' is not there"):
        devices.resolve("mps", "torch")


def test_onnx_runtime_built_for_cuda_still_needs_a_gpu(onnxruntime, monkeypatch):
    monkeypatch.setattr(devices, "gpu_count", lambda: 0)
    assert devices.available("onnxruntime") == ("cpu",)
    devices.probe.cache_clear()
    monkeypatch.setattr(devices, "gpu_count", lambda: 1)
    assert devices.available("onnxruntime") == ("cuda:0", "cpu")


def test_a_gpu_is_nothing_to_an_onnx_runtime_built_without_cuda(onnxruntime, monkeypatch):
    onnxruntime.get_available_providers = lambda: ["CPUExecutionProvider"]
    monkeypatch.setattr(devices, "gpu_count", lambda: 1)
    assert devices.available("onnxruntime") == ("cpu",)


@pytest.mark.parametrize(
    "results, count",
    [((0, 0), 2), ((100, 0), 0), ((0, 3), 0)],
    ids=["two GPUs", "no device", "driver failure"],
)
def test_the_cuda_driver_is_asked_how_many_gpus_there_are(results, count, monkeypatch):
    def device_count(reference):
        reference._obj.value = 2
        return results[1]

    driver = SimpleNamespace(cuInit=lambda flags: results[0], cuDeviceGetCount=device_count)
    monkeypatch.setattr(devices, "CDLL", lambda name: driver)
    assert devices.gpu_count() == count


def test_without_a_cuda_driver_there_is_no_gpu(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(devices, "CDLL", missing)
    assert devices.gpu_count() == 0


def test_a_machine_without_any_gpu_offers_its_cpu():
    assert devices.available("onnxruntime")[-1] == "cpu"
    assert devices.resolve("auto", "onnxruntime") == devices.available("onnxruntime")[0]


def test_cpu_needs_no_runtime(monkeypatch):
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    assert devices.resolve("cpu", "torch") == "cpu"
    with pytest.raises(ConfigurationError, match=r"torch is not installed; run: pip install 'gnn-service\[train\]'"):
        devices.resolve("auto", "torch")
    with pytest.raises(ConfigurationError, match="neither onnxruntime nor torch is installed"):
        devices.resolve("auto")


def test_without_a_named_runtime_the_installed_one_is_asked(torch):
    assert devices.installed_runtime() == "torch"
    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: 1
    assert devices.resolve("auto") == "cuda:0"


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "cuda:1000", "CPU", "", "cpu\n"])
def test_what_is_no_device_name_is_refused_as_such(name):
    with pytest.raises(ConfigurationError, match="is no device name; use one of auto, cpu, cuda, cuda:N, mps"):
        devices.resolve(name)


@pytest.mark.requires("gpu")
def test_torch_and_the_driver_agree_on_the_number_of_gpus():
    assert len(devices.available("torch")) - 1 == devices.gpu_count()


def test_the_runtime_that_has_the_device_is_found(monkeypatch):
    offered = {"onnxruntime": ("cpu",), "torch": ("cuda:0", "cpu")}
    monkeypatch.setattr(devices, "find_spec", lambda name: object())
    monkeypatch.setattr(devices, "probe", lambda runtime: offered[runtime])
    monkeypatch.setattr(devices, "gpu_count", lambda: 1)
    assert devices.resolve_any("auto") == ("cuda:0", "torch")
    assert devices.resolve_any("cuda") == ("cuda:0", "torch")
    assert devices.resolve_any("cpu") == ("cpu", "onnxruntime")
    with pytest.raises(DeviceUnavailableError, match="'cuda:7' is not there; torch offers here: cuda:0, cpu"):
        devices.resolve_any("cuda:7")
    offered["onnxruntime"] = ("cuda:0", "cpu")
    assert devices.resolve_any("auto") == ("cuda:0", "onnxruntime")


def test_without_a_gpu_torch_is_not_asked(monkeypatch):
    monkeypatch.setattr(devices, "find_spec", lambda name: object())
    monkeypatch.setattr(devices, "gpu_count", lambda: 0)
    monkeypatch.setattr(devices, "probe", {"onnxruntime": ("cpu",)}.__getitem__)
    assert devices.resolve_any("auto") == ("cpu", "onnxruntime")
    with pytest.raises(DeviceUnavailableError, match="onnxruntime offers here: cpu"):
        devices.resolve_any("cuda")


def test_openvino_computes_on_the_cpu_only(monkeypatch):
    monkeypatch.setattr(devices, "find_spec", lambda name: object())
    assert devices.available("openvino") == ("cpu",)
