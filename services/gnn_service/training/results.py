"""The result of an evaluation: the product, chance, baselines and ablations on the same windows, scored alike.

`gnn_service.training.report` shows and writes it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError
from gnn_service.training.metrics import METRICS, Bootstrap, Difference, Predictions, TaskScore, bootstrap, score

TOO_SHORT: Final = "cycles left out as too short to be diagnosed"
UNKNOWN_ANSWERS: Final = "windows that the product answers with unknown"
"""Names under which a report tells them."""


class Kind(StrEnum):
    """What a predictor is in a report; the order is that of the tables."""

    CHANCE = "chance"
    BASELINE = "baseline"
    ABLATION = "ablation"
    OURS = "ours"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorRow:
    """One predictor's answers for one failure mode of one component, one entry a window (N).

    ``truth`` (N,) levels 0..L-1, level 0 = no fault; ``probabilities`` (N, L); ``groups`` (N,) and ``folds`` (N,)
    ids; ``starts`` (N,) int64 microseconds since 1970 UTC; ``cycles`` (N,) where the recording counts them;
    ``severity`` and ``health`` (N,) in 0..1 where the predictor gives them. ``seed`` tells repeated trainings apart,
    ``mode`` (its id) the failure modes of one component.
    """

    predictor: str
    kind: Kind
    component: str
    levels: tuple[str, ...]
    truth: NDArray[np.integer[Any]]
    probabilities: NDArray[np.floating[Any]]
    groups: NDArray[Any]
    folds: NDArray[Any]
    starts: NDArray[np.int64]
    cycles: NDArray[np.int64] | None = None
    severity: NDArray[np.floating[Any]] | None = None
    health: NDArray[np.floating[Any]] | None = None
    seed: int = 0
    mode: str = ""

    def __post_init__(self) -> None:
        answers = self.answers
        if answers.levels != len(self.levels):
            raise InvalidInputError(f"{len(self.levels)} level names for {answers.levels} columns", where=self.where)
        for name in ("starts", "cycles", "severity", "health"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.truth):
                raise InvalidInputError(f"{name}: {len(values)} values for {len(self.truth)} windows", where=self.where)

    @property
    def where(self) -> str:
        """Predictor, component and failure mode, for messages."""
        return ", ".join(filter(None, (self.predictor, *self.task)))

    @property
    def task(self) -> tuple[str, str]:
        """Component and failure mode: what is asked, and scored by itself."""
        return self.component, self.mode

    @property
    def answers(self) -> Predictions:
        """What the metrics score; folds and seeds are different models."""
        models = np.char.add(f"{self.seed}/", np.asarray(self.folds).astype(np.str_))
        return Predictions(self.truth, self.probabilities, self.groups, models)

    @property
    def windows(self) -> list[tuple[int, str, int]]:
        """Start, group and truth of each window, in order of time: the same for all that are compared."""
        groups = np.asarray(self.groups).astype(np.str_).tolist()
        return sorted(zip(self.starts.tolist(), groups, self.truth.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class ComponentScore:
    """One predictor on one failure mode: over all windows, by fold, and how much it varies with the seed."""

    overall: TaskScore
    folds: dict[str, dict[str, float | None]]
    seeds: int
    seed_std: dict[str, float | None]

    @property
    def fold_mean(self) -> dict[str, float | None]:
        """Mean over folds, each fold counting the same whatever its size."""
        return {name: _mean([fold[name] for fold in self.folds.values()]) for name in METRICS}

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        by_fold = {"folds": self.folds, "fold_mean": self.fold_mean}
        return self.overall.to_dict() | by_fold | {"seeds": self.seeds, "seed_std": self.seed_std}


@dataclass(frozen=True)
class Report:
    """Everything one evaluation found.

    ``protocol`` says in words how windows were split; ``split_hash`` is that of the splits; ``facts`` are further
    lines for the reader (wall-clock times, parameter counts). Raises InvalidInputError where predictors of a
    failure mode were not given the same windows and levels, or more than one predictor is ours.

    What is scored is named after its component, and ``component.mode`` where several modes of one component are.
    """

    title: str
    protocol: str
    split_hash: str
    rows: tuple[PredictorRow, ...]
    seed: int = 0
    facts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(self.rows))
        if not self.rows:
            raise InvalidInputError("a report needs the answers of at least one predictor")
        kinds: dict[str, Kind] = {}
        first: dict[tuple[str, str], PredictorRow] = {}
        known: dict[tuple[str, str], list[tuple[int, str, int]]] = {}
        for row in self.rows:
            if kinds.setdefault(row.predictor, row.kind) is not row.kind:
                raise InvalidInputError(f"is both {kinds[row.predictor]} and {row.kind}", where=row.predictor)
            if known.setdefault(row.task, row.windows) != row.windows:
                other = first[row.task].predictor
                raise InvalidInputError(
                    f"was scored on other windows than {other}; score all on the same", where=row.where
                )
            if first.setdefault(row.task, row).levels != row.levels:
                raise InvalidInputError("has other levels than the first predictor", where=row.where)
        if len(ours := [name for name, kind in kinds.items() if kind is Kind.OURS]) > 1:
            raise InvalidInputError(f"only one predictor can be ours; there are {', '.join(ours)}")

    @cached_property
    def modes(self) -> dict[str, tuple[str, ...]]:
        """The scored failure modes of each component, both in the order given."""
        found: dict[str, dict[str, None]] = {}
        for row in self.rows:
            found.setdefault(row.component, {})[row.mode] = None
        return {component: tuple(modes) for component, modes in found.items()}

    @cached_property
    def tasks(self) -> dict[str, tuple[str, str]]:
        """Component and failure mode by the name under which they are scored."""
        return {
            component if len(modes) == 1 else f"{component}.{mode}": (component, mode)
            for component, modes in self.modes.items()
            for mode in modes
        }

    @cached_property
    def predictors(self) -> dict[str, Kind]:
        """Predictors and what they are: chance first, ours last."""
        kinds = {row.predictor: row.kind for row in self.rows}
        order = list(Kind)
        return dict(sorted(kinds.items(), key=lambda item: order.index(item[1])))

    @cached_property
    def ours(self) -> str | None:
        """The predictor that is ours, if there is one."""
        return next((name for name, kind in self.predictors.items() if kind is Kind.OURS), None)

    def of(self, predictor: str, task: str) -> list[PredictorRow]:
        """The rows of one predictor on one task, one a seed; empty where it does not answer for it."""
        return [row for row in self.rows if (row.predictor, row.task) == (predictor, self.tasks[task])]

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Task and predictor wherever there are answers, in the order of the tables."""
        for task in self.tasks:
            for predictor in self.predictors:
                if self.of(predictor, task):
                    yield task, predictor

    @cached_property
    def _bootstraps(self) -> dict[tuple[str, str], Bootstrap]:
        return {(t, p): bootstrap(_pooled(self.of(p, t)), self.seed) for t, p in self.pairs()}

    @cached_property
    def scores(self) -> dict[tuple[str, str], ComponentScore]:
        """Scores by task and predictor."""
        return {(t, p): _score(self.of(p, t), drawn.score()) for (t, p), drawn in self._bootstraps.items()}

    @cached_property
    def differences(self) -> dict[tuple[str, str], dict[str, Difference]]:
        """Ours minus each other predictor, by task and predictor, over the same draws of groups."""
        ours = {t: drawn for (t, p), drawn in self._bootstraps.items() if p == self.ours}
        others = {key: drawn for key, drawn in self._bootstraps.items() if key[1] != self.ours and key[0] in ours}
        return {key: ours[key[0]].minus(drawn) for key, drawn in others.items()}


