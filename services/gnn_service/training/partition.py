"""Who is trained on, who is validated on, who is scored, and who only makes the baseline."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError
from gnn_service.training.dataset import WindowSet, commissioning_rows
from gnn_service.training.prepare import regimes
from gnn_service.training.splits import Split


@dataclass(frozen=True, slots=True)
class Partition:
    """The parts of one machine's windows, groups whole. ``healthy`` is what baselines are learned from in training."""

    train: WindowSet
    validation: WindowSet
    test: WindowSet
    healthy: WindowSet


def partition(windows: WindowSet, split: Split, commissioning: NDArray[np.int64] | None = None) -> Partition:
    """Cut windows as a split says. Baselines are learned from the training part and from the rows ``commissioning``.

    Groups of which a row is learned from so are set aside whole: they are not trained on, validated on or scored.
    """
    reserved = np.zeros(len(windows), bool)
    if commissioning is not None:
        reserved[commissioning] = True
    part = np.where(np.isin(windows.group, windows.group[reserved]), "", split.part_of(windows.group))
    for name in ("train", "validation"):
        if not (part == name).any():
            raise InvalidInputError(
                f"split {split.name} leaves no window for {name}; give more groups", where=split.name
            )
    return Partition(
        train=windows.take(part == "train"),
        validation=windows.take(part == "validation"),
        test=windows.take(part == "test"),
        healthy=windows.take((part == "train") | reserved),
    )


def reserved_for_commissioning(windows: WindowSet, count: int) -> NDArray[np.int64]:
    """The first healthy and settled windows of every regime that has ``count`` of them."""
    found: list[NDArray[np.int64]] = []
    for rows, _ in regimes(windows):
        try:
            found.append(rows[commissioning_rows(windows.take(rows), count)])
        except InvalidInputError:
            continue
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def overlaps(windows: WindowSet, trained: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    """Windows whose group holds a window from these stretches, (W,): a group is trained on whole or not at all."""
    middle = np.array([(w.start + w.end) / 2 for w in windows.windows])
    hit = np.zeros(len(windows), bool)
    for start, end in trained:
        hit |= (middle >= start) & (middle <= end)
    return np.isin(windows.group, windows.group[hit])


def stretches(windows: WindowSet) -> list[tuple[float, float]]:
    """Stretches of time that windows cover, s since 1970, neighbours merged."""
    spans = sorted((w.start, w.end) for w in windows.windows)
    merged: list[tuple[float, float]] = []
    for start, end in spans:
        if merged and start - merged[-1][1] <= 2 * _tick(windows):
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _tick(windows: WindowSet) -> float:
    times = windows.windows[0].times
    return float(np.median(np.diff(times))) if len(times) > 1 else 1.0
