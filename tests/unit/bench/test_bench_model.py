"""The engine beside its bare runtime."""

import numpy as np
import pytest

from gnn_service.bench.model import CALLERS, ROUNDS, bench_model
from gnn_service.core.errors import EngineFailedError, InvalidInputError
from tests.support.inference import CANARY, CANARY_ANSWER, Factory, model_threads, settings


async def test_every_load_is_measured_through_the_engine_and_beside_it():
    factory, rounds = Factory(), []
    measured = await bench_model(
        factory, CANARY, CANARY_ANSWER, settings(), seconds=0.2, on_round=lambda: rounds.append(1)
    )
    assert len(rounds) == ROUNDS
    assert [at.callers for at in measured.comparisons] == list(CALLERS)
    assert [at.bare_batch for at in measured.comparisons] == [1, 16, 16]
    alone, *crowds = measured.comparisons
    assert alone.mean_batch == 1
    assert all(1 < at.mean_batch <= 16 for at in crowds)
    assert measured.windows >= ROUNDS * sum(CALLERS)
    assert (measured.runtime, measured.device, measured.batch_max) == ("fake", "cpu", 16)
    assert [runtime.closed for runtime in factory.built] == [True, True]
    assert model_threads() == []


async def test_ratios_are_engine_over_bare():
    measured = await bench_model(Factory(), CANARY, CANARY_ANSWER, settings(), seconds=0.2)
    for at in measured.comparisons:
        assert at.engine.p50_ms <= at.engine.p99_ms
        assert at.ratio.p50 == pytest.approx(at.engine.p50_ms / at.bare.p50_ms)
        assert at.ratio.p99 == pytest.approx(at.engine.p99_ms / at.bare.p99_ms)
        assert at.ratio.windows_per_s == pytest.approx(at.engine.windows_per_s / at.bare.windows_per_s)


async def test_a_model_that_answers_wrongly_is_not_measured():
    factory = Factory()
    with pytest.raises(EngineFailedError, match="canary"):
        await bench_model(factory, CANARY, {"score": np.array(9.0)}, settings(), seconds=0.2)
    assert all(runtime.closed for runtime in factory.built)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
async def test_too_short_a_time_is_refused(seconds):
    with pytest.raises(InvalidInputError, match="seconds: must be at least"):
        await bench_model(Factory(), CANARY, CANARY_ANSWER, settings(), seconds=seconds)
