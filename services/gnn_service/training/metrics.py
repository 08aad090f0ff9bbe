"""How right the levels of one component are, with intervals that respect groups.

Windows of a group are near copies, so intervals come from resampling whole groups (cluster bootstrap, Efron and
Tibshirani 1993, chapter 8), never single windows. Every metric is a function of sums over windows: sums are taken
once a group, and a draw is a weighted sum of them, so a thousand draws cost a few matrix products.

* accuracy; balanced accuracy: mean recall; macro-F1: mean F1; both over the levels present in the truth.
* ordinal MAE: mean distance between predicted and true level, in levels.
* AUROC: fault against no fault, by 1 - P(level 0); None where the truth holds only one of the two. Pairs are compared
  within one fold: folds are different models, and across them a constant answer would not score .5 (Forman and
  Scholz, SIGKDD Explorations 12(1), 2010).
* ECE: expected calibration error on the top label's probability, 15 bins of equal width (Guo et al., ICML 2017). A
  draw of groups is never better calibrated by chance, so its interval leans upwards.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError

Floats = NDArray[np.float64]
METRICS: Final = ("accuracy", "macro_f1", "balanced_accuracy", "ordinal_mae", "auroc", "ece")
BINS: Final = 15
DRAWS: Final = 1000
COVERAGE: Final = 0.95
_CHUNK: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Predictions:
    """One predictor's answers for one task.

    ``truth`` (N,) levels 0..L-1, ``probabilities`` (N, L) with rows that sum to 1, ``groups`` (N,) ids of the units
    that are independent of each other, ``folds`` (N,) which model answered, where several did. Raises
    InvalidInputError where they do not fit.
    """

    truth: NDArray[np.integer[Any]]
    probabilities: NDArray[np.floating[Any]]
    groups: NDArray[Any]
    folds: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        n = len(self.truth)
        if n == 0:
            raise InvalidInputError("there is nothing to score: no windows")
        if self.probabilities.ndim != 2 or len(self.probabilities) != n or len(self.groups) != n:
            raise InvalidInputError(
                f"{n} true levels, probabilities {self.probabilities.shape} and {len(self.groups)} groups do not fit"
            )
        if self.folds is not None and len(self.folds) != n:
            raise InvalidInputError(f"{len(self.folds)} folds for {n} windows; give one for each")
        if self.truth.min() < 0 or self.truth.max() >= self.levels:
            raise InvalidInputError(f"true levels must be 0..{self.levels - 1}, one for each column of probabilities")
        if not np.isfinite(self.probabilities).all() or self.probabilities.min() < 0:
            raise InvalidInputError("probabilities must be finite and not negative")
        if np.abs(self.probabilities.sum(1) - 1).max() > 1e-3:
            raise InvalidInputError("each row of probabilities must sum to 1")

    @property
    def levels(self) -> int:
        """Number of levels, L."""
        return int(self.probabilities.shape[1])

    @property
    def predicted(self) -> NDArray[np.intp]:
        """The most likely level of each window, (N,)."""
        levels: NDArray[np.intp] = self.probabilities.argmax(1)
        return levels


@dataclass(frozen=True, slots=True)
class TaskScore:
    """Metrics of one task; ``ci`` holds 95 % intervals, None where there is one group or the metric has no value."""

    accuracy: float
    macro_f1: float
    balanced_accuracy: float
    ordinal_mae: float
    auroc: float | None
    ece: float
    ci: dict[str, tuple[float, float] | None]
    n: int
    groups: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; intervals as lists."""
        document = asdict(self)
        document["ci"] = {name: None if pair is None else list(pair) for name, pair in self.ci.items()}
        return document


