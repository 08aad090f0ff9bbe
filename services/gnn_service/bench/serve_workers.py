"""Processes of their own for what must not share one with anything else: senders, and the bare model."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
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
    """``bare`` keeps a loaded model from call to call; each of ``senders`` sends."""

    bare: ProcessPoolExecutor
    senders: tuple[ProcessPoolExecutor, ...]

    def alone(self, work: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Call a function of a module in the process of the bare model."""
        return self.bare.submit(work, *args, **kwargs).result()

    def send(
        self, service: Service, messages: tuple[Message, ...], callers: int, seconds: float, rate: float | None = None
    ) -> tuple[Tally, Usage]:
        """Send from the senders, and watch the service meanwhile; ``rate`` in requests a second, None a closed loop."""
        host, port = address_of(service.url)
        requests = tuple(message.raw(f"{host}:{port}") for message in messages)
        parts = split(Load(host, port, requests, callers, seconds, rate), len(self.senders))
        with Watch(service.pid) as watch:
            sent = [sender.submit(run_load, part) for sender, part in zip(self.senders, parts, strict=False)]
            tally = merge([one.result() for one in sent])
            return tally, watch.usage()


@contextmanager
def workers(senders: int) -> Iterator[Workers]:
    """The processes, started and imported before anything is measured; an error ends them in what they do."""
    context = multiprocessing.get_context("spawn")
    before = multiprocessing.active_children()
    with ExitStack() as stack:
        pools = [stack.enter_context(ProcessPoolExecutor(1, context, _follow_parent)) for _ in range(1 + senders)]
        try:
            for starting in [pool.submit(os.getpid) for pool in pools]:
                starting.result()
            yield Workers(pools[0], tuple(pools[1:]))
        except BaseException:  # a pool would wait for the end of a load that nobody waits for any more
            for process in set(multiprocessing.active_children()).difference(before):
                process.terminate()
            raise


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
