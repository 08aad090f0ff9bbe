"""A crowd of good and bad clients over real sockets, while bundles are exchanged: each answer is its caller's own."""

import asyncio
import contextlib
import gc
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from gnn_service.api.app import create_app
from gnn_service.api.door import Door
from gnn_service.api.exchange import Exchange
from gnn_service.bench.serve_target import diagnose_message, sample_windows
from gnn_service.cli.serve import running_service
from gnn_service.core.config import Settings, load_settings
from gnn_service.inference.batcher import Request
from gnn_service.inference.diagnoser import Diagnoser
from gnn_service.inference.stats import Ending
from gnn_service.model.bundle import Bundle
from tests.support.http_chaos import Crowd
from tests.support.inference import model_threads, until
from tests.support.onnx_graphs import doubling, reciprocal_of_root

SECONDS = 6.0
CLIENTS = 24
WAYS = 11
IDLE = (
    "gnn_http_requests_in_progress 1.0",  # whoever asks for the metrics
    *(
        f'gnn_engine_{place}_windows{{model="{model}"}} 0.0'
        for place in ("waiting", "in_flight")
        for model in ("bundle", "double", "reciprocal")
    ),
)
SMALL = {"queue_max": 24, "batch_max": 8, "warmup_iterations": 1, "shadow_fraction": 0.3, "request_timeout_s": 20.0}


def descriptors() -> int:
    with contextlib.suppress(FileNotFoundError):  # where there is no procfs
        return len(list(Path("/proc/self/fd").iterdir()))
    return 0


def versions() -> tuple[Bundle, Bundle]:
    """Two bundles that say the same, so that only what they are called tells who answered."""
    shipped = Bundle.shipped()
    return shipped, replace(shipped, manifest={**shipped.manifest, "version": "another"})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "double.onnx").write_bytes(doubling())
    (tmp_path / "reciprocal.onnx").write_bytes(reciprocal_of_root())
    graphs = {name: tmp_path / f"{name}.onnx" for name in ("double", "reciprocal")}
    inference = {**SMALL, "tensor_models": graphs, "breaker": {"minimum_calls": 1000}}
    return load_settings(api={"port": 0, "body_timeout_s": 2.5, "keep_alive_s": 5}, inference=inference)


async def counted(url: str) -> tuple[Counter[int], Counter[str], str]:
    """The service's own counts of its POST requests by status, of problems by code, and the rest of its metrics."""
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as http:
        text = (await http.get("/metrics")).text
    statuses: Counter[int] = Counter()
    for status, number in re.findall(r'gnn_http_requests_total\{method="POST",.*status="(\d+)"\} (.*)', text):
        statuses[int(status)] += int(float(number))
    problems = {code: int(float(n)) for code, n in re.findall(r'gnn_problems_total\{code="(.*)"\} (.*)', text)}
    return statuses, Counter(problems), text


async def exchange(diagnoser: Diagnoser, bundles: tuple[Bundle, Bundle], end: float, seed: int) -> None:
    """One bundle after another, and one that looks on."""
    chance = random.Random(seed)
    await diagnoser.activate(bundles[1])
    await diagnoser.roll_back()
    while time.monotonic() < end:
        bundle = chance.choice(bundles)
        moves: list[Callable[[], Awaitable[None]]] = [
            partial(diagnoser.activate, bundle),
            diagnoser.roll_back,
            partial(diagnoser.shadow, bundle),
            partial(diagnoser.shadow, None),
        ]
        await chance.choice(moves)()
        await asyncio.sleep(chance.random() * 0.5)


async def crowd_of(diagnoser: Diagnoser, bundles: tuple[Bundle, Bundle], url: str, seed: int) -> Crowd:
    """Clients that know what each window is diagnosed as."""
    machine, windows = sample_windows()
    bodies: list[tuple[Any, float]] = []
    for window in windows[:8]:
        anomaly = (await diagnoser.diagnose(machine, window)).anomaly
        assert anomaly is not None
        bodies.append((orjson.loads(diagnose_message(machine.id, window).body), anomaly))
    host, port = url.removeprefix("http://").split(":")
    return Crowd((host, int(port)), bodies, [bundle.version for bundle in bundles], seed)


def check_counts(crowd: Crowd, statuses: Counter[int], problems: Counter[str]) -> None:
    """What clients were told is what the service has counted; only those who left may make more of it."""
    assert Counter(crowd.answered) - statuses == Counter()
    assert Counter(crowd.problems) - problems == Counter()
    assert statuses.total() - crowd.answered.total() <= crowd.abandoned
    assert problems.total() - crowd.problems.total() <= crowd.abandoned


async def survive(settings: Settings, seed: int) -> None:
    """A service through all that, and what it says of itself afterwards."""
    bundles, held = versions(), []

    @contextlib.asynccontextmanager
    async def opened(given: Settings) -> AsyncIterator[Diagnoser]:
        async with Diagnoser.open(given, bundles[0]) as diagnoser:
            held.append(diagnoser)
            yield diagnoser

    async with running_service(settings, create_app(settings, diagnoser_factory=opened)) as url:
        (diagnoser,) = held
        crowd = await crowd_of(diagnoser, bundles, url, seed)
        end = time.monotonic() + SECONDS
        async with asyncio.timeout(SECONDS + 30), asyncio.TaskGroup() as group:
            group.create_task(exchange(diagnoser, bundles, end, seed))
            for turn in range(CLIENTS):
                group.create_task(crowd.client(turn, end))
        assert crowd.wrong == []
        statuses, problems, text = await counted(url)
        async with asyncio.timeout(20):
            while not all(line in text for line in IDLE):  # of those who left, some are still being dropped
                await asyncio.sleep(0.05)
                statuses, problems, text = await counted(url)
        check_counts(crowd, statuses, problems)
        computed = diagnoser.engine.stats().ended[Ending.ANSWERED] - len(crowd.windows)
        told = sum(float(number) for number in re.findall(r"gnn_diagnoses_total\{.*\} (.*)", text))
        assert 0 <= computed - told <= crowd.abandoned
        assert {door.inside for door in gc.get_objects() if type(door) is Door} == {0}
        assert len(crowd.acted) == WAYS
        assert {200, 400, 404, 408, 422, 503} == set(crowd.answered)
        assert {"overloaded", "model-refuses", "slow-body"} <= set(crowd.problems)
        assert crowd.answered[200] > 50
        assert diagnoser.engine.stats().swaps > 0
        async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as http:
            assert (await http.get("/health/ready")).status_code == 200


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "application"])
async def test_every_answer_is_its_caller_s_own_whatever_others_do(lane: bool, settings: Settings):
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    tasks, files = asyncio.all_tasks(), descriptors()
    api = settings.api.model_copy(update={"hot_lane_enabled": lane})
    await survive(settings.model_copy(update={"api": api}), seed=20_261_123 + lane)
    await until(lambda: model_threads() == [])
    assert asyncio.all_tasks() == tasks
    gc.collect()
    assert [type(thing) for thing in gc.get_objects() if type(thing) in {Exchange, Request}] == []
    assert descriptors() <= files
    assert complaints == []
