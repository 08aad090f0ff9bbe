"""The model through the engine, beside the same model in a tight loop.

Both are measured in turns within one run, so that whatever else the machine does meets both: the ratios say what the
engine costs and hardly move, while the milliseconds belong to the machine. The bare loop gets its batches ready-made.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np

from gnn_service.core.config import InferenceSettings
from gnn_service.core.errors import InvalidInputError
from gnn_service.inference.engine import Engine
from gnn_service.inference.runtimes.base import Item, Output, Runtime
from gnn_service.inference.spec import ModelSpec

CALLERS: Final = (1, 16, 32)
ROUNDS: Final = 5
SHORTEST_S: Final = 0.2
_WARM_RUNS: Final = 10


@dataclass(frozen=True, slots=True)
class Speed:
    """Milliseconds that a caller waits for its window, and windows a second over all callers."""

    p50_ms: float
    p99_ms: float
    windows_per_s: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """Engine over bare runtime: 1 would be an engine that costs nothing."""

    p50: float
    p99: float
    windows_per_s: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """``callers`` that each send the next window when the last is answered, beside a bare loop of ``bare_batch``."""

    callers: int
    mean_batch: float
    bare_batch: int
    engine: Speed
    bare: Speed
    ratio: Ratio


@dataclass(frozen=True, slots=True)
class ModelBench:
    """One run. ``windows`` were answered through the engine in ``seconds`` of measuring."""

    runtime: str
    device: str
    threads: int
    batch_max: int
    seconds: float
    windows: int
    comparisons: tuple[Comparison, ...]


@dataclass(slots=True)
class _Samples:
    """Durations of windows (or of whole batches in the bare loop), and what they add up to."""

    durations_s: list[float] = field(default_factory=list)
    windows: int = 0
    batches: int = 0
    elapsed_s: float = 0.0

    def add(self, other: Self) -> None:
        self.durations_s += other.durations_s
        self.windows += other.windows
        self.batches += other.batches
        self.elapsed_s += other.elapsed_s

    def speed(self) -> Speed:
        p50, p99 = np.percentile(self.durations_s, (50, 99)) * 1000
        return Speed(float(p50), float(p99), self.windows / self.elapsed_s)


async def bench_model(
    runtime_factory: Callable[[], Runtime],
    item: Item,
    expected: Output | None,
    settings: InferenceSettings,
    *,
    seconds: float = 10.0,
    on_round: Callable[[], object] = lambda: None,
) -> ModelBench:
    """Measure for about ``seconds``; ``on_round`` is called `ROUNDS` times on the way.

    Args:
        runtime_factory: builds the runtime, once for the engine and once for the bare loop.
        item: the window that every caller sends.
        expected: its answer, which the engine checks before anything is measured.
        settings: of the engine.
        seconds: at least `SHORTEST_S`.
        on_round: for a progress display.

    Raises:
        InvalidInputError: ``seconds`` is too short to measure anything.
        GnnServiceError: the model does not start.
    """
    if not seconds >= SHORTEST_S:
        raise InvalidInputError(f"must be at least {SHORTEST_S} s, not {seconds:g}", where="seconds")
    bare = runtime_factory()
    sizes = {1: 1} | {callers: settings.batch_max for callers in CALLERS if callers > 1}
    through = {callers: _Samples() for callers in CALLERS}
    beside = {size: _Samples() for size in sorted(set(sizes.values()))}
    slice_s = seconds / ROUNDS / (len(through) + len(beside))
    try:
        for size in beside:
            _bare_loop(bare, item, size, 0.0)
        async with Engine(ModelSpec(runtime_factory, item, expected), settings) as engine:
            for _ in range(ROUNDS):
                for size, samples in beside.items():
                    samples.add(_bare_loop(bare, item, size, slice_s))
                for callers, samples in through.items():
                    samples.add(await _engine_loop(engine, item, callers, slice_s))
                on_round()
    finally:
        bare.close()
    return ModelBench(
        runtime=bare.name,
        device=bare.device,
        threads=settings.threads,
        batch_max=settings.batch_max,
        seconds=sum(samples.elapsed_s for samples in (*through.values(), *beside.values())),
        windows=sum(samples.windows for samples in through.values()),
        comparisons=tuple(
            _compare(callers, through[callers], sizes[callers], beside[sizes[callers]]) for callers in CALLERS
        ),
    )


def _bare_loop(runtime: Runtime, item: Item, size: int, seconds: float) -> _Samples:
    """Run one ready batch over and over; a window of it waits as long as the batch. Some runs at least."""
    batch = {name: np.stack([array] * size) for name, array in item.items()}
    samples = _Samples()
    began = last = time.perf_counter()
    while samples.batches < _WARM_RUNS or last - began < seconds:
        runtime.run(batch)
        now = time.perf_counter()
        samples.durations_s.append(now - last)
        samples.batches += 1
        last = now
    samples.windows = size * samples.batches
    samples.elapsed_s = last - began
    return samples


async def _engine_loop(engine: Engine, item: Item, callers: int, seconds: float) -> _Samples:
    samples = _Samples()
    batches = engine.stats().batches
    began = time.perf_counter()

    async def caller() -> None:
        last = time.perf_counter()
        while True:
            await engine.infer(item)
            now = time.perf_counter()
            samples.durations_s.append(now - last)
            last = now
            if now - began >= seconds:
                return

    await asyncio.gather(*(caller() for _ in range(callers)))
    samples.elapsed_s = time.perf_counter() - began
    samples.windows = len(samples.durations_s)
    samples.batches = engine.stats().batches - batches
    return samples


def _compare(callers: int, through: _Samples, size: int, beside: _Samples) -> Comparison:
    engine, bare = through.speed(), beside.speed()
    ratio = Ratio(engine.p50_ms / bare.p50_ms, engine.p99_ms / bare.p99_ms, engine.windows_per_s / bare.windows_per_s)
    return Comparison(callers, through.windows / through.batches, size, engine, bare, ratio)
