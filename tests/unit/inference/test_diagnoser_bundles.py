"""One bundle gives way to another while windows are being diagnosed; a third may look on."""

import asyncio
import threading
from dataclasses import replace

import pytest

from gnn_service.core.errors import BundleError, SwapRefusedError
from gnn_service.inference.diagnoser import Diagnoser
from gnn_service.inference.interpreter import concluded
from gnn_service.inference.spec import ModelSpec
from tests.support.duty_cycle import Cycle, rig, window
from tests.support.inference import model_threads, until
from tests.support.tiny_model import healthy_baseline, specification, tiny_bundle, tiny_diagnoser


@pytest.fixture
async def diagnoser():
    async with tiny_diagnoser(shadow_fraction=1.0) as opened:
        yield opened
    assert model_threads() == []


def second():
    return tiny_bundle(seed=1)


async def expected_of(bundle, seen):
    async with tiny_diagnoser(bundle) as alone:
        return await alone.diagnose(rig(), seen, healthy_baseline())


async def test_after_an_activation_windows_are_diagnosed_by_the_new_bundle(diagnoser):
    seen = window(Cycle(charge_bar=100.0))
    before = await diagnoser.diagnose(rig(), seen, healthy_baseline())
    await diagnoser.activate(second())
    after = await diagnoser.diagnose(rig(), seen, healthy_baseline())
    assert (before.bundle, after.bundle) == (tiny_bundle().version, second().version)
    assert before.anomaly != after.anomaly
    assert after.anomaly == pytest.approx((await expected_of(second(), seen)).anomaly, abs=1e-5)
    assert (diagnoser.bundle.version, diagnoser.previous.version) == (second().version, tiny_bundle().version)
    health = diagnoser.engine.health()
    assert (health.version, health.previous) == (second().version, tiny_bundle().version)


async def test_rolling_back_restores_the_bundle_and_its_answers(diagnoser):
    seen = window()
    before = await diagnoser.diagnose(rig(), seen, healthy_baseline())
    await diagnoser.activate(second())
    await diagnoser.roll_back()
    again = await diagnoser.diagnose(rig(), seen, healthy_baseline())
    assert again.bundle == before.bundle == diagnoser.bundle.version
    assert again.anomaly == pytest.approx(before.anomaly, abs=1e-6)
    assert diagnoser.previous.version == second().version


async def test_a_window_that_was_encoded_for_one_bundle_is_computed_and_read_by_the_same(diagnoser):
    seen = window()
    wanted = await diagnoser.diagnose(rig(), seen, healthy_baseline())
    with diagnoser.hold() as held:
        prepared = await asyncio.to_thread(held.prepare, rig(), seen, healthy_baseline())
        activating = asyncio.create_task(diagnoser.activate(second()))
        await until(lambda: diagnoser.bundle.version == second().version)
        assert held.bundle.version == tiny_bundle().version
        found = held.conclude(prepared, await held.infer(prepared))
        submitted = held.conclude(prepared, await held.submit(prepared))
        assert not activating.done()
    await activating
    assert found.bundle == submitted.bundle == wanted.bundle
    assert found.anomaly == pytest.approx(wanted.anomaly, abs=1e-6)


@pytest.mark.timeout(180)
async def test_diagnoses_that_run_through_a_swap_are_each_of_one_bundle(diagnoser):
    windows = [window(Cycle(charge_bar=95.0 + k), seed=k) for k in range(12)]
    known = {
        bundle.version: [(await expected_of(bundle, each)).anomaly for each in windows]
        for bundle in (tiny_bundle(), second())
    }
    stop = threading.Event()
    bundles = set()

    async def ask(number):
        while not stop.is_set():
            found = await diagnoser.diagnose(rig(), windows[number], healthy_baseline())
            bundles.add(found.bundle)
            assert found.anomaly == pytest.approx(known[found.bundle][number], abs=1e-5)

    tasks = [asyncio.create_task(ask(number)) for number in range(len(windows))]
    await diagnoser.activate(second())
    await diagnoser.roll_back()
    stop.set()
    await asyncio.gather(*tasks)
    assert bundles == {tiny_bundle().version, second().version}
    assert set(diagnoser.engine.stats().ended) >= {"answered"}
    assert diagnoser.engine.stats().requests == diagnoser.engine.stats().ended["answered"]


