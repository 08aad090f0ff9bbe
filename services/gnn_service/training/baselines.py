"""Plain models that a graph network must beat in the same run, on the same windows and splits.

* ``majority``: the level shares of the training part, whatever the readings say; the chance row.
* ``random_forest``: per-sensor statistics of the whole window and its segments, then a random forest.
* ``minirocket_ridge``: MiniRocket (Dempster, Schmidt and Webb, KDD 2021; aeon's implementation) and ridge
  classification, its margins turned to probabilities by a temperature fitted on inner groups.

Readings are (N, S, T): windows, sensors, samples. For the commissioned variant of a baseline the caller stacks raw
readings and their deviation from the machine's own baseline with ``stack_channels``, which doubles S.
"""

import warnings
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import RidgeClassifier, RidgeClassifierCV
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from gnn_service.core.errors import InvalidInputError

Readings = NDArray[np.float32]
Features = NDArray[np.float32]
Levels = NDArray[np.integer[Any]]
Probabilities = NDArray[np.float64]

SEGMENTS: Final = 6
TREES: Final = 300
PERCENTILES: Final = (10, 25, 75, 90)
MINIROCKET_LENGTH: Final = 9  # the length of its kernels
CALIBRATION_FOLDS: Final = 3
ALPHAS: Final = np.logspace(-3, 3, 10)


class Baseline(Protocol):
    """One task's classifier from readings to level probabilities."""

    name: str
    calibrated: bool

    def fit(self, x: Readings, y: Levels, seed: int, groups: NDArray[Any] | None = None) -> Self:
        """Learn from readings (N, S, T) and levels (N,); ``groups`` (N,) lets it calibrate on whole groups."""
        ...

    def predict_proba(self, x: Readings) -> Probabilities:
        """Probability of each level, (M, L)."""
        ...


def make_baseline(name: str, levels: int, *, threads: int = 2) -> Baseline:
    """The baseline of that name for a task of ``levels`` levels; InvalidInputError lists the names there are."""
    if name not in _MAKERS:
        raise InvalidInputError(f"unknown baseline {name!r}; there are {', '.join(BASELINES)}")
    return _MAKERS[name](levels, threads)


def stack_channels(raw: Readings, deviation: Readings) -> Readings:
    """Raw readings and deviations from the commissioning baseline side by side, (N, 2 S, T)."""
    if raw.shape != deviation.shape:
        raise InvalidInputError(f"raw readings {raw.shape} and deviations {deviation.shape} must have one shape")
    return np.concatenate([raw, deviation], axis=1)


def window_statistics(x: Readings) -> Features:
    """Per sensor: mean, deviation, extremes, median, slope, percentiles; mean and deviation of six equal segments.

    ``x`` (N, S, T) without gaps; the answer is (N, S x statistics).
    """
    steps = np.linspace(-0.5, 0.5, x.shape[2], dtype=np.float32) if x.shape[2] > 1 else np.zeros(1, np.float32)
    slope = (x * steps).sum(2) / max(float((steps**2).sum()), 1e-12)
    whole = [
        x.mean(2),
        x.std(2),
        x.min(2),
        x.max(2),
        np.median(x, axis=2),
        slope,
        *np.percentile(x, PERCENTILES, axis=2),
    ]
    segments = np.array_split(x, min(SEGMENTS, x.shape[2]), axis=2)
    parts = [value for segment in segments for value in (segment.mean(2), segment.std(2))]
    features: Features = np.concatenate([*whole, *parts], axis=1).astype(np.float32)
    return features


class _Imputer:
    """Fills gaps with the training median of the sensor at that sample, of the sensor, or 0 if never seen."""

    def __init__(self, x: Readings) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
            at_sample = np.nanmedian(x, axis=0)
            of_sensor = np.nanmedian(x, axis=(0, 2))
        self.fill = np.nan_to_num(np.where(np.isnan(at_sample), of_sensor[:, None], at_sample)).astype(np.float32)

    def __call__(self, x: Readings) -> Readings:
        filled: Readings = np.where(np.isnan(x), self.fill, x).astype(np.float32)
        return filled


