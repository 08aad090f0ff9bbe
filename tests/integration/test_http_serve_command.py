"""`gnn-service serve` as a supervisor sees it: it says where it listens, ends when told, and fails in one line."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import orjson
import pytest

SERVE = [sys.executable, "-c", "from gnn_service.cli.main import run; run()", "serve", "--port", "0"]


@contextmanager
def started(
    cwd: Path, command: list[str] = SERVE, environment: dict[str, str] | None = None
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The service in a process of its own, once it says that it listens, and its address."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=environment
    ) as process:
        try:
            for line in process.stderr:
                event = orjson.loads(line)
                if event["event"] == "listening":
                    yield process, event["url"]
                    return
            pytest.fail(f"it ended with {process.wait(10)} and never listened")
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_listens_answers_and_ends_well_when_told(number: signal.Signals, tmp_path: Path):
    with started(tmp_path) as (process, url):
        assert httpx2.get(f"{url}/health/ready", timeout=20, trust_env=False).status_code == 200
        process.send_signal(number)
        rest = process.communicate(timeout=40)
    assert process.returncode == 0
    assert rest[0] == ""
    assert all(orjson.loads(line)["level"] == "info" for line in rest[1].splitlines())


SLOW_START = """
import asyncio, contextlib, sys
from gnn_service.cli.main import main
from gnn_service.inference.diagnoser import Diagnoser

@contextlib.asynccontextmanager
async def slow(settings):
    print("starting", flush=True)
    await asyncio.sleep(50)
    yield

Diagnoser.open = slow
sys.exit(main(["serve", "--port", "0"]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_well_when_told_while_it_starts(number: signal.Signals, tmp_path: Path):
    command = [sys.executable, "-c", SLOW_START]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout.readline() == "starting\n"
        process.send_signal(number)
        _, logged = process.communicate(timeout=40)
    assert process.returncode == 0
    assert [orjson.loads(line)["event"] for line in logged.splitlines()] == ["stopping"]


@pytest.mark.parametrize(
    "variables, said",
    [
        ({"GNN_MODEL__BUNDLE": "no-such-folder"}, "no-such-folder"),
        ({"GNN_API__HOST": "203.0.113.7"}, "cannot listen on 203.0.113.7"),
        ({"GNN_API__PORT": "70000", "GNN_API__HOST": "127.0.0.1"}, "api.port"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(variables: dict[str, str], said: str, tmp_path: Path):
    command = SERVE if "GNN_API__PORT" not in variables else SERVE[:-2]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=50)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.startswith("gnn-service: ")
    assert done.stderr.count("\n") == 1


HANGS = """
import pathlib, sys, time
from gnn_service.cli.main import main
from gnn_service.inference.loaded import LoadedModel

answer = LoadedModel.answer

def hang(self, items):
    while pathlib.Path("hang").exists():
        time.sleep(1)
    return answer(self, items)

LoadedModel.answer = hang
sys.exit(main(["serve", "--port", "0"]))
"""


def test_when_too_many_model_threads_hang_it_is_not_ready_and_ends_for_its_supervisor(tmp_path: Path):
    few = {"GNN_INFERENCE__HUNG_MAX": "1", "GNN_INFERENCE__HEARTBEAT_TIMEOUT_S": "0.5"}
    with started(tmp_path, [sys.executable, "-c", HANGS], {**os.environ, **few}) as (process, url):
        (tmp_path / "hang").touch()
        answer = httpx2.get(f"{url}/health/ready", timeout=20, trust_env=False)
        assert answer.status_code == 503
        _, logged = process.communicate(timeout=40)
    assert process.returncode == 1
    events = [orjson.loads(line) for line in logged.splitlines()]
    said = [event["event"] for event in events if event["level"] == "critical"]
    assert said == ["1 model threads hang; restart the service", "ending for a new process to take over"]