def scores_json(report: Report) -> dict[str, Any]:
    """``components.<id>`` of ours; ``baselines.<name>.components.<id>`` (chance too) and ``ablations`` alike.

    Where several failure modes of a component are scored, ``components.<id>`` is the first one's score, named by
    ``mode``, and ``components.<id>.modes.<mode>`` each one's.
    """
    document: dict[str, Any] = {"components": {}, "baselines": {}, "ablations": {}}
    for (task, predictor), found in report.scores.items():
        kind = report.predictors[predictor]
        place = document["components"]
        if kind is not Kind.OURS:
            kinds = document["ablations" if kind is Kind.ABLATION else "baselines"]
            place = kinds.setdefault(predictor, {"kind": kind.value, "components": {}})["components"]
        component, mode = report.tasks[task]
        entry = place.setdefault(component, {})
        if mode == report.modes[component][0]:
            entry.update(found.to_dict())
        if task != component:
            entry.setdefault("modes", {})[mode] = found.to_dict()
            entry["mode"] = report.modes[component][0]
    return document


def _pooled(rows: Sequence[PredictorRow]) -> Predictions:
    """The answers of all seeds, one after the other; groups stay what they are, so intervals do not shrink."""
    answers = [row.answers for row in rows]
    return Predictions(
        np.concatenate([a.truth for a in answers]),
        np.concatenate([a.probabilities for a in answers]),
        np.concatenate([np.asarray(a.groups).astype(np.str_) for a in answers]),
        np.concatenate([a.folds for a in answers if a.folds is not None]),
    )


def _score(rows: Sequence[PredictorRow], overall: TaskScore) -> ComponentScore:
    pooled = _pooled(rows)
    folds = np.concatenate([np.asarray(row.folds).astype(np.str_) for row in rows])
    by_fold = {str(fold): _points(pooled, folds == fold) for fold in dict.fromkeys(folds.tolist())}
    by_seed = [_points(row.answers, np.ones(len(row.truth), dtype=bool)) for row in rows]
    spread = {name: _spread([points[name] for points in by_seed]) for name in METRICS}
    return ComponentScore(replace(overall, n=len(rows[0].truth)), by_fold, len(rows), spread)


def _points(answers: Predictions, chosen: NDArray[np.bool_]) -> dict[str, float | None]:
    """Metrics of some windows, without intervals."""
    models = None if answers.folds is None else answers.folds[chosen]
    some = Predictions(answers.truth[chosen], answers.probabilities[chosen], answers.groups[chosen], models)
    points = score(some, draws=0)
    return {name: getattr(points, name) for name in METRICS}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _spread(values: Sequence[float | None]) -> float | None:
    """Sample standard deviation over seeds; None for one seed."""
    known = [value for value in values if value is not None]
    return float(np.std(known, ddof=1)) if len(known) == len(values) > 1 else None
