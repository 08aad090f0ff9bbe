"""A page of documentation for each simulated machine, written from its description and its simulator.

`python -m gnn_service.demo.pages DIR` writes them all, with their pictures; `--text` leaves the pictures as they are.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gnn_service.demo.capture import CircuitCapture, moment_of_trace
from gnn_service.demo.modes import Change, SimulatedMode, degrade
from gnn_service.demo.plots import Cycle, draw_capture, draw_cycle, draw_heat_balance, draw_signature, save
from gnn_service.demo.separability import EARLY
from gnn_service.demo.streams import Key
from gnn_service.demo.systems import System, get_system, list_systems
from gnn_service.demo.traces import main_state, signature, state_of, trace
from gnn_service.domain.catalogue import catalogue
from gnn_service.domain.drawing import mermaid
from gnn_service.domain.machine import Component, Machine, Parameter, Sensor, Span
from gnn_service.domain.units import to_si

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INTRODUCTION = """\
Generated from the machine's description and its simulator by `python -m gnn_service.demo.pages`; do not edit by hand.
Numbers marked *representative* are of the class of machine, not of a maker's product."""
PICTURE_S = 60.0
CYCLES_SHOWN = 1.1
BALANCE_S = 300.0
LONGEST_SHOWN_S = 1_400.0
BESIDE_S = 60.0
CAPTURES_TEXT = """\
A capture is a short table at a high rate, from the equations of one circuit in time. It starts from the temperatures,
loads and faults of a moment of the run, and stands beside it, as a test does that someone makes then. `recording.json`
tells under `captures` what each one shows: circuit, manoeuvre, moment, severities, start and columns. Columns named
after a sensor are its readings, with noise, lag, resolution and sensor faults; `state.NAME` is what no sensor
measures, without noise. An intermittent fault is caught while it is on."""


def page(system: System) -> str:
    """The page of one machine, Markdown."""
    machine = system.machine
    lines = [f"# {machine.name or machine.id}", "", f"`{system.name}`. {INTRODUCTION}", ""]
    lines += [machine.description, ""] if machine.description else []
    lines += ["```", f"gnn-service simulate {system.name} --out DIR", f"gnn-service demo {system.name}", "```", ""]
    lines += _components(machine)
    lines += _sensors(machine.sensors)
    lines += _duty(system)
    lines += _modes(system)
    lines += _captures(system)
    lines += _circumstances(system)
    lines += _parameters(machine)
    return "\n".join(lines).rstrip() + "\n"


def write_pages(folder: Path, names: Sequence[str], *, pictures: bool) -> None:
    """Write the pages of these machines into a folder, their pictures into a folder of the machine's name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        system = get_system(name)
        (folder / f"{name}.md").write_text(page(system), encoding="utf-8")
        if pictures:
            write_pictures(system, folder / name)


def write_pictures(system: System, folder: Path) -> None:
    """Draw a cycle, the heat balance, every mode's signature and every capture as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    state = main_state(system)
    period = system.duty_cycle.period_s if system.duty_cycle else PICTURE_S
    seconds = min(max(CYCLES_SHOWN * period, PICTURE_S), LONGEST_SHOWN_S)
    run = trace(system, [{}], seconds=seconds)
    names = [system.plant.PHASES[index] for index in run.frames.phase[:, 0]]
    cycle = Cycle(run.time_s, run.frames.values[:, :, 0], np.array(names))
    save(draw_cycle(system, cycle, f"{system.name}, {state}: {seconds:.0f} s, healthy"), folder / "cycle.png")
    long = trace(system, [{}], seconds=BALANCE_S)
    if long.frames.ledger is not None:
        title = f"{system.name}, {state}: mean powers over {BALANCE_S / 60:.0f} min, healthy and settled"
        books = long.frames.ledger[:, :, 0]
        save(draw_heat_balance(system.plant.LEDGER, books, system.plant.STEP_S, title), folder / "heat.png")
    for mode in system.modes:
        save(draw_signature(signature(system, mode), mode), folder / f"{mode.id}.png")
    for kind in system.captures:
        save(_draw_capture(system, kind), folder / f"{kind.id}.png")


def _draw_capture(system: System, kind: CircuitCapture) -> "Figure":
    """A capture from where the quasi-steady machine does the same, or from its usual work."""
    where = kind.beside
    state, site = (where.state, where.site) if where else (None, {})
    slow = trace(system, [{}], seconds=BESIDE_S, state=state, site=site)
    step = where.begin(slow) if where else len(slow.time_s) - 1
    moment, mode = moment_of_trace(slow, step), system.mode(_shown_mode(kind))
    grown = {mode.id: np.ones(1)}
    degraded = replace(moment, parameters=degrade(moment.parameters, system.modes, grown), severity={mode.id: 1.0})
    healthy, faulty = kind.simulate(moment, Key(1, 0)), kind.simulate(degraded, Key(1, 0))
    return draw_capture(kind, healthy, faulty, f"{mode.id} at severity 1", slow if where else None, step)