async def test_a_bundle_that_does_not_load_leaves_the_present_one_and_says_why():
    def specify(bundle):
        if bundle.version == second().version:

            def damaged():
                raise BundleError("the graph is damaged")

            return replace(specification(bundle), factory=damaged)
        return specification(bundle)

    async with tiny_diagnoser() as opened:
        diagnoser = Diagnoser(tiny_bundle(), opened.engine, specify)
        with pytest.raises(BundleError, match="the graph is damaged"):
            await diagnoser.activate(second())
        assert diagnoser.bundle.version == tiny_bundle().version
        assert diagnoser.previous is None
        assert len(diagnoser._interpreters) == 1
        assert (await diagnoser.diagnose(rig(), window())).bundle == tiny_bundle().version


async def test_only_what_can_still_be_asked_for_is_kept(diagnoser):
    for seed in (1, 2, 1, 2):
        await diagnoser.activate(tiny_bundle(seed=seed))
    assert len(diagnoser._interpreters) == 2


async def test_a_diagnoser_without_its_settings_serves_one_bundle_only():
    async with tiny_diagnoser() as opened:
        alone = Diagnoser(tiny_bundle(), opened.engine)
        with pytest.raises(SwapRefusedError, match="one bundle only"):
            await alone.activate(second())
        assert len(alone._interpreters) == 1


async def test_a_shadow_bundle_encodes_for_itself_and_disagreements_are_counted(diagnoser):
    await diagnoser.shadow(second())
    assert diagnoser.shadowing is not None
    windows = [window(Cycle(charge_bar=90.0 + 8 * k), seed=k) for k in range(5)]
    found = [await diagnoser.diagnose(rig(), each, healthy_baseline()) for each in windows]
    await until(lambda: diagnoser.engine.stats().shadow.compared == len(windows))
    shadow = diagnoser.engine.stats().shadow
    others = [await expected_of(second(), each) for each in windows]
    differ = sum(
        [c.state for c in one.components] != [c.state for c in other.components]
        for one, other in zip(found, others, strict=True)
    )
    assert (shadow.version, shadow.disagreed, shadow.failed) == (second().version, differ, 0)
    assert differ > 0
    assert shadow.max_abs_difference > 0
    await diagnoser.shadow(None)
    assert diagnoser.shadowing is None


async def test_a_shadow_of_the_same_bundle_never_disagrees(diagnoser):
    await diagnoser.shadow(tiny_bundle())
    for seed in range(3):
        await diagnoser.diagnose(rig(), window(seed=seed), healthy_baseline())
    await diagnoser.engine.infer(tiny_bundle().canary[0])  # tensors alone: not mirrored
    await until(lambda: diagnoser.engine.stats().shadow.compared == 3)
    shadow = diagnoser.engine.stats().shadow
    assert (shadow.disagreed, shadow.failed, shadow.dropped) == (0, 0, 0)
    assert shadow.max_abs_difference < 1e-5


async def test_a_window_that_is_too_short_needs_no_engine(diagnoser):
    short = replace(window(), values=window().values[:, :20], times=window().times[:20])
    with diagnoser.hold() as held:
        prepared = held.prepare(rig(), short)
        assert held.conclude(prepared, {}).reason.startswith("the window covers 20 s")
        with pytest.raises(ValueError, match="no answer"):
            held.submit(prepared)
        with pytest.raises(ValueError, match="no answer"):
            await held.infer(prepared)


async def test_what_was_held_can_be_concluded_after_its_bundle_is_gone(diagnoser):
    with diagnoser.hold() as held:
        prepared = held.prepare(rig(), window(), healthy_baseline())
        outputs = await held.infer(prepared)
    await diagnoser.activate(second())
    assert concluded(prepared, outputs).bundle == tiny_bundle().version
    assert isinstance(specification(second()), ModelSpec)
