"""Pictures of simulated machines: a cycle with its phases, a fault beside healthy running, where the heat goes.

Drawn by matplotlib, which only drawing needs: it is imported when something is drawn. Colours are those of Okabe and
Ito (Color Universal Design, 2008), told apart with any colour vision; line widths repeat what they say.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import ConfigurationError
from gnn_service.demo.capture import STATE, CircuitCapture, Course
from gnn_service.demo.modes import SimulatedMode
from gnn_service.demo.plant import Array, Entry
from gnn_service.demo.systems import System
from gnn_service.demo.traces import SEVERITIES, Trace, state_of
from gnn_service.domain.machine import Sensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK, GREY = "#222222", "#8A8A8A"
BANDS = ("#F2F2F2", "#E3ECF5", "#F6EEDF", "#E6F2EA", "#F5E6EE", "#EEE9F6")
STYLE: Any = {
    "axes.edgecolor": "#9A9A9A",
    "axes.labelsize": 8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "text.color": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
}
DPI = 96
SHOWN_PANELS, SHOWN_LINES, SHOWN_SIGNS = 5, 4, 3
SHOWN_SEVERITIES = (0.0, 0.3, 0.6, 1.0)
_NOISE_SHARE = 0.002  # of the range, where a sensor's noise is not described


@dataclass(frozen=True, slots=True)
class Cycle:
    """What one machine's sensors showed: values (N, S) at ``time_s`` (N,), phases (N,) by name ('' between phases)."""

    time_s: Array
    values: NDArray[np.floating[Any]]
    phases: NDArray[np.str_]


def require_matplotlib() -> None:
    """ConfigurationError, in words, where nothing can be drawn."""
    if find_spec("matplotlib") is None:
        raise ConfigurationError("drawing needs matplotlib: pip install matplotlib (the extra 'train' brings it)")


def draw_cycle(system: System, cycle: Cycle, title: str) -> "Figure":
    """The sensors that move most, a panel for each quantity, over the phases of the duty cycle."""
    groups = _moving(system.sensors, cycle.values)
    figure, panels = _panels(len(groups), 1, height=1.35, title=title)
    for axes, sensors in zip(panels[:, 0], groups, strict=True):
        _shade(axes, cycle, labelled=axes is panels[0, 0])
        for colour, sensor in zip(COLOURS, sensors, strict=False):
            values = cycle.values[:, system.sensors.index(sensor)]
            here = np.isfinite(values)
            axes.plot(cycle.time_s[here], values[here], color=colour, linewidth=1.0, label=sensor.id)
        axes.set_ylabel(sensors[0].unit)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=7)
    panels[-1, 0].set_xlabel("seconds")
    return figure


def draw_signature(run: Trace, mode: SimulatedMode) -> "Figure":
    """The best sign of a fault over time at some severities, and how far the best signs move with severity."""
    figure, panels = _panels(1, 2, height=2.2, title=f"{mode.id}  {mode.name}  ({run.state})")
    over_time, over_severity = panels[0]
    here_too = [sign for sign in mode.signs if state_of(run.system, mode, sign) == run.state]
    signs = [sign for sign in here_too if np.isfinite(run.statistic(sign)).all()][:SHOWN_SIGNS]
    by_id = {sensor.id: sensor for sensor in run.system.sensors}
    for index, severity in enumerate(SHOWN_SEVERITIES if signs else ()):
        values = run.values(signs[0].sensor)[:, SEVERITIES.index(severity)]
        here = np.isfinite(values)
        style = {"color": INK if index == 0 else COLOURS[index - 1], "linewidth": 1.6 if index == 0 else 0.9}
        marker = "o" if 0 < here.sum() < 5 else None
        over_time.plot(run.time_s[here], values[here], label=f"s = {severity:g}", marker=marker, **style)
    if signs:
        over_time.set_ylabel(f"{signs[0].sensor}, {by_id[signs[0].sensor].unit}")
        over_time.legend(frameon=False, fontsize=7)
    for colour, sign in zip(COLOURS, signs, strict=False):
        found = run.statistic(sign)
        moved = (found - found[0]) / _noise(by_id[sign.sensor])
        label = f"{sign.sensor}, {sign.statistic}" + (f" in {sign.phase}" if sign.phase else "")
        over_severity.plot(SEVERITIES, moved, color=colour, marker=".", linewidth=1.0, label=label)
    over_severity.axhline(0, color=GREY, linewidth=0.6)
    over_severity.set_yscale("symlog", linthresh=1)
    over_severity.set_ylabel("shift, noise sd")
    over_severity.set_xlabel("severity")
    over_time.set_xlabel("seconds")
    over_severity.legend(frameon=False, fontsize=7)
    return figure


def draw_capture(
    kind: CircuitCapture, healthy: Course, faulty: Course, fault: str, slow: Trace | None, step: int
) -> "Figure":
    """A capture, healthy and with a fault, and as points the quasi-steady machine from a step of its trace on."""
    shown = list(kind.beside.shown) if kind.beside else [f"{STATE}{name}" for name in healthy.states]
    figure, panels = _panels(len(shown), 1, height=1.35, title=f"{kind.id}: healthy and with {fault}")
    for axes, name in zip(panels[:, 0], shown, strict=True):
        for course, colour, label in ((faulty, COLOURS[1], fault), (healthy, INK, "healthy")):
            state = course.states.get(name.removeprefix(STATE))
            values = course.sensors[name] if state is None else state.values
            axes.plot(course.times_s, values, color=colour, linewidth=0.9, label=f"{label}, {kind.rate_hz:g} Hz")
        unit = healthy.states[name.removeprefix(STATE)].unit if name.startswith(STATE) else ""
        if slow is not None and kind.beside is not None:
            unit = next(sensor.unit for sensor in slow.system.sensors if sensor.id == name)
            end = min(kind.beside.seconds, float(healthy.times_s[-1]) - kind.beside.lead_s)
            there = slice(step, step + round(end / slow.system.plant.STEP_S))
            times = slow.time_s[there] - slow.time_s[step] + kind.beside.lead_s
            rate = 1.0 / slow.system.plant.STEP_S
            axes.plot(
                times,
                slow.values(name)[there, 0],
                color=COLOURS[0],
                marker=".",
                markersize=3,
                linestyle="",
                label=f"quasi-steady, {rate:g} Hz",
            )
        axes.set_title(name, fontsize=8)
        axes.set_ylabel(unit)
    panels[0, 0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=7)
    panels[-1, 0].set_xlabel("seconds")
    return figure


