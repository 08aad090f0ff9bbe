"""The catalogue: what components, connections, quantities and failure modes there are.

Every machine's own parts map onto it, so one model can know them all. The order of each table is part of the
vocabulary of trained models: entries are only ever appended. Sources: failure-mode and mechanism codes of
ISO 14224:2016, vocabulary of ISO 13372 and ISO 1219, units of UCUM. The tables are package data, `catalogue_data/`.
"""

import csv
import tomllib
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, Literal

from pydantic import Field, model_validator

from gnn_service.core.errors import InvalidMachineError
from gnn_service.domain.machine import Finite, Part, SensorRole
from gnn_service.domain.virtual import VIRTUAL_SENSORS, VirtualSensor

Urgency = Literal["now", "within_24h", "next_stop", "plan"]
MODE_FILES = ("failure_modes_hydraulic.toml", "failure_modes_process.toml", "failure_modes_drives.toml")
SENSOR_FIELDS = ("low", "high", "rate_hz", "noise_sd", "resolution", "time_constant_s")


class ConnectionType(Part):
    """One of the 13 ways in which components act on each other."""

    id: str
    name: str
    medium: str
    description: str


class Neighbours(Part):
    """Two component types that are usually connected, and how; a suggestion for new descriptions."""

    source: str
    target: str
    type: str


class TypicalSensor(Part):
    """What a component of a type is usually measured with."""

    quantity: str
    signal: str


class ComponentType(Part):
    """A kind of component."""

    id: str
    name: str
    description: str
    words: tuple[str, ...] = Field(description="words that such a component is called by")
    sensors: tuple[TypicalSensor, ...]


class SensorModel(Part):
    """A healthy sensor of its kind, in the quantity's unit; representative, no maker's promise."""

    low: Finite
    high: Finite
    rate_hz: Finite | None = None
    noise_sd: Finite | None = None
    resolution: Finite | None = None
    time_constant_s: Finite | None = None


class Quantity(Part):
    """What a sensor measures, and the unit that the product computes in."""

    id: str
    name: str
    unit: str = Field(description="UCUM code")
    dimension: str = Field(description="L length, M mass, T time, I current, O temperature, A angle; 1 is none")
    role: SensorRole = Field(description="what such a sensor is usually good for")
    description: str
    words: tuple[str, ...] = Field(description="words that such a column is called by")
    sensor: SensorModel


class Anchor(Part):
    """What a severity means in practice."""

    severity: float = Field(gt=0, le=1)
    meaning: str


class CatalogueMode(Part):
    """A way in which components of one type fail; severity 1 is the functional failure."""

    component: str = Field(description="component type")
    id: str = Field(description="unique within its component type")
    name: str
    iso14224: str = Field(description="failure-mode code of ISO 14224:2016")
    mechanism: str = Field(description="failure mechanism of ISO 14224:2016")
    signs: str
    anchors: tuple[Anchor, ...]
    action: str
    urgency: Urgency

    @model_validator(mode="after")
    def _anchors_rise_to_failure(self) -> "CatalogueMode":
        steps = [anchor.severity for anchor in self.anchors]
        if steps != sorted(set(steps)) or steps[-1:] != [1.0]:
            raise ValueError("anchors must rise and end at severity 1")
        return self


class Catalogue(Part):
    """All tables, with look-ups that fail in words."""

    format: Literal["gnn-service/catalogue/1"] = "gnn-service/catalogue/1"
    component_types: tuple[ComponentType, ...]
    connection_types: tuple[ConnectionType, ...]
    neighbours: tuple[Neighbours, ...]
    quantities: tuple[Quantity, ...]
    failure_modes: tuple[CatalogueMode, ...]
    virtual_sensors: tuple[VirtualSensor, ...]

    @cached_property
    def component_type_ids(self) -> tuple[str, ...]:
        """Component types in the order of the vocabulary."""
        return tuple(entry.id for entry in self.component_types)

    @cached_property
    def connection_type_ids(self) -> tuple[str, ...]:
        """Connection types in the order of the vocabulary."""
        return tuple(entry.id for entry in self.connection_types)

    @cached_property
    def quantity_ids(self) -> tuple[str, ...]:
        """Quantities in the order of the vocabulary."""
        return tuple(entry.id for entry in self.quantities)

    @cached_property
    def _quantities(self) -> dict[str, Quantity]:
        return {entry.id: entry for entry in self.quantities}

    @cached_property
    def _modes(self) -> dict[tuple[str, str], CatalogueMode]:
        return {(entry.component, entry.id): entry for entry in self.failure_modes}

    def component_type(self, type_id: str) -> ComponentType:
        """A component type; InvalidMachineError where there is none of this id."""
        for entry in self.component_types:
            if entry.id == type_id:
                return entry
        raise InvalidMachineError(f"unknown component type {type_id!r}; there is: {', '.join(self.component_type_ids)}")

    def connection_type(self, type_id: str) -> ConnectionType:
        """A connection type; InvalidMachineError where there is none of this id."""
        for entry in self.connection_types:
            if entry.id == type_id:
                return entry
        raise InvalidMachineError(
            f"unknown connection type {type_id!r}; there is: {', '.join(self.connection_type_ids)}"
        )

    def quantity(self, quantity_id: str) -> Quantity:
        """A quantity; InvalidMachineError where there is none of this id."""
        if quantity_id not in self._quantities:
            raise InvalidMachineError(f"unknown quantity {quantity_id!r}; there is: {', '.join(self.quantity_ids)}")
        return self._quantities[quantity_id]

    def mode(self, component_type: str, mode_id: str) -> CatalogueMode:
        """A failure mode of a component type; InvalidMachineError where the type has none of this id."""
        if (component_type, mode_id) not in self._modes:
            known = ", ".join(mode.id for mode in self.modes_of(component_type)) or "none"
            raise InvalidMachineError(f"{component_type} has no failure mode {mode_id!r}; it has: {known}")
        return self._modes[component_type, mode_id]

    def modes_of(self, component_type: str) -> tuple[CatalogueMode, ...]:
        """Failure modes of a component type."""
        return tuple(mode for mode in self.failure_modes if mode.component == component_type)


@cache
def catalogue() -> Catalogue:
    """The catalogue of this version of the package."""
    structure = _toml("structure.toml")
    for component in structure["components"]:
        component["sensors"] = [{"quantity": quantity, "signal": signal} for quantity, signal in component["sensors"]]
    modes = [mode for name in MODE_FILES for mode in _toml(name)["modes"]]
    for mode in modes:
        mode["anchors"] = [{"severity": severity, "meaning": meaning} for severity, meaning in mode["anchors"]]
    return Catalogue.model_validate(
        {
            "component_types": structure["components"],
            "connection_types": structure["connections"],
            "neighbours": list(csv.DictReader(_text("neighbours.csv").splitlines())),
            "quantities": _quantities(),
            "failure_modes": modes,
            "virtual_sensors": VIRTUAL_SENSORS,
        }
    )


def _quantities() -> list[dict[str, Any]]:
    rows = csv.DictReader(_text("quantities.csv").splitlines())
    tables: list[dict[str, Any]] = []
    for row in rows:
        entry: dict[str, Any] = {key: value for key, value in row.items() if key not in SENSOR_FIELDS}
        entry["words"] = row["words"].split()
        entry["sensor"] = {key: float(row[key]) for key in SENSOR_FIELDS if row[key]}
        tables.append(entry)
    return tables


def _toml(name: str) -> dict[str, Any]:
    return tomllib.loads(_text(name))


def _text(name: str) -> str:
    return (files("gnn_service.domain") / "catalogue_data" / name).read_text(encoding="utf-8")
