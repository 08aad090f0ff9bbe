"""`gnn-service serve --onnx NAME=FILE`, as a shell runs it."""

import subprocess
import sys
from pathlib import Path

import httpx2
import orjson
import pytest

from tests.support.onnx_graphs import doubling

SERVE = [sys.executable, "-c", "from gnn_service.cli.main import run; run()", "serve", "--port", "0"]


def test_a_graph_named_on_the_command_line_is_served(tmp_path: Path):
    (tmp_path / "a graph.onnx").write_bytes(doubling())
    command = [*SERVE, "--onnx", "mine=a graph.onnx", "--onnx", "again=a graph.onnx"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        try:
            events = (orjson.loads(line) for line in process.stderr)
            url = next(event["url"] for event in events if event["event"] == "listening")
            x = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
            for name in ("mine", "again"):
                answer = httpx2.post(f"{url}/v2/models/{name}/infer", json={"inputs": [x]}, timeout=20, trust_env=False)
                assert answer.json()["outputs"][0]["data"] == [2.0, 4.0, 6.0]
        finally:
            process.terminate()
            process.communicate(timeout=40)
    assert process.returncode == 0


@pytest.mark.parametrize(
    "given, said",
    [
        ("mine", "inference.tensor_models"),
        ("bundle=x.onnx", "inference.tensor_models"),
        ("mine=nope.onnx", "mine: nope.onnx cannot be read: No such file or directory"),
        ("mine=junk.onnx", "mine: it is no ONNX graph that can be loaded"),
    ],
)
def test_a_graph_that_cannot_be_served_stops_the_start_with_one_line(given: str, said: str, tmp_path: Path):
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    done = subprocess.run([*SERVE, "--onnx", given], capture_output=True, text=True, cwd=tmp_path, timeout=50)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("gnn-service: ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert "Traceback" not in done.stderr
