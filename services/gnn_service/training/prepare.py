"""Everything that is learned from training windows before the network is: physics constants, levels, baselines."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn_service.model.baseline import LEAST_CYCLES, Baseline, fit_baseline
from gnn_service.model.encode import Arrays, Structure, encode
from gnn_service.model.evidence import Calibration, VirtualSensors
from gnn_service.model.grid import step_s
from gnn_service.model.judge import Knowledge, severities_of
from gnn_service.model.regime import fit_regime
from gnn_service.model.virtual.estimate import Estimate
from gnn_service.model.virtual.registry import ESTIMATORS
from gnn_service.model.virtual.view import Binding, bind
from gnn_service.training.dataset import UNKNOWN, WindowSet
from gnn_service.training.virtual_fit import fit_parameters, fit_scale

OWN_CYCLES = 10
"""Healthy cycles behind a commissioning baseline in training, as many as users are asked for."""


@dataclass(frozen=True, slots=True)
class Examples:
    """E training examples of one kind of machine: some windows appear with two baselines.

    ``arrays`` are the network's varying inputs (E, ...); ``row`` (E,) the window of each; ``levels`` maps modes to
    (E,) levels, -1 where unknown or part of the regime that the baseline belongs to; ``physics`` maps modes to what
    their virtual sensor says: probabilities (E, L), and where they are usable (E,).
    """

    structure: Structure
    arrays: Arrays
    row: NDArray[np.int64]
    levels: dict[str, NDArray[np.int64]]
    physics: dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]]

    def __len__(self) -> int:
        return len(self.row)


def learn_kind(train: WindowSet, healthy_from: WindowSet) -> Knowledge:
    """Physics constants, level scales and regime map from training windows; the reference from healthy ones."""
    calibrations = {binding.key: _calibrate(binding, train, healthy_from) for binding in bind(train.machine)}
    sensors = VirtualSensors.of(train.machine, calibrations)
    constant = healthy_from.constant_modes()
    healthy = np.flatnonzero(healthy_from.healthy(constant) & healthy_from.settled)
    if len(healthy) < LEAST_CYCLES:
        healthy = np.flatnonzero(healthy_from.healthy(constant))
    reference = None
    if len(healthy) >= LEAST_CYCLES:
        grids = healthy_from.grids[healthy]
        reference = fit_baseline(train.machine, grids, sensors.bindings, sensors.parameters, "reference")
    regime = fit_regime(train.machine, train.grids, train.group)
    return Knowledge(calibrations=calibrations, regime=regime, reference=reference)


def make_examples(
    structure: Structure, knowledge: Knowledge, windows: WindowSet, healthy_from: WindowSet, seed: int
) -> Examples:
    """Every window with the reference of its kind, and again with a commissioning baseline of its own regime.

    Own baselines come from healthy windows of ``healthy_from``, the training part, whatever ``windows`` are.
    """
    sensors = VirtualSensors.of(structure.machine, knowledge.calibrations)
    parts = [_with_baseline(structure, sensors, windows, np.arange(len(windows)), knowledge.reference, frozenset())]
    for rows, baseline, constant in _own_baselines(sensors, windows, healthy_from, seed):
        parts.append(_with_baseline(structure, sensors, windows, rows, baseline, constant))
    return Examples(
        structure,
        {name: np.concatenate([p.arrays[name] for p in parts]) for name in parts[0].arrays},
        np.concatenate([p.row for p in parts]),
        {mode: np.concatenate([p.levels[mode] for p in parts]) for mode in parts[0].levels},
        {
            mode: tuple(np.concatenate([p.physics[mode][k] for p in parts]) for k in (0, 1))  # type: ignore[misc]
            for mode in parts[0].physics
        },
    )


def regimes(windows: WindowSet) -> list[tuple[NDArray[np.int64], frozenset[str]]]:
    """Split windows by the one mode that holds each of its levels for one contiguous stretch of time, if there is one.

    Such a mode is where the machine was run, and other faults came and went in each stretch: a fault that came once
    and stayed, with nothing else going wrong, splits nothing. Returns (rows, modes constant in them).
    """
    order = np.argsort([w.start for w in windows.windows], kind="stable")
    for mode in windows.modes:
        levels = windows.levels[mode.id][order]
        runs = 1 + int((np.diff(levels) != 0).sum())
        distinct = np.unique(levels)
        if 1 < runs == len(distinct) and distinct[0] >= 0:
            parts = [np.flatnonzero(windows.levels[mode.id] == level) for level in distinct]
            if all(_comes_and_goes(windows.take(rows), mode.id) for rows in parts):
                return [
                    (rows, frozenset({mode.id} if level else ())) for level, rows in zip(distinct, parts, strict=True)
                ]
    return [(np.arange(len(windows)), windows.constant_modes())]


def _comes_and_goes(windows: WindowSet, regime: str) -> bool:
    """Whether windows with and without faults other than the regime's are among these."""
    ignored = frozenset({regime})
    return bool(windows.healthy(ignored).any() and windows.faulty(ignored).any())


