"""The whole service with its shipped model behind HTTP: right answers for everybody, whatever the others do."""

import asyncio
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import pytest_asyncio

from gnn_service.api.app import create_app
from gnn_service.cli.serve import running_service
from gnn_service.client import Client
from gnn_service.core.config import load_settings
from gnn_service.demo.feed import Cycle, cycles_of, split_for_commissioning
from gnn_service.domain.diagnosis import Diagnosis, State
from gnn_service.domain.recording import Recording
from gnn_service.domain.window import Window
from gnn_service.inference.diagnoser import Diagnoser
from gnn_service.recordings.folder import read_recording

SLICE = Path("services/gnn_service/demo/data/uci_hydraulic_slice")


@pytest.fixture(scope="module")
def recording(root: Path) -> Recording:
    """The real cycles that come with the package."""
    return read_recording(root / SLICE)


@pytest.fixture(scope="module")
def healthy(recording: Recording) -> list[Cycle]:
    return split_for_commissioning(cycles_of(recording), 10)[0]


@pytest.fixture(scope="module")
def cycles(recording: Recording) -> list[Cycle]:
    return split_for_commissioning(cycles_of(recording), 10)[1]


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Client]:
    async with running_service(load_settings(api={"port": 0})) as url, Client(url) as client:
        yield client


def healths(diagnosis: Diagnosis) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([np.nan if c.health is None else c.health for c in diagnosis.components])


async def test_http_answers_what_the_diagnoser_answers(
    client: Client, recording: Recording, healthy: list[Cycle], cycles: list[Cycle]
):
    machine = recording.machine
    baseline = await client.commission(machine.id, [cycle.window for cycle in healthy])
    async with Diagnoser.open(load_settings()) as diagnoser:
        own = await diagnoser.commission(machine, [cycle.window for cycle in healthy])
        assert own.model_dump(mode="json") == baseline
        for cycle in cycles[:5]:
            over_http = await client.diagnose(machine.id, cycle.window, baseline)
            direct = await diagnoser.diagnose(machine, cycle.window, own)
            np.testing.assert_allclose(healths(over_http), healths(direct), atol=1e-5)
            assert over_http.commissioned
            assert over_http.cycle == cycle.window.cycle


async def test_a_described_machine_is_diagnosed_like_the_known_one(
    client: Client, recording: Recording, cycles: list[Cycle]
):
    by_id = await client.diagnose(recording.machine.id, cycles[0].window)
    described = await client.diagnose(recording.machine, cycles[0].window)
    np.testing.assert_allclose(healths(described), healths(by_id), atol=1e-5)


async def test_the_same_readings_in_another_unit_give_the_same_answer(
    client: Client, recording: Recording, cycles: list[Cycle]
):
    window = cycles[0].window
    values = {
        s: [None if np.isnan(v) else float(v) for v in row]
        for s, row in zip(window.sensors, window.values, strict=True)
    }
    body = {"times": window.times.tolist(), "readings": values, "phase_s": 0.0}
    converted = {**values, "PS1": [None if v is None else v / 10 for v in values["PS1"]]}
    plain = await client.diagnose(recording.machine.id, body)
    other = await client.diagnose(recording.machine.id, {**body, "readings": converted, "units": {"PS1": "MPa"}})
    np.testing.assert_allclose(healths(other), healths(plain), atol=1e-3)


async def test_a_window_that_is_too_short_is_unknown_with_the_reason_and_no_error(
    client: Client, recording: Recording, cycles: list[Cycle]
):
    whole = cycles[0].window
    short = Window(whole.sensors, whole.values[:, :3], whole.times[:3], phase_s=0.0)
    diagnosis = await client.diagnose(recording.machine.id, short)
    assert diagnosis.state is State.UNKNOWN
    assert diagnosis.health is None
    assert diagnosis.reason


async def test_of_64_callers_a_third_leave_and_every_other_gets_its_own_answer(
    client: Client, recording: Recording, cycles: list[Cycle]
):
    machine, chance = recording.machine.id, random.Random(7)
    asked = [cycles[index % len(cycles)] for index in range(64)]
    alone = {id(cycle): await client.diagnose(machine, cycle.window) for cycle in {id(c): c for c in asked}.values()}
    calls = [asyncio.create_task(client.diagnose(machine, cycle.window)) for cycle in asked]
    leaving = set(chance.sample(range(64), 21))
    for index in sorted(leaving, key=lambda _: chance.random()):
        await asyncio.sleep(chance.random() / 500)
        calls[index].cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for index, (cycle, answer) in enumerate(zip(asked, answers, strict=True)):
        if index in leaving and isinstance(answer, asyncio.CancelledError):
            continue
        assert isinstance(answer, Diagnosis), answer
        assert answer.cycle == cycle.window.cycle
        np.testing.assert_allclose(healths(answer), healths(alone[id(cycle)]), atol=1e-5)


async def test_ready_answers_through_the_engine_and_metrics_count_it(recording: Recording, cycles: list[Cycle]):
    async with (
        running_service(load_settings(api={"port": 0})) as url,
        Client(url) as client,
        httpx2.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        await client.diagnose(recording.machine.id, cycles[0].window)
        assert (await http.get("/health/ready")).status_code == 200
        health = (await http.get("/health")).json()
        assert health["runtime"]["runtime"] == health["engine"]["runtime"]
        assert health["engine"]["worker"] == "ready"
        text = (await http.get("/metrics")).text
    assert 'gnn_engine_windows_total{end="answered",model="bundle"} 1.0' in text
    assert 'gnn_engine_total_seconds_count{model="bundle"} 1.0' in text
    batches = re.search(r'^gnn_engine_batch_windows_count\{model="bundle"\} (\S+)$', text, re.MULTILINE)
    assert batches is not None
    assert float(batches[1]) >= 1


async def test_the_service_is_closed_with_its_model():
    settings = load_settings(api={"port": 0})
    app = create_app(settings)
    async with running_service(settings, app) as url, Client(url) as client:
        assert await client.ready()
    async with Client(url, attempts=1) as client:
        assert not await client.ready()
