"""Starting descriptions: a commented TOML text that a person completes, from the catalogue or from column names."""

import json
import re
from collections.abc import Iterable, Sequence

from gnn_service.core.errors import InvalidMachineError
from gnn_service.domain.catalogue import ComponentType, Quantity, catalogue
from gnn_service.domain.guess import NO_COMPONENT, ColumnGuess, guess_columns
from gnn_service.domain.machine import IDENTIFIER, Component, Connection, Sensor, SensorRole, Span

DEFAULT = ("reservoir", "pump", "valve_block", "cylinder", "heat_exchanger", "filter")
HEAD = """\
# Description of one machine, as a graph. Complete it, then run:  gnn-service machine check {file}
# Lines that begin with # are comments. Whatever is marked "guess" or "suggested" is for you to confirm.
# Units are UCUM codes (bar, L/min, Cel, mm/s, kW, 1/min, %); degC, rpm, psi and the like are taken as well.
"""
RANGE_NOTE = "  # what the sensor can measure"


def describe_catalogue(machine_id: str, types: Sequence[str] = DEFAULT, *, file: str = "machine.toml") -> str:
    """A description with one component of each given type (``TYPE`` or ``TYPE:ID``) and its usual sensors.

    InvalidMachineError for a type that the catalogue does not have, or an id that is none.
    """
    components = list(_named_components(types))
    sensors = [sensor for component in components for sensor in _usual_sensors(component)]
    return _document(machine_id, components, [(sensor, "suggested") for sensor in sensors], (), file)


def describe_columns(machine_id: str, columns: Sequence[str], *, file: str = "machine.toml") -> str:
    """A description with one sensor for each column whose quantity can be guessed; the others stand as comments."""
    guesses = guess_columns(columns)
    types = {guess.component: guess.component_type for guess in guesses if guess.sensor}
    components = [
        Component(id=component, type=component_type, name=catalogue().component_type(component_type).name)
        for component, component_type in types.items()
    ]
    sensors = [(guess.sensor, f"from column {guess.column!r}; {guess.reason}") for guess in guesses if guess.sensor]
    left = tuple(guess for guess in guesses if not guess.sensor and not guess.is_index)
    if not components:
        components = list(_named_components(DEFAULT[1:2]))
    return _document(machine_id, components, sensors, left, file)


def starting_sensor(sensor_id: str, component: str, quantity: Quantity, unit: str | None = None) -> Sensor:
    """A sensor with the quantity's usual role, and its range where the unit is the quantity's own."""
    span = Span(low=quantity.sensor.low, high=quantity.sensor.high)
    return Sensor(
        id=sensor_id,
        component=component,
        quantity=quantity.id,
        unit=unit or quantity.unit,
        role=SensorRole(quantity.role),
        rate_hz=1.0,
        range=span,
    )


def suggested_connections(components: Sequence[Component]) -> list[Connection]:
    """The usual connections between components of these types, in the order of the catalogue."""
    found = []
    for pair in catalogue().neighbours:
        sources = [component for component in components if component.type == pair.source]
        targets = [component for component in components if component.type == pair.target]
        found += [Connection(source=s.id, target=t.id, type=pair.type) for s in sources for t in targets]
    return found


def _named_components(types: Iterable[str]) -> Iterable[Component]:
    taken: set[str] = set()
    for entry in types:
        type_id, _, given = entry.partition(":")
        kind = catalogue().component_type(type_id)
        name, number = _checked(given or type_id), 2
        while name in taken:
            name, number = f"{given or type_id}_{number}", number + 1
        taken.add(name)
        yield Component(id=name, type=kind.id, name=kind.name)


def _checked(identifier: str) -> str:
    if re.fullmatch(IDENTIFIER, identifier) is None:
        raise InvalidMachineError(f"{identifier!r} is no id: a letter, then up to 63 letters, digits, _ . or -")
    return identifier


def _usual_sensors(component: Component) -> Iterable[Sensor]:
    kind: ComponentType = catalogue().component_type(component.type)
    for usual in kind.sensors:
        yield starting_sensor(f"{component.id}.{usual.signal}", component.id, catalogue().quantity(usual.quantity))


def _document(
    machine_id: str,
    components: Sequence[Component],
    sensors: Sequence[tuple[Sensor, str]],
    unknown: Sequence[ColumnGuess],
    file: str,
) -> str:
    parts = [
        HEAD.format(file=file),
        f'format = "gnn-service/machine/1"\nid = {_q(_checked(machine_id))}\nname = ""\ndescription = ""\n',
        _component_part(components),
        _connection_part(components),
        _sensor_part(sensors, unknown),
        _mode_part(components),
        _rest_part(components),
    ]
    return "\n".join(parts)


