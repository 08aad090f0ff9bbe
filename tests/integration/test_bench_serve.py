"""`gnn-service bench serve` on a real service, with loads as short as they can be."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import psutil
import pytest

from gnn_service.bench.serve import diagnose_target
from gnn_service.bench.serve_child import Watch, started_service
from gnn_service.bench.serve_cold import bench_cold_start
from gnn_service.bench.serve_scaling import bench_scaling
from gnn_service.bench.serve_workers import workers
from gnn_service.core.errors import UnavailableError

pytestmark = pytest.mark.timeout(180)  # several processes start, which takes its time where others work as well
BENCH = [sys.executable, "-c", "from gnn_service.cli.main import run; run()", "bench", "serve"]


def test_loads_are_measured_beside_the_bare_model_without_an_error(tmp_path: Path):
    loads = [
        "--wire",
        "binary",
        "--callers",
        "1",
        "--callers",
        "4",
        "--duration",
        "0.3",
        "--share",
        "0.5",
        "--open-duration",
        "0.5",
    ]
    done = subprocess.run([*BENCH, *loads, "--json"], capture_output=True, text=True, cwd=tmp_path, timeout=150)
    assert (done.returncode, done.stderr) == (0, "")
    measured = orjson.loads(done.stdout)["measured"]
    assert [(one["target"], one["wire"]) for one in measured] == [("/v1/diagnose", "json"), ("/v2 bundle", "binary")]
    for one in measured:
        assert all(one[when]["full"]["windows_per_cpu_s"] > 0 for when in ("before", "after"))
        assert [run["callers"] for run in one["runs"]] == [1, 4, 256]
        assert [run["rate_per_s"] is None for run in one["runs"]] == [True, True, False]
    for run in (run for one in measured for run in one["runs"]):
        assert run["endings"] == {"200": run["requests"]}
        assert run["requests"] > 0
        assert 0 < run["latency"]["p50_ms"] <= run["latency"]["p99_ms"] <= run["latency"]["max_ms"]
        assert run["client_cores"] > 0
        assert 0 < run["memory"]["before_mib"] <= run["memory"]["peak_mib"]


def test_growth_is_measured_bare_and_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    points = []
    with started_service() as service, workers(1) as working:
        scaling = bench_scaling(
            service, working, seconds=0.6, sweeps={"nodes": (4, 64)}, on_point=lambda: points.append(1)
        )
    assert len(points) == 2
    assert [cost.errors for cost in scaling.costs] == [0, 0]
    assert all(cost.stages.run_us > 0 and cost.requests_per_s > 0 for cost in scaling.costs)
    (growth,) = scaling.growth
    assert growth.run > 0


def test_new_processes_answer_with_and_without_warm_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    cold = bench_cold_start(diagnose_target().messages, times=1)
    assert [answer.warmed_up for answer in cold.answers] == [True, False]
    assert all(answer.listening_s > 0 and answer.first_ms > 0 and answer.ratio > 0 for answer in cold.answers)
    assert cold.ready_s[0] > 0


def is_loaded(process: psutil.Process) -> bool:
    """Whether a caller's connection to this service is open."""
    try:
        connections = process.net_connections("tcp")
    except psutil.Error:
        return False
    return any(one.status == psutil.CONN_ESTABLISHED and one.laddr.port != one.raddr.port for one in connections)


def test_what_it_started_ends_with_it(tmp_path: Path):
    begun = [*BENCH, "--target", "diagnose", "--callers", "1", "--duration", "3600"]
    with subprocess.Popen(begun, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        started: list[psutil.Process] = []
        while not any(is_loaded(one) for one in started):
            started = psutil.Process(process.pid).children(recursive=True)
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=40)[1]
    assert process.returncode == 130
    assert "Traceback" not in said
    assert psutil.wait_procs(started, timeout=10)[1] == []


def test_a_service_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(UnavailableError, match="no-such-folder"),
        started_service((), {"GNN_MODEL__BUNDLE": "no-such-folder"}),
    ):
        pytest.fail("it started")


def test_a_service_that_ends_while_it_is_measured_is_said_so():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        watch = Watch(process.pid)
        watch.usage()
        process.communicate(b"\n")
    with pytest.raises(UnavailableError, match="has ended"):
        watch.usage()
