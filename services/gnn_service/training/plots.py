"""Figures of a report: confusion, reliability, and metrics with their intervals.

Colours are those of Okabe and Ito (Color Universal Design, 2008), told apart with any colour vision; shape and
place carry the same information as colour. Figures are drawn without pyplot, so nothing global is touched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gnn_service.training.metrics import Predictions, confusion, reliability

BLUE: Final = "#0072B2"
VERMILION: Final = "#D55E00"
GREY: Final = "#8A8A8A"
INK: Final = "#222222"
STYLE: Final[dict[str, Any]] = {
    "axes.edgecolor": "#9A9A9A",
    "axes.grid": False,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "savefig.dpi": 160,
    "text.color": INK,
    "xtick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": INK,
    "ytick.labelsize": 8.5,
}
MARKERS: Final = {
    "ours": ("o", BLUE),
    "chance": ("x", GREY),
    "baseline": ("s", VERMILION),
    "ablation": ("D", VERMILION),
}


@dataclass(frozen=True, slots=True)
class Answered:
    """One component's answers and the names of its levels, in order."""

    component: str
    levels: tuple[str, ...]
    answers: Predictions


@dataclass(frozen=True, slots=True)
class Interval:
    """A predictor's value of one metric on one component with its interval, None where there is none."""

    component: str
    predictor: str
    kind: str
    value: float
    ci: tuple[float, float] | None


def plot_confusion(path: Path, panels: Sequence[Answered], title: str) -> None:
    """True level in rows, predicted in columns: share of the true level's windows, and their number."""
    with style.context(STYLE):
        columns, rows = _grid(len(panels), widest=4)
        figure = Figure(figsize=(3.1 * columns + 0.7, 3.2 * rows + 0.4), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        image = None
        for axis, panel in zip(axes, panels, strict=False):
            counts = confusion(panel.answers)
            shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
            image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
            _write_cells(axis, counts, shares)
            axis.set_title(panel.component)
            axis.set_xticks(range(len(panel.levels)), panel.levels, rotation=_slant(panel.levels))
            axis.set_yticks(range(len(panel.levels)), panel.levels)
            axis.set_xlabel("predicted level")
            axis.set_ylabel("true level")
            axis.tick_params(length=0)
            axis.spines[:].set_visible(False)
        _hide(axes[len(panels) :])
        if image is not None:
            bar = figure.colorbar(image, ax=axes.tolist(), shrink=0.75, aspect=30, pad=0.015)
            bar.set_label("share of the true level's windows")
            bar.outline.set_visible(False)
        _save(figure, path, title)


def plot_reliability(path: Path, panels: Sequence[Answered], title: str) -> None:
    """Share correct against predicted probability of the top label, above how often each probability is given."""
    with style.context(STYLE):
        columns, rows = _grid(len(panels), widest=4)
        figure = Figure(figsize=(2.9 * columns + 0.3, 3.6 * rows + 0.3), layout="constrained")
        heights = [3, 1] * rows
        axes = figure.subplots(2 * rows, columns, squeeze=False, sharex=True, height_ratios=heights)
        for index in range(rows * columns):
            upper, lower = axes[2 * (index // columns) : 2 * (index // columns) + 2, index % columns]
            if index >= len(panels):
                _hide((upper, lower))
                continue
            _draw_reliability(upper, lower, panels[index])
            if index % columns == 0:
                upper.set_ylabel("share correct")
                lower.set_ylabel("windows, %")
        _save(figure, path, title)


def plot_intervals(
    path: Path, intervals: Sequence[Interval], predictors: Sequence[str], metric: str, title: str
) -> None:
    """A dot a predictor with its 95 % interval over groups, a panel a component; the line marks the product's value."""
    components = list(dict.fromkeys(item.component for item in intervals))
    with style.context(STYLE):
        columns, rows = _grid(len(components), widest=4)
        size = (2.7 * columns + 1.3, (0.34 * len(predictors) + 0.9) * rows + 0.4)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for axis, component in zip(axes, components, strict=False):
            _draw_intervals(axis, [item for item in intervals if item.component == component], predictors)
            axis.set_title(component)
        figure.supxlabel(metric, fontsize=9)
        axes[0].set_yticks(range(len(predictors)), predictors)
        axes[0].set_ylim(len(predictors) - 0.5, -0.5)
        _hide(axes[len(components) :])
        _save(figure, path, title)


def _draw_reliability(upper: Axes, lower: Axes, panel: Answered) -> None:
    probability, right, count = reliability(panel.answers)
    filled = count > 0
    gap = float(np.nansum(count * np.abs(probability - right)) / count.sum())
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", zorder=1)
    upper.plot(probability[filled], right[filled], color=BLUE, linewidth=1.4, zorder=2)
    sizes = 14 + 90 * count[filled] / count.max()
    upper.scatter(probability[filled], right[filled], s=sizes, color=BLUE, edgecolor="white", linewidth=0.8, zorder=3)
    upper.set_title(panel.component)
    upper.text(0.04, 0.93, f"ECE {gap:.3f}", transform=upper.transAxes, va="top")
    upper.set_xlim(0, 1.02)
    upper.set_ylim(0, 1.04)
    edges = np.linspace(0, 1, len(count) + 1)
    lower.bar(edges[:-1], 100 * count / count.sum(), width=np.diff(edges), align="edge", color=BLUE, edgecolor="white")
    lower.set_ylim(0, 115 * count.max() / count.sum())
    lower.set_xlabel("predicted probability")
    lower.tick_params(labelbottom=True)


def _draw_intervals(axis: Axes, items: Sequence[Interval], predictors: Sequence[str]) -> None:
    axis.grid(axis="x", color="#E4E4E4", linewidth=0.8)
    axis.set_axisbelow(True)
    for item in items:
        place = predictors.index(item.predictor)
        marker, colour = MARKERS[item.kind]
        if item.kind == "ours":
            axis.axvline(item.value, color=BLUE, linewidth=1, alpha=0.35)
        if item.ci is not None:
            axis.plot(item.ci, [place, place], color=colour, linewidth=2, solid_capstyle="butt", alpha=0.75)
            axis.plot(item.ci, [place, place], color=colour, linestyle="none", marker="|", markersize=7)
        axis.plot(item.value, place, marker=marker, color=colour, markersize=6.5, linestyle="none", zorder=3)
        axis.annotate(
            f"{item.value:.3f}",
            (item.value, place),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
        )
    axis.margins(x=0.12)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)


def _write_cells(axis: Axes, counts: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            share = shares[row, column]
            colour = "white" if share > 0.55 else INK
            text = f"{100 * share:.1f} %\n{count}"
            axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)


def _grid(panels: int, widest: int) -> tuple[int, int]:
    """Columns and rows that hold the panels."""
    columns = min(panels, widest)
    return columns, -(-panels // columns)


def _slant(levels: Sequence[str]) -> int:
    return 30 if sum(map(len, levels)) > 30 else 0


def _hide(axes: Sequence[Axes] | NDArray[Any]) -> None:
    for axis in axes:
        axis.set_visible(False)


def _save(figure: Figure, path: Path, title: str) -> None:
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.savefig(path, metadata={"Software": None})
