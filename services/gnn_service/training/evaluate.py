"""Scoring a bundle on recordings: only on groups it was not trained on, through the same path as the service."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError
from gnn_service.inference.diagnoser import Diagnoser
from gnn_service.model.baseline import robust_centre
from gnn_service.model.bundle import Bundle
from gnn_service.training.crossval import NETWORK, OURS, PHYSICS
from gnn_service.training.dataset import WindowSet, commissioning_rows
from gnn_service.training.partition import Partition, overlaps
from gnn_service.training.results import TOO_SHORT, UNKNOWN_ANSWERS, Kind, PredictorRow
from gnn_service.training.rivals import rival_rows
from gnn_service.training.scoring import Asked, Tick, ask, in_words, row, scored_modes, unknown_shares

Scored = tuple[Asked, list[PredictorRow]]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which windows are scored, which make the baseline, and what has to be said about it."""

    scored: WindowSet
    commissioning: WindowSet | None
    trained: WindowSet
    note: str


def select(
    bundle: Bundle,
    windows: WindowSet,
    only: Mapping[str, str] | None = None,
    commission: int | None = None,
    seconds: float | None = None,
) -> Selection:
    """Leave out what the bundle was trained on, keep what ``only`` asks for, set the commissioning cycles aside.

    Groups of which windows served the bundle as commissioning are never scored. Raises InvalidInputError when nothing
    is left, or there are too few healthy cycles.
    """
    kept = matching(windows, only or {})
    data = bundle.manifest.get("data", {}).get(windows.machine.id, {})
    trained = overlaps(windows, [tuple(s) for s in data.get("trained", [])])
    learned = [tuple(s) for s in data.get("commissioning", [])]
    trained &= ~overlaps(windows, learned)
    candidates = windows.take(kept & ~trained)
    if not len(candidates):
        raise InvalidInputError("the bundle was trained on all of these windows; nothing is left to score")
    source, rest = None, np.ones(len(candidates), bool)
    if commission is not None or seconds is not None:
        rows = commissioning_rows(candidates, commission, seconds)
        source = candidates.take(rows)
        rest[rows] = False
    rest &= ~np.isin(candidates.group, windows.group[overlaps(windows, learned)])
    if not rest.any():
        raise InvalidInputError("every window left makes the baseline; nothing is left to score")
    scored, known, note = candidates.take(rest), int((trained & kept).sum()), ""
    if known:
        groups = len(np.unique(scored.group))
        note = f"the bundle was trained on {known} of these windows; scoring the {groups} groups held out"
    return Selection(scored, source, windows.take(trained), note)


def matching(windows: WindowSet, only: Mapping[str, str]) -> NDArray[np.bool_]:
    """Windows whose truth has all these values, (W,). Raises InvalidInputError when there is none."""
    kept = np.ones(len(windows), bool)
    for key, value in only.items():
        kept &= np.array([_same(v, value) for v in windows.column(key)])
    if not kept.any():
        raise InvalidInputError(f"no window has {', '.join(f'{k}={v}' for k, v in only.items())}")
    return kept


async def evaluate(diagnoser: Diagnoser, selection: Selection, tick: Tick | None = None) -> Scored:
    """Answers and rows: fused, the network alone, the estimators alone, for every failure mode that can be scored."""
    source = selection.commissioning
    machine = selection.scored.machine
    if not scored_modes(selection.scored):
        raise InvalidInputError("no failure mode has a known and varying level here; nothing can be scored")
    baseline = None if source is None else diagnoser.baseline_of(machine, source.windows)
    asked = await ask(diagnoser, selection.scored, baseline, tick)
    kinds = {"fused": (OURS, Kind.OURS), "network": (NETWORK, Kind.ABLATION), "physics": (PHYSICS, Kind.ABLATION)}
    rows = []
    for mode in scored_modes(selection.scored):
        for name, (predictor, kind) in kinds.items():
            probabilities = asked.probabilities(mode.id, name)
            if probabilities is not None:
                rows.append(row(selection.scored, mode, predictor, kind, probabilities, fold="held out"))
    if not rows:
        raise InvalidInputError("the bundle speaks of none of the failure modes that vary here; nothing can be scored")
    return asked, rows


def facts_of(asked: Asked, rows: Sequence[PredictorRow]) -> dict[str, str]:
    """What a report on a bundle says beside its scores."""
    return {
        TOO_SHORT: str(asked.windows.too_short),
        "mean weight of the network": f"{asked.support.mean():.3f}",
        UNKNOWN_ANSWERS: in_words(unknown_shares([asked], dict.fromkeys(row.component for row in rows))),
        "without edges or virtual sensors": "not here: a bundle is one trained network; see `crossval --ablations`",
    }


def rival_rows_of(selection: Selection, tick: Callable[[str], None] | None = None) -> list[PredictorRow]:
    """Baselines on the same windows, learned from the windows of this recording that the bundle was trained on."""
    if len(np.unique(selection.trained.group)) < 2:
        raise InvalidInputError(
            "baselines need the recording that the bundle was trained on, to learn from the same groups"
        )
    empty = selection.trained.take(np.zeros(len(selection.trained), bool))
    part = Partition(selection.trained, empty, selection.scored, selection.trained)
    source = selection.commissioning
    centre = None if source is None else robust_centre(source.machine, source.grids)[0]
    modes = scored_modes(selection.scored)
    return list(rival_rows(part, modes, centre, fold="held out", seed=0, tick=tick))


def _same(value: Any, wanted: str) -> bool:
    if isinstance(value, (bool, np.bool_)):
        return wanted.lower() in (("true", "1") if value else ("false", "0"))
    try:
        return float(value) == float(wanted)
    except (TypeError, ValueError):
        return value is not None and str(value) == wanted