def _component_part(components: Sequence[Component]) -> str:
    lines = ["# ---- Components: the nodes of the graph. Types:", *_wrapped(catalogue().component_type_ids), ""]
    for component in components:
        lines += [
            "[[components]]",
            f"id = {_q(component.id)}",
            f"type = {_q(component.type)}",
            f"name = {_q(component.name)}",
        ]
        lines += ["criticality = 1.0  # 1: the machine is as bad as this component; 0: it does not count", ""]
    return "\n".join(lines)


def _connection_part(components: Sequence[Component]) -> str:
    lines = ["# ---- Connections: directed; a line that flows both ways is two connections. Types:"]
    lines += [*_wrapped(catalogue().connection_type_ids), ""]
    for one in suggested_connections(components):
        lines += ["[[connections]]  # suggested", f"source = {_q(one.source)}", f"target = {_q(one.target)}"]
        lines += [f"type = {_q(one.type)}", ""]
    if len(lines) == 2 + len(_wrapped(catalogue().connection_type_ids)):
        lines += ["# [[connections]]", '# source = "..."', '# target = "..."', '# type = "hyd_pressure"', ""]
    return "\n".join(lines)


def _sensor_part(sensors: Sequence[tuple[Sensor, str]], unknown: Sequence[ColumnGuess]) -> str:
    lines = [
        "# ---- Sensors. An id is the column's name in your readings. Roles:",
        "#   evidence  moves with the state of its own component",
        "#   context   moves with load, weather or the rest of the machine: slow temperatures, speeds",
        "#   command   is what a controller asks for",
        "#   derived   is computed from other sensors",
        "# Quantities:",
        *_wrapped(catalogue().quantity_ids),
        "",
    ]
    for sensor, reason in sensors:
        lines += [f"[[sensors]]  # {reason}", f"id = {_q(sensor.id)}", f"component = {_q(sensor.component)}"]
        lines += [f"quantity = {_q(sensor.quantity)}", f"unit = {_q(sensor.unit)}", f"role = {_q(sensor.role.value)}"]
        lines += ['port = "body"  # inlet, outlet, body or command', f"rate_hz = {sensor.rate_hz!r}"]
        lines += [f"range = {{ low = {sensor.range.low!r}, high = {sensor.range.high!r} }}{RANGE_NOTE}"]
        lines += ["# normal = { low = 0.0, high = 1.0 }  # what healthy running shows"]
        lines += ["# limits = { warn_high = 0.0, alarm_high = 0.0, deadband = 0.0, on_delay_s = 60.0 }", ""]
    for guess in unknown:
        lines += [f"# Column {guess.column!r} was left out: {guess.reason}."]
    return "\n".join([*lines, ""] if unknown else lines)


def _mode_part(components: Sequence[Component]) -> str:
    lines = ["# ---- Failure modes: what the catalogue knows for these components. Delete what cannot happen.", ""]
    for component in components:
        if component.id == NO_COMPONENT[0]:
            continue
        for mode in catalogue().modes_of(component.type):
            lines += [f"[[failure_modes]]  # {mode.signs}", f"id = {_q(f'{component.id}_{mode.id}')}"]
            lines += [f"component = {_q(component.id)}", f"mode = {_q(mode.id)}", f"name = {_q(mode.name)}"]
            lines += ['# levels = [{ name = "as new", severity = 0.0 }, { name = "worn out", severity = 1.0 }]', ""]
    return "\n".join(lines)


def _rest_part(components: Sequence[Component]) -> str:
    ids = ", ".join(_q(component.id) for component in components)
    return f"""\
# ---- Circuits: sets of components that work together.
# [[circuits]]
# id = "working"
# components = [{ids}]

# ---- Duty cycle: what the machine repeats, if it does. Kinds of phase: plateau, step, switch, start, free.
# [duty_cycle]
# period_s = 60.0
# phases = [{{ id = "hold", kind = "plateau", start_s = 10.0, end_s = 20.0 }}]
"""


def _wrapped(names: Iterable[str], width: int = 110) -> list[str]:
    lines, line = [], "#  "
    for name in names:
        if len(line) + len(name) + 2 > width:
            lines.append(line)
            line = "#  "
        line += f" {name}"
    return [*lines, line]


def _q(text: str) -> str:
    """A TOML basic string; JSON's escapes are a part of TOML's."""
    return json.dumps(text, ensure_ascii=False)
