"""The described asset: components, connections, sensors, circuits, failure modes and duty cycle.

Component ids are lower snake case, sensor ids keep the plant's own tag; units are UCUM codes (https://ucum.org);
pressure is gauge unless the quantity says otherwise. Consistency between the parts and with the catalogue is
`gnn_service.domain.check`'s business; here each part is only well-formed by itself.
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gnn_service.domain.unit_codes import ucum_code

IDENTIFIER = r"^[A-Za-z][A-Za-z0-9_.\-]{0,63}$"
Identifier = Annotated[str, Field(pattern=IDENTIFIER)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Unit = Annotated[str, AfterValidator(ucum_code), Field(min_length=1, max_length=32)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Provenance = Literal["looked_up", "measured", "derived", "representative"]


class Part(BaseModel):
    """A frozen piece of a machine description; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SensorRole(StrEnum):
    """What a sensor may be used for.

    Evidence moves with the state of its component; context moves with load, weather or the rest of the machine;
    a command is what a controller asks for; derived is computed from other sensors and may give a state away.
    """

    EVIDENCE = "evidence"
    CONTEXT = "context"
    COMMAND = "command"
    DERIVED = "derived"


class Port(StrEnum):
    """Where on its component a sensor sits."""

    INLET = "inlet"
    OUTLET = "outlet"
    BODY = "body"
    COMMAND = "command"


class Span(Part):
    """A closed interval in the unit of what it belongs to."""

    low: Finite = Field(description="lower end")
    high: Finite = Field(description="upper end")


class Limits(Part):
    """Warning and alarm limits of a sensor, in the sensor's unit."""

    warn_low: Finite | None = Field(None, description="warning below this")
    warn_high: Finite | None = Field(None, description="warning above this")
    alarm_low: Finite | None = Field(None, description="alarm below this")
    alarm_high: Finite | None = Field(None, description="alarm above this")
    deadband: NotNegative | None = Field(None, description="way back inside before the limit counts as left")
    on_delay_s: NotNegative | None = Field(None, description="how long outside before the limit counts, in seconds")
    gate: str | None = Field(None, description="when the limits apply, in words")


class Sensor(Part):
    """One measured quantity on a component."""

    id: Identifier = Field(description="the column's name in readings")
    component: Identifier = Field(description="id of the component that it sits on")
    quantity: str = Field(description="a quantity of the catalogue, e.g. pressure")
    unit: Unit = Field(description="UCUM code, e.g. bar, L/min, Cel; degC, rpm, psi and the like are taken as well")
    role: SensorRole = Field(SensorRole.EVIDENCE, description="what it may be used for")
    port: Port = Field(Port.BODY, description="where on its component it sits")
    name: str = Field("", description="in words")
    rate_hz: Positive = Field(1.0, description="samples a second in readings")
    range: Span = Field(description="what the sensor can measure, in its unit")
    normal: Span | None = Field(None, description="what healthy running shows, in its unit")
    limits: Limits | None = Field(None, description="warning and alarm limits, in its unit")
    noise_sd: NotNegative | None = Field(None, description="standard deviation of its noise, in its unit")
    resolution: NotNegative | None = Field(None, description="smallest step, in its unit")
    time_constant_s: NotNegative | None = Field(None, description="how slowly it follows, in seconds")


class Parameter(Part):
    """A property of a component with its unit and where the number comes from."""

    value: Finite = Field(description="the number")
    unit: Unit = Field("1", description="UCUM code")
    provenance: Provenance = Field("representative", description="how the number was found")
    source: str = Field("", description="where it was found")


class Component(Part):
    """A node of the machine's graph."""

    id: Identifier = Field(description="lower snake case, e.g. pump_1")
    type: str = Field(description="a component type of the catalogue, e.g. pump")
    name: str = Field("", description="in words")
    function: str = Field("", description="what the component does in this machine")
    criticality: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="1: the machine is as bad as this component; 0: it does not count"
    )
    parameters: dict[str, Parameter] = Field(default_factory=dict, max_length=64, description="its data, by name")


class Connection(Part):
    """A directed, typed edge. A line that flows both ways is two connections."""

    source: Identifier = Field(description="id of the component that it leads from")
    target: Identifier = Field(description="id of the component that it leads to")
    type: str = Field(description="one of the catalogue's 13 connection types, e.g. hyd_pressure")
    attributes: dict[str, Parameter] = Field(
        default_factory=dict, max_length=64, description="diameter, length, volume and the like"
    )


class Circuit(Part):
    """A named set of components that work together."""

    id: Identifier = Field(description="e.g. cooling")
    name: str = Field("", description="in words")
    components: tuple[Identifier, ...] = Field(max_length=256, fail_fast=True, description="ids of its components")


