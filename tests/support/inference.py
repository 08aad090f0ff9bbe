"""A model whose answers are known, that fails, hangs and runs out of memory where a test says so."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.config import BreakerSettings, InferenceSettings
from gnn_service.inference.engine import Engine
from gnn_service.inference.runtimes.base import Batch, Item, Output, RuntimeLostError
from gnn_service.inference.spec import ModelSpec

CANARY: Item = {"x": np.zeros((3, 2), np.float32), "adjacency": np.eye(3, dtype=np.float32)}
CANARY_ANSWER: Output = {"score": np.array(1, np.float32), "nodes": np.zeros(3, np.float32)}

POISON = -1.0
NOT_FINITE = -2.0
DEADLY = -3.0


def item(value: float, nodes: int = 3) -> Item:
    """A graph that is answered ``score = value + 1`` and ``nodes = 2 value``."""
    return {"x": np.full((nodes, 2), value, np.float32), "adjacency": np.eye(nodes, dtype=np.float32)}


def score(output: Any) -> float:
    return float(output["score"])


class FakeRuntime:
    """Answers each graph by its first value; `gate` holds runs back, switches make them fail."""

    name = "fake"
    device = "cpu"
    buckets: tuple[int, ...] | None = None

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.broken = False
        self.crash = False
        self.memory_for: int | None = None
        self.released = 0
        self.closed = False
        self.threads: set[str] = set()

    @property
    def memory_peak_bytes(self) -> int:
        return 1000 + len(self.batches)

    def release_memory(self) -> None:
        self.released += 1

    def run(self, batch: Batch) -> dict[str, NDArray[Any]]:
        values = batch["x"][:, 0, 0]
        self.batches.append([float(value) for value in values])
        self.threads.add(threading.current_thread().name)
        self.entered.release()
        assert self.gate.wait(30), "a test forgot to open the gate"
        if self.memory_for is not None and len(values) > self.memory_for:
            raise MemoryError("no room")
        if self.crash or DEADLY in values:
            raise RuntimeLostError("the device is gone")
        if self.broken or POISON in values:
            raise ValueError("cannot digest this\nsecond line")
        score = np.where(values == NOT_FINITE, np.nan, values + 1).astype(np.float32)
        return {"score": score, "nodes": 2 * batch["x"][:, :, 0]}

    def close(self) -> None:
        self.closed = True

    def computed(self) -> list[float]:
        """Every value that was computed for a caller, in order."""
        return [value for batch in self.batches for value in batch if value != 0.0]

    async def busy(self) -> None:
        """Wait until a run has entered the model, counting from the last call or `forget`."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=20), "the model was not run"

    def forget(self) -> None:
        """Forget the runs so far (the warm-up)."""
        self.batches.clear()
        while self.entered.acquire(blocking=False):
            pass

    @contextmanager
    def held(self) -> Iterator[None]:
        """Runs stay in the model until the block ends."""
        self.gate.clear()
        try:
            yield
        finally:
            self.gate.set()


class Factory:
    """Builds fakes and remembers them; `failures` are raised first."""

    make: Callable[[], "FakeRuntime"] = FakeRuntime

    def __init__(self, *failures: BaseException, prepare: Callable[[FakeRuntime], None] = lambda _: None) -> None:
        self.built: list[FakeRuntime] = []
        self.failures = list(failures)
        self.calls = 0
        self._prepare = prepare

    def __call__(self) -> FakeRuntime:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        runtime = type(self).make()
        self._prepare(runtime)
        self.built.append(runtime)
        return runtime

    @property
    def now(self) -> FakeRuntime:
        return self.built[-1]


class SteppingClock:
    """Stands still until a test moves it; pauses end at once in real time and are written down."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.pauses: list[float] = []
        self.let_go = asyncio.Event()
        self.let_go.set()

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await self.let_go.wait()
        self.seconds += seconds
        await asyncio.sleep(0)


def settings(**changes: Any) -> InferenceSettings:
    quick: dict[str, Any] = {"restart_backoff_s": 0.01, "restart_backoff_max_s": 0.05, "drain_timeout_s": 5.0}
    breaker = {"minimum_calls": 1000, **changes.pop("breaker", {})}
    return InferenceSettings(**{**quick, **changes}, breaker=BreakerSettings(**breaker))


def model(factory: Callable[[], Any], version: str = "", *, more: float = 0.0, **changes: Any) -> ModelSpec:
    """A model whose scores, the canary's too, are ``more`` than those of a `FakeRuntime`."""
    answer = {**CANARY_ANSWER, "score": np.array(1 + more, np.float32)}
    return ModelSpec(factory, CANARY, changes.pop("expected", answer), version=version, **changes)


def engine(factory: Callable[[], Any], *, clock: Any = None, **changes: Any) -> Engine:
    of_model = {name: changes.pop(name) for name in ("expected", "tolerance", "version") if name in changes}
    extra = {name: changes.pop(name) for name in ("start_timeout_s",) if name in changes}
    return Engine(model(factory, **of_model), settings(**changes), clock=clock, **extra)


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something has become true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.001)


def model_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "gnn-model"]


def ended(subject: Engine) -> Mapping[str, int]:
    """The ways in which requests have ended, those that happened."""
    return {ending.value: count for ending, count in subject.stats().ended.items() if count}
