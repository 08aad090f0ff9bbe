"""A corpus: many lives of some kinds of machines, each a recording in one folder, written side by side in processes.

A life's bytes depend on the seed and its number alone, neither on the batch nor on the number of processes; so what
is there already need not be made again. `corpus.json` says what was asked for and whether all of it is there.
"""

import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gnn_service import __version__
from gnn_service.core.errors import InvalidInputError, UnavailableError
from gnn_service.demo.life_kinds import life_kinds
from gnn_service.demo.life_windows import LapsePlan, simulate_lapse
from gnn_service.demo.streams import Key
from gnn_service.demo.systems import System, get_system, list_systems
from gnn_service.recordings.extras import FileFormat
from gnn_service.recordings.folder import write_recording
from gnn_service.recordings.staging import remove_leftovers, write_text_whole

FORMAT = "gnn-service/corpus/1"
MANIFEST = "corpus.json"
BATCH_WINDOWS = 360
"""Windows that are simulated side by side in a process: more is faster, and takes more memory."""

Say = Callable[[int, int], object]
"""Told how many lives are there, and of how many."""


@dataclass(frozen=True, slots=True)
class CorpusPlan:
    """What a corpus is to hold: so many lives of each of these kinds of machines.

    ``faults`` are the failure modes that begin in them; empty takes every one in turn, and lives in which none does.
    ``shares`` are those of the kinds of lives (`failure`, `fleet`, `cascade`), met to a twentieth in every 20 lives.
    """

    machines: tuple[str, ...] = field(default_factory=list_systems)
    lives: int = 100
    seed: int = 0
    faults: tuple[str, ...] = ()
    lapse: LapsePlan = field(default_factory=LapsePlan)
    file_format: FileFormat = "parquet"
    shares: Mapping[str, float] = field(default_factory=lambda: {"failure": 1.0})

    def __post_init__(self) -> None:
        """Refuse what is no corpus."""
        for name, value in (("lives", self.lives), ("windows", self.lapse.windows)):
            if value < 1:
                raise InvalidInputError(f"must be at least 1, not {value}", where=name)
        if not 0 < self.lapse.window_s <= 86_400:
            raise InvalidInputError(f"{self.lapse.window_s:g} s is no length of a window", where="window_s")

    def manifest(self, *, complete: bool, **facts: Any) -> dict[str, Any]:
        """What `corpus.json` says."""
        asked = json.loads(json.dumps(asdict(self)))
        versions = {"gnn-service": __version__, "numpy": np.__version__}
        return {"format": FORMAT, "plan": asked, "versions": versions, "complete": complete, **facts}


@dataclass(frozen=True, slots=True)
class Written:
    """What a corpus came to."""

    lives: int
    new: int
    windows: int
    machine_hours: float
    bytes: int


@dataclass(frozen=True, slots=True)
class _Task:
    """Some lives of one kind of machine, simulated side by side in one process."""

    plan: CorpusPlan
    machine: str
    numbers: tuple[int, ...]
    folder: str


def write_corpus(
    plan: CorpusPlan,
    folder: Path,
    *,
    workers: int = 1,
    overwrite: bool = False,
    resume: bool = False,
    say: Say | None = None,
) -> Written:
    """Write the lives that are not there yet.

    Args:
        plan: what to write.
        folder: where; made if it is not there.
        workers: processes.
        overwrite: replace an earlier corpus that stands there.
        resume: keep the lives that an earlier run of the same plan has written.
        say: told of progress.

    Raises:
        InvalidInputError: the folder cannot be written, holds something else, or a corpus of another plan.
        UnavailableError: a process died; what it was about is not there, and can be made with ``resume``.
    """
    systems = [get_system(name) for name in plan.machines]
    for system in systems:  # refuse before anything is written
        life_kinds(system, [0], seed=plan.seed, shares=plan.shares, faults=plan.faults)
    _claim(plan, folder, overwrite=overwrite, resume=resume)
    total = plan.lives * len(systems)
    tasks = [task for system in systems for task in _tasks(plan, system, folder, workers)]
    there = total - sum(len(task.numbers) for task in tasks)
    done = there
    if say is not None:
        say(done, total)
    for count in _each(tasks, workers):
        done += count
        if say is not None:
            say(done, total)
    written = _summary(plan, folder, total, total - there)
    facts = {"lives": written.lives, "windows": written.windows, "machine_hours": written.machine_hours}
    _write_manifest(plan.manifest(complete=True, **facts), folder)
    return written


