"""Virtual sensors: which physics estimate a component type can have, and what it needs for it."""

from typing import Literal

from pydantic import Field

from gnn_service.domain.machine import Part


class VirtualInput(Part):
    """A real sensor that the estimate reads: on the component itself, or the first one found along the lines."""

    quantity: str
    place: Literal["own", "downstream", "nearest"] = "own"


class VirtualSensor(Part):
    """An estimate that is evidence for one failure mode of a component type."""

    id: str
    component_type: str
    mode: str
    name: str
    unit: str
    inputs: dict[str, VirtualInput]
    phases: tuple[str, ...] = Field((), description="kinds of phase that a cycle must show, in this order of time")


VIRTUAL_SENSORS: tuple[VirtualSensor, ...] = (
    VirtualSensor(
        id="switching_delay",
        component_type="valve_block",
        mode="switching_lag",
        name="switching delay",
        unit="s",
        inputs={"pressure": VirtualInput(quantity="pressure")},
        phases=("switch", "plateau"),
    ),
    VirtualSensor(
        id="pump_leakage",
        component_type="pump",
        mode="internal_leakage",
        name="lost flow",
        unit="%",
        inputs={
            "flow": VirtualInput(quantity="flow", place="downstream"),
            "temperature": VirtualInput(quantity="temperature", place="nearest"),
        },
        phases=("plateau",),
    ),
    VirtualSensor(
        id="gas_charge",
        component_type="accumulator",
        mode="gas_loss",
        name="gas charge at 20 degC",
        unit="bar",
        inputs={
            "pressure": VirtualInput(quantity="pressure"),
            "flow": VirtualInput(quantity="flow", place="downstream"),
            "temperature": VirtualInput(quantity="temperature", place="nearest"),
        },
        phases=("start", "plateau", "step", "plateau"),
    ),
)