def _shown_mode(kind: CircuitCapture) -> str:
    """The failure mode that a capture's picture shows."""
    return kind.pictured or kind.modes[0]


def _components(machine: Machine) -> list[str]:
    lines = ["## Components", "", "```mermaid", *mermaid(machine).splitlines(), "```", ""]
    rows = [
        (f"`{part.id}`", part.type, part.name, part.function, f"{part.criticality:g}", str(len(part.parameters)))
        for part in machine.components
    ]
    lines += _table("component | type | name | what it does | criticality | parameters", rows)
    if machine.circuits:
        circuits = [(c.name or c.id, ", ".join(f"`{part}`" for part in c.components)) for c in machine.circuits]
        lines += _table("circuit | components", circuits)
    return lines


def _sensors(sensors: Iterable[Sensor]) -> list[str]:
    rows = [
        (
            f"`{sensor.id}`",
            sensor.quantity,
            f"`{sensor.unit}`",
            sensor.role.value,
            f"{sensor.rate_hz:.3g}",
            _span(sensor.range),
            _span(sensor.normal),
            _number(sensor.noise_sd),
            _limits(sensor),
        )
        for sensor in sensors
    ]
    head = "sensor | quantity | unit | role | Hz | range | normal | noise sd | warning; alarm"
    return ["## Sensors", "", *_table(head, rows)]


def _duty(system: System) -> list[str]:
    lines = ["## Duty cycle", ""]
    if system.duty_cycle:
        lines += [
            f"One cycle takes {system.duty_cycle.period_s:g} s as described; people, material and faults vary it."
        ]
        lines += ["", f"![Sensors over the phases of a cycle]({system.name}/cycle.png)", ""]
        rows = [(f"`{p.id}`", p.kind, f"{p.start_s:g}", f"{p.end_s:g}") for p in system.duty_cycle.phases]
        lines += _table("phase | kind | from s | to s", rows)
    states = [(f"`{name}`", f"{100 * system.shift.get(name, 0.0):.3g} %") for name in system.plant.STATES]
    lines += _table("operating state | share of a usual shift", states)
    lines += [f"![Where the energy goes]({system.name}/heat.png)", ""]
    return lines


def _modes(system: System) -> list[str]:
    lines = ["## Failure modes", "", "Severity is 0 for a new part and 1 at the functional failure.", ""]
    rows = [
        (
            mode.id,
            f"`{mode.mode}`",
            f"`{mode.component}`",
            mode.life.progression,
            f"{mode.detect_severity:g}",
            f"{mode.service_severity:g}",
            ", ".join(f"`{state}`" for state in mode.needs) or "any",
        )
        for mode in system.modes
    ]
    head = "id | failure mode | component | progression | seen in a test from | service limit | operating state needed"
    lines += _table(head, rows)
    lines += _given_away(system.modes)
    for mode in system.modes:
        lines += _mode(system, mode)
    return lines


def _given_away(modes: Iterable[SimulatedMode]) -> list[str]:
    easy = [f"- {mode.id}, {mode.name}: {mode.given_away}." for mode in modes if mode.given_away]
    if not easy:
        return []
    low, high = EARLY
    said = (
        f"A limit on one sensor, looked at once, finds these while they are small (severity {low:g} to {high:g}, in a "
        "fleet whose parts, sites and people differ), each for a physical reason; it finds none of the others:"
    )
    return [said, "", *easy, ""]


def _mode(system: System, mode: SimulatedMode) -> list[str]:
    life = mode.life
    described = next(one for one in system.machine.failure_modes if one.id == mode.mode)
    kind = next(part.type for part in system.machine.components if part.id == mode.component)
    entry = catalogue().mode(kind, described.mode)
    lines = [f"### {mode.id} {mode.name}", ""]
    lines += [f"ISO 14224: {entry.iso14224}, {entry.mechanism}. Repair: {mode.repair}.", ""]
    changes = [_change(system.machine, system.parameters, change) for change in mode.changes]
    lines += _table("parameter | new | at severity 1 | law", changes)
    onset = f"Weibull, shape {life.onset_shape:g}, scale {life.onset_scale_h:g} h"
    length = f"{life.length_h[0]:g} to {life.length_h[1]:g} h ({life.progression})"
    lines += [
        f"Onset: {onset}; from onset to failure {length}.",
        "",
        *_signs(system, mode),
        f"![Signature of {mode.id}]({system.name}/{mode.id}.png)",
        "",
    ]
    return lines