@dataclass(frozen=True, slots=True)
class Regime:
    """A regime with healthy windows: their rows in the source, and the rows of other windows that ran in it."""

    source: WindowSet
    healthy: NDArray[np.int64]
    rows: NDArray[np.int64]
    constant: frozenset[str]


def healthy_regimes(windows: WindowSet, healthy_from: WindowSet) -> Iterator[Regime]:
    """Regimes of ``healthy_from`` with enough healthy windows, settled ones first choice, and who else ran in them."""
    split_by = {mode for _, constant in regimes(healthy_from) for mode in constant}
    for source_rows, constant in regimes(healthy_from):
        source = healthy_from.take(source_rows)
        healthy = np.flatnonzero(source.healthy(constant) & source.settled)
        if len(healthy) < OWN_CYCLES:
            healthy = np.flatnonzero(source.healthy(constant))
        same = np.ones(len(windows), bool)
        for mode in split_by:
            # A machine commissioned while all was well is watched whatever happens to it later.
            same &= (windows.levels[mode] == source.levels[mode][0]) | (not constant)
        if len(healthy) >= LEAST_CYCLES and same.any():
            yield Regime(source, healthy, np.flatnonzero(same), constant)


def _own_baselines(
    sensors: VirtualSensors, windows: WindowSet, healthy_from: WindowSet, seed: int
) -> Iterator[tuple[NDArray[np.int64], Baseline, frozenset[str]]]:
    """(rows of ``windows``, baseline of their regime, modes that the baseline takes for granted)."""
    random = np.random.default_rng([seed, 17])
    for regime in healthy_regimes(windows, healthy_from):
        chosen = random.choice(regime.healthy, min(OWN_CYCLES, len(regime.healthy)), replace=False)
        baseline = fit_baseline(sensors.machine, regime.source.grids[chosen], sensors.bindings, sensors.parameters)
        yield regime.rows, baseline, regime.constant


def _with_baseline(
    structure: Structure,
    sensors: VirtualSensors,
    windows: WindowSet,
    rows: NDArray[np.int64],
    baseline: Baseline | None,
    masked: frozenset[str],
) -> Examples:
    grids = windows.grids[rows]
    evidence = sensors.read(grids, baseline)
    levels = {
        mode: np.full(len(rows), UNKNOWN) if mode in masked else values[rows] for mode, values in windows.levels.items()
    }
    modes = {(m.component, m.mode): m.id for m in windows.machine.failure_modes}
    physics = {
        modes[e.binding.component, e.binding.sensor.mode]: (np.exp(e.log_levels), e.usable)
        for e in evidence
        if e.log_levels is not None
    }
    return Examples(structure, encode(structure, grids, baseline, evidence), rows, levels, physics)


def _calibrate(binding: Binding, train: WindowSet, healthy_from: WindowSet) -> Calibration:
    mode = next(m for m in train.machine.modes_of(binding.component) if m.mode == binding.sensor.mode)
    level = train.levels[mode.id]
    known = np.flatnonzero(level != UNKNOWN)
    estimator = ESTIMATORS[binding.sensor.id]
    if len(np.unique(level[known])) < 2:
        return Calibration(estimator.defaults())
    view = binding.view(train.grids[known], step_s(train.machine))
    parameters = fit_parameters(binding.sensor.id, view, level[known])
    severities = severities_of(mode)
    scale = fit_scale(estimator.measure(view, parameters, None), level[known], severities, train.group[known])
    commissioned, seen = [], []
    step = step_s(train.machine)
    for regime in healthy_regimes(train, healthy_from):
        reference = estimator.reference(binding.view(regime.source.grids[regime.healthy], step), parameters)
        commissioned.append(estimator.measure(binding.view(train.grids[regime.rows], step), parameters, reference))
        seen.append(regime.rows)
    rows = np.concatenate(seen) if seen else known
    own_scale = fit_scale(_joined(commissioned), level[rows], severities, train.group[rows]) if commissioned else None
    sensors = {name: train.machine.sensors[rows[0]].id for name, rows in binding.rows.items()}
    return Calibration(parameters, scale, (own_scale or scale) if scale else None, sensors)


def _joined(estimates: list[Estimate]) -> Estimate:
    return Estimate(
        np.concatenate([e.value for e in estimates]),
        np.concatenate([e.error for e in estimates]),
        np.concatenate([e.valid for e in estimates]),
        condition=_joined_conditions([e.condition for e in estimates]),
    )


def _joined_conditions(conditions: list[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    known = [c for c in conditions if c is not None]
    return np.concatenate(known) if len(known) == len(conditions) else None
