"""The one path from a window to its Diagnosis: the service, `evaluate` and `diagnose` all take it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.config import Settings
from gnn_service.core.errors import SwapRefusedError
from gnn_service.domain.diagnosis import Diagnosis
from gnn_service.domain.machine import Machine
from gnn_service.domain.window import Window
from gnn_service.inference.batcher import Priority, Request
from gnn_service.inference.engine import Engine, Lease
from gnn_service.inference.interpreter import REHEARSALS, Interpreter, Kind, Prepared, concluded, judged
from gnn_service.inference.mirror import Mirror
from gnn_service.inference.runtimes.base import Output
from gnn_service.inference.runtimes.choices import Choice
from gnn_service.inference.runtimes.choose import RuntimeFactory, runtime_factory
from gnn_service.inference.runtimes.source import Source
from gnn_service.inference.spec import ModelSpec
from gnn_service.inference.tensors import TensorSpec
from gnn_service.model import decode
from gnn_service.model.baseline import Baseline
from gnn_service.model.bundle import Bundle
from gnn_service.model.judge import Judgement

Specify = Callable[[Bundle], ModelSpec]
"""What an engine needs to serve a bundle."""


def specification(settings: Settings) -> Specify:
    """How bundles are served with these settings."""

    def specify(bundle: Bundle) -> ModelSpec:
        item, expected = bundle.canary
        factory = runtime_factory(Source.of_bundle(bundle), settings)
        return ModelSpec(factory, item, expected, name="diagnosis", version=bundle.version)

    return specify


class Held:
    """One bundle, held from the encoding of a window to the decoding of its answer, whatever is activated meanwhile.

    Use it as a context manager, for one request.
    """

    def __init__(self, interpreter: Interpreter, lease: Lease) -> None:
        self._interpreter = interpreter
        self._lease = lease

    @property
    def bundle(self) -> Bundle:
        """The bundle that is held."""
        return self._interpreter.bundle

    def prepare(self, machine: Machine, window: Window, baseline: Baseline | None = None) -> Prepared:
        """The window as the network takes it; see `Interpreter.prepare`. Takes a while: not in the event loop."""
        return self._interpreter.prepare(machine, window, baseline)

    def submit(
        self, prepared: Prepared, *, timeout_s: float | None = None, priority: Priority = Priority.NORMAL
    ) -> Request:
        """The future of the network's answer to a window that was not too short; see `Engine.submit`."""
        if prepared.item is None:
            raise ValueError(f"a window without an item has no answer: {prepared.reason}")
        return self._lease.submit(prepared.item, timeout_s=timeout_s, priority=priority, context=prepared)

    async def infer(
        self, prepared: Prepared, *, timeout_s: float | None = None, priority: Priority = Priority.NORMAL
    ) -> Output:
        """The network's answer to a window that was not too short; see `Engine.infer`."""
        if prepared.item is None:
            raise ValueError(f"a window without an item has no answer: {prepared.reason}")
        return await self._lease.infer(prepared.item, timeout_s=timeout_s, priority=priority, context=prepared)

    def conclude(self, prepared: Prepared, outputs: Mapping[str, NDArray[np.float32]]) -> Diagnosis:
        """The answer in words; for a window that was too short, `unknown` with the reason."""
        if prepared.item is None:
            return decode.unknown_diagnosis(prepared.facts, prepared.reason)
        return concluded(prepared, outputs)

    def release(self) -> None:
        """Let go; a second time is no error."""
        self._lease.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Diagnoser:
    """Prepares windows, has the engine compute them, and puts the answers into words.

    Args:
        bundle: the trained model that the engine begins with.
        engine: serves it.
        specify: how other bundles are served; without it none can be activated.
        rehearsals: diagnoses of each of a bundle's machines before anybody asks.
    """

    def __init__(
        self, bundle: Bundle, engine: Engine, specify: Specify | None = None, *, rehearsals: int = REHEARSALS
    ) -> None:
        self.engine = engine
        self._rehearsals = rehearsals
        self._specify = specify
        self._interpreters = {engine.spec: Interpreter(bundle, rehearsals)}
        self._shadow: tuple[ModelSpec, Bundle] | None = None
        self._change = asyncio.Lock()  # of the bundle that answers; the engine refuses a second at a time
        self._shadow_change = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, bundle: Bundle | None = None) -> AsyncIterator[Self]:
        """Load the bundle (default: the one the settings name), start an engine for it, stop it in the end.

        Raises BundleError when the bundle cannot be used, DeviceUnavailableError for a device that is not there.
        """
        chosen = bundle if bundle is not None else await asyncio.to_thread(Bundle.open, settings.model.bundle)
        specify = specification(settings)
        async with Engine(specify(chosen), settings.inference) as engine:
            rehearsals = REHEARSALS if settings.inference.warmup_iterations else 0
            diagnoser = cls(chosen, engine, specify, rehearsals=rehearsals)
            await asyncio.to_thread(diagnoser._now.get_ready)
            yield diagnoser

    @property
    def bundle(self) -> Bundle:
        """The bundle that answers now."""
        return self._now.bundle

    @property
    def previous(self) -> Bundle | None:
        """The bundle that `roll_back` goes back to."""
        previous = self.engine.previous
        return self._interpreters[previous].bundle if previous is not None else None

    @property
    def shadowing(self) -> Bundle | None:
        """The bundle that looks on."""
        if self._shadow is None or self.engine.health().shadow != self._shadow[0].version:
            return None  # the engine lets go of one before it loads another
        return self._shadow[1]

    @property
    def runtime_choice(self) -> Choice | None:
        """Which runtime answers, and why; None before one is loaded, or where the engine was given its own."""
        factory = self.engine.spec.factory
        return factory.choice if isinstance(factory, RuntimeFactory) else None

    def machines(self) -> Mapping[str, Machine]:
        """Machines that can be named by their id."""
        return self._now.machines

    @property
    def tensors(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """The inputs and outputs of the present bundle's graph; see `Interpreter.tensors`."""
        return self._now.tensors

    # ---- windows ----

    def hold(self) -> Held:
        """Hold on to the present bundle; release it, or use it as a context manager."""
        lease = self.engine.lease()
        return Held(self._interpreters[lease.spec], lease)

    async def diagnose(
        self,
        machine: Machine,
        window: Window,
        baseline: Baseline | None = None,
        *,
        timeout_s: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> Diagnosis:
        """Diagnose one window, with the machine's own baseline where there is one.

        ``timeout_s`` counts from now, encoding included; None is the engine's own, from its door.

        A window that is too short is answered `unknown` with the reason. Raises InvalidInputError on readings or a
        baseline that do not belong to the machine, and what `Engine.infer` raises.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        with self.hold() as held:
            prepared = await asyncio.to_thread(held.prepare, machine, window, baseline)
            outputs = {}
            if prepared.item is not None:
                left_s = None if timeout_s is None else timeout_s - (clock() - began)
                outputs = await held.infer(prepared, timeout_s=left_s, priority=priority)
            return held.conclude(prepared, outputs)

    async def commission(
        self, machine: Machine, windows: Sequence[Window], *, threads: Executor | None = None
    ) -> Baseline:
        """Learn a machine's own healthy baseline from healthy windows; too short ones are left out.

        ``threads`` computes it; None is the event loop's own executor.
        """
        run = copy_context().run
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, run, self._now.baseline_of, machine, windows)

    def baseline_of(self, machine: Machine, windows: Sequence[Window]) -> Baseline:
        """As `commission`, without an event loop."""
        return self._now.baseline_of(machine, windows)

    def kind(self, machine: Machine) -> Kind:
        """The unchanging part of a machine's encoding; see `Interpreter.kind`."""
        return self._now.kind(machine)

    def prepare(self, machine: Machine, window: Window, baseline: Baseline | None = None) -> Prepared:
        """A window as the present bundle takes it; see `Interpreter.prepare`, and `hold` where bundles may change."""
        return self._now.prepare(machine, window, baseline)

    def judge(self, prepared: Prepared, outputs: Mapping[str, NDArray[np.float32]]) -> tuple[Judgement, ...]:
        """Level probabilities of every failure mode, by source and fused; one window."""
        return judged(prepared, outputs)

    def conclude(self, prepared: Prepared, outputs: Mapping[str, NDArray[np.float32]]) -> Diagnosis:
        """Put the engine's answers into words."""
        return concluded(prepared, outputs)

    # ---- other bundles ----

    async def activate(self, bundle: Bundle) -> None:
        """Answer by another bundle from now on, without refusing or losing a request; raises as `Engine.swap`.

        Whoever asks while another change is under way waits for its end. Requests that have begun finish on the bundle
        they began with. Baselines stay with the machines: a bundle that asks more of them refuses old ones with the
        reason.
        """
        async with self._change:
            interpreter = Interpreter(bundle, self._rehearsals)
            await asyncio.to_thread(interpreter.get_ready)
            spec = self._spec_of(bundle)
            self._interpreters[spec] = interpreter
            try:
                await self.engine.swap(spec)
            finally:
                self._forget()

    async def roll_back(self) -> None:
        """Answer by the bundle before the present one again; a second time comes back. Raises as `Engine.roll_back`.

        Waits its turn as `activate` does.
        """
        async with self._change:
            await self.engine.roll_back()

    async def shadow(self, bundle: Bundle | None) -> None:
        """Have another bundle diagnose a share of the windows too, and count where it says another state.

        None stops that. Callers never notice it. One that cannot be prepared leaves the one before where it is; for
        the rest raises as `Engine.set_shadow`.
        """
        async with self._shadow_change:
            if bundle is None:
                await self.engine.set_shadow(None)
                self._shadow = None
                return
            interpreter = Interpreter(bundle, self._rehearsals)
            await asyncio.to_thread(interpreter.get_ready)
            mirror, spec = Mirror(interpreter), self._spec_of(bundle)
            await self.engine.set_shadow(spec, translate=mirror.translate, disagree=mirror.disagree)
            self._shadow = spec, bundle

    @property
    def _now(self) -> Interpreter:
        return self._interpreters[self.engine.spec]

    def _spec_of(self, bundle: Bundle) -> ModelSpec:
        if self._specify is None:
            raise SwapRefusedError("this diagnoser serves one bundle only; open it with its settings")
        return self._specify(bundle)

    def _forget(self) -> None:
        """Drop what belongs to neither the present nor the previous bundle; who holds another keeps it.

        Asked of the engine, which says what can be rolled back to whether the last swap succeeded or not.
        """
        kept = {self.engine.spec, self.engine.previous}
        self._interpreters = {spec: known for spec, known in self._interpreters.items() if spec in kept}
