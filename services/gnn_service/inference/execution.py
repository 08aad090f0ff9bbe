"""Takes one batch through the model: who still waits, halves around a poisonous item, memory, and the breaker."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gnn_service.core.breaker import CircuitBreaker
from gnn_service.core.clock import Clock
from gnn_service.core.errors import BreakerOpenError, EngineFailedError, ModelRefusesError, OverloadedError
from gnn_service.inference.batcher import Priority, Request
from gnn_service.inference.canary import Canary
from gnn_service.inference.deadlines import expire
from gnn_service.inference.loaded import LoadedModel, Run
from gnn_service.inference.runtimes.base import Item, Output
from gnn_service.inference.stats import Counters, Ending
from gnn_service.inference.worker import JobFailedError, Worker, WorkerLostError, describe
from gnn_service.observability import tracing

_MEMORY_RETRY_S: Final = 1.0
REGROW_AFTER: Final = 32
"""Runs at a limit set by memory before twice as much is tried again."""

ModelWorker = Worker[LoadedModel]
_log = logging.getLogger(__name__)
_SMOOTHING: Final = 0.1  # weight of the newest run in the running mean of seconds per item


class Verdict(Enum):
    """What a batch says about the model."""

    WORKS = "works"
    FAILS = "fails"
    UNKNOWN = "unknown"


class BatchRunner:
    """Answers the requests of one batch at a time, whatever happens to them.

    A run that raises is judged by the canary: a model that fails there too is at fault, everybody in the batch fails
    at once and the breaker counts it; else something in the batch is, and halves find it. The breaker therefore opens
    on a broken model, and not because a caller keeps sending what the model cannot digest: such a caller is told that
    it is the input, so that nobody repeats it.

    Args:
        canary: the graph whose answer is known.
        batch_max: items in a batch, at most; ``limit`` is below it for a while after memory ran out.
        heartbeat_timeout_s: seconds after which a silent run counts as hung.
        clock: stamps deadlines.
        breaker: counts batches.
        counters: what is counted for the statistics.
        on_answered: given the requests of callers that were just answered, with their answers; must not wait.
    """

    def __init__(
        self,
        canary: Canary,
        batch_max: int,
        heartbeat_timeout_s: float,
        clock: Clock,
        breaker: CircuitBreaker,
        counters: Counters,
        on_answered: Callable[[Sequence[tuple[Request, Output]]], object] | None = None,
    ) -> None:
        self._canary = canary
        self._batch_max = batch_max
        self._heartbeat_timeout_s = heartbeat_timeout_s
        self._clock = clock
        self._breaker = breaker
        self._counters = counters
        self._on_answered = on_answered
        self.limit = batch_max
        self._fitted = 0
        self.seconds_per_item = 0.0
        self.in_flight: list[Request] = []

    async def execute(self, worker: ModelWorker, batch: list[Request]) -> None:
        """Answer or fail each request of the batch; the cancelled and expired are not computed.

        Raises:
            WorkerLostError: the worker crashed or hung; requests that were not answered yet are in ``in_flight``.
        """
        self.in_flight = self._wanted(batch)
        if not self.in_flight:
            return
        try:
            permit = self._breaker.acquire()
        except BreakerOpenError as refusal:
            for request in self.in_flight:
                error = BreakerOpenError(refusal.detail, retry_after_s=refusal.retry_after_s)
                request.fail(error, Ending.BREAKER_OPEN)
            self.in_flight = []
            return
        try:
            verdict = await self._traced(worker, self.in_flight)
        except WorkerLostError:
            permit.failure()
            raise
        except BaseException:
            permit.release()
            raise
        if verdict is Verdict.WORKS:
            permit.success()
        elif verdict is Verdict.FAILS:
            permit.failure()
        else:
            permit.release()
        self.in_flight = []

    async def run(self, worker: ModelWorker, items: Sequence[Item], timeout_s: float | None = None) -> Run:
        """One run of the model, of ``timeout_s`` seconds at most; None takes the heartbeat's.

        Raises:
            JobFailedError: the model raised.
            WorkerLostError: the worker crashed or hung.
        """
        limit_s = self._heartbeat_timeout_s if timeout_s is None else timeout_s
        run = await worker.call(LoadedModel.answer, limit_s, items)
        if run.memory_peak_bytes is not None:
            self._counters.memory_peak_bytes = run.memory_peak_bytes
        return run

    async def canary_flaw(self, worker: ModelWorker, timeout_s: float | None = None) -> str | None:
        """What is wrong with the model by the canary; None when it is right. ``timeout_s`` as for `run`.

        Raises:
            WorkerLostError: the worker crashed or hung.
        """
        try:
            run = await self.run(worker, [self._canary.item], timeout_s)
        except JobFailedError as failed:
            return f"the canary failed: {failed.detail}"
        return self._canary.flaw(run.answers[0])

    async def make_room(self, worker: ModelWorker, size: int) -> None:
        """Memory ran out on a batch of ``size``: free what is cached, and form smaller ones for a while.

        Raises:
            WorkerLostError: the worker crashed or hung.
        """
        self._counters.memory_splits += 1
        self.limit = max(1, min(self.limit, size // 2))
        self._fitted = 0
        try:
            await worker.call(LoadedModel.release_memory, self._heartbeat_timeout_s)
        except JobFailedError as failed:
            raise WorkerLostError(f"memory ran out and could not be released: {failed.detail}") from failed

    async def _traced(self, worker: ModelWorker, batch: list[Request]) -> Verdict:
        now = self._clock.monotonic()
        self._counters.batches += 1
        self._counters.batch_size.observe(len(batch))
        self._counters.queue_s.observe_all([now - request.arrived_at for request in batch])
        links = [request.link for request in batch if request.link is not None]
        if not links:
            return await self._answer(worker, batch)
        with tracing.span(tracing.SpanName.ENGINE_BATCH, links=links, attributes={"batch.size": len(batch)}):
            return await self._answer(worker, batch)

    async def _answer(self, worker: ModelWorker, batch: list[Request]) -> Verdict:
        parts = [batch]
        tally = _Tally()
        while parts:
            part = self._wanted(parts.pop())
            if not part:
                continue
            if len(part) > self.limit:  # memory ran out meanwhile: a sibling of that size need not be tried
                parts += _halves(part)
                continue
            try:
                run = await self.run(worker, [request.item for request in part])
            except JobFailedError as failed:
                parts += await self._to_retry(worker, part, failed, tally)
            else:
                await self._blame_for_nonsense(worker, self._hand_out(part, run, tally), tally)
        if tally.answered:
            return Verdict.WORKS
        if tally.failed and not await self._model_works(worker, tally):
            return Verdict.FAILS
        return Verdict.UNKNOWN

    async def _to_retry(
        self, worker: ModelWorker, part: list[Request], failed: JobFailedError, tally: "_Tally"
    ) -> list[list[Request]]:
        """The parts to try instead of one that failed; none when its requests were answered with an error."""
        self._counters.runs += 1
        halves = _halves(part)
        if isinstance(failed.error, MemoryError):
            await self.make_room(worker, len(part))
            if not halves:
                _shed(part[0])
            return halves
        self._counters.failed_runs += 1
        if halves and await self._model_works(worker, tally):
            return halves
        tally.failed += len(part)
        at_fault = len(part) == 1 and await self._model_works(worker, tally)
        for request in part:
            detail = f"the model failed on this window: {describe(failed.error)}"
            _blame(request, detail, failed.error, at_fault=at_fault)
        return []

    async def _model_works(self, worker: ModelWorker, tally: "_Tally") -> bool:
        """Whether the fault is with the items: somebody in the batch was answered, or the canary is, rightly."""
        if tally.answered:
            return True
        if tally.sound is None:
            flaw = await self.canary_flaw(worker)
            tally.sound = flaw is None
            if flaw:
                _log.warning("the model is failing: %s", flaw)
        return tally.sound

    async def _blame_for_nonsense(self, worker: ModelWorker, requests: list[Request], tally: "_Tally") -> None:
        """Tell those whose answers were not finite whose fault it is."""
        if not requests:
            return
        at_fault = await self._model_works(worker, tally)
        for request in requests:
            _blame(request, "the model's answer to this window is not finite; check its readings", at_fault=at_fault)

    def _hand_out(self, part: list[Request], run: Run, tally: "_Tally") -> list[Request]:
        """Give the answers out; returns the requests whose answers were not finite."""
        self._counters.runs += 1
        self._counters.run_s.observe(run.seconds)
        self.seconds_per_item += _SMOOTHING * (run.seconds / len(part) - self.seconds_per_item)
        self._regrow(len(part))
        now = self._clock.monotonic()
        answered: list[tuple[Request, Output]] = []
        nonsense: list[Request] = []
        for request, answer in zip(part, run.answers, strict=True):
            if answer is None:
                tally.failed += 1
                nonsense.append(request)
            else:
                tally.answered += 1
                if request.resolve(answer) and request.priority is not Priority.PROBE:
                    answered.append((request, answer))
        self._counters.ended[Ending.ANSWERED] += len(answered)
        self._counters.total_s.observe_all([now - request.arrived_at for request, _ in answered])
        if self._on_answered is not None:
            self._on_answered(answered)
        return nonsense

    def _regrow(self, size: int) -> None:
        """Dare larger batches again once enough of the present limit have fitted."""
        if size >= self.limit and self.limit < self._batch_max:
            self._fitted += 1
            if self._fitted >= REGROW_AFTER:
                self._fitted = 0
                self.limit = min(self._batch_max, 2 * self.limit)

    def _wanted(self, batch: list[Request]) -> list[Request]:
        """Those somebody still waits for; the expired are told."""
        now = self._clock.monotonic()
        wanted = []
        for request in batch:
            if request.done():
                continue
            if request.deadline_at <= now:
                expire(request)
            else:
                wanted.append(request)
        return wanted


@dataclass(slots=True)
class _Tally:
    """What became of a batch so far; ``sound`` is what the canary said, None while it was not asked."""

    answered: int = 0
    failed: int = 0
    sound: bool | None = None


def _halves(part: list[Request]) -> list[list[Request]]:
    """The two halves, the first last, as it is taken from the end; none of a single request."""
    half = (len(part) + 1) // 2
    return [part[half:], part[:half]] if len(part) > 1 else []


def _shed(request: Request) -> None:
    error = OverloadedError("no memory left for this window; try again later", retry_after_s=_MEMORY_RETRY_S)
    request.fail(error, Ending.OUT_OF_MEMORY)


def _blame(request: Request, detail: str, cause: Exception | None = None, *, at_fault: bool) -> None:
    """Fail it: by its own fault, where the model works, else by the model's."""
    error = ModelRefusesError(detail) if at_fault else EngineFailedError(detail)
    error.__cause__ = cause
    request.fail(error, Ending.INVALID if at_fault else Ending.MODEL_FAILED)
