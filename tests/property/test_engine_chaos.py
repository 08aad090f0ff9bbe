"""Many concurrent callers, a third of them cancelled at random: every other caller gets its own right answer."""

import asyncio
import random
from typing import Any

import numpy as np
import pytest

from gnn_service.core.errors import EngineFailedError
from gnn_service.inference.batcher import Priority
from gnn_service.inference.engine import Engine
from gnn_service.inference.runtimes.onnx import OnnxRuntime
from gnn_service.inference.spec import ModelSpec
from tests.support.inference import POISON, Factory, ended, engine, item, model_threads, score, settings, until
from tests.support.onnx_graphs import graph_item, message_passing, reference

CALLERS = 64
ROUNDS = 5


async def caller(subject, make, number, chance):
    """One caller's requests, with pauses of its own; returns its numbers and answers."""
    answers = []
    for turn in range(ROUNDS):
        value = number * ROUNDS + turn + 1
        await asyncio.sleep(chance.random() * 0.005)
        answers.append((value, await subject.infer(make(value))))
    return answers


async def chaos(subject, make, seed):
    """Returns what the callers that were left alone got."""
    chance = random.Random(seed)
    tasks = [asyncio.create_task(caller(subject, make, number, chance)) for number in range(CALLERS)]
    doomed = chance.sample(range(CALLERS), CALLERS // 3)
    for number in doomed:
        await asyncio.sleep(chance.random() * 0.002)
        tasks[number].cancel()
    done: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
    for number in doomed:
        assert isinstance(done[number], asyncio.CancelledError) or len(done[number]) == ROUNDS
    return [answer for number in range(CALLERS) if number not in doomed for answer in done[number]]


@pytest.mark.parametrize("seed", range(8))
async def test_every_caller_left_alone_gets_its_own_answer(seed):
    factory = Factory()
    async with engine(factory) as subject:
        answers = await chaos(subject, item, seed)
        assert len(answers) == ROUNDS * (CALLERS - CALLERS // 3)
        for value, answer in answers:
            assert score(answer) == value + 1
            assert answer["nodes"].tolist() == [2 * value] * 3
        stats = subject.stats()
        assert stats.requests == sum(ended(subject).values())
        assert set(ended(subject)) <= {"answered", "cancelled"}
        assert (stats.queue_depth, stats.in_flight, len(subject._now.batcher)) == (0, 0, 0)
    assert model_threads() == []


@pytest.mark.parametrize("seed", range(4))
async def test_every_caller_left_alone_gets_its_own_answer_from_a_real_graph(seed):
    graph = message_passing()
    canary = graph_item(0)
    expected = reference(canary)

    def make(value):
        return graph_item(value, nodes=4 + value % 3)

    async with Engine(ModelSpec(lambda: OnnxRuntime(graph, "cpu"), canary, expected), settings()) as subject:
        for value, answer in await chaos(subject, make, seed):
            known = reference(make(value))
            np.testing.assert_allclose(answer["nodes"], known["nodes"], atol=1e-5, rtol=0)
            np.testing.assert_allclose(answer["score"], known["score"], atol=1e-5, rtol=0)
    assert model_threads() == []


@pytest.mark.parametrize("seed", range(4))
async def test_poison_priorities_and_lost_workers_on_top_leave_nobody_hanging(seed):
    chance = random.Random(seed)
    factory = Factory()
    async with engine(factory, queue_max=32) as subject:

        async def one(value):
            await asyncio.sleep(chance.random() * 0.05)
            poisonous = chance.random() < 0.1
            priority = chance.choice([Priority.NORMAL, Priority.BACKGROUND])
            answer = await subject.infer(item(POISON if poisonous else value), priority=priority)
            assert not poisonous
            assert score(answer) == value + 1

        async def saboteur():
            for _ in range(3):
                await asyncio.sleep(0.01)
                factory.now.crash = True

        tasks = [asyncio.create_task(one(value)) for value in range(1, 300)]
        breaking = asyncio.create_task(saboteur())
        for task in chance.sample(tasks, 100):
            await asyncio.sleep(chance.random() * 0.0005)
            task.cancel()
        async with asyncio.timeout(30):
            done = await asyncio.gather(*tasks, return_exceptions=True)
            await breaking
        assert not [error for error in done if isinstance(error, AssertionError)]
        assert subject.stats().requests <= 299
        assert subject.stats().in_flight == subject.stats().queue_depth == 0
        assert any(isinstance(error, EngineFailedError) for error in done)
        await until(lambda: subject.health().ready and not factory.now.crash)
        assert score(await subject.infer(item(1))) == 2
    assert model_threads() == []