@dataclass(frozen=True, slots=True)
class Difference:
    """First predictor minus second in one metric, with the 95 % interval over the same draws of groups."""

    value: float | None
    ci: tuple[float, float] | None

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.ci is not None and not self.ci[0] <= 0 <= self.ci[1]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"value": self.value, "ci": None if self.ci is None else list(self.ci)}


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Metrics of one predictor on all windows (``point``) and on every draw of groups (``drawn``, NaN = no value)."""

    windows: int
    groups: tuple[Any, ...]
    seed: int
    point: dict[str, float]
    drawn: dict[str, Floats]

    def score(self) -> TaskScore:
        """The metrics with their intervals."""
        ci = {name: self._interval(self.drawn[name]) for name in METRICS}
        values: dict[str, Any] = {name: _finite(self.point[name]) for name in METRICS}
        return TaskScore(**values, ci=ci, n=self.windows, groups=len(self.groups))

    def minus(self, other: "Bootstrap") -> dict[str, Difference]:
        """This predictor minus another in every metric, draw by draw.

        Raises InvalidInputError where the two were not scored on the same draws of the same groups.
        """
        if (self.groups, self.seed) != (other.groups, other.seed):
            raise InvalidInputError("the two predictors were scored on different groups; compare them on the same ones")
        return {
            name: Difference(
                _finite(self.point[name] - other.point[name]), self._interval(self.drawn[name] - other.drawn[name])
            )
            for name in METRICS
        }

    def _interval(self, drawn: Floats) -> tuple[float, float] | None:
        """Percentile interval; None for one group, or where fewer than half of the draws have a value."""
        valid = drawn[np.isfinite(drawn)]
        if len(self.groups) < 2 or len(valid) == 0 or len(valid) < len(drawn) / 2:
            return None
        low, high = np.quantile(valid, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
        return float(low), float(high)


def bootstrap(answers: Predictions, seed: int = 0, draws: int = DRAWS) -> Bootstrap:
    """Metrics on all windows and on draws of groups.

    The same groups, seed and number of draws give the same draws for every predictor; 0 draws give no intervals.
    """
    names, group = np.unique(answers.groups, return_inverse=True)
    rng = np.random.default_rng([seed, len(names)])
    weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    everything = np.vstack([np.ones(len(names)), weights])
    tables = _tables(answers, group, len(names), everything)
    values = {name: metric(tables) for name, metric in _FROM_TABLES.items()}
    values["ece"] = _ece(everything, _bin_sums(answers, group, len(names), BINS))
    values["auroc"] = _auroc(answers, group, everything)
    point = {name: float(value[0]) for name, value in values.items()}
    drawn = {name: value[1:] for name, value in values.items()}
    return Bootstrap(len(answers.truth), tuple(names.tolist()), seed, point, drawn)


def score(answers: Predictions, seed: int = 0, draws: int = DRAWS) -> TaskScore:
    """Score the answers to one task, with intervals over draws of groups; 0 draws give no intervals."""
    return bootstrap(answers, seed, draws).score()


def paired_difference(
    first: Predictions, second: Predictions, seed: int = 0, draws: int = DRAWS
) -> dict[str, Difference]:
    """First minus second in every metric, resampling the same groups for both.

    Raises InvalidInputError where the two were not scored on the same groups.
    """
    return bootstrap(first, seed, draws).minus(bootstrap(second, seed, draws))


def reliability(answers: Predictions, bins: int = BINS) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Mean top-label probability, share correct (NaN where empty) and count of each equal-width bin, each (bins,)."""
    sums = _bin_sums(answers, np.zeros(len(answers.truth), dtype=np.intp), 1, bins)[0]
    count = sums[:, 0].astype(np.int64)
    filled = np.where(count > 0, count, np.nan)
    return sums[:, 1] / filled, sums[:, 2] / filled, count


def confusion(answers: Predictions) -> NDArray[np.int64]:
    """Windows by true level (rows) and predicted level (columns), (L, L)."""
    cell = answers.truth * answers.levels + answers.predicted
    counts = np.bincount(cell, minlength=answers.levels**2).astype(np.int64)
    return counts.reshape(answers.levels, answers.levels)


def _tables(answers: Predictions, group: NDArray[np.intp], groups: int, weights: Floats) -> Floats:
    """Weighted confusion matrices, (draws, L, L)."""
    cells = answers.levels**2
    cell = (group * answers.levels + answers.truth) * answers.levels + answers.predicted
    per_group = np.bincount(cell, minlength=groups * cells).reshape(groups, cells).astype(np.float64)
    return (weights @ per_group).reshape(-1, answers.levels, answers.levels)


