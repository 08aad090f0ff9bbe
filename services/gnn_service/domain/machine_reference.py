"""The reference page and the JSON Schema of machine descriptions, from the code."""

import json
import sys
from collections.abc import Iterable

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gnn_service.domain.catalogue import Anchor, catalogue
from gnn_service.domain.check import MOST_UNITS
from gnn_service.domain.machine import (
    Circuit,
    Component,
    Connection,
    DutyCycle,
    FailureMode,
    Level,
    Limits,
    Machine,
    Parameter,
    Phase,
    Sensor,
    Span,
)

PARTS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("machine", Machine),
    ("components[]", Component),
    ("connections[]", Connection),
    ("sensors[]", Sensor),
    ("sensors[].limits", Limits),
    ("range, normal", Span),
    ("circuits[]", Circuit),
    ("failure_modes[]", FailureMode),
    ("failure_modes[].levels[]", Level),
    ("duty_cycle", DutyCycle),
    ("duty_cycle.phases[]", Phase),
    ("parameters, attributes", Parameter),
)
HEAD = f"""\
<!-- Written by `python -m gnn_service.domain.machine_reference`; a test keeps it as the code is. -->

# Machine descriptions

A machine is a graph: typed components, directed typed connections, and sensors on the components. A description is
`machine.json`, or `machine.toml` where a person writes it with comments. Both have the fields below; the
[JSON Schema](machine.schema.json) says the same to editors and programs.

```
gnn-service machine new --out press.toml                        a small hydraulic unit to start from
gnn-service machine new --component pump:pump_1 --component accumulator --component valve_block
gnn-service machine new --csv readings.csv --out press.toml     sensors guessed from headers such as `P1 [bar]`
gnn-service machine check press.toml                            what is wrong, and where
gnn-service machine show press.toml
gnn-service machine schema
```

Units are [UCUM](https://ucum.org) codes: `bar`, `L/min`, `Cel`, `mm/s`, `kW`, `1/min`, `N.m`, `%`. `degC`, `rpm`,
`psi`, `l/min`, `Nm` and the like are taken and stored as their codes. Pressure is gauge unless the quantity says
otherwise.

## What the check finds

Dangling connections, connections that lead from a component to itself or stand there twice, unknown types, quantities
and failure modes, duplicate ids, sensors on components that are not there, units that do not fit their quantity,
impossible ranges, spans and limits, names that are columns of every recording (`ts`, `phase`, `operating_state`,
`cycle`), phases outside the duty cycle or over each other. Each finding says where: `sensors[3].unit`. An isolated
component is a warning: it is accepted, and `machine check` still ends with 1.

A description holds at most 256 components, 4096 sensors, 4096 connections, 256 circuits, 1024 failure modes and 256
phases, 64 parameters or attributes a part, and {MOST_UNITS} different units.

## Fields
"""


def reference() -> str:
    """The page, as Markdown."""
    lines = [HEAD]
    for title, part in PARTS:
        lines += [f"### {title}", "", _summary(part), "", "| field | default | meaning |", "|---|---|---|"]
        lines += [
            f"| `{name}` | {_default(field)} | {field.description} |" for name, field in part.model_fields.items()
        ]
        lines += [""]
    lines += [
        "## Catalogue",
        "",
        "Everything that a description may name. `GET /v1/catalogue` answers the same as JSON.",
        "",
    ]
    table = catalogue()
    carried = [(c.id, c.medium, c.description) for c in table.connection_types]
    lines += _table("Connection types", "type | medium | what it carries", carried)
    modes = {kind.id: ", ".join(f"`{mode.id}`" for mode in table.modes_of(kind.id)) for kind in table.component_types}
    kinds = [(c.id, c.description, modes[c.id]) for c in table.component_types]
    lines += _table("Component types", "type | what it is | failure modes", kinds)
    lines += _table(
        "Quantities",
        "quantity | unit | usual role | what it is",
        [(q.id, f"`{q.unit}`", q.role.value, q.description) for q in table.quantities],
    )
    lines += _table(
        "Failure modes",
        "mode | component | ISO 14224 | name | what severity means | what to do",
        [
            (
                m.id,
                m.component,
                f"{m.iso14224}, {m.mechanism}",
                m.name,
                _anchors(m.anchors),
                f"{m.action} ({m.urgency})",
            )
            for m in table.failure_modes
        ],
    )
    lines += _table(
        "Virtual sensors",
        "virtual sensor | component | evidence for | what it is | unit",
        [(v.id, v.component_type, v.mode, v.name, f"`{v.unit}`") for v in table.virtual_sensors],
    )
    return "\n".join(lines).rstrip() + "\n"


def schema_text() -> str:
    """The JSON Schema of `machine.json`, as text."""
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Machine.model_json_schema()}
    return json.dumps(document, indent=2) + "\n"


def _table(title: str, head: str, rows: Iterable[tuple[str, ...]]) -> list[str]:
    width = head.count("|") + 1
    body = [f"| `{row[0]}` | {' | '.join(row[1:])} |" for row in rows]
    return [f"### {title}", "", f"| {head} |", "|---" * width + "|", *body, ""]


def _anchors(anchors: Iterable[Anchor]) -> str:
    return "; ".join(f"{anchor.severity:g}: {anchor.meaning}" for anchor in anchors)


def _summary(part: type[BaseModel]) -> str:
    return " ".join((part.__doc__ or "").split())


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "none" if field.default_factory else "required"
    if field.default in (None, (), ""):
        return "none"
    return f"`{getattr(field.default, 'value', field.default)}`"


if __name__ == "__main__":
    sys.stdout.write(schema_text() if "--schema" in sys.argv else reference())
