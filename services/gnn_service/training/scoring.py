"""Asking a model about windows, through the same path as the service, and lining its answers up with the truth."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import GnnServiceError, InvalidInputError
from gnn_service.domain.diagnosis import Diagnosis
from gnn_service.domain.machine import FailureMode
from gnn_service.domain.recording import MICROSECONDS
from gnn_service.domain.window import Window
from gnn_service.inference.diagnoser import Diagnoser
from gnn_service.model.baseline import Baseline
from gnn_service.model.judge import Judgement, severities_of
from gnn_service.training.dataset import UNKNOWN, WindowSet
from gnn_service.training.metrics import Predictions, score
from gnn_service.training.results import Kind, PredictorRow

CALLERS = 32
"""Windows asked about at once: enough to fill the engine's batches."""

Tick = Callable[[int, int], None]
T = TypeVar("T")
Probabilities = NDArray[np.float64]


@dataclass(frozen=True, repr=False)  # asyncio.run prints the result of its task, which took seconds
class Asked:
    """Answers to W windows: a diagnosis each, and per failure mode the level probabilities by source.

    ``support`` (W,) is how far training has seen each window's regime, 0..1.
    """

    windows: WindowSet
    diagnoses: tuple[Diagnosis, ...]
    judged: dict[str, tuple[Judgement, ...]]
    support: NDArray[np.float64]

    def probabilities(self, mode: str, source: str) -> Probabilities | None:
        """(W, L) of one failure mode by `fused`, `network` or `physics`; None where the source has no say."""
        found = [getattr(j, source) for j in self.judged.get(mode, ())]
        return None if not found or found[0] is None else np.concatenate(found)

    def anomalies(self) -> NDArray[np.float64]:
        """Anomaly of the machine, (W,); NaN where unknown."""
        return np.array([np.nan if d.anomaly is None else d.anomaly for d in self.diagnoses])

    def health(self, component: str) -> NDArray[np.float64]:
        """Health of one component, (W,); NaN where unknown."""
        found = [next(c for c in d.components if c.component == component).health for d in self.diagnoses]
        return np.array([np.nan if h is None else h for h in found])


async def ask(diagnoser: Diagnoser, windows: WindowSet, baseline: Baseline | None, tick: Tick | None = None) -> Asked:
    """Diagnose every window through the engine. Raises InvalidInputError on one that is too short to be scored."""
    door = asyncio.Semaphore(CALLERS)
    done = 0

    async def one(window: Window) -> tuple[Diagnosis, tuple[Judgement, ...], float]:
        nonlocal done
        async with door:
            prepared = await asyncio.to_thread(diagnoser.prepare, windows.machine, window, baseline)
            if prepared.item is None:
                raise InvalidInputError(f"cycle {window.cycle}: {prepared.reason}")
            outputs = await diagnoser.engine.infer(prepared.item)
            done += 1
            if tick is not None:
                tick(done, len(windows))
            return diagnoser.conclude(prepared, outputs), diagnoser.judge(prepared, outputs), prepared.facts.support

    answers = await together(one(window) for window in windows.windows)
    judged: dict[str, list[Judgement]] = {}
    for _, judgements, _ in answers:
        for judgement in judgements:
            judged.setdefault(judgement.mode.id, []).append(judgement)
    diagnoses = tuple(diagnosis for diagnosis, _, _ in answers)
    support = np.array([support for _, _, support in answers])
    return Asked(windows, diagnoses, {mode: tuple(found) for mode, found in judged.items()}, support)


async def together(jobs: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Results in order. The first error of ours ends all of them and is raised by itself, not in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in jobs]
    except* GnnServiceError as failed:
        first: BaseException = failed
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        error = first
    else:
        return [task.result() for task in tasks]
    raise error


def scored_modes(windows: WindowSet) -> list[FailureMode]:
    """Failure modes whose level is known in some windows, and that are not part of the regime of them all."""
    regime = windows.constant_modes()
    return [mode for mode in windows.modes if mode.id not in regime]


