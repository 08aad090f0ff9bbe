"""What is told of a service that ends while it is watched."""

import subprocess
import sys
import threading
import time

import pytest

from gnn_service.bench.serve_child import _SAMPLE_S, Watch
from gnn_service.core.errors import UnavailableError


def test_a_watch_over_a_service_that_has_ended_ends_quietly_and_says_so_when_asked(monkeypatch: pytest.MonkeyPatch):
    crashed: list[object] = []
    monkeypatch.setattr(threading, "excepthook", crashed.append)
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process,
        Watch(process.pid) as watch,
    ):
        process.communicate(b"\n")
        end = time.monotonic() + 20
        while watch._thread.is_alive() and time.monotonic() < end:
            time.sleep(_SAMPLE_S / 5)
        assert not watch._thread.is_alive()
        with pytest.raises(UnavailableError, match="has ended"):
            watch.usage()
    assert crashed == []


def test_a_watch_over_nobody_has_no_cpu_time():
    with Watch(None) as watch:
        usage = watch.usage()
    assert usage.cpu_s is None
    assert usage.rss_mib == ()
    assert usage.elapsed_s > 0
