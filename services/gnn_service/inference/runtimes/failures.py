"""What a library's failure means to the engine: no memory, a device that is gone, or just this batch."""

import re
import sys
from typing import Final

import psutil

from gnn_service.inference.runtimes.base import DeviceMemoryError, RuntimeLostError

# The libraries have one exception type for most failures; its text tells them apart.
_OUT_OF_MEMORY: Final = re.compile(
    r"failed to allocate memory|bad_alloc|out of memory|alloc_failed|available memory of \d+ is smaller"
    r"|can't allocate memory|could not allocate",
    re.IGNORECASE,
)
# Errors after which a CUDA context answers nothing but errors (CUDA Runtime API, cudaError: "the process must be
# terminated", or the context built anew).
_DEVICE_LOST: Final = re.compile(
    r"illegal memory access|device-side assert|unspecified launch failure|uncorrectable ecc|device.{0,12}lost"
    r"|context is destroyed|misaligned address|illegal instruction|invalid program counter|hardware stack error"
    r"|launch timed out|cuda.{0,40}unknown error|invalid address space",
    re.IGNORECASE,
)


def sorted_out(error: Exception) -> Exception:
    """The error as the engine knows it: out of memory, runtime lost, or itself."""
    text = str(error)
    first = text.splitlines()[0] if text else type(error).__name__
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(text):
        return DeviceMemoryError(f"no memory for this batch: {first}")
    if _DEVICE_LOST.search(text):
        return RuntimeLostError(f"the device failed: {first}")
    return error


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def peak_resident_bytes() -> int:
    """The most memory that this process has had resident, in bytes."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # noqa: PLC0415 - there is none on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # getrusage(2): bytes on macOS, KiB elsewhere
