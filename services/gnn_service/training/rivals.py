"""The baselines of a report: trained and scored on the same windows as ours, on the same sensors."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from gnn_service.domain.machine import FailureMode, SensorRole
from gnn_service.model.baseline import robust_centre
from gnn_service.model.judge import severities_of
from gnn_service.training.baselines import BASELINES, make_baseline, stack_channels
from gnn_service.training.dataset import UNKNOWN, WindowSet
from gnn_service.training.partition import Partition
from gnn_service.training.prepare import healthy_regimes, regimes
from gnn_service.training.results import Kind, PredictorRow
from gnn_service.training.scoring import row

CHANCE = "majority"


def rival_rows(
    part: Partition,
    modes: list[FailureMode],
    centre: NDArray[np.float32] | None,
    *,
    fold: str,
    seed: int,
    threads: int = 2,
    tick: Callable[[str], None] | None = None,
) -> Iterator[PredictorRow]:
    """Every baseline on every failure mode; with the healthy ``centre`` (S, T) of what is scored also commissioned.

    They learn from training and validation windows together, having no other use for the latter. Commissioned, they
    see deviations that mean the same in both: each window's from its own regime where what is scored ran in one, else
    all windows' from the one centre.
    """
    use = np.array([k for k, s in enumerate(part.train.machine.sensors) if s.role is not SensorRole.DERIVED])
    learn, groups = [part.train, part.validation], np.concatenate([part.train.group, part.validation.group])
    raw = np.concatenate([w.grids[:, use] for w in learn])
    test = part.test.grids[:, use]
    own = centre is not None and in_one_regime(part)
    for mode in modes:
        inputs = {"": (raw, test)}
        if centre is not None:
            given = [own_deviation(w, part.healthy, mode.id) if own else w.grids - centre for w in learn]
            deviations = np.concatenate([deviation[:, use] for deviation in given])
            inputs[", commissioned"] = (stack_channels(raw, deviations), stack_channels(test, test - centre[use]))
        truth = np.concatenate([w.levels[mode.id] for w in learn])
        known = truth != UNKNOWN
        for name in BASELINES:
            for suffix, (x, x_test) in inputs.items():
                if name == CHANCE and suffix:
                    continue
                if tick is not None:
                    tick(f"{name}{suffix}, {mode.component}")
                fitted = make_baseline(name, len(severities_of(mode)), threads=threads).fit(
                    x[known], truth[known], seed, groups[known]
                )
                kind = Kind.CHANCE if name == CHANCE else Kind.BASELINE
                yield row(part.test, mode, name + suffix, kind, fitted.predict_proba(x_test), fold=fold, seed=seed)


def in_one_regime(part: Partition) -> bool:
    """Whether everything scored ran in one of several regimes, so that its centre is that of its own regime."""
    split_by = {mode for _, constant in regimes(part.train.join(part.test)) for mode in constant}
    return bool(split_by) and all(len(np.unique(part.test.levels[mode])) == 1 for mode in split_by)


def own_deviation(windows: WindowSet, healthy_from: WindowSet, task: str = "") -> NDArray[np.float32]:
    """Readings less the healthy centre of each window's own regime, (W, S, T); zero where there is none.

    Regimes made by the failure mode ``task`` itself are passed over: which baseline fits would give its level away.
    """
    deviation = np.zeros_like(windows.grids)
    for regime in healthy_regimes(windows, healthy_from):
        if task in regime.constant:
            continue
        centre, _ = robust_centre(windows.machine, regime.source.grids[regime.healthy])
        deviation[regime.rows] = windows.grids[regime.rows] - centre
    return deviation