class _Fitted:
    """Checks, imputes and maps the levels seen in training onto all levels; the models differ below it."""

    name: str
    calibrated = True

    def __init__(self, levels: int, threads: int = 2) -> None:
        self.levels = levels
        self.threads = threads
        self._seen: NDArray[np.intp] = np.zeros(0, dtype=np.intp)
        self._imputer: _Imputer | None = None
        self._shape: tuple[int, ...] = ()

    def fit(self, x: Readings, y: Levels, seed: int, groups: NDArray[Any] | None = None) -> Self:
        if x.ndim != 3 or len(x) != len(y) or len(x) == 0 or (groups is not None and len(groups) != len(y)):
            raise InvalidInputError(
                f"readings {x.shape} must be (windows, sensors, samples), one level and group for each window"
            )
        if np.isinf(x).any():
            raise InvalidInputError("readings hold infinite values; write NaN where a reading is missing")
        if y.min() < 0 or y.max() >= self.levels:
            raise InvalidInputError(f"levels must be 0..{self.levels - 1}")
        self._seen, encoded = np.unique(y, return_inverse=True)
        self._shape = x.shape[1:]
        self._imputer = _Imputer(x)
        if len(self._seen) > 1:
            self._learn(self._imputer(x), encoded, seed, groups)
        return self

    def predict_proba(self, x: Readings) -> Probabilities:
        if self._imputer is None:
            raise InvalidInputError(f"{self.name} has not been fitted; call fit first")
        if x.shape[1:] != self._shape:
            raise InvalidInputError(f"readings {x.shape[1:]} differ from those it was fitted on, {self._shape}")
        answer = np.zeros((len(x), self.levels))
        if len(self._seen) == 1:
            answer[:, self._seen[0]] = 1
        elif len(x):
            answer[:, self._seen] = self._answer(self._imputer(x))
        return answer

    def _learn(self, x: Readings, y: NDArray[np.intp], seed: int, groups: NDArray[Any] | None) -> None:
        raise NotImplementedError

    def _answer(self, x: Readings) -> Probabilities:
        raise NotImplementedError


class Majority(_Fitted):
    """The level shares of the training part."""

    name = "majority"

    def _learn(self, x: Readings, y: NDArray[np.intp], seed: int, groups: NDArray[Any] | None) -> None:
        self._shares = np.bincount(y) / len(y)

    def _answer(self, x: Readings) -> Probabilities:
        return np.tile(self._shares, (len(x), 1))


class RandomForest(_Fitted):
    """300 trees on per-sensor statistics."""

    name = "random_forest"

    def _learn(self, x: Readings, y: NDArray[np.intp], seed: int, groups: NDArray[Any] | None) -> None:
        self._forest = RandomForestClassifier(TREES, n_jobs=self.threads, random_state=seed)
        self._forest.fit(window_statistics(x), y)

    def _answer(self, x: Readings) -> Probabilities:
        answer: Probabilities = self._forest.predict_proba(window_statistics(x))
        return answer


class MiniRocketRidge(_Fitted):
    """Random convolution features, standardised, with ridge classification; ``calibrated`` where groups allowed it."""

    name = "minirocket_ridge"
    calibrated = False

    def _learn(self, x: Readings, y: NDArray[np.intp], seed: int, groups: NDArray[Any] | None) -> None:
        from aeon.transformations.collection.convolution_based import MiniRocket  # noqa: PLC0415 - brings numba

        if x.shape[2] < MINIROCKET_LENGTH:
            raise InvalidInputError(f"MiniRocket needs {MINIROCKET_LENGTH} samples a window; there are {x.shape[2]}")
        self._rocket = MiniRocket(n_jobs=self.threads, random_state=seed)
        self._scaler = StandardScaler()
        # In single precision the ridge systems of near-constant sensors are singular.
        features = self._scaler.fit_transform(self._rocket.fit_transform(x).astype(np.float64))
        self._ridge = RidgeClassifierCV(ALPHAS).fit(features, y)
        temperature = _temperature(features, y, groups, float(self._ridge.alpha_), seed)
        self.calibrated = temperature is not None
        self._temperature = temperature or 1.0

    def _answer(self, x: Readings) -> Probabilities:
        features = self._scaler.transform(self._rocket.transform(x).astype(np.float64))
        return _softmax(_margins(self._ridge, features) / self._temperature)


def _margins(ridge: Any, features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Decision values with a column for each class, (N, classes)."""
    margins: NDArray[np.float64] = np.asarray(ridge.decision_function(features), dtype=np.float64)
    return np.stack([-margins, margins], axis=1) if margins.ndim == 1 else margins


def _softmax(margins: NDArray[np.float64]) -> Probabilities:
    answer: Probabilities = softmax(margins, axis=1)
    return answer


def _temperature(
    features: NDArray[np.float64], y: NDArray[np.intp], groups: NDArray[Any] | None, alpha: float, seed: int
) -> float | None:
    """The temperature of best likelihood on groups left out; None where no groups allow that."""
    if groups is None:
        return None
    margins, truth = [], []
    groups_of_level = [len(np.unique(groups[y == level])) for level in np.unique(y)]
    if min(groups_of_level) < CALIBRATION_FOLDS:
        return None
    folds = StratifiedGroupKFold(CALIBRATION_FOLDS, shuffle=True, random_state=seed)
    for fitted, left in folds.split(features, y, groups):
        if len(np.unique(y[fitted])) < len(groups_of_level):
            return None
        margins.append(_margins(RidgeClassifier(alpha=alpha).fit(features[fitted], y[fitted]), features[left]))
        truth.append(y[left])
    decided, levels = np.concatenate(margins), np.concatenate(truth)

    def loss(log_temperature: float) -> float:
        chosen = _softmax(decided / np.exp(log_temperature))[np.arange(len(levels)), levels]
        return float(-np.log(np.maximum(chosen, 1e-12)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x))


_MAKERS: Final[dict[str, type[Majority | RandomForest | MiniRocketRidge]]] = {
    kind.name: kind for kind in (Majority, RandomForest, MiniRocketRidge)
}
BASELINES: Final = tuple(_MAKERS)
