"""Everything that can go wrong around an engine, drawn from a seed, and the moments at which it is stopped."""

import asyncio
import collections
import contextlib
import random
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Final

from gnn_service.core.errors import EngineFailedError, EngineStoppedError, SwapRefusedError
from gnn_service.inference.engine import Engine, Lease
from gnn_service.inference.stats import WorkerState
from tests.support.chaos import ChaosRuntime, Crowd, Fleet, JumpingClock
from tests.support.inference import until

MOMENTS: Final = ("anytime", "swap_loads", "shadow_loads", "old_model_leaves", "thread_comes_back", "hung_for_good")
"""When an engine may be stopped; each is a method of `Saboteur`."""
HANG_S: Final = 0.8
"""Longer than the heartbeat: given up, and coming back when another one has taken its place."""


class Saboteur:
    """Breaks one thing after another. ``done`` counts the troubles, the rest what became of exchanges of the model."""

    def __init__(self, subject: Engine, fleet: Fleet, clock: JumpingClock, crowd: Crowd, seed: int) -> None:
        self.subject, self.fleet, self.clock, self.crowd = subject, fleet, clock, crowd
        self.chance = random.Random(seed + 1000)
        self.over = False
        self.done: collections.Counter[str] = collections.Counter()
        self.tried = 0
        self.refused: collections.Counter[type] = collections.Counter()
        self.exchanged: collections.Counter[str] = collections.Counter()
        self._exchanges: list[asyncio.Task[None]] = []
        self._shadows: list[asyncio.Task[None]] = []
        self._timers: list[threading.Timer] = []
        self._held: list[Lease] = []
        self.troubles = [self.crash, self.die, self.hang, self.break_it, self.fill_memory, self.spoil, self.jump]
        self.troubles += [self.swap, self.roll_back, self.give_up, self.shadow, self.flood, self.stall]

    async def work(self, seconds: float) -> None:
        """Each kind of trouble in turn, in an order of its own, again and again; the first time all of them."""
        end = time.monotonic() + seconds
        while not self.over and (time.monotonic() < end or not self.done):
            first = not self.done
            self.chance.shuffle(self.troubles)
            for trouble in self.troubles:
                if not first and (self.over or time.monotonic() >= end):
                    break
                self.done[trouble.__name__] += 1
                await trouble()
                await asyncio.sleep(self.chance.random() * 0.04)

    async def leave(self) -> None:
        """Nothing fails any more, and nothing of it is left."""
        self.over = True
        self.fleet.calm()
        for lease in self._held:
            lease.release()
        await asyncio.gather(*(task for task in (*self._exchanges, *self._shadows) if not task.cancelled()))
        for timer in self._timers:
            timer.cancel()
            timer.join()

    @property
    def waiting(self) -> bool:
        """Whether somebody still waits for an exchange of the model, or for a shadow."""
        return not all(task.done() for task in (*self._exchanges, *self._shadows))

    # ---- troubles ----

    def victim(self) -> ChaosRuntime | None:
        alive = self.fleet.alive
        return self.chance.choice(alive) if alive else None

    async def crash(self) -> None:
        if victim := self.victim():
            victim.crash = True

    async def die(self) -> None:
        if victim := self.victim():
            victim.die = True

    async def hang(self) -> None:
        one = self.victim() if self.done["hang"] > 1 else None
        for victim in [one] if one else self.fleet.alive:
            victim.gate.clear()
            self._timers.append(threading.Timer(HANG_S, victim.gate.set))
            self._timers[-1].start()

    async def break_it(self) -> None:
        for runtime in self.fleet.alive:
            runtime.broken = True
        await asyncio.sleep(0.05)
        for runtime in self.fleet.built:
            runtime.broken = False

    async def fill_memory(self) -> None:
        for runtime in self.fleet.alive:
            runtime.memory_for = self.chance.choice([0, 1, 3])
        await asyncio.sleep(0.05)
        for runtime in self.fleet.built:
            runtime.memory_for = None

    async def spoil(self) -> None:
        self.fleet.spoilt = self.chance.choice([1, 2])

    async def jump(self) -> None:
        self.clock.ahead_s += self.chance.choice([0.1, 1.0, 7.0])

    async def swap(self) -> None:
        self._exchange("swap")

    async def roll_back(self) -> None:
        self._exchange("roll_back")

    async def give_up(self) -> None:
        """Whoever exchanges the model, or sets a shadow, goes away before that is done."""
        for task in self._exchanges:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.chance.random() * 0.02):
                await self.shadow()

    async def shadow(self) -> None:
        spec = self.fleet.spec("b") if self.chance.random() < 0.7 else None
        with contextlib.suppress(EngineFailedError, EngineStoppedError):
            await self.subject.set_shadow(spec)

    async def flood(self) -> None:
        await self.crowd.burst(100)

    async def stall(self) -> None:
        time.sleep(0.05)  # noqa: ASYNC251 - the event loop stands still

    def _exchange(self, kind: str) -> None:
        self._exchanges.append(asyncio.create_task(self._exchanged(kind)))

    async def _exchanged(self, kind: str) -> None:
        """Exchange the model, and note whether it was, also where this is cancelled."""
        spec, before = self.fleet.spec(self.chance.choice("ab")), self.subject.spec
        move: Callable[[], Awaitable[None]] = {
            "swap": lambda: self.subject.swap(spec),
            "roll_back": self.subject.roll_back,
        }[kind]
        self.tried += 1
        try:
            await move()
        except (EngineFailedError, EngineStoppedError, SwapRefusedError) as refused:
            self.refused[type(refused)] += 1
        except asyncio.CancelledError:
            pass  # it gives up, as `give_up` says: nobody waits for this task to be cancelled
        finally:
            self.exchanged[kind] += self.subject.spec is not before

    # ---- moments ----

    async def anytime(self) -> None:
        await asyncio.sleep(self.chance.random() * 0.2)

    async def swap_loads(self) -> None:
        self.fleet.load_s = 1.0
        await self._again(lambda: self._exchange("swap"), lambda: self.subject._coming is not None)

    async def shadow_loads(self) -> None:
        self.fleet.load_s = 1.0
        await self._again(
            lambda: self._shadows.append(asyncio.create_task(self.shadow())),
            lambda: self.subject._shadow._coming is not None,
        )

    async def old_model_leaves(self) -> None:
        def hold() -> None:
            self._held.append(self.subject.lease())
            self._exchange("swap")

        await self._again(hold, lambda: self.subject._going is not None)

    async def thread_comes_back(self) -> None:
        self.fleet.load_s = 1.0

        def kill() -> None:
            for runtime in self.fleet.alive:
                runtime.die = True

        def away() -> bool:
            return any(one.state is WorkerState.RESTARTING for one in self.subject.health().instances)

        await self._again(kill, away)

    async def hung_for_good(self) -> None:
        """So many threads that only a new process helps: whoever serves hears of it, and stops the engine."""
        told: list[str] = []
        self.subject.on_fatal = told.append

        def freeze() -> None:
            for runtime in self.fleet.alive:
                runtime.gate.clear()

        await self._again(freeze, lambda: bool(told))
        assert not self.subject.health().ready

    async def _again(self, move: Callable[[], None], condition: Callable[[], bool]) -> None:
        """Do it again and again until it has the effect; then a moment more or less."""

        def moved() -> bool:
            if condition():
                return True
            if self.chance.random() < 0.1:
                move()
            return False

        await until(moved)
        await asyncio.sleep(self.chance.random() * 0.02)
