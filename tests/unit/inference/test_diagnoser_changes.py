"""Bundles are activated, rolled back and shadowed by many at once, some of whom give up; what is told stays true."""

import asyncio
import contextlib
import random
from collections import Counter

import pytest

from gnn_service.core.errors import BundleError, EngineFailedError, SwapRefusedError
from gnn_service.inference.diagnoser import Diagnoser
from gnn_service.inference.interpreter import Interpreter
from tests.support.duty_cycle import Cycle, rig, window
from tests.support.inference import model_threads, until
from tests.support.tiny_model import healthy_baseline, tiny_bundle, tiny_diagnoser

SEEDS = (0, 1, 2)
CHANGERS = 5
ROUNDS = 6


@pytest.fixture
async def diagnoser():
    async with tiny_diagnoser(shadow_fraction=1.0, warmup_iterations=1) as opened:
        yield opened
    assert model_threads() == []


@pytest.fixture
def quick(monkeypatch):
    """Interpreters need not be warm here; a bundle takes its time all the same."""
    known = tiny_bundle().machines.values()
    monkeypatch.setattr(Interpreter, "get_ready", lambda self: [self.kind(machine) for machine in known])


def check(subject):
    """What is told of the bundles is what the engine does."""
    health = subject.engine.health()
    told = [bundle.version if bundle else None for bundle in (subject.bundle, subject.previous, subject.shadowing)]
    assert told == [health.version, health.previous, health.shadow]
    with subject.hold() as held:
        assert held.bundle is subject.bundle


async def watch(subject, stop):
    while not stop.is_set():
        check(subject)
        await asyncio.sleep(0)


async def ask(subject, stop, known):
    number = 0
    while not stop.is_set():
        number = (number + 1) % 4
        found = await subject.diagnose(rig(), window(Cycle(charge_bar=95.0 + number), seed=number), healthy_baseline())
        wanted = known.setdefault((found.bundle, number), found.anomaly)
        assert found.anomaly == pytest.approx(wanted, abs=1e-5)


@contextlib.asynccontextmanager
async def watched(subject):
    """Windows are diagnosed, and what is told is looked at, all the while."""
    stop = asyncio.Event()
    known: dict[tuple[str, int], float] = {}
    tasks = [asyncio.create_task(each) for each in (watch(subject, stop), ask(subject, stop, known))]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)
    assert subject.engine.stats().requests == subject.engine.stats().ended["answered"]


async def test_changes_that_are_asked_for_at_once_are_made_one_after_the_other(diagnoser, quick):
    async with watched(diagnoser):
        await asyncio.gather(*(diagnoser.activate(tiny_bundle(seed=seed)) for seed in (1, 2, 0)))
        assert (diagnoser.bundle.version, diagnoser.previous.version) == (
            tiny_bundle().version,
            tiny_bundle(seed=2).version,
        )
        await asyncio.gather(diagnoser.roll_back(), diagnoser.activate(tiny_bundle(seed=1)), diagnoser.roll_back())
    assert (diagnoser.bundle.version, diagnoser.previous.version) == (
        tiny_bundle(seed=2).version,
        tiny_bundle(seed=1).version,
    )
    stats = diagnoser.engine.stats()
    assert (stats.swaps, stats.roll_backs, stats.failed_swaps) == (6, 2, 0)
    assert len(diagnoser._interpreters) == 2


@pytest.mark.parametrize("seed", range(3))
async def test_whoever_changes_whatever_and_gives_up_what_is_told_is_true(seed, diagnoser, quick):
    chance = random.Random(seed)
    seen: Counter[str] = Counter()

    async def change():
        bundle = tiny_bundle(seed=chance.choice(SEEDS))
        moves = [lambda: diagnoser.activate(bundle), diagnoser.roll_back, lambda: diagnoser.shadow(bundle)]
        move = chance.choice([*moves, lambda: diagnoser.shadow(None)])
        try:
            async with asyncio.timeout(chance.choice([0.001, 0.01, 0.03, 10])):
                await move()
        except (TimeoutError, SwapRefusedError, EngineFailedError) as error:
            seen[type(error).__name__] += 1
        else:
            seen["made"] += 1

    async def changer():
        for _ in range(ROUNDS):
            await change()
            await asyncio.sleep(chance.random() * 0.01)

    async with watched(diagnoser):
        await asyncio.gather(*(changer() for _ in range(CHANGERS)))
        await until(lambda: not diagnoser.engine.health().swapping)
        await diagnoser.activate(tiny_bundle(seed=1))
        await diagnoser.shadow(tiny_bundle(seed=2))
    assert seen["made"] > 0
    assert seen["TimeoutError"] > 0
    check(diagnoser)
    assert diagnoser.bundle.version == tiny_bundle(seed=1).version
    assert diagnoser.shadowing.version == tiny_bundle(seed=2).version
    assert len(diagnoser._interpreters) == 2


async def test_a_shadow_that_cannot_be_prepared_leaves_the_one_before(diagnoser, monkeypatch):
    await diagnoser.shadow(tiny_bundle(seed=1))

    def damaged(_):
        raise BundleError("its machines contradict each other")

    monkeypatch.setattr(Interpreter, "get_ready", damaged)
    with pytest.raises(BundleError):
        await diagnoser.shadow(tiny_bundle(seed=2))
    assert diagnoser.shadowing.version == tiny_bundle(seed=1).version
    check(diagnoser)
    alone = Diagnoser(tiny_bundle(), diagnoser.engine)
    with pytest.raises(BundleError):
        await alone.shadow(tiny_bundle(seed=2))
    assert diagnoser.engine.health().shadow == tiny_bundle(seed=1).version
