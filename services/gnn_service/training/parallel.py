"""Folds side by side, one process and one torch thread each: networks this small gain nothing from a second thread."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.queues import Queue
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
Say = Callable[[str, int, int], None]

_voice: "Queue[tuple[str, int, int] | None] | None" = None


def map_folds(
    work: Callable[[Task, Say], Result], tasks: Sequence[Task], workers: int, say: Say | None
) -> Iterator[Result]:
    """``work(task, say)`` for every task, results in the order of the tasks.

    With one worker, or one task, everything runs here. Otherwise tasks and results are pickled, and what the
    workers say reaches ``say`` on a thread of its own.
    """
    heard = say or _silent
    if workers <= 1 or len(tasks) <= 1:
        yield from (work(task, heard) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")
    voice: Queue[tuple[str, int, int] | None] = context.Queue()
    listener = threading.Thread(target=_listen, args=(voice, heard), daemon=True)
    listener.start()
    try:
        with ProcessPoolExecutor(min(workers, len(tasks)), context, _start_worker, (voice,)) as pool:
            yield from pool.map(_call, [work] * len(tasks), tasks)
    finally:
        voice.put(None)
        listener.join()
        voice.close()


def _start_worker(voice: "Queue[tuple[str, int, int] | None]") -> None:
    import torch  # noqa: PLC0415, the parent may only be looking at names

    torch.set_num_threads(1)
    globals()["_voice"] = voice
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """End at once when the parent is gone: a fold that nobody waits for would go on for minutes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(work: Callable[[Any, Say], Any], task: Any) -> Any:
    return work(task, _speak)


def _speak(what: str, done: int, total: int) -> None:
    if _voice is not None:
        _voice.put((what, done, total))


def _listen(voice: "Queue[tuple[str, int, int] | None]", say: Say) -> None:
    while (heard := voice.get()) is not None:
        say(*heard)


def _silent(what: str, done: int, total: int) -> None:
    """Nobody watches."""