def _signs(system: System, mode: SimulatedMode) -> list[str]:
    rows = [
        (
            f"`{sign.sensor}`",
            sign.statistic,
            "rises" if sign.direction > 0 else "falls",
            f"`{state_of(system, mode, sign)}`" + (f", phase `{sign.phase}`" if sign.phase else ""),
        )
        for sign in mode.signs
    ]
    return _table("sign | statistic | as severity grows | seen in", rows)


def _change(machine: Machine, healthy: dict[str, float], change: Change) -> tuple[str, ...]:
    component, _, name = change.parameter.partition(".")
    described = next(part for part in machine.components if part.id == component).parameters[name]
    end = healthy[change.parameter] * change.value if change.relative else change.value
    return (
        f"`{change.parameter}`",
        _quantity(described.value, described.unit),
        _quantity(_from_si(end, described), described.unit),
        change.law,
    )


def _captures(system: System) -> list[str]:
    if not system.captures:
        return []
    lines = ["## Captures", "", CAPTURES_TEXT, ""]
    lines += [
        "```",
        f"gnn-service simulate {system.name} --fault {_shown_mode(system.captures[0])} --captures 3 --out DIR",
    ]
    lines += ["```", ""]
    for kind in system.captures:
        steps = f"solved in steps of {kind.step_s * 1e3:.3g} ms or less"
        lines += [f"### `{kind.id}`", "", f"Circuit: {kind.circuit}. Manoeuvre: {kind.manoeuvre}.", ""]
        lines += [f"{kind.rate_hz:g} samples a second, {steps}; it can show {', '.join(kind.modes)}."]
        if kind.beside:
            lines += [f"Points are the quasi-steady machine where it does the same, in `{kind.beside.state}`."]
        lines += ["", f"![The capture, healthy and with a fault]({system.name}/{kind.id}.png)", ""]
    return lines


def _circumstances(system: System) -> list[str]:
    rows = [
        (f"`{name}`", factor.description, f"{factor.default:g}", f"{factor.low:g} to {factor.high:g}")
        for name, factor in system.plant.SITE.items()
    ]
    return ["## Circumstances", "", *_table("name | what it is | default, SI | spread, SI", rows)] if rows else []


def _parameters(machine: Machine) -> list[str]:
    lines = ["## Parameters", ""]
    rows = [row for part in machine.components for row in _parameter_rows(part)]
    return lines + _table("parameter | value | provenance | source", rows)


def _parameter_rows(part: Component) -> list[tuple[str, ...]]:
    return [
        (f"`{part.id}.{name}`", _quantity(one.value, one.unit), one.provenance.replace("_", " "), one.source)
        for name, one in part.parameters.items()
    ]


def _from_si(value: float, described: Parameter) -> float:
    """A number of SI in the unit of a parameter, also where its zero lies elsewhere."""
    zero, one = to_si(0.0, described.unit), to_si(1.0, described.unit)
    return (value - zero) / (one - zero)


def _table(head: str, rows: Iterable[tuple[str, ...]]) -> list[str]:
    body = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return [f"| {head} |", "|---" * (head.count("|") + 1) + "|", *body, ""] if body else []


def _quantity(value: float, unit: str) -> str:
    return f"{value:.4g}" if unit == "1" else f"{value:.4g} `{unit}`"


def _span(span: Span | None) -> str:
    return f"{span.low:g} to {span.high:g}" if span else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _limits(sensor: Sensor) -> str:
    if sensor.limits is None:
        return ""
    pairs = [(sensor.limits.warn_low, sensor.limits.warn_high), (sensor.limits.alarm_low, sensor.limits.alarm_high)]
    shown = [_beyond(low, high) for low, high in pairs]
    gate = f" ({sensor.limits.gate})" if sensor.limits.gate else ""
    return "; ".join(shown) + gate if any(shown) else ""


def _beyond(low: float | None, high: float | None) -> str:
    parts = [] if low is None else [f"below {low:g}"]
    return ", ".join(parts if high is None else [*parts, f"above {high:g}"])


def main(arguments: Sequence[str]) -> None:
    """Write the pages into the folder named, of all machines or of those named after it."""
    given = [argument for argument in arguments if argument != "--text"]
    write_pages(Path(given[0]), given[1:] or list_systems(), pictures="--text" not in arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
