"""Models, a clock and callers for a storm around an engine, and a count of how every request ended."""

import asyncio
import collections
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from gnn_service.core.errors import (
    BreakerOpenError,
    DeadlineExceededError,
    EngineFailedError,
    EngineStoppedError,
    GnnServiceError,
    InvalidInputError,
    ModelRefusesError,
    OverloadedError,
)
from gnn_service.inference.batcher import Priority, Request
from gnn_service.inference.engine import Engine
from gnn_service.inference.runtimes.base import Item
from gnn_service.inference.spec import ModelSpec
from tests.support.inference import CANARY, DEADLY, NOT_FINITE, POISON, FakeRuntime, item, score

SLOW = 1_000_000.0
"""Added to a value, it keeps its batch in the model for a while."""
SHIFT = {"a": 0.0, "b": 100_000.0}
"""What each version adds to its scores, so that an answer tells whose it is."""
KINDS = {
    DeadlineExceededError: {"expired"},
    InvalidInputError: {"invalid"},
    OverloadedError: {"overloaded", "out_of_memory"},
    BreakerOpenError: {"breaker_open"},
    ModelRefusesError: {"invalid"},
    EngineFailedError: {"model_failed", "worker_lost"},
    EngineStoppedError: {"stopped"},
}


class JumpingClock:
    """The real clock, that a test may set forward. Pauses are a hundred times shorter."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 100)


class Fleet:
    """The runtimes of two versions, as many as are built; `alive` are those not closed yet."""

    def __init__(self) -> None:
        self.built: list[ChaosRuntime] = []
        self.load_s = 0.0
        self.spoilt = 0
        """Loads that will fail."""

    def spec(self, version: str) -> ModelSpec:
        def build() -> FakeRuntime:
            time.sleep(self.load_s)
            if self.spoilt:
                self.spoilt -= 1
                raise OSError("the disk is gone")
            runtime = ChaosRuntime(SHIFT[version])
            self.built.append(runtime)
            return runtime

        answer = {"score": FakeRuntime().run({n: a[None] for n, a in CANARY.items()})["score"][0] + SHIFT[version]}
        return ModelSpec(build, CANARY, answer, version=version)

    @property
    def alive(self) -> "list[ChaosRuntime]":
        return [runtime for runtime in self.built if not runtime.closed]

    def calm(self) -> None:
        """Nothing fails or hangs any more."""
        self.load_s, self.spoilt = 0.0, 0
        for runtime in self.built:
            runtime.crash = runtime.broken = runtime.die = False
            runtime.memory_for = None
            runtime.gate.set()


class ChaosRuntime(FakeRuntime):
    """Takes its time for slow items, and may end its thread."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = shift
        self.die = False

    def run(self, batch: Any) -> Any:
        self.batches.clear()
        if self.die:
            raise SystemExit(3)
        slow = batch["x"] >= SLOW
        time.sleep(0.03 if slow.any() else 0.001)
        answers = super().run({**batch, "x": batch["x"] - SLOW * slow})
        return {"score": answers["score"] + self.shift}


class Crowd:
    """Callers of every kind, and what became of each of their requests."""

    def __init__(self, subject: Engine, seed: int) -> None:
        self.subject = subject
        self.chance = random.Random(seed)
        self.issued = 0
        self.refused: collections.Counter[type] = collections.Counter()
        self.futures: collections.Counter[str] = collections.Counter()
        self.tasks: collections.Counter[type] = collections.Counter()
        self.wrong: list[str] = []
        self.late: list[float] = []
        self.over = False
        self._next = 0

    async def call(self) -> None:
        """One caller: request after request, in ways of its own, until it is over."""
        ways: list[Callable[[], Awaitable[None]]] = [self._ask, self._ask_and_leave, self._submit, self._lease]
        while not self.over:
            await self.chance.choice(ways)()
            if self.chance.random() < 0.3:
                await asyncio.sleep(self.chance.random() * 0.01)

    async def burst(self, size: int) -> None:
        """More at once than the line takes."""
        await asyncio.gather(*(self._submit() for _ in range(size)))

    def _item(self) -> tuple[Item, float | None]:
        self._next += 1
        value, kind = float(self._next % 50_000 + 1), self.chance.random()
        if kind < 0.80:
            return item(value), value
        if kind < 0.86:
            return item(SLOW + value), value
        if kind < 0.92:
            return item(value, nodes=self.chance.choice([1, 4])), value
        bad = {**CANARY, "x": CANARY["x"][0]} if kind < 0.94 else item(self.chance.choice([POISON, NOT_FINITE]))
        return (item(DEADLY), None) if kind > 0.995 else (bad, None)

    def _terms(self) -> dict[str, Any]:
        priority = self.chance.choice([Priority.NORMAL, Priority.NORMAL, Priority.BACKGROUND])
        return {"timeout_s": self.chance.choice([0.02, 0.2, 1.0, 5.0]), "priority": priority, "context": self._next}

    async def _ask(self) -> None:
        sent, value = self._item()
        terms, began = self._terms(), time.monotonic()
        self.issued += 1
        try:
            answer = await self.subject.infer(sent, **terms)
        except GnnServiceError as error:
            self.tasks[type(error)] += 1
        else:
            self.tasks[object] += 1
            self._check(answer, value, None)
        self.late.append(time.monotonic() - began - terms["timeout_s"])

    async def _ask_and_leave(self) -> None:
        task = asyncio.create_task(self._ask())
        await asyncio.sleep(self.chance.random() * 0.01)
        task.cancel()
        if isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError):
            self.tasks[asyncio.CancelledError] += 1

    async def _submit(self) -> None:
        await self._follow(self.subject.submit, None)

    async def _lease(self) -> None:
        with self.subject.lease() as lease:
            await asyncio.sleep(self.chance.random() * 0.005)
            await self._follow(lease.submit, lease.spec.version)

    async def _follow(self, submit: Callable[..., Request], version: str | None) -> None:
        sent, value = self._item()
        terms, began = self._terms(), time.monotonic()
        self.issued += 1
        try:
            future = submit(sent, **terms)
        except GnnServiceError as error:
            self.refused[type(error)] += 1
            return
        if self.chance.random() < 0.25:
            await asyncio.sleep(self.chance.random() * 0.01)
            future.cancel()
        await asyncio.wait({future})
        assert future.ending is not None
        self.futures[future.ending.value] += 1
        if not future.cancelled() and future.exception() is None:
            self._check(future.result(), value, version)
        self.late.append(time.monotonic() - began - terms["timeout_s"])

    def _check(self, answer: Any, value: float | None, version: str | None) -> None:
        if value is None:
            self.wrong.append("an item that cannot be answered was")
        elif score(answer) not in {value + 1 + SHIFT[v] for v in ([version] if version else SHIFT)}:
            self.wrong.append(f"{value} of {version} was answered {score(answer)}")