class Level(Part):
    """A named step of severity, as a test rig or a service manual defines it."""

    name: str = Field(description="as people call it")
    severity: Annotated[float, Field(ge=0, le=1)] = Field(description="0 is no fault, 1 the functional failure")


class FailureMode(Part):
    """A way in which one component of this machine fails, mapped onto a mode of the catalogue."""

    id: Identifier = Field(description="unique in the machine")
    component: Identifier = Field(description="id of the component that fails")
    mode: str = Field(description="a failure mode of the catalogue for the component's type")
    name: str = Field("", description="in words; empty takes the catalogue's")
    levels: tuple[Level, ...] = Field(
        (),
        max_length=64,
        fail_fast=True,
        description="severity rising from 0 (no fault); empty where severity is continuous",
    )

    @model_validator(mode="after")
    def _levels_rise_from_none(self) -> "FailureMode":
        steps = [level.severity for level in self.levels]
        if steps and (steps[0] != 0 or sorted(set(steps)) != steps or len(steps) < 2):
            raise ValueError("levels must rise strictly and start at severity 0")
        return self


class Phase(Part):
    """A stretch of the duty cycle, in seconds from the cycle's start.

    A plateau holds the load constant; a step is a change of load between two plateaus; a switch is the moment a
    valve is told to change over; start is where the cycle begins after a pause.
    """

    id: Identifier = Field(description="the name in the phase column of readings")
    kind: Literal["plateau", "step", "switch", "start", "free"] = Field("free", description="what happens in it")
    start_s: NotNegative = Field(description="begin, seconds from the cycle's start")
    end_s: Positive = Field(description="end, not included")

    @model_validator(mode="after")
    def _takes_time(self) -> "Phase":
        if self.end_s <= self.start_s:
            raise ValueError("a phase must end after it starts")
        return self


class DutyCycle(Part):
    """What the machine repeats."""

    period_s: Positive = Field(le=604_800, description="length of one cycle in seconds, at most a week")
    phases: tuple[Phase, ...] = Field(
        (), max_length=256, fail_fast=True, description="in the order of time, without overlap"
    )

    def of_kind(self, kind: str) -> tuple[Phase, ...]:
        """Phases of one kind in order of time."""
        return tuple(sorted((p for p in self.phases if p.kind == kind), key=lambda p: p.start_s))


class Machine(Part):
    """The description of one machine; what `machine.json` holds."""

    format: Literal["gnn-service/machine/1"] = Field("gnn-service/machine/1", description="version of this format")
    id: Identifier = Field(description="id of the machine")
    name: str = Field("", description="in words")
    description: str = Field("", description="what the machine is and does")
    source: str = Field("", description="where the description comes from")
    components: tuple[Component, ...] = Field(max_length=256, fail_fast=True, description="the nodes of the graph")
    connections: tuple[Connection, ...] = Field(
        (), max_length=4096, fail_fast=True, description="the edges of the graph"
    )
    sensors: tuple[Sensor, ...] = Field((), max_length=4096, fail_fast=True, description="what is measured where")
    circuits: tuple[Circuit, ...] = Field(
        (), max_length=256, fail_fast=True, description="sets of components that work together"
    )
    failure_modes: tuple[FailureMode, ...] = Field(
        (), max_length=1024, fail_fast=True, description="what can fail, and how"
    )
    duty_cycle: DutyCycle | None = Field(None, description="what the machine repeats, if it does")

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy, with some fields changed; what was cached belongs to the original and is computed anew."""
        copied = super().model_copy(update=update, deep=deep)
        for name in set(copied.__dict__) - set(type(self).model_fields):
            del copied.__dict__[name]
        return copied

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the whole description: equal for equal machines."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @cached_property
    def units(self) -> frozenset[str]:
        """Every unit code in the description."""
        owned = [*(c.parameters for c in self.components), *(c.attributes for c in self.connections)]
        return frozenset(s.unit for s in self.sensors) | {one.unit for part in owned for one in part.values()}

    @cached_property
    def sensor_ids(self) -> tuple[str, ...]:
        """Sensor ids in the order of the description."""
        return tuple(s.id for s in self.sensors)

    @cached_property
    def component_ids(self) -> tuple[str, ...]:
        """Component ids in the order of the description."""
        return tuple(c.id for c in self.components)

    def sensors_on(self, component: str) -> tuple[Sensor, ...]:
        """Sensors that sit on a component."""
        return tuple(s for s in self.sensors if s.component == component)

    def modes_of(self, component: str) -> tuple[FailureMode, ...]:
        """Failure modes declared for a component."""
        return tuple(m for m in self.failure_modes if m.component == component)
