"""One model thread of several behind one line, and what takes batches to it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from gnn_service.core.breaker import CircuitBreaker
from gnn_service.inference.batcher import Request
from gnn_service.inference.canary import Canary
from gnn_service.inference.execution import BatchRunner, ModelWorker
from gnn_service.inference.runtimes.base import Output, Runtime
from gnn_service.inference.stats import InstanceHealth
from gnn_service.inference.supervision import Shared, Supervisor


class Instance:
    """A supervised thread with a runtime of its own, and its runner of batches.

    Args:
        factory: builds the runtime.
        canary: of the model.
        breaker: of the model; all its instances share it.
        shared: settings, clock and counters of the engine.
        on_answered: given what was just answered; must not wait.
        serve: takes batches through a worker of this instance until that is lost.
        on_loss: told why the worker of this instance was lost, and when to come back, in seconds.
        on_change: told of every change of the supervisor's state.
    """

    def __init__(
        self,
        factory: Callable[[], Runtime],
        canary: Canary,
        breaker: CircuitBreaker,
        shared: Shared,
        *,
        on_answered: Callable[[Sequence[tuple[Request, Output]]], object] | None,
        serve: Callable[[Self, ModelWorker], Awaitable[None]],
        on_loss: Callable[[Self, str, float], None],
        on_change: Callable[[], object],
    ) -> None:
        settings = shared.settings
        self.wake = asyncio.Event()
        self.idle = False
        self.runner = BatchRunner(
            canary,
            settings.batch_max,
            settings.heartbeat_timeout_s,
            shared.clock,
            breaker,
            shared.counters,
            on_answered,
        )
        self.supervisor = Supervisor(
            factory,
            shared,
            runner=self.runner,
            canary=canary,
            serve=lambda worker: serve(self, worker),
            on_loss=lambda reason, retry_after_s: on_loss(self, reason, retry_after_s),
            on_change=on_change,
            on_exit=self.wake.set,
        )

    @property
    def free(self) -> bool:
        """Whether a worker is there with nothing to do."""
        return self.supervisor.worker is not None and not self.runner.in_flight

    def rouse(self) -> None:
        """Have it look for a batch."""
        self.idle = False
        self.wake.set()

    def health(self) -> InstanceHealth:
        """What is true of it now."""
        worker = self.supervisor.worker
        return InstanceHealth(
            state=self.supervisor.state,
            runtime=worker.name if worker else None,
            device=worker.device if worker else None,
            busy_s=worker.busy_s if worker else 0.0,
            batch_limit=self.runner.limit,
            last_error=self.supervisor.last_error,
        )
