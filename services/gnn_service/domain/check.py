"""Whether a machine description is right: well-formed, consistent in itself and with the catalogue."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Literal

from pydantic import ValidationError

from gnn_service.core.errors import InvalidMachineError, UnitError
from gnn_service.domain.catalogue import catalogue
from gnn_service.domain.check_sensors import sensor_problems
from gnn_service.domain.machine import Machine, Part
from gnn_service.domain.units import dimension

MOST_UNITS = 200
"""Different unit codes in one description or request: each that is new costs milliseconds to read."""


class Finding(Part):
    """Something in a description that is wrong, or looks wrong, and where: ``sensors[3].unit``."""

    level: Literal["error", "warning"]
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.level}: {self.where}: {self.message}"


def parse_machine(document: str | bytes | Mapping[str, Any], *, check: bool = True) -> Machine:
    """The description in a JSON text or in its decoded form.

    InvalidMachineError says what is wrong first, where, and how much more there is. ``check=False`` leaves out the
    consistency of the parts, for documents that are known to be right.
    """
    try:
        machine = Machine.model_validate(_decoded(document))
    except ValidationError as error:
        raise _refusal(list(_shape_findings(error))) from error
    if check:
        require_valid(machine)
    return machine


def require_valid(machine: Machine) -> None:
    """InvalidMachineError where ``check_machine`` finds an error; warnings pass."""
    errors = [finding for finding in check_machine(machine) if finding.level == "error"]
    if errors:
        raise _refusal(errors)


def check_machine(machine: Machine | Mapping[str, Any] | str | bytes) -> list[Finding]:
    """Everything that is wrong with a description, in its order; empty where nothing is.

    A document that is not even well-formed gives the findings about its form alone.
    """
    if not isinstance(machine, Machine):
        try:
            machine = Machine.model_validate(_decoded(machine))
        except ValidationError as error:
            return list(_shape_findings(error))
    if len(machine.units) > MOST_UNITS:
        detail = f"{len(machine.units)} different units; a machine has at most {MOST_UNITS}"
        return [Finding(level="error", where="machine", message=detail)]
    checks = (_components, _connections, _sensors, _circuits, _failure_modes, _duty_cycle)
    found = [Finding(level="error", where=where, message=message) for one in checks for where, message in one(machine)]
    return found + [Finding(level="warning", where=where, message=message) for where, message in _isolated(machine)]


def _decoded(document: str | bytes | Mapping[str, Any]) -> Any:
    if not isinstance(document, (str, bytes)):
        return document
    try:
        return json.loads(document)
    except ValueError as error:
        raise InvalidMachineError(f"this is no JSON: {error}") from error
    except RecursionError as error:
        raise InvalidMachineError("this is nested too deeply for a description") from error


def _refusal(findings: list[Finding]) -> InvalidMachineError:
    first, more = findings[0], len(findings) - 1
    rest = f" (and {more} more; see `gnn-service machine check`)" if more else ""
    return InvalidMachineError(f"{first.message}{rest}", where=first.where)


def _shape_findings(error: ValidationError) -> Iterator[Finding]:
    for problem in error.errors(include_url=False, include_context=False):
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).lstrip(".")
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown field"
        yield Finding(level="error", where=where or "machine", message=message[:1].lower() + message[1:])


Problems = Iterator[tuple[str, str]]


def _components(machine: Machine) -> Problems:
    if not machine.components:
        yield "components", "a machine has at least one component"
    yield from _duplicates("components", machine.component_ids)
    for index, component in enumerate(machine.components):
        if component.type not in catalogue().component_type_ids:
            yield (
                f"components[{index}].type",
                _unknown("component type", component.type, catalogue().component_type_ids),
            )
        for name, parameter in component.parameters.items():
            yield from _known_unit(f"components[{index}].parameters.{name}.unit", parameter.unit)


def _connections(machine: Machine) -> Problems:
    seen: set[tuple[str, str, str]] = set()
    components = set(machine.component_ids)
    for index, connection in enumerate(machine.connections):
        where = f"connections[{index}]"
        for end in ("source", "target"):
            component = getattr(connection, end)
            if component not in components:
                yield f"{where}.{end}", f"leads to {component!r}, which is no component"
        if connection.source == connection.target:
            yield where, f"leads from {connection.source!r} to itself"
        if connection.type not in catalogue().connection_type_ids:
            yield f"{where}.type", _unknown("connection type", connection.type, catalogue().connection_type_ids)
        key = (connection.source, connection.target, connection.type)
        if key in seen:
            yield where, f"{connection.source} to {connection.target} as {connection.type} stands there twice"
        seen.add(key)
        for name, attribute in connection.attributes.items():
            yield from _known_unit(f"{where}.attributes.{name}.unit", attribute.unit)


def _sensors(machine: Machine) -> Problems:
    yield from _duplicates("sensors", machine.sensor_ids)
    components = set(machine.component_ids)
    for index, sensor in enumerate(machine.sensors):
        where = f"sensors[{index}]"
        if sensor.component not in components:
            yield f"{where}.component", f"sensor {sensor.id} sits on {sensor.component!r}, which is no component"
        if sensor.quantity not in catalogue().quantity_ids:
            yield f"{where}.quantity", _unknown("quantity", sensor.quantity, catalogue().quantity_ids)
        else:
            for field, message in sensor_problems(sensor):
                yield f"{where}.{field}", f"sensor {sensor.id}: {message}"


def _circuits(machine: Machine) -> Problems:
    yield from _duplicates("circuits", (circuit.id for circuit in machine.circuits))
    components = set(machine.component_ids)
    for index, circuit in enumerate(machine.circuits):
        if not circuit.components:
            yield f"circuits[{index}].components", "a circuit has at least one component"
        for place, component in enumerate(circuit.components):
            if component not in components:
                yield f"circuits[{index}].components[{place}]", f"{component!r} is no component"


def _failure_modes(machine: Machine) -> Problems:
    yield from _duplicates("failure_modes", (mode.id for mode in machine.failure_modes))
    types = {component.id: component.type for component in machine.components}
    for index, mode in enumerate(machine.failure_modes):
        where = f"failure_modes[{index}]"
        if mode.component not in types:
            yield f"{where}.component", f"{mode.component!r} is no component"
        elif types[mode.component] in catalogue().component_type_ids:
            known = [entry.id for entry in catalogue().modes_of(types[mode.component])]
            if mode.mode not in known:
                yield f"{where}.mode", _unknown(f"failure mode of a {types[mode.component]}", mode.mode, known)


def _duty_cycle(machine: Machine) -> Problems:
    cycle = machine.duty_cycle
    if cycle is None:
        return
    yield from _duplicates("duty_cycle.phases", (phase.id for phase in cycle.phases))
    ordered = sorted(enumerate(cycle.phases), key=lambda item: item[1].start_s)
    for index, phase in ordered:
        if phase.end_s > cycle.period_s:
            end = f"{phase.id} ends at {phase.end_s:g} s, the cycle at {cycle.period_s:g} s"
            yield f"duty_cycle.phases[{index}].end_s", end
    for (_, before), (index, phase) in pairwise(ordered):
        if phase.start_s < before.end_s:
            yield f"duty_cycle.phases[{index}].start_s", f"{phase.id} begins before {before.id} ends"


def _isolated(machine: Machine) -> Problems:
    ends = {end for connection in machine.connections for end in (connection.source, connection.target)}
    if len(machine.components) < 2:
        return
    for index, component in enumerate(machine.components):
        if component.id not in ends:
            yield f"components[{index}]", f"{component.id} is isolated: no connection leads to or from it"


def _duplicates(where: str, ids: Iterable[str]) -> Problems:
    for one, times in Counter(ids).items():
        if times > 1:
            yield where, f"id {one!r} stands there {times} times"


def _known_unit(where: str, unit: str) -> Problems:
    try:
        dimension(unit)
    except UnitError as error:
        yield where, error.detail


def _unknown(what: str, given: str, known: Iterable[str]) -> str:
    return f"unknown {what} {given!r}; there is: {', '.join(known)}"
