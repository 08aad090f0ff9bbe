"""Processes of their own for what must not share one with anything else: senders, and the bare model."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from gnn_service.bench.serve_child import Service, Watch
from gnn_service.bench.serve_http import address_of
from gnn_service.bench.serve_load import Load, Tally, merge, run_load, split
from gnn_service.bench.serve_stats import Usage
from gnn_service.bench.serve_target import Message

P = ParamSpec("P")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Workers:
    """``bare`` keeps a loaded model from call to call; ``senders`` send."""

    bare: ProcessPoolExecutor
    senders: ProcessPoolExecutor
    sender_count: int

    def alone(self, work: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Call a function of a module in the process of the bare model."""
        return self.bare.submit(work, *args, **kwargs).result()

    def send(
        self, service: Service, messages: tuple[Message, ...], callers: int, seconds: float, rate: float | None = None
    ) -> tuple[Tally, Usage]:
        """Send from the senders, and watch the service meanwhile; ``rate`` in requests a second, None a closed loop."""
        host, port = address_of(service.url)
        requests = tuple(message.raw(f"{host}:{port}") for message in messages)
        load = Load(host, port, requests, callers, seconds, rate)
        with Watch(service.pid) as watch:
            sent = [self.senders.submit(run_load, part) for part in split(load, self.sender_count)]
            tally = merge([one.result() for one in sent])
            return tally, watch.usage()


@contextmanager
def workers(senders: int) -> Iterator[Workers]:
    """The processes, started and imported before anything is measured."""
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, context, _end_with_parent) as bare,
        ProcessPoolExecutor(senders, context, _end_with_parent) as sending,
    ):
        made = Workers(bare, sending, senders)
        waiting = [bare.submit(os.getpid), *(sending.submit(os.getpid) for _ in range(senders))]
        for each in waiting:
            each.result()
        yield made


def _end_with_parent() -> None:
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