def life_name(machine: str, number: int) -> str:
    """Folder and machine id of a life."""
    return f"{machine}-{number:04d}"


def _claim(plan: CorpusPlan, folder: Path, *, overwrite: bool, resume: bool) -> None:
    """Make the folder, or make sure that it is one of ours and wanted again."""
    manifest = folder / MANIFEST
    try:
        folder.mkdir(parents=True, exist_ok=True)
        empty = not any(folder.iterdir())
    except OSError as error:
        raise InvalidInputError(f"cannot be written: {error.strerror}", where=str(folder)) from error
    if not empty and not manifest.is_file():
        raise InvalidInputError("this folder holds something else than a corpus; choose another", where=str(folder))
    if not empty and not (overwrite or resume):
        detail = "there is a corpus already; say --resume to go on with it, or --overwrite to replace it"
        raise InvalidInputError(detail, where=str(folder))
    remove_leftovers(folder)
    if not empty and overwrite:
        # without a plan, so that what is left of the old lives is never taken for some of the new ones
        _write_manifest({"format": FORMAT, "complete": False}, folder)
        _remove_lives(folder)
    elif not empty:
        _check_same(plan, manifest)
    _write_manifest(plan.manifest(complete=False), folder)


def _check_same(plan: CorpusPlan, manifest: Path) -> None:
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot be read: {error}", where=str(manifest)) from error
    wanted = plan.manifest(complete=False)
    for part in ("format", "plan", "versions"):
        if found.get(part) != wanted[part]:
            differs = _difference(found.get(part), wanted[part]) or part
            detail = f"this corpus was begun with another {differs}; go on with the same, or say --overwrite"
            raise InvalidInputError(detail, where=str(manifest))


def _difference(found: Any, wanted: Any) -> str:
    if not isinstance(found, dict) or not isinstance(wanted, dict):
        return ""
    names = [name for name in wanted if found.get(name) != wanted[name]]
    return f"{names[0]} ({found.get(names[0])!r}, not {wanted[names[0]]!r})" if names else ""


def _remove_lives(folder: Path) -> None:
    """Remove the recordings of an earlier corpus, and nothing else."""
    for life in folder.iterdir():
        if (life / "machine.json").is_file():
            shutil.rmtree(life)


def _write_manifest(manifest: dict[str, Any], folder: Path) -> None:
    write_text_whole(json.dumps(manifest, indent=2) + "\n", folder / MANIFEST, overwrite=True)


def _tasks(plan: CorpusPlan, system: System, folder: Path, workers: int) -> list[_Task]:
    """Lives that are not there yet, as many together as a batch takes, or fewer to give every process some."""
    missing = [number for number in range(plan.lives) if not (folder / life_name(system.name, number)).is_dir()]
    at_once = max(1, min(BATCH_WINDOWS // plan.lapse.windows, -(-len(missing) // workers)))
    return [
        _Task(plan, system.name, tuple(missing[first : first + at_once]), str(folder))
        for first in range(0, len(missing), at_once)
    ]


def _work(task: _Task) -> int:
    """Simulate and write the lives of a task; how many."""
    system = get_system(task.machine)
    plan = task.plan
    own = life_kinds(system, task.numbers, seed=plan.seed, shares=plan.shares, faults=plan.faults)
    keys = [Key(task.plan.seed, number) for number in task.numbers]
    names = [life_name(task.machine, number) for number in task.numbers]
    for name, recording, extras in simulate_lapse(system, own, keys, task.plan.lapse, names):
        write_recording(recording, Path(task.folder) / name, extras=extras, file_format=task.plan.file_format)
    return len(names)


def _each(tasks: Sequence[_Task], workers: int) -> Iterator[int]:
    """Do all tasks; how many lives each has written, as they end. When one fails, the others are stopped."""
    if workers <= 1 or len(tasks) <= 1:
        yield from map(_work, tasks)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(tasks)), context, _start_worker)
    before = set(multiprocessing.active_children())
    try:
        futures: list[Future[int]] = [pool.submit(_work, task) for task in tasks]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise UnavailableError(
            "a process ended before its work was done; is there memory enough? --resume goes on"
        ) from error
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if tasks:
            remove_leftovers(Path(tasks[0].folder))


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _summary(plan: CorpusPlan, folder: Path, lives: int, new: int) -> Written:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    windows = lives * plan.lapse.windows
    return Written(lives, new, windows, windows * plan.lapse.window_s / 3600, size)
