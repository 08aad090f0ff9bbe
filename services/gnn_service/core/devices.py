"""Which devices exist here: asked lazily of the runtime that a caller computes with. OpenVINO is used on CPUs only."""

import os
import re
from ctypes import CDLL, byref, c_int
from functools import cache
from importlib.util import find_spec
from typing import Final, Literal

from gnn_service.core.errors import ConfigurationError, DeviceUnavailableError

Runtime = Literal["onnxruntime", "openvino", "torch"]

DEVICE_PATTERN: Final = r"^(auto|cpu|cuda(:\d{1,3})?|mps)$"
DEVICE_WORDS: Final = "one of auto, cpu, cuda, cuda:N, mps"

INSTANCES_MAX: Final = 4
"""Beyond it the event loop that feeds them is the limit."""

_EXTRA_OF: Final = {
    "onnxruntime": "gnn-service",
    "openvino": "'gnn-service[openvino]'",
    "torch": "'gnn-service[train]'",
}


def is_installed(runtime: Runtime) -> bool:
    """Whether the runtime is there, without importing it."""
    return find_spec(runtime) is not None


def installed_runtime() -> Runtime:
    """The lighter of the installed runtimes: ONNX Runtime before torch.

    Raises:
        ConfigurationError: neither is installed.
    """
    for runtime in ("onnxruntime", "torch"):
        if is_installed(runtime):
            return runtime
    msg = "neither onnxruntime nor torch is installed; run: pip install gnn-service"
    raise ConfigurationError(msg)


def available(runtime: Runtime | None = None) -> tuple[str, ...]:
    """The devices that `runtime` can compute on in this process, best first, `cpu` always last.

    Imports the runtime on the first call (seconds for torch), then remembers what it offers.

    Raises:
        ConfigurationError: the runtime is not installed.
    """
    runtime = runtime or installed_runtime()
    if not is_installed(runtime):
        msg = f"{runtime} is not installed; run: pip install {_EXTRA_OF[runtime]}"
        raise ConfigurationError(msg)
    return probe(runtime)


def resolve(device: str, runtime: Runtime | None = None, *, where: str | None = None) -> str:
    """The device that a setting means here: `cpu`, `cuda:N` or `mps`; `where` names the setting in errors.

    `auto` is the best that exists, `cuda` the first GPU. `cpu` exists everywhere and imports nothing.

    Raises:
        ConfigurationError: `device` is no device name, or the runtime is not installed.
        DeviceUnavailableError: an explicit device that is not there; the message lists those that are.
    """
    if re.fullmatch(DEVICE_PATTERN, device) is None:
        msg = f"device {device!r} is no device name; use {DEVICE_WORDS}"
        raise ConfigurationError(msg, where=where)
    if device == "cpu":
        return device
    here = available(runtime)
    if device == "auto":
        return here[0]
    wanted = "cuda:0" if device == "cuda" else device
    if wanted not in here:
        name = runtime or installed_runtime()
        msg = f"device {device!r} is not there; {name} offers here: {', '.join(here)}; set one of these or auto"
        raise DeviceUnavailableError(msg, where=where)
    return wanted


def resolve_any(device: str, *, where: str | None = None) -> tuple[str, Runtime]:
    """`resolve` with whichever installed runtime has the device: what it means here, and the first that offers it.

    Torch is asked (and imported) only where the CUDA driver shows a GPU, or for `mps`.

    Raises:
        ConfigurationError: `device` is no device name, or no runtime is installed.
        DeviceUnavailableError: an explicit device that is not there.
    """
    first = installed_runtime()
    ask_torch = is_installed("torch") and (device == "mps" or gpu_count() > 0)
    if first == "torch" or not ask_torch:
        return resolve(device, first, where=where), first
    if device == "auto":
        best = resolve(device, first)
        return (resolve(device, "torch"), "torch") if best == "cpu" else (best, first)
    try:
        return resolve(device, first, where=where), first
    except DeviceUnavailableError:
        return resolve(device, "torch", where=where), "torch"


@cache
def probe(runtime: Runtime) -> tuple[str, ...]:
    """What an installed runtime offers; asked once in a process."""
    found = {"onnxruntime": _onnxruntime_devices, "openvino": tuple, "torch": _torch_devices}[runtime]()
    return (*found, "cpu")


def _torch_devices() -> tuple[str, ...]:
    import torch

    if torch.cuda.is_available():
        return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
    return ("mps",) if torch.backends.mps.is_available() else ()


def _onnxruntime_devices() -> tuple[str, ...]:
    import onnxruntime

    # The provider list tells what the wheel was built with; the driver tells whether a GPU is there.
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return ()
    return tuple(f"cuda:{index}" for index in range(gpu_count()))


def auto_instances() -> int:
    """Model threads that pay off here: the cores that this process may use less one for the event loop, 1 to 4.

    Where there is a GPU, one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 if gpu_count() else max(1, min(INSTANCES_MAX, cores - 1))


def gpu_count() -> int:
    """GPUs that the CUDA driver shows, 0 without a driver (CUDA Driver API: cuInit, cuDeviceGetCount)."""
    try:
        driver = CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(byref(count)) != 0:
        return 0
    return count.value