def row(
    windows: WindowSet,
    mode: FailureMode,
    predictor: str,
    kind: Kind,
    probabilities: Probabilities,
    *,
    fold: str,
    seed: int = 0,
    health: NDArray[np.float64] | None = None,
) -> PredictorRow:
    """One predictor's answers for one failure mode, lined up with the truth; windows without truth are left out."""
    known = windows.levels[mode.id] != UNKNOWN
    windows, probabilities = windows.take(known), probabilities[known]
    cycles = [w.cycle for w in windows.windows]
    return PredictorRow(
        predictor=predictor,
        kind=kind,
        component=mode.component,
        levels=tuple(level.name for level in mode.levels) or tuple(f"{s:.2f}" for s in severities_of(mode)),
        truth=windows.levels[mode.id],
        probabilities=probabilities,
        groups=windows.group,
        folds=np.full(len(windows), fold),
        starts=np.array([round(w.start * MICROSECONDS) for w in windows.windows], np.int64),
        cycles=None if any(c is None for c in cycles) else np.array(cycles, np.int64),
        severity=probabilities @ np.asarray(severities_of(mode)),
        health=None if health is None else health[known],
        seed=seed,
        mode=mode.id,
    )


def joined(rows: Sequence[PredictorRow]) -> list[PredictorRow]:
    """Rows of the same predictor, failure mode and seed put end to end: the folds of one cross-validation."""
    together: dict[tuple[str, tuple[str, str], int], list[PredictorRow]] = {}
    for each in rows:
        together.setdefault((each.predictor, each.task, each.seed), []).append(each)
    return [_concatenated(parts) for parts in together.values()]


def _concatenated(parts: Sequence[PredictorRow]) -> PredictorRow:
    def column(name: str) -> Any:
        found = [getattr(part, name) for part in parts]
        return None if any(values is None for values in found) else np.concatenate(found)

    first = parts[0]
    names = ("truth", "probabilities", "groups", "folds", "starts", "cycles", "severity", "health")
    return PredictorRow(
        predictor=first.predictor,
        kind=first.kind,
        component=first.component,
        levels=first.levels,
        seed=first.seed,
        mode=first.mode,
        **{name: column(name) for name in names},
    )


def unknown_shares(asked: Sequence[Asked], components: Iterable[str]) -> dict[str, float]:
    """By component, the share of windows whose diagnosis says `unknown`, though a level is scored there too."""
    return {c: float(np.isnan(np.concatenate([a.health(c) for a in asked])).mean()) for c in components}


def in_words(shares: Mapping[str, float]) -> str:
    """Shares by name as one line."""
    return ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())


def anomaly_scores(asked: Sequence[Asked], threshold: float = 0.5) -> dict[str, float | None]:
    """How well the machine's anomaly tells any fault from none: F1, false-alarm and missed-alarm rate, AUROC.

    Faults that are part of the regime do not count, nor do windows without truth; no answer is no alarm. Rates are
    shares of the healthy and of the faulty windows.
    """
    faulty = np.concatenate([a.windows.faulty(a.windows.constant_modes()) for a in asked])
    known = np.concatenate([a.windows.healthy(a.windows.constant_modes()) for a in asked]) | faulty
    value = np.concatenate([a.anomalies() for a in asked])[known]
    truth, groups = faulty[known], np.concatenate([a.windows.group for a in asked])[known]
    folds = np.concatenate([np.full(len(a.windows), k) for k, a in enumerate(asked)])[known]
    flagged = value >= threshold
    hits, false, missed = (flagged & truth).sum(), (flagged & ~truth).sum(), (~flagged & truth).sum()
    filled = np.nan_to_num(value, nan=0.5)
    two = np.stack([1 - filled, filled], axis=1)
    ranked = score(Predictions(truth.astype(np.int64), two, groups, folds), draws=0).auroc if len(truth) else None
    return {
        "f1": float(2 * hits / (2 * hits + false + missed)) if hits + false + missed else None,
        "far": float(false / (~truth).sum()) if (~truth).any() else None,
        "mar": float(missed / truth.sum()) if truth.any() else None,
        "auroc": ranked,
    }