def draw_heat_balance(entries: Sequence[Entry], ledger: Array, step_s: float, title: str) -> "Figure":
    """Mean powers of one machine's ledger (N, L): what comes in, what is useful, every loss, where the heat goes."""
    rows = _powers(entries, ledger, step_s)
    figure, panels = _panels(1, 1, height=0.5 + 0.2 * len(rows), title=title)
    axes = panels[0, 0]
    colour = {"input": COLOURS[0], "useful": COLOURS[2], "loss": COLOURS[1], "ambient": COLOURS[5]}
    for place, (_, kind, power) in enumerate(reversed(rows)):
        axes.barh(place, power / 1e3, color=colour.get(kind, COLOURS[3]), height=0.7)
        axes.text(power / 1e3, place, f" {power / 1e3:.2f}", va="center", fontsize=7)
    axes.set_yticks(range(len(rows)), [f"{name} ({kind})" for name, kind, _ in reversed(rows)])
    axes.set_xlabel("kW, mean")
    return figure


def save(figure: "Figure", path: Path) -> None:
    """Write a PNG of few colours, the same bytes for the same figure, or an SVG by the file's suffix."""
    from matplotlib import rc_context  # noqa: PLC0415 - only drawing needs matplotlib

    if path.suffix == ".svg":
        with rc_context({"svg.hashsalt": path.stem}):
            figure.savefig(path, metadata={"Date": None})
        return
    from PIL import Image  # noqa: PLC0415 - comes with matplotlib

    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, metadata={"Software": None})
    with Image.open(drawn) as picture:
        few = picture.convert("RGB").quantize(colors=128, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        few.save(path, optimize=True)


def _panels(rows: int, columns: int, *, height: float, title: str) -> "tuple[Figure, NDArray[Any]]":
    from matplotlib import rc_context  # noqa: PLC0415 - only drawing needs matplotlib
    from matplotlib.figure import Figure  # noqa: PLC0415

    with rc_context(STYLE):
        figure = Figure(figsize=(8.2, height * max(rows, 1) + 0.7), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
        panels: NDArray[Any] = figure.subplots(max(rows, 1), columns, sharex="col", squeeze=False)
    return figure, panels


def _shade(axes: "Axes", cycle: Cycle, *, labelled: bool) -> None:
    """Phases as bands, their names at the top of the first panel."""
    edges = np.r_[0, np.flatnonzero(cycle.phases[1:] != cycle.phases[:-1]) + 1, len(cycle.phases)]
    names = sorted(set(cycle.phases.tolist()) - {""})
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        name = str(cycle.phases[first])
        if not name:
            continue
        begin, end = float(cycle.time_s[first]), float(cycle.time_s[min(last, len(cycle.time_s) - 1)])
        axes.axvspan(begin, end, color=BANDS[names.index(name) % len(BANDS)], linewidth=0)
        if labelled and end - begin > 0.06 * (cycle.time_s[-1] - cycle.time_s[0]):
            axes.text((begin + end) / 2, 1.02, name, transform=axes.get_xaxis_transform(), ha="center", fontsize=6.5)


def _moving(sensors: Sequence[Sensor], values: NDArray[np.floating[Any]]) -> list[list[Sensor]]:
    """The sensors that move most for their range, gathered by quantity and unit, the liveliest quantity first."""
    groups: dict[tuple[str, str], list[tuple[float, Sensor]]] = {}
    for index, sensor in enumerate(sensors):
        seen = values[:, index][np.isfinite(values[:, index])]
        if len(seen) > 2:
            swing = float(np.ptp(seen)) / (sensor.range.high - sensor.range.low)
            groups.setdefault((sensor.quantity, sensor.unit), []).append((swing, sensor))
    ranked = [sorted(group, key=lambda pair: (-pair[0], pair[1].id))[:SHOWN_LINES] for group in groups.values()]
    ranked.sort(key=lambda group: -group[0][0])
    return [[sensor for _, sensor in group] for group in ranked[:SHOWN_PANELS]]


def _powers(entries: Sequence[Entry], ledger: Array, step_s: float) -> list[tuple[str, str, float]]:
    """Mean power of each entry, W, of stored energy its rate of change; losses the largest first."""
    seconds = max((len(ledger) - 1) * step_s, step_s)
    found = []
    for index, entry in enumerate(entries):
        stores = entry.kind in ("stored", "heat_stored")
        power = (ledger[-1, index] - ledger[0, index]) / seconds if stores else ledger[:, index].mean()
        found.append((entry.name, entry.kind, float(power)))
    order = ("input", "useful", "loss", "ambient", "stored", "heat_stored")
    return sorted(found, key=lambda row: (order.index(row[1]), -row[2]))


def _noise(sensor: Sensor) -> float:
    return sensor.noise_sd or _NOISE_SHARE * (sensor.range.high - sensor.range.low)
