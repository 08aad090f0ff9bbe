"""How long a new process takes until it answers, and what its first answer costs beside the later ones."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from gnn_service.bench.serve_child import Service, started_service
from gnn_service.bench.serve_http import Connection, address_of
from gnn_service.bench.serve_target import Message
from gnn_service.core.errors import UnavailableError

NO_WARMUP: Final = {"GNN_INFERENCE__WARMUP_ITERATIONS": "0"}
STEADY_REQUESTS: Final = 300
_SETTLING: Final = 50
_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """Of one new process. ``ratio`` is the first answer's time over the median of later ones on that connection."""

    warmed_up: bool
    listening_s: float
    first_ms: float
    p50_ms: float
    ratio: float


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Several new processes. ``ready_s`` are seconds from the start of a process to its first 200 of readiness."""

    ready_s: tuple[float, ...]
    answers: tuple[FirstAnswer, ...]

    def medians(self, *, warmed_up: bool) -> FirstAnswer:
        """The middle of the processes with the warm-up of the settings, or with none."""
        chosen = [answer for answer in self.answers if answer.warmed_up == warmed_up]
        names = ("listening_s", "first_ms", "p50_ms", "ratio")
        middle = {name: float(np.median([getattr(answer, name) for answer in chosen])) for name in names}
        return FirstAnswer(warmed_up, **middle)


def bench_cold_start(
    messages: Sequence[Message],
    times: int,
    arguments: Sequence[str] = (),
    on_start: Callable[[], object] = lambda: None,
) -> ColdStart:
    """Start the service three times ``times`` over, in turns: to ready, and to a first answer with and without warm-up.

    Readiness runs the model, so a process that is asked for its first answer is not asked whether it is ready.
    ``on_start`` is called after each process. Raises UnavailableError where one does not start or answer.
    """
    ready, answers = [], []
    for _ in range(times):
        with started_service(arguments) as service:
            ready.append(service.ready_s)
        on_start()
        for warmed_up in (True, False):
            variables = {} if warmed_up else NO_WARMUP
            with started_service(arguments, variables, until_ready=False) as service:
                answers.append(_first_answer(service, messages, warmed_up))
            on_start()
    return ColdStart(tuple(ready), tuple(answers))


def _first_answer(service: Service, messages: Sequence[Message], warmed_up: bool) -> FirstAnswer:
    try:
        took = asyncio.run(_ask_in_turn(service, messages))
    except OSError as error:
        raise UnavailableError(f"the new service did not answer: {error}") from error
    steady = float(np.median(took[_SETTLING:]))
    return FirstAnswer(warmed_up, service.listening_s, took[0] * 1000, steady * 1000, took[0] / steady)


async def _ask_in_turn(service: Service, messages: Sequence[Message]) -> list[float]:
    """Seconds of each answer, one after the other on one connection."""
    host, port = address_of(service.url)
    requests = [message.raw(f"{host}:{port}") for message in messages]
    connection, took = Connection(), []
    await connection.connect(host, port)
    try:
        for k in range(STEADY_REQUESTS + _SETTLING):
            if not connection.open:  # a keep-alive may be ended by its server at any time
                await connection.connect(host, port)
            began = time.perf_counter()
            status = await connection.exchange(requests[k % len(requests)], _TIMEOUT_S)
            took.append(time.perf_counter() - began)
            if status != 200:
                raise UnavailableError(f"{service.url} answered {status}")
    finally:
        connection.close()
    return took