def _accuracy(tables: Floats) -> Floats:
    share: Floats = np.einsum("bii->b", tables) / tables.sum((1, 2))
    return share


def _macro_f1(tables: Floats) -> Floats:
    hits = np.einsum("bii->bi", tables)
    truth = tables.sum(2)
    f1 = 2 * hits / np.maximum(truth + tables.sum(1), 1)
    mean: Floats = (f1 * (truth > 0)).sum(1) / (truth > 0).sum(1)
    return mean


def _balanced_accuracy(tables: Floats) -> Floats:
    truth = tables.sum(2)
    recall = np.einsum("bii->bi", tables) / np.maximum(truth, 1)
    mean: Floats = recall.sum(1) / (truth > 0).sum(1)
    return mean


def _ordinal_mae(tables: Floats) -> Floats:
    level = np.arange(tables.shape[1])
    distance = np.abs(level[:, None] - level)
    mean: Floats = (tables * distance).sum((1, 2)) / tables.sum((1, 2))
    return mean


_FROM_TABLES: Final[dict[str, Callable[[Floats], Floats]]] = {
    "accuracy": _accuracy,
    "macro_f1": _macro_f1,
    "balanced_accuracy": _balanced_accuracy,
    "ordinal_mae": _ordinal_mae,
}


def _bin_sums(answers: Predictions, group: NDArray[np.intp], groups: int, bins: int) -> Floats:
    """Per group and bin of top-label probability: windows, sum of probability, windows correct, (G, bins, 3)."""
    top = answers.probabilities.max(1).astype(np.float64)
    place = group * bins + np.clip(np.ceil(top * bins).astype(np.intp) - 1, 0, bins - 1)
    right = (answers.predicted == answers.truth).astype(np.float64)
    sums = [np.bincount(place, weights=weight, minlength=groups * bins) for weight in (np.ones_like(top), top, right)]
    table: Floats = np.stack(sums, axis=-1).astype(np.float64)
    return table.reshape(groups, bins, 3)


def _ece(weights: Floats, sums: Floats) -> Floats:
    drawn = np.tensordot(weights, sums, axes=1)  # (draws, bins, 3)
    gap: Floats = np.abs(drawn[..., 1] - drawn[..., 2]).sum(1) / drawn[..., 0].sum(1)
    return gap


def _auroc(answers: Predictions, group: NDArray[np.intp], weights: Floats) -> Floats:
    """Mann-Whitney share of fault over no-fault pairs of one fold that are in order, ties half, for every draw."""
    fold = np.zeros(len(group)) if answers.folds is None else np.unique(answers.folds, return_inverse=True)[1]
    key = np.stack([fold, -answers.probabilities[:, 0]])
    order = np.lexsort(key[::-1])
    step_up = (np.diff(key[:, order], axis=1) != 0).any(0)
    starts = np.concatenate([[0], np.flatnonzero(step_up) + 1])  # of each run of tied scores
    fold_of_run = fold[order][starts]
    first_run = np.searchsorted(fold_of_run, np.unique(fold_of_run))
    fault = (answers.truth[order] > 0).astype(np.float64)
    result = np.full(len(weights), np.nan)
    rows = max(1, _CHUNK // len(order))
    for begin in range(0, len(weights), rows):
        weight = weights[begin : begin + rows, group[order]]
        positive = np.add.reduceat(weight * fault, starts, axis=1)
        negative = np.add.reduceat(weight * (1 - fault), starts, axis=1)
        of_fold = np.add.reduceat(negative, first_run, axis=1)
        runs = np.diff(np.append(first_run, len(starts)))
        before_fold = np.repeat(np.cumsum(of_fold, axis=1) - of_fold, runs, axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2 - before_fold
        pairs = (np.add.reduceat(positive, first_run, axis=1) * of_fold).sum(1)
        np.divide((positive * below).sum(1), pairs, out=result[begin : begin + rows], where=pairs > 0)
    return result


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
