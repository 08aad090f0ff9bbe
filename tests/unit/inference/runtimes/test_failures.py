"""What a library's text says to the engine."""

import pytest

from gnn_service.inference.runtimes.base import DeviceMemoryError, RuntimeLostError
from gnn_service.inference.runtimes.failures import first_line, peak_resident_bytes, sorted_out


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("CUDA failure 2: out of memory ; GPU=0", DeviceMemoryError),
        ("Available memory of 12 is smaller than requested bytes of 99", DeviceMemoryError),
        ("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED", DeviceMemoryError),
        ("std::bad_alloc", DeviceMemoryError),
        ("CUDA failure 700: an illegal memory access was encountered", RuntimeLostError),
        ("CUDA error: device-side assert triggered", RuntimeLostError),
        ("Got invalid dimensions for input: x", RuntimeError),
        ("", RuntimeError),
    ],
)
def test_failures_are_told_apart_by_their_text(text, kind):
    assert type(sorted_out(RuntimeError(text))) is kind


def test_the_hosts_own_memory_error_is_one_that_a_smaller_batch_may_not_have():
    assert type(sorted_out(MemoryError("Unable to allocate 9 TiB"))) is DeviceMemoryError


def test_an_error_is_told_in_one_line():
    assert first_line(RuntimeError("\n first\nsecond")) == "first"
    assert first_line(RuntimeError()) == "RuntimeError"


def test_the_peak_of_memory_is_in_bytes():
    assert 2**24 < peak_resident_bytes() < 2**40
